"""Truncation: which k a strategy asks for, and that the gradient it leads to is the right part of the triangle.

A loss at t depends on the parameters as they were used at every tau up to t. A truncation keeps some of the cells
(t, tau) of this influence triangle (Williams & Peng 1990); full back-propagation keeps all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import TorchNetwork, error, make_model, message_of, random_state
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rnnbptt.layers import cross_entropy
from rnnbptt.model import CharRNN
from rnnbptt.streams import Streams
from rnnbptt.truncation import Fixed, Full, Plan, Progress, Progressive, Strategy, parse_truncation

GROWTHS = ("doubling", "linear", "plateau")

lengths = st.integers(1, 200)
ranges = st.tuples(lengths, lengths).map(sorted)


def k_at(strategy: Strategy, spent: float, validations: tuple[float, ...] = ()) -> int:
    return strategy.next(Progress(spent, until_wrap=1000, validations=validations)).advance


# --- the part of the triangle -----------------------------------------------------------------------------------------

T, B = 8, 2


def triangle_sum(
    model: CharRNN, x: NDArray, y: NDArray, h: NDArray, weight: Callable[[int, int], float]
) -> dict[str, NDArray]:
    """Gradient of the sum of all losses of one stream of a tanh network, with weight(t, tau) on each cell."""
    p = {name: value.numpy() for name, value in model.parameters.values.items()}
    w_hh, w_out = p["rnn.weight_hh_l0"], p["head.weight"]
    hs = [h]
    for symbol in x:
        pre = p["rnn.weight_ih_l0"][:, symbol] + p["rnn.bias_ih_l0"] + w_hh @ hs[-1] + p["rnn.bias_hh_l0"]
        hs.append(np.tanh(pre))
    grads = {name: np.zeros_like(value) for name, value in p.items()}
    for t in range(len(x)):
        scores = np.exp(w_out @ hs[t + 1] + p["head.bias"])
        d_logits = scores / scores.sum()
        d_logits[y[t]] -= 1
        grads["head.weight"] += np.outer(d_logits, hs[t + 1])
        grads["head.bias"] += d_logits
        signal = d_logits @ w_out  # delta_t J_t ... J_{tau+1}
        for tau in range(t, -1, -1):
            slope = 1 - hs[tau + 1] ** 2
            through = weight(t, tau) * signal * slope
            grads["rnn.weight_ih_l0"][:, x[tau]] += through
            grads["rnn.weight_hh_l0"] += np.outer(through, hs[tau])
            grads["rnn.bias_ih_l0"] += through
            grads["rnn.bias_hh_l0"] += through
            signal = (signal * slope) @ w_hh
    return grads


def package_sum(model: CharRNN, spec: str, ids: NDArray, state: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same sum by our own code, over all updates that `spec` makes of one epoch, at frozen weights."""
    streams, strategy, total = Streams(ids, B), parse_truncation(spec), torch.zeros_like(model.parameters.flat)
    while streams.position < T:
        x, y, _ = streams.take(strategy.next(Progress(streams.position / T, streams.until_wrap())).advance)
        logits, tape = model.forward(torch.from_numpy(x), state)
        model.backward(tape, cross_entropy(logits, torch.from_numpy(y))[1])
        total += x.size * model.parameters.grad  # the gradient is that of the mean
    return model.parameters.views(total)


def same_chunk(k: int) -> Callable[[int, int], float]:
    return lambda t, tau: t // k == tau // k


def rungs(*sizes: int) -> Callable[[int, int], float]:
    """Chunks of these sizes in turn."""
    chunk = np.repeat(np.arange(len(sizes)), sizes)
    return lambda t, tau: chunk[t] == chunk[tau]


@pytest.mark.parametrize(
    ("spec", "weight"),
    [
        ("1", lambda t, tau: t == tau),
        *((str(k), same_chunk(k)) for k in (2, 3, 5, 7, 8)),
        ("100", lambda t, tau: True),
        ("full", lambda t, tau: True),
        ("1..2", rungs(1, 1, 1, 1, 2, 2)),
        ("1..3@linear", rungs(1, 1, 2, 3, 1)),
    ],
)
def test_gradient_is_the_sum_over_its_part_of_the_triangle(spec: str, weight: Callable[[int, int], float]) -> None:
    model = make_model("rnn", hidden=3, vocabulary=4)
    ids = np.random.default_rng(0).integers(4, size=B * T + 1)
    state = random_state(model, B)
    expected: dict[str, NDArray] = {}
    for b in range(B):
        lane = ids[b * T : (b + 1) * T + 1]
        for name, grad in triangle_sum(model, lane[:-1], lane[1:], state[0, 0, b].numpy().copy(), weight).items():
            expected[name] = expected.get(name, 0) + grad
    for name, grad in package_sum(model, spec, ids, state).items():
        assert error(grad, torch.from_numpy(expected[name])) < 1e-13, name


@pytest.mark.parametrize("cell", TorchNetwork.CELLS)
def test_the_whole_text_in_one_chunk_is_full_back_propagation(cell: str) -> None:
    model = make_model(cell, layers=2, vocabulary=4)
    ids, state = np.random.default_rng(0).integers(4, size=B * T + 1), random_state(model, B)
    theirs = TorchNetwork(model)
    x, y = (torch.from_numpy(ids[first : first + B * T].reshape(B, T).T.copy()) for first in (0, 1))
    theirs.loss(x, y, state)[0].mul(B * T).backward()
    for spec in ("full", str(T)):
        ours = package_sum(model, spec, ids, state.clone())
        for name, parameter in theirs.named_parameters():
            assert error(ours[name], parameter.grad) < 1e-12, name


@pytest.mark.parametrize("cell", TorchNetwork.CELLS)
def test_k_1_is_the_gradient_of_each_character_with_its_state_a_constant(cell: str) -> None:
    model = make_model(cell, layers=2)
    theirs, state = TorchNetwork(model), random_state(model, B)
    carried = state.clone()
    for x, y in torch.randint(7, (6, 2, 1, B)):
        loss, carried = theirs.loss(x, y, carried)
        theirs.zero_grad()
        loss.backward()
        logits, tape = model.forward(x, state)
        model.backward(tape, cross_entropy(logits, y)[1])
        for name, parameter in theirs.named_parameters():
            assert error(model.parameters.grads[name], parameter.grad) < 1e-12, name


# --- parsing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "strategy", "final"),
    [
        ("1", Fixed(1), Fixed(1)),
        ("64", Fixed(64), Fixed(64)),
        ("full", Full(), Full()),
        ("1..64", Progressive(1, 64), Fixed(64)),
        ("5..5", Progressive(5, 5), Fixed(5)),
        ("2..50@linear", Progressive(2, 50, "linear"), Fixed(50)),
        ("1..64@plateau", Progressive(1, 64, "plateau"), Fixed(64)),
    ],
)
def test_every_form_is_understood_and_written_the_same_way(spec: str, strategy: Strategy, final: Strategy) -> None:
    assert parse_truncation(spec) == strategy
    assert strategy.spec == spec
    assert strategy.final == final


def test_the_default_growth_may_be_written_out() -> None:
    assert parse_truncation("1..64@doubling") == parse_truncation("1..64")


FORMS = "K (such as 1 or 64), A..B (such as 1..64, also 1..64@linear or 1..64@plateau), full"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        *(
            (spec, f"--trunc {spec!r}: not a truncation; give one of {FORMS}")
            for spec in ("", "k", "-1", "1.5", "1..", "..4", "1...4", "1..4@", "1..4@2", "Full", " 1", "1 ", "1\u0663")
        ),
        *(
            (spec, f"--trunc {spec}: at least 1 character is read for an update; give 1 or more")
            for spec in ("0", "0..4", "0..0", "3..0")
        ),
        ("64..1", "--trunc 64..1: it must not shrink; give 1..64 or the fixed 1"),
        ("1..4@cubic", "--trunc 1..4@cubic: unknown growth @cubic; give one of @doubling, @linear, @plateau"),
    ],
)
def test_anything_else_is_refused(spec: str, message: str) -> None:
    assert message_of(parse_truncation, spec) == message


def test_a_strategy_is_immutable() -> None:
    for strategy in map(parse_truncation, ("1", "1..4")):
        with pytest.raises(FrozenInstanceError):
            strategy.k = strategy.first = 2


# --- which k ----------------------------------------------------------------------------------------------------------


def test_fixed_and_full() -> None:
    for spent in (0.0, 0.5, 1.0):
        assert Fixed(7).next(Progress(spent, 1000)) == Plan(7)
        assert Full().next(Progress(spent, 1000)) == Plan(1000)


@pytest.mark.parametrize(
    ("spec", "longest"), [("64", 64), ("2000", 1000), ("full", 1000), ("1..64", 64), ("1..2000", 1000)]
)
def test_longest_update(spec: str, longest: int) -> None:
    assert parse_truncation(spec).longest(until_wrap=1000) == longest


@pytest.mark.parametrize(
    ("spec", "ladder"),
    [
        ("1..64", (1, 2, 4, 8, 16, 32, 64)),
        ("1..50", (1, 2, 4, 8, 16, 32, 50)),
        ("3..7", (3, 6, 7)),
        ("3..6", (3, 6)),
        ("63..64", (63, 64)),
        ("5..5", (5,)),
        ("1..1", (1,)),
    ],
)
def test_ladder(spec: str, ladder: tuple[int, ...]) -> None:
    assert parse_truncation(spec).ladder == ladder


@given(ranges)
def test_ladder_doubles_from_the_first_to_the_last(ends: tuple[int, int]) -> None:
    first, last = ends
    expected = [first]
    while 2 * expected[-1] < last:
        expected.append(2 * expected[-1])
    assert Progressive(first, last).ladder == (*expected, *[last] * (last > first))


@given(ranges)
def test_rungs_take_equal_shares_and_the_last_at_least_two_fifths(ends: tuple[int, int]) -> None:
    strategy = Progressive(*ends)
    *below, last = strategy.ladder
    shares = [1.0]
    if below:
        share = min(0.6, len(below) / (len(below) + 1)) / len(below)
        shares = [share] * len(below) + [1 - share * len(below)]
    assert shares[-1] >= 0.4 - 1e-12
    start = 0.0
    for k, share in zip((*below, last), shares, strict=True):
        assert k_at(strategy, start + 1e-9) == k_at(strategy, start + share - 1e-9) == k
        start += share
    assert k_at(strategy, 0.0) == ends[0]
    assert k_at(strategy, 1.0) == last


@given(ranges)
def test_linear_growth_takes_each_k_for_the_same_share_of_the_first_three_fifths(ends: tuple[int, int]) -> None:
    first, last = ends
    strategy, share = Progressive(first, last, "linear"), 0.6 / (last - first + 1)
    for step, k in enumerate(range(first, last + 1)):
        assert k_at(strategy, step * share + 1e-9) == k_at(strategy, (step + 1) * share - 1e-9) == k
    assert k_at(strategy, 0.6) == k_at(strategy, 1.0) == last


@pytest.mark.parametrize(
    ("validations", "k"),
    [
        ((), 1),
        ((3.0,), 1),  # nothing to compare with
        ((3.0, 2.98, 2.96), 1),
        ((3.0, 2.995), 2),
        ((3.0, 3.5), 2),
        ((3.0, 3.5, 3.4), 4),  # against the best, not the latest
        ((3.0, 3.5, 2.9), 2),
        ((3.0,) * 4, 8),
        ((3.0,) * 5, 12),
        ((3.0,) * 99, 12),
    ],
)
def test_plateau_growth_climbs_a_rung_whenever_validation_stalls(validations: tuple[float, ...], k: int) -> None:
    strategy = parse_truncation("1..12@plateau")
    assert k_at(strategy, 0.59, validations) == k
    assert k_at(strategy, 0.6, validations) == 12


@given(
    ranges,
    st.sampled_from(GROWTHS),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 5)), min_size=2),
)
def test_k_never_shrinks_nor_leaves_its_range(
    ends: tuple[int, int], growth: str, moments: list[tuple[float, float]]
) -> None:
    strategy = Progressive(*ends, growth)
    spent, losses = sorted(share for share, _ in moments), tuple(loss for _, loss in moments)
    ks = [k_at(strategy, share, losses[:seen]) for seen, share in enumerate(spent)]
    assert all(before <= after for before, after in pairwise(ks))
    assert all(ends[0] <= k <= ends[1] for k in ks)
    assert k_at(strategy, 0.0) == ends[0]
    assert k_at(strategy, 1.0) == ends[1]
    assert ks == [k_at(strategy, share, losses[:seen]) for seen, share in enumerate(spent)], "it has a memory"
    assert parse_truncation(strategy.spec) == strategy
