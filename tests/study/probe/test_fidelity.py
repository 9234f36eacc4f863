"""fidelity.py against autograd, and against what is known of some truncations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.influence import INFLUENCES
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.study.probe.fidelity import ALL, RECURRENT, fidelities, gradient, groups
from rnnbptt.truncation.plan import Progress, Strategy
from rnnbptt.truncation.specs import parse_truncation
from support.networks import error, independent, make_model, random_text

R, B = 12, 3
Network = Any


def lanes_of(model: CharRNN) -> tuple[torch.Tensor, torch.Tensor]:
    return random_text(model, 2 * R, B)


@torch.no_grad()
def cut_as(model: CharRNN, spec: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return gradient(model, x, y, parse_truncation(spec))


def flat_grad(model: CharRNN, network: Network) -> torch.Tensor:
    """What autograd left in the network, laid out as our own."""
    flat = torch.zeros_like(model.parameters.flat)
    views = model.parameters.views(flat)
    for name, parameter in network.named_parameters():
        views[name].copy_(parameter.grad)
    return flat


def in_full(model: CharRNN, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The gradient of the mean loss of the second half, by autograd through both halves."""
    network, zero = independent(model), model.zero_state(B)
    (2 * network.loss(x, y, zero)[0] - network.loss(x[:R], y[:R], zero)[0]).backward()
    return flat_grad(model, network)


def in_segments(model: CharRNN, x: torch.Tensor, y: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
    """The same with the state a constant at these characters of the second half."""
    depth, network = len(x) // 2, independent(model)
    _, state = network.loss(x[:depth], y[:depth], model.zero_state(B))
    for start, stop in pairwise([*starts, len(x)]):
        loss, state = network.loss(x[start:stop], y[start:stop], state)
        (loss * (stop - start) / depth).backward()
    return flat_grad(model, network)


@pytest.mark.parametrize("cell", CELLS)
def test_the_full_gradient_is_that_of_autograd(cell: str) -> None:
    model = make_model(cell, layers=2)
    x, y = lanes_of(model)
    expected = in_full(model, x, y)
    for spec in (f"{R}/{2 * R}", f"1/{2 * R}", f"4/{2 * R}@rerun", "rtrl:5", "rtrl"):
        assert error(cut_as(model, spec, x, y), expected) < 1e-13, spec


@pytest.mark.parametrize("k", [1, 5, R])
def test_segments_are_those_of_autograd(k: int) -> None:
    model = make_model("gru", layers=2)
    x, y = lanes_of(model)
    assert error(cut_as(model, str(k), x, y), in_segments(model, x, y, range(R, 2 * R, k))) < 1e-13
    assert error(cut_as(model, f"{R}/{k}" if R % k == 0 else str(k), x, y), cut_as(model, str(k), x, y)) < 1e-13


@pytest.mark.parametrize(
    ("cell", "spec", "k"),
    [
        (name, spec, k)
        for name, cell in CELLS.items()
        for spec, k in (("snap", 1), ("snap:1", 1), ("snap:5", 5), ("rflo", 1), ("uoro:5", 5))
        if spec == "uoro:5" or (cell.leaky if spec == "rflo" else not cell.gates_state)
    ],
)
@torch.no_grad()
def test_what_is_carried_forward_is_what_the_influences_make(cell: str, spec: str, k: int) -> None:
    """Of UORO by the same signs, one for each segment of the history too."""
    model = make_model(cell, layers=2)
    x, y = lanes_of(model)
    influence = INFLUENCES[parse_truncation(spec).influence](model, B)
    state, expected = model.zero_state(B), 0.0
    edges = [*range(0, R, k), *range(R, 2 * R, k), 2 * R]
    for start, stop in pairwise(edges):
        logits, tape = model.forward(x[start:stop], state)
        d_logits = cross_entropy(logits, y[start:stop])[1]
        model.backward(tape, d_logits, boundary=influence.boundary)
        influence.update(tape)
        if start >= R:
            expected = expected + model.parameters.grad * (stop - start) / R
    assert error(cut_as(model, spec, x, y), expected) < 1e-13


def test_snap_is_exact_for_one_layer_of_an_element_wise_cell_and_segments_of_r_lack_the_history() -> None:
    model = make_model("elstm")
    x, y = lanes_of(model)
    full = in_full(model, x, y)
    for spec in ("snap", "snap:1", "snap:5"):
        assert error(cut_as(model, spec, x, y), full) < 1e-13
    history = full - in_segments(model, x, y, [R])
    assert history.norm() > 1e-3 * full.norm()
    assert error(full - cut_as(model, str(R), x, y), history) < 1e-10


def lengths_of(strategy: Strategy, room: int) -> list[int]:
    """What updates 0, 1, 2, ... of a run read until there is no room left."""
    lengths: list[int] = []
    while sum(lengths) < room:
        progress = Progress(spent=1.0, room=room - sum(lengths), updates=len(lengths))
        lengths.append(strategy.next(progress).advance)
    return lengths


@pytest.mark.parametrize("spec", ["random:5", "shuffle(1..4)", "artbp:4", "random:2..random:6"])
def test_a_random_truncation_is_drawn_anew_for_each_update(spec: str) -> None:
    model, depth, told, strategy = make_model("lstm"), 60, list[int](), parse_truncation(spec)
    x, y = random_text(model, 2 * depth, B)
    with torch.no_grad():
        ours = gradient(model, x, y, strategy, told.append)
    lengths = lengths_of(strategy, depth)
    assert [chars // B for chars in told] == [depth, *lengths]
    assert len(set(lengths[:-1])) > 2, "one draw over and over"
    if "artbp" not in spec:  # which scales up what it carries
        starts = np.cumsum([depth, *lengths[:-1]]).tolist()
        assert error(ours, in_segments(model, x, y, starts)) < 1e-13


def test_every_truncation_weighs_every_character_once() -> None:
    """The head's gradient is that of the mean loss however the rest is cut, as long as the states are the same."""
    model = make_model("lstm")
    x, y = lanes_of(model)
    full = groups(model, in_full(model, x, y))
    for spec in ("random:5", "artbp:4", "5/2", "2..5", "full"):
        ours = groups(model, cut_as(model, spec, x, y))
        assert error(ours["head.weight"], full["head.weight"]) < 1e-13, spec


def test_a_stateless_truncation_knows_nothing_before_its_segments() -> None:
    model = make_model("lstm")
    x, y = lanes_of(model)
    network = independent(model)
    for at in range(R, 2 * R, 4):
        (network.loss(x[at : at + 4], y[at : at + 4], model.zero_state(B))[0] * 4 / R).backward()
    assert error(cut_as(model, "stateless:4", x, y), flat_grad(model, network)) < 1e-13


def test_windows_have_the_loss_of_their_last_character_for_all_that_is_new_in_them() -> None:
    model = make_model("lstm")
    x, y = lanes_of(model)
    network = independent(model)
    for stop in range(R + 2, 2 * R + 1, 2):
        logits, _ = network(x[stop - 5 : stop], model.zero_state(B))
        (torch.nn.functional.cross_entropy(logits[-B:], y[stop - 1]) * 2 / R).backward()
    assert error(cut_as(model, "last:5/2", x, y), flat_grad(model, network)) < 1e-13


def test_states_are_handed_from_lane_to_lane() -> None:
    model = make_model("lstm")
    x, y = lanes_of(model)
    network, zero = independent(model), model.zero_state(B)
    _, state = network.loss(x[:R], y[:R], zero)
    for at in range(R, 2 * R, 4):
        loss, state = network.loss(x[at : at + 4], y[at : at + 4], state.roll(1, 2))
        (loss * 4 / R).backward()
    assert error(cut_as(model, "shuffled-state:4", x, y), flat_grad(model, network)) < 1e-13


@torch.no_grad()
def test_fidelity_is_cosine_and_relative_bias_by_group() -> None:
    model = make_model("gru")
    x, y = lanes_of(model)
    same, one = fidelities(model, x, y, [parse_truncation(spec) for spec in (f"{R}/{2 * R}", "1")], lambda chars: None)
    assert list(one.cosine) == [*model.parameters.shapes, RECURRENT, ALL] == list(one.bias)
    assert same.trunc == f"{R}/{2 * R}"
    assert list(same.cosine.values()) == pytest.approx([1.0] * len(same.cosine), rel=1e-14)
    assert set(same.bias.values()) == {0.0}
    with torch.enable_grad():
        full, cut = (groups(model, g) for g in (in_full(model, x, y), in_segments(model, x, y, range(R, 2 * R))))
    for name, g in full.items():
        assert one.bias[name] == pytest.approx(error(cut[name], g), abs=1e-12)
        assert one.cosine[name] == pytest.approx(float(torch.cosine_similarity(cut[name], g, dim=0)), abs=1e-12)
    assert one.bias["head.weight"] < 1e-14
    assert one.cosine[ALL] > one.cosine[RECURRENT], "the head flatters"
