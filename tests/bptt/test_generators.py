"""Streams of random numbers: one for each purpose."""

from __future__ import annotations

import torch

from rnnbptt.bptt.generators import stream
from rnnbptt.bptt.update import TorchEngine
from rnnbptt.truncation.fixed import Fixed
from support.networks import make_model


def test_dropout_does_not_draw_the_numbers_that_the_weights_were_drawn_from() -> None:
    dropout = torch.Generator()
    dropout.set_state(TorchEngine(make_model("rnn"), Fixed(1), streams=1, seed=3).state_dict()["rng.dropout"])
    weights = torch.Generator().manual_seed(3)
    assert not torch.equal(*(torch.rand(5, generator=rng) for rng in (dropout, weights)))


def test_each_seed_and_purpose_has_its_own() -> None:
    seeds = {stream(seed, purpose) for seed in range(5) for purpose in ("dropout", "other")}
    assert len(seeds) == 10
    assert stream(1, "dropout") == stream(1, "dropout")
