"""Lengths that are drawn: their law, and that in expectation `artbp` lacks nothing of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rnnbptt.bptt.cells import CELLS
from rnnbptt.truncation.drawn import RandomLength, Unbiased
from rnnbptt.truncation.plan import Plan, Progress, Strategy
from rnnbptt.truncation.specs import parse_truncation
from support.networks import error, independent, make_model, random_state, random_text
from support.specs import lengths
from support.updates import B, T, a_text, gradient, package_updates

# --- artbp ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dictated(Progress):
    """Random numbers such that the next segment has this length."""

    length: int = 1

    def rng(self, purpose: str) -> SimpleNamespace:
        assert purpose == "cuts"
        draws = iter([1.0] * (self.length - 1) + [0.0])
        return SimpleNamespace(random=lambda: next(draws))


@pytest.mark.parametrize(("cell", "layers"), [*((cell, 1) for cell in CELLS), ("lstm", 2), ("elstm", 2)])
def test_the_mean_over_all_cuts_is_the_whole_gradient(cell: str, layers: int) -> None:
    """All 2^8 ways to cut nine characters, each as often as it comes."""
    steps, k = 9, 3
    model, strategy = make_model(cell, hidden=3, layers=layers, vocabulary=4), Unbiased(k)
    (x, y), state = random_text(model, steps, B), random_state(model, B)
    theirs = independent(model)
    theirs.loss(x, y, state)[0].mul(steps / k).backward()  # the sum over the characters, divided by k
    states = [state.clone() for _ in range(steps)]
    for t in range(1, steps):
        model.forward(x[:t], states[t])

    def segment(start: int, stop: int) -> tuple[float, torch.Tensor]:
        """How likely this segment is, and its gradient."""
        length = stop - start
        plan = strategy.next(Dictated(0.0, steps - start, length=length))
        assert plan.advance == length
        on, off = 1.0, strategy.cut_probability(length) if stop < steps else 1.0
        for since in range(1, length):
            on *= 1 - strategy.cut_probability(since)
        part = slice(start, stop)
        return on * off, gradient(model, strategy, plan, x[part].numpy(), y[part].numpy(), states[start].clone())

    segments = {(a, b): segment(a, b) for a in range(steps) for b in range(a + 1, steps + 1)}
    mean, total = torch.zeros_like(model.parameters.flat), 0.0
    for pattern in product([False, True], repeat=steps - 1):
        places = [0, *(t + 1 for t, cut in enumerate(pattern) if cut), steps]
        parts = [segments[pair] for pair in pairwise(places)]
        probability = float(np.prod([p for p, _ in parts]))
        total += probability
        mean += probability * sum(grad for _, grad in parts)
    assert total == pytest.approx(1, abs=1e-12)
    ours = model.parameters.views(mean)
    for name, parameter in theirs.named_parameters():
        assert error(ours[name], parameter.grad) < 1e-12, name


def test_the_law_of_cuts() -> None:
    """c = (alpha - 1) / ((alpha - 2) k + d): the mean length is k, and what passes is scaled by 1 / (1 - c)."""
    strategy = Unbiased(8)
    assert [strategy.cut_probability(d) for d in (1, 2, 18, 968)] == [5 / 33, 5 / 34, 0.1, 0.005]
    assert Unbiased(1).cut_probability(1) == 1
    survival = np.cumprod([1, *(1 - strategy.cut_probability(d) for d in range(1, 20_000))])
    assert survival.sum() == pytest.approx(8, rel=1e-9)
    assert strategy.next(Dictated(0.0, 100, length=4)).carry == pytest.approx((33 / 28, 34 / 29, 35 / 30))


@pytest.mark.parametrize(("cut", "like", "scale"), [(0.0, "full", T / 3), (1.0, "1", 1 / 3)])
def test_artbp_that_never_cuts_is_full_and_that_always_does_is_k_1(
    cut: float, like: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Unbiased, "cut_probability", lambda self, since: cut)
    model = make_model("lstm", layers=2, vocabulary=4)
    state = random_state(model, B)
    both = [package_updates(model, s, a_text(), state.clone()) for s in (Unbiased(3), parse_truncation(like))]
    ours, theirs = ([grad for _, grad in updates] for updates in both)
    assert len(ours) == len(theirs)
    for grad, other in zip(ours, theirs, strict=True):
        assert error(grad, scale * other) < 1e-12


def lengths_of(strategy: Strategy, draws: int, room: int = 10**6) -> NDArray:
    return np.array([strategy.next(Progress(0.0, room, updates)).advance for updates in range(draws)])


def test_the_mean_length_of_artbp_is_k() -> None:
    drawn = lengths_of(Unbiased(4), 100_000)
    assert drawn.mean() == pytest.approx(4, rel=0.01)
    assert (drawn == 1).mean() == pytest.approx(5 / 17, rel=0.02)
    assert (drawn == 2).mean() == pytest.approx(12 / 17 * 5 / 18, rel=0.02)
    assert drawn.max() <= 40


@pytest.mark.parametrize(("room", "longest"), [(1000, 50), (50, 50), (7, 7), (1, 1)])
def test_artbp_stops_at_ten_k_and_at_the_end_of_the_text(room: int, longest: int) -> None:
    strategy = Unbiased(5)
    plan = strategy.next(Dictated(0.0, room, length=1000))
    assert plan.advance == plan.depth == longest == strategy.longest(room)
    assert plan.scale == longest / 5
    assert len(plan.carry) == longest - 1


# --- random lengths ---------------------------------------------------------------------------------------------------


def test_random_lengths_are_those_of_awd_lstm() -> None:
    """max(5, int(a normal number of deviation 5)), its mean k, or k / 2 one time in twenty."""
    drawn = lengths_of(RandomLength(100), 20_000)
    halves, usual = drawn[drawn < 75], drawn[drawn >= 75]
    assert len(halves) / len(drawn) == pytest.approx(0.05, abs=0.005)
    assert (halves.mean(), usual.mean()) == (pytest.approx(49.5, abs=0.5), pytest.approx(99.5, abs=0.1))
    assert (halves.std(), usual.std()) == (pytest.approx(5, rel=0.05), pytest.approx(5, rel=0.02))
    assert drawn.mean() == pytest.approx(97, abs=0.3)


def test_random_lengths_are_at_least_5_unless_there_is_no_room() -> None:
    drawn = lengths_of(RandomLength(8), 2000)
    assert drawn.min() == 5
    assert (drawn == 5).mean() == pytest.approx(0.36, abs=0.03)  # a normal number below 6 where the mean is 8, or 4
    assert lengths_of(RandomLength(8), 100, room=3).max() == lengths_of(RandomLength(8), 100, room=3).min() == 3


@given(lengths, st.integers(1, 300), st.integers(0, 1000))
def test_the_rate_follows_the_random_length(k: int, room: int, updates: int) -> None:
    plan = RandomLength(k).next(Progress(0.0, room, updates))
    assert plan.lr_scale == plan.advance / k
    assert plan == Plan(plan.advance, plan.advance, lr_scale=plan.lr_scale)
