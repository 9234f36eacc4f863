"""Evaluation against torch.nn reading lane by lane, each lane from its own first character on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.window import create_network
from rnnbptt.inference.evaluation import LN2, character_nats, mean_nats
from rnnbptt.model.config import ModelConfig
from support.networks import EVERY_CELL, independent, make_model

IDS = np.random.default_rng(0).integers(7, size=2000).astype(np.uint8)
STRETCHES = [
    (0, 2),
    (0, 300),
    (0, 999),  # the longest that is read in one lane
    (0, 1001),
    (0, 2000),
    (1, 300),
    (2, 300),
    (255, 600),
    (256, 600),
    (257, 600),  # the first with a whole warm-up
    (258, 600),
    (300, 2000),
    (1900, 2000),
    (1999, 2000),
]


def remembering(precision: str = "float64", dropout: float = 0.0) -> CharRNN:
    """An LSTM whose forget gates stay open: what it read 256 characters ago still shows."""
    model = make_model(dropout=dropout, precision=precision)
    model.parameters.values["rnn.bias_ih_l0"][5:10] = 8
    model.parameters.refresh_operands()
    return model


def lane_by_lane(model: CharRNN, ids: NDArray, start: int, stop: int, warmup: int = 256) -> NDArray[np.float64]:
    """Nats of ids[max(start, 1):stop]. Up to 64 lanes of at least 500 characters; targets of lane j begin at floor."""
    theirs, out, start = independent(model), [], max(start, 1)
    lanes = min(64, max(1, (stop - start) // 500))
    edges = [start + j * (stop - start) // lanes for j in range(lanes + 1)]
    for begin, end in pairwise(edges):
        first = max(0, begin - 1 - warmup)
        text = torch.from_numpy(ids[first:end].astype(np.int64))[:, None]
        with torch.no_grad():
            logits, _ = theirs(text[:-1], model.zero_state(1))
        nats = torch.nn.functional.cross_entropy(logits, text[1:, 0], reduction="none")
        out.append(nats[begin - end :].numpy())
    return np.concatenate(out)


@pytest.mark.parametrize(("start", "stop"), STRETCHES)
def test_every_character_is_scored_once_and_in_order(start: int, stop: int) -> None:
    model = remembering()
    expected = lane_by_lane(model, IDS, start, stop)
    ours = character_nats(model, IDS, start, stop)
    assert ours.shape == (stop - max(start, 1),)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    assert mean_nats(model, IDS, start, stop) == pytest.approx(expected.mean(), rel=1e-13)


def test_the_oracle_would_notice_one_character_of_warmup_more_or_less() -> None:
    model = remembering()
    expected = lane_by_lane(model, IDS, 300, 2000)
    for warmup in (255, 257):
        assert np.abs(lane_by_lane(model, IDS, 300, 2000, warmup) - expected).max() > 1e-5


def test_a_long_text_is_read_in_64_lanes() -> None:
    model = remembering()
    ids = np.random.default_rng(1).integers(7, size=34_000).astype(np.uint16)
    np.testing.assert_allclose(
        character_nats(model, ids, 500, 34_000), lane_by_lane(model, ids, 500, 34_000), rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("piece", [1, 7, 100, 5000])
@pytest.mark.parametrize(("start", "stop"), [(0, 300), (100, 1300), (300, 2000)])
def test_length_of_the_pieces_changes_nothing(start: int, stop: int, piece: int) -> None:
    model = remembering()
    np.testing.assert_allclose(
        character_nats(model, IDS, start, stop, piece), character_nats(model, IDS, start, stop), rtol=0, atol=1e-12
    )
    assert abs(mean_nats(model, IDS, start, stop, piece) - mean_nats(model, IDS, start, stop)) < 1e-12


def test_of_a_model_only_its_weights_matter() -> None:
    for cell in EVERY_CELL:
        model = make_model(cell, layers=2)
        fresh = create_network(model.config, "float64")
        fresh.parameters.load(model.parameters.values)
        model.forward(torch.randint(7, (70, 3)), model.zero_state(3))  # other streams, another length
        before = model.parameters.flat.clone()
        nats = character_nats(model, IDS, 300, 2000)
        np.testing.assert_array_equal(nats, character_nats(fresh, IDS, 300, 2000))
        np.testing.assert_allclose(nats, lane_by_lane(model, IDS, 300, 2000), rtol=0, atol=1e-12)
        assert torch.equal(model.parameters.flat, before)


def test_nothing_is_dropped() -> None:
    model = remembering(dropout=0.5)
    np.testing.assert_allclose(
        character_nats(model, IDS, 300, 2000), lane_by_lane(model, IDS, 300, 2000), rtol=0, atol=1e-12
    )


def test_bfloat16_models_are_scored_in_float32() -> None:
    narrow = remembering("bfloat16")
    wide = create_network(ModelConfig(7, "lstm", 5, dropout=0.0), "float32")
    wide.parameters.load(narrow.parameters.values)
    assert mean_nats(narrow, IDS, 300, 2000) == mean_nats(wide, IDS, 300, 2000)


def test_a_model_that_knows_nothing_scores_log_2_of_its_vocabulary_in_bits() -> None:
    model = make_model(vocabulary=8)
    model.parameters.values["head.weight"].zero_()
    model.parameters.values["head.bias"].zero_()
    assert mean_nats(model, IDS, 300, 2000) / LN2 == pytest.approx(3, rel=1e-14)
