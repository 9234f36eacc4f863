"""Truncation: what a strategy plans, and that the gradient it leads to is the right part of the triangle.

A loss at t depends on the parameters as they were used at every tau up to t. A truncation keeps some of the cells
(t, tau) of this influence triangle (Williams & Peng 1990), or weighs them; full back-propagation keeps all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.text.streams import Streams
from rnnbptt.truncation.plan import (
    Adaptive,
    Fixed,
    Plan,
    Progress,
    RandomLength,
    Separate,
    Strategy,
    Unbiased,
    ladder,
    line,
)
from rnnbptt.truncation.specs import parse_truncation
from support.networks import error, independent, make_model, random_state, random_text
from support.specs import lengths, specs

Weight = Callable[[int, int], float]

ends = st.tuples(lengths, lengths)
by_share = st.sampled_from(["", "@linear"])


def planned(strategy: Strategy, spent: float, validations: tuple[float, ...] = ()) -> Plan:
    return strategy.next(Progress(spent, room=1000, validations=validations))


def k_at(strategy: Strategy, spent: float, validations: tuple[float, ...] = ()) -> int:
    return planned(strategy, spent, validations).advance


# --- the part of the triangle -----------------------------------------------------------------------------------------

T, B = 20, 2


def states_of(model: CharRNN, x: NDArray, h: NDArray) -> list[NDArray]:
    """The states of one stream of a tanh network: the one before each character, and the last."""
    p = {name: value.numpy() for name, value in model.parameters.values.items()}
    states = [h]
    for symbol in x:
        pre = p["rnn.weight_ih_l0"][:, symbol] + p["rnn.bias_ih_l0"] + p["rnn.bias_hh_l0"]
        states.append(np.tanh(pre + p["rnn.weight_hh_l0"] @ states[-1]))
    return states


def triangle_sum(
    model: CharRNN, x: NDArray, y: NDArray, states: list[NDArray], weight: Weight, losses: range | None = None
) -> dict[str, NDArray]:
    """Gradient of the sum of the losses, all unless given, of one stream, with weight(t, tau) on each cell."""
    p = {name: value.numpy() for name, value in model.parameters.values.items()}
    w_hh, w_out = p["rnn.weight_hh_l0"], p["head.weight"]
    grads = {name: np.zeros_like(value) for name, value in p.items()}
    for t in range(len(x)) if losses is None else losses:
        scores = np.exp(w_out @ states[t + 1] + p["head.bias"])
        d_logits = scores / scores.sum()
        d_logits[y[t]] -= 1
        grads["head.weight"] += np.outer(d_logits, states[t + 1])
        grads["head.bias"] += d_logits
        signal = d_logits @ w_out  # delta_t J_t ... J_{tau+1}
        for tau in range(t, -1, -1):
            slope = 1 - states[tau + 1] ** 2
            through = weight(t, tau) * signal * slope
            grads["rnn.weight_ih_l0"][:, x[tau]] += through
            grads["rnn.weight_hh_l0"] += np.outer(through, states[tau])
            grads["rnn.bias_ih_l0"] += through
            grads["rnn.bias_hh_l0"] += through
            signal = (signal * slope) @ w_hh
    return grads


def gradient(model: CharRNN, strategy: Strategy, plan: Plan, x: NDArray, y: NDArray, state: torch.Tensor) -> NDArray:
    """What the trainer hands to the optimizer for this plan."""
    if plan.reset:
        state.zero_()
    logits, tape = model.forward(torch.from_numpy(x), state, history=strategy.keep)
    model.backward(tape, cross_entropy(logits, torch.from_numpy(y))[1].mul_(plan.scale), plan.depth, plan.carry)
    return model.parameters.grad.clone()


def package_updates(
    model: CharRNN, strategy: Strategy, ids: NDArray, state: torch.Tensor
) -> Iterator[tuple[Plan, torch.Tensor]]:
    """The updates of one epoch at frozen weights: plan and gradient."""
    streams, updates = Streams(ids, B), 0
    model.forget(B)
    while (read := streams.position) < T:
        plan = strategy.next(Progress(read / T, streams.until_wrap(), updates))
        x, y, _ = streams.take(plan.advance)
        yield plan, gradient(model, strategy, plan, x, y, state)
        updates += 1


def package_sum(model: CharRNN, spec: str, ids: NDArray, state: torch.Tensor) -> torch.Tensor:
    """The sum of the triangle by our own code; an update's gradient is that of its mean."""
    updates = package_updates(model, parse_truncation(spec), ids, state.clone())
    return sum(plan.advance * B * grad for plan, grad in updates)


def a_text(vocabulary: int = 4) -> NDArray:
    return np.random.default_rng(0).integers(vocabulary, size=B * T + 1)


def everything(t: int, tau: int) -> float:
    return 1.0


def chunk(k: int) -> Weight:
    return lambda t, tau: t // k == tau // k


def chunks(*sizes: int) -> Weight:
    """Chunks of these sizes in turn."""
    of = np.repeat(np.arange(len(sizes)), sizes)
    assert len(of) == T
    return lambda t, tau: of[t] == of[tau]


def separate(k1: int, k2: int) -> Weight:
    """Blocks of k1. k2 above it: with k2 - k1 characters before. k2 below: in pieces that end where the block does."""

    def weight(t: int, tau: int) -> float:
        start = t // k1 * k1
        last = min(start + k1, T) - 1
        if k2 >= k1:
            return tau >= start - (k2 - k1)
        return tau >= start and (last - t) // k2 == (last - tau) // k2

    return weight


@pytest.mark.parametrize(
    ("spec", "weight"),
    [
        ("1", lambda t, tau: t == tau),
        *((str(k), chunk(k)) for k in (2, 3, 7, 20)),
        ("100", everything),
        ("full", everything),
        *((f"{k1}/{k2}", separate(k1, k2)) for k1, k2 in ((1, 5), (4, 10), (5, 10), (6, 9), (8, 8), (20, 20))),
        ("1/5", lambda t, tau: t - tau < 5),  # in the words of the table: every loss with the same depth
        ("4/10", lambda t, tau: tau > t // 4 * 4 + 3 - 10),
        *((f"{k}/{T}", everything) for k in (1, 5)),
        *((f"{k1}/{k2}", separate(k1, k2)) for k1, k2 in ((6, 3), (5, 2), (7, 3), (8, 5), (20, 6))),
        ("8/1", lambda t, tau: t == tau),
        ("100/3", lambda t, tau: (T - 1 - t) // 3 == (T - 1 - tau) // 3),
        ("1..2", chunks(*[1] * 10, *[2] * 5)),
        ("1..3@linear", chunks(*[1] * 6, 2, 2, 2, 3, 3, 2)),
        ("3..1", chunks(3, 3, 2, 2, 2, *[1] * 8)),
        ("1/1..1/4", lambda t, tau: t - tau < (1 if t < 6 else 2 if t < 12 else 4)),
    ],
)
def test_gradient_is_the_sum_over_its_part_of_the_triangle(spec: str, weight: Weight) -> None:
    model = make_model("rnn", hidden=3, vocabulary=4)
    ids, state = a_text(), random_state(model, B)
    expected: dict[str, NDArray] = {}
    for b in range(B):
        lane = ids[b * T : (b + 1) * T + 1]
        states = states_of(model, lane[:-1], state[0, 0, b].numpy().copy())
        for name, grad in triangle_sum(model, lane[:-1], lane[1:], states, weight).items():
            expected[name] = expected.get(name, 0) + grad
    for name, grad in model.parameters.views(package_sum(model, spec, ids, state)).items():
        assert error(grad, torch.from_numpy(expected[name])) < 1e-12, name


@pytest.mark.parametrize("cell", CELLS)
def test_the_whole_text_in_one_chunk_is_full_back_propagation(cell: str) -> None:
    model = make_model(cell, layers=2, vocabulary=4)
    ids, state = a_text(), random_state(model, B)
    theirs = independent(model)
    x, y = (torch.from_numpy(ids[first : first + B * T].reshape(B, T).T.copy()) for first in (0, 1))
    theirs.loss(x, y, state)[0].mul(B * T).backward()
    for spec in ("full", str(T), f"1/{T}", f"5/{T}"):
        ours = model.parameters.views(package_sum(model, spec, ids, state))
        for name, parameter in theirs.named_parameters():
            assert error(ours[name], parameter.grad) < 1e-12, (name, spec)


def pieces(start: int, stop: int, k1: int, k2: int) -> Iterator[tuple[int, int, int]]:
    """The graphs of one update of K1/K2: the first character of each, the first whose loss counts, and the end."""
    if k2 >= k1:
        yield max(0, start - (k2 - k1)), start, stop
        return
    while stop > start:
        first = max(start, stop - k2)
        yield first, first, stop
        stop = first


@pytest.mark.parametrize(("k1", "k2"), [(7, 3), (8, 5), (20, 6), (6, 1), (6, 6), (1, 5), (6, 9)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_k1_and_k2_cut_the_graph_that_autograd_follows(cell: str, layers: int, k1: int, k2: int) -> None:
    """Update by update: each piece is a graph of its own that begins at a stored state, and each loss is in one."""
    model = make_model(cell, layers=layers, vocabulary=4)
    ids, state = a_text(), random_state(model, B)
    x, y = (torch.from_numpy(ids[first : first + B * T].reshape(B, T).T.copy()) for first in (0, 1))
    theirs, states = independent(model), [state.clone()]
    for symbols in x:
        states.append(theirs(symbols[None], states[-1])[1].detach())
    start = 0
    for plan, grad in package_updates(model, Separate(k1, k2), ids, state):
        stop, scored = start + plan.advance, 0
        theirs.zero_grad()
        for first, begin, end in pieces(start, stop, k1, k2):
            logits = theirs(x[first:end], states[first])[0][(begin - first) * B :]
            torch.nn.functional.cross_entropy(logits, y[begin:end].flatten(), reduction="sum").backward()
            scored += end - begin
        assert scored == plan.advance == min(k1, T - start)
        ours = model.parameters.views(grad)
        for name, parameter in theirs.named_parameters():
            assert error(plan.advance * B * ours[name], parameter.grad) < 1e-12, (name, start)
        start = stop
    assert start == T


@pytest.mark.parametrize("cell", ["window:1", "window:3"])
def test_truncation_does_not_matter_where_nothing_recurs(cell: str) -> None:
    model = make_model(cell, layers=2, vocabulary=4)
    ids, state = a_text(), random_state(model, B)
    whole = package_sum(model, "full", ids, state)
    for spec in ("1", "4", "16", str(T), "1/5", "4/10", "6/2", "4/10@rerun", "3..1"):
        assert error(package_sum(model, spec, ids, state), whole) < 1e-13, spec


@pytest.mark.parametrize("cell", CELLS)
def test_k_1_is_the_gradient_of_each_character_with_its_state_a_constant(cell: str) -> None:
    model = make_model(cell, layers=2)
    theirs, state = independent(model), random_state(model, B)
    carried = state.clone()
    for x, y in torch.randint(7, (6, 2, 1, B)):
        loss, carried = theirs.loss(x, y, carried)
        theirs.zero_grad()
        loss.backward()
        ours = model.parameters.views(gradient(model, Fixed(1), Plan(1, 1), x.numpy(), y.numpy(), state))
        for name, parameter in theirs.named_parameters():
            assert error(ours[name], parameter.grad) < 1e-12, name


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("k", [1, 4, 7])
def test_k1_and_k2_alike_are_k(cell: str, k: int) -> None:
    model = make_model(cell, layers=2, vocabulary=4)
    state = random_state(model, B)
    both = [package_updates(model, s, a_text(), state.clone()) for s in (Separate(k, k), Fixed(k))]
    grads = [[grad for _, grad in updates] for updates in both]  # one after the other: they share the tape
    assert all(torch.equal(*pair) for pair in zip(*grads, strict=True))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("k", [2, 6, 20])
def test_k_1_with_fewer_updates_has_the_mean_of_their_gradients(cell: str, k: int) -> None:
    model = make_model(cell, layers=2, vocabulary=4)
    state = random_state(model, B)
    singles = [grad for _, grad in package_updates(model, Fixed(1), a_text(), state.clone())]
    for plan, grad in package_updates(model, Separate(k, 1), a_text(), state.clone()):
        few, singles = singles[: plan.advance], singles[plan.advance :]
        assert error(grad, torch.stack(few).mean(0)) < 1e-12
    assert not singles


@pytest.mark.parametrize(("k1", "k2"), [(1, 4), (2, 6), (3, 5)])
def test_older_characters_keep_the_states_of_their_own_time(k1: int, k2: int) -> None:
    """The weights move between the updates: what is back-propagated through is the past as it was."""
    model = make_model("rnn", hidden=3, vocabulary=4)
    ids, state = np.random.default_rng(0).integers(4, size=8 * k1 + 1), random_state(model, 1)
    x, y, strategy, states = ids[:-1], ids[1:], Separate(k1, k2), [state[0, 0, 0].numpy().copy()]
    for start in range(0, len(x), k1):
        new = slice(start, start + k1)
        states += states_of(model, x[new], states[-1])[1:]
        plan = strategy.next(Progress(0.0, len(x) - start))
        ours = gradient(model, strategy, plan, x[new, None], y[new, None], state)
        expected = triangle_sum(model, x, y, states, separate(k1, k2), range(start, start + k1))
        for name, grad in model.parameters.views(ours).items():
            assert error(k1 * grad, torch.from_numpy(expected[name])) < 1e-12, (name, start)
        model.parameters.flat.add_(torch.randn_like(model.parameters.flat), alpha=0.3)
        model.parameters.refresh_operands()


@pytest.mark.parametrize("cell", CELLS)
def test_stateless_is_k_from_zero_states(cell: str) -> None:
    model = make_model(cell, layers=2, vocabulary=4)
    streams, k = Streams(a_text(), B), 6
    for plan, grad in package_updates(model, parse_truncation("stateless:6"), a_text(), random_state(model, B)):
        x, y, _ = streams.take(k)
        assert plan.advance == len(x)
        assert torch.equal(grad, gradient(model, Fixed(k), Plan(len(x), k), x, y, model.zero_state(B)))


# --- known answers: a tanh network so near to 0 that it is linear -----------------------------------------------------


def last_gradient(model: CharRNN, strategy: Strategy, steps: int, state: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the loss of the last of so many characters alone, by the gradient of the mean of logit 0."""
    symbols = np.zeros((steps, 1), dtype=np.int64)
    model.forward(torch.from_numpy(symbols[:-1]), state, history=strategy.keep)
    plan = strategy.next(Progress(0.0, 1))
    _, tape = model.forward(torch.from_numpy(symbols[-1:]), state, history=strategy.keep)
    model.backward(tape, torch.tensor([[1.0, 0.0]], dtype=torch.float64), plan.depth, plan.carry)
    return model.parameters.grads


def linear_model(hidden: int) -> CharRNN:
    """Reads nothing yet; logit 0 is the first unit."""
    model = make_model("rnn", hidden=hidden, vocabulary=2)
    model.parameters.flat.zero_()
    model.parameters.values["head.weight"][0, 0] = 1
    return model


@pytest.mark.parametrize(("k", "influence"), [(10, 10.0), (20, 16.5), (40, 0.57), (41, None), (300, -6.0)])
def test_influence_balancing(k: int, influence: float | None) -> None:
    """Tallec & Ollivier 2017: 10 units push the first one up, 13 further ones pull it down, later and more. Up to
    depth 40 the gradient has the wrong sign.
    """
    model, units = linear_model(23), torch.arange(23)
    signs, w_hh = torch.where(units < 10, 1.0, -1.0).double(), model.parameters.values["rnn.weight_hh_l0"]
    w_hh[units, units] = w_hh[units[:-1], units[1:]] = 0.5
    model.parameters.values["rnn.weight_ih_l0"][:, 0] = 1e-6 * signs
    model.parameters.refresh_operands()
    grads = last_gradient(model, Separate(1, k), 301, model.zero_state(1))
    by_strength = float(grads["rnn.weight_ih_l0"][:, 0] @ signs)
    assert by_strength == pytest.approx(influence, abs=0.05) if influence else by_strength < 0


@pytest.mark.parametrize(("k", "slope"), [(1, 0.036), (2, 0.072), (3, 0.108)])
def test_nothing_of_earlier_updates_is_left_in_the_gradient(k: int, slope: float) -> None:
    """x3 = w w w x0, w = 0.2, x0 = 0.9: code that adds up what is left of earlier windows finds 0.288, not 0.108."""
    model = linear_model(1)
    model.parameters.values["rnn.weight_hh_l0"].fill_(0.2)
    model.parameters.refresh_operands()
    state = torch.full_like(model.zero_state(1), 0.9e-4)
    grads = last_gradient(model, Separate(1, k), 3, state)
    assert float(grads["rnn.weight_hh_l0"]) * 1e4 == pytest.approx(slope, rel=1e-7)


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


# --- adaptive ---------------------------------------------------------------------------------------------------------


def geometric(lags: int, beta: float) -> list[float]:
    return [beta**lag for lag in range(lags)]


@pytest.mark.parametrize(
    ("beta", "bias", "depth"),
    [(0.1, 0.5, 1), (0.5, 0.5, 1), (0.5, 0.2, 4), (0.9, 0.5, 8), (0.9, 0.1, 32), (0.99, 0.1, 256), (0.999, 0.1, 256)],
)
def test_one_measurement_asks_for_the_next_power_of_two(beta: float, bias: float, depth: int) -> None:
    """Beyond depth K lies beta^K: of 0.9, 0.1 beyond 22; and 256 is the most."""
    assert Adaptive(bias).choose(geometric(512, beta * 0.9999)) == depth


@pytest.mark.parametrize(
    ("measured", "depths"),
    [
        ((), [16]),
        ((256,) * 6, [16, 32, 64, 128, 256, 256, 256]),
        ((1,) * 6, [16, 8, 4, 2, 1, 1, 1]),
        ((16, 16, 16, 256, 1, 16), [16] * 7),  # outliers are outvoted
        ((16, 64), [16, 16, 16]),  # of two, the lower
        ((16, 64, 64), [16, 16, 16, 32]),
        ((64, 64, 64, 8, 8, 8, 8), [16, 32, 64, 64, 64, 64, 32, 16]),  # the last five alone
    ],
)
def test_the_depth_is_a_median_that_moves_by_a_factor_of_two(measured: tuple[int, ...], depths: list[int]) -> None:
    assert [Adaptive(0.5).depth(measured[:count]) for count in range(len(measured) + 1)] == depths


@given(st.lists(st.sampled_from([1 << rung for rung in range(9)]), max_size=40).map(tuple))
def test_depths_stay_on_the_grid_and_within_its_range(measured: tuple[int, ...]) -> None:
    depths = [Adaptive(0.5).depth(measured[:count]) for count in range(len(measured) + 1)]
    assert {*depths} <= {1 << rung for rung in range(9)}
    assert all(after / before in (0.5, 1, 2) for before, after in pairwise(depths))


@pytest.mark.parametrize("rows", [8_000, 40_000])
def test_forty_measurements_a_run_the_first_at_its_start(rows: int) -> None:
    strategy, read, measured, when, plans = Adaptive(0.1), 0, (), [], []
    while read < rows:
        progress = Progress(read / rows, rows - read, len(plans), measured=measured)
        plan = strategy.next(progress)
        if plan.measure:
            when.append(progress.spent)
            measured += (plan.measure(geometric(plan.advance, 0.9)),)
        plans.append(plan)
        read += plan.advance
    assert read == rows
    assert (len(when), when[0]) == (40, 0)
    assert all(0 <= spent - share / 40 < 128 / rows for share, spent in enumerate(when))
    assert replace(plans[0], measure=None) == Plan(64, 16, carry=separate_carry(64, 16))
    assert plans[1] == Plan(32, 32), "it has gone to twice the depth at once, and at the next measurement no further"
    assert {plan.depth for plan in plans[:-1]} == {16, 32}
    assert {plan.advance for plan in plans[1:-1] if plan.measure} == {128}


def separate_carry(advance: int, piece: int) -> tuple[float, ...]:
    """That of K1/K2 for these."""
    carry = Separate(advance, piece).next(Progress(0.0, advance)).carry
    assert carry is not None
    return carry


@pytest.mark.parametrize(
    ("room", "measured", "advance", "depth"),
    [(1000, (), 64, 16), (1000, (1,) * 6, 64, 1), (1000, (256,) * 6, 512, 256), (40, (), 40, 16), (9, (), 9, 9)],
)
def test_a_measurement_reads_four_depths_but_at_least_64_at_most_512_and_no_more_than_there_is(
    room: int, measured: tuple[int, ...], advance: int, depth: int
) -> None:
    plan = Adaptive(0.5).next(Progress(0.9, room, measured=measured))
    assert plan.measure
    assert (plan.advance, plan.depth) == (advance, depth)
    plan = Adaptive(0.5).next(Progress(0.1, room, measured=(depth,) * 40))
    assert plan == Plan(min(Adaptive(0.5).depth((depth,) * 40), room), min(Adaptive(0.5).depth((depth,) * 40), room))


# --- plans ------------------------------------------------------------------------------------------------------------

moments = st.builds(
    Progress,
    spent=st.floats(0, 1),
    room=st.integers(1, 300),
    updates=st.integers(0, 10**6),
    seed=st.integers(0, 10**6),
    measured=st.lists(st.sampled_from([1, 2, 16, 64, 256]), max_size=40).map(tuple),
    validations=st.lists(st.floats(0, 5), max_size=5).map(tuple),
)


@given(specs, moments)
def test_a_plan_fits_its_room_and_itself(spec: str, progress: Progress) -> None:
    strategy = parse_truncation(spec)
    plan = strategy.next(progress)
    assert 1 <= plan.advance <= strategy.longest(progress.room) <= progress.room
    if plan.carry is None:
        assert plan.depth >= plan.advance
    else:
        assert len(plan.carry) == plan.advance - 1
        pieces = "".join("0" if factor == 0 else "1" for factor in plan.carry).split("0")
        assert max(map(len, pieces)) + 1 == plan.depth <= plan.advance, "the deepest a gradient goes"
    assert plan.scale > 0 < plan.lr_scale
    assert strategy.next(progress) == plan, "it has a memory"


@given(specs, moments)
def test_no_plan_goes_back_to_more_than_is_kept(spec: str, progress: Progress) -> None:
    """Also where the room cuts an update short; otherwise a record would say more than was done."""
    strategy = parse_truncation(spec)
    plan = strategy.next(progress)
    assert plan.depth - plan.advance <= strategy.keep


@pytest.mark.parametrize(
    ("spec", "room", "plan"),
    [
        ("7", 1000, Plan(7, 7)),
        ("7", 5, Plan(5, 5)),
        ("full", 1000, Plan(1000, 1000)),
        ("2/6", 1000, Plan(2, 6)),
        ("6/6", 1000, Plan(6, 6)),
        ("6/1", 1000, Plan(6, 1, carry=(0, 0, 0, 0, 0))),
        ("7/3", 1000, Plan(7, 3, carry=(0, 1, 1, 0, 1, 1))),
        ("7/3", 5, Plan(5, 3, carry=(1, 0, 1, 1))),
        ("7/3", 2, Plan(2, 2)),
        ("2/6", 1, Plan(1, 5)),
        ("2/6@rerun", 1000, Plan(2, 6, rerun=4)),
        ("2/6@rerun", 1, Plan(1, 5, rerun=4)),
        ("snap:7", 5, Plan(5, 5)),
        ("rtrl:7", 1000, Plan(7, 7)),
        ("stateless:7", 1000, Plan(7, 7, reset=True)),
        ("stateless:7", 5, Plan(5, 5, reset=True)),
    ],
)
def test_plans_that_do_not_change(spec: str, room: int, plan: Plan) -> None:
    for spent in (0.0, 0.5, 1.0):
        for updates in range(3):
            assert parse_truncation(spec).next(Progress(spent, room, updates)) == plan


@pytest.mark.parametrize(
    ("spec", "longest", "keep"),
    [
        ("64", 64, 0),
        ("2000", 1000, 0),
        ("full", 1000, 0),
        ("1/64", 1, 63),
        ("4/10", 4, 6),
        ("10/4", 10, 0),
        ("stateless:64", 64, 0),
        ("random:64", 114, 0),
        ("random:2000", 1000, 0),
        ("artbp:64", 640, 0),
        ("artbp:200", 1000, 0),
        ("4/10@rerun", 4, 6),
        ("adaptive:0.5", 512, 0),
        ("snap:64", 64, 0),
        ("rtrl..rtrl:8", 8, 0),
        ("1..64", 64, 0),
        ("64..1", 64, 0),
        ("1..2000", 1000, 0),
        ("1/1..1/64", 1, 63),
        ("1/9..16/9", 16, 8),
        ("shuffle(64..1)", 64, 0),
        ("shuffle(1/1..1/64)", 1, 63),
    ],
)
def test_longest_update_and_what_is_kept_before_it(spec: str, longest: int, keep: int) -> None:
    strategy = parse_truncation(spec)
    assert (strategy.longest(room=1000), strategy.keep) == (longest, keep)


@pytest.mark.parametrize("spec", ["random:50", "artbp:50", "shuffle(1..64)", "shuffle(1/1..1/64)"])
def test_chance_is_that_of_the_seed_and_the_update_alone(spec: str) -> None:
    def drawn(seed: int, spent: float, validations: tuple[float, ...] = ()) -> list[Plan]:
        strategy = parse_truncation(spec)
        return [strategy.next(Progress(spent, 1000, updates, seed, validations)) for updates in range(50)]

    assert drawn(1, 0.1) == drawn(1, 0.9, (3.0, 3.0, 3.0))
    assert drawn(1, 0.1) != drawn(2, 0.1)
    assert len({plan.advance + plan.depth for plan in drawn(1, 0.1)}) > 4


def test_the_numbers_of_a_moment_differ_by_purpose_update_and_seed_but_come_again() -> None:
    def drawn(purpose: str, updates: int = 3, seed: int = 5) -> float:
        return Progress(0.0, 1000, updates, seed).rng(purpose).random()

    numbers = [drawn(purpose) for purpose in ("length", "cuts", "rung")]
    assert numbers == [drawn(purpose) for purpose in ("length", "cuts", "rung")]
    assert len({*numbers, drawn("cuts", updates=4), drawn("cuts", seed=6)}) == 5


# --- curricula --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "rungs"),
    [
        (1, 64, (1, 2, 4, 8, 16, 32, 64)),
        (64, 1, (64, 32, 16, 8, 4, 2, 1)),
        (1, 50, (1, 2, 4, 8, 16, 32, 50)),
        (3, 7, (3, 6, 7)),
        (7, 3, (7, 6, 3)),
        (3, 6, (3, 6)),
        (63, 64, (63, 64)),
        (5, 5, (5,)),
        (1, 1, (1,)),
    ],
)
def test_ladder(first: int, last: int, rungs: tuple[int, ...]) -> None:
    assert ladder(first, last) == rungs


@given(ends)
def test_a_ladder_doubles_from_the_lower_end_to_the_upper(ends: tuple[int, int]) -> None:
    low, high = sorted(ends)
    expected = [low]
    while 2 * expected[-1] < high:
        expected.append(2 * expected[-1])
    expected += [high] * (high > low)
    assert ladder(low, high) == tuple(expected)
    assert ladder(high, low) == tuple(reversed(expected))


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_line_is_even_and_has_a_thousand_rungs_at_most(first: int, last: int) -> None:
    rungs = line(first, last)
    assert (rungs[0], rungs[-1]) == (first, last)
    assert len(rungs) == min(1000, abs(last - first) + 1)
    steps = [after - before for before, after in pairwise(rungs)]
    assert all(step * (last - first) > 0 for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


@given(ends)
def test_a_short_line_has_every_length(ends: tuple[int, int]) -> None:
    first, last = ends
    assert line(first, last) == tuple(range(first, last + 1) if first <= last else range(first, last - 1, -1))


@given(ends, by_share)
def test_rungs_take_equal_shares_and_the_last_at_least_two_fifths(ends: tuple[int, int], growth: str) -> None:
    strategy = parse_truncation("{}..{}".format(*ends) + growth)
    *below, last = (line if growth else ladder)(*ends)
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


@pytest.mark.parametrize(
    ("validations", "rung"),
    [
        ((), 0),
        ((3.0,), 0),  # nothing to compare with
        ((3.0, 2.98, 2.96), 0),
        ((3.0, 2.995), 1),
        ((3.0, 3.5), 1),
        ((3.0, 3.5, 3.4), 2),  # against the best, not the latest
        ((3.0, 3.5, 2.9), 1),
        ((3.0,) * 4, 3),
        ((3.0,) * 5, 4),
        ((3.0,) * 99, 4),
    ],
)
@pytest.mark.parametrize(("spec", "rungs"), [("1..12", (1, 2, 4, 8, 12)), ("12..1", (12, 8, 4, 2, 1))])
def test_plateau_growth_goes_a_rung_on_whenever_validation_stalls(
    spec: str, rungs: tuple[int, ...], validations: tuple[float, ...], rung: int
) -> None:
    strategy = parse_truncation(f"{spec}@plateau")
    assert k_at(strategy, 0.59, validations) == rungs[rung]
    assert k_at(strategy, 0.6, validations) == rungs[-1]


@given(
    ends,
    st.sampled_from(["", "@linear", "@plateau"]),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 5)), min_size=2),
)
def test_a_curriculum_never_turns_back_nor_leaves_its_range(
    ends: tuple[int, int], growth: str, moments: list[tuple[float, float]]
) -> None:
    first, last = ends
    strategy = parse_truncation(f"{first}..{last}{growth}")
    spent, losses = sorted(share for share, _ in moments), tuple(loss for _, loss in moments)
    ks = [k_at(strategy, share, losses[:seen]) for seen, share in enumerate(spent)]
    for before, after in pairwise([first, *ks, last]):
        assert before <= after if first <= last else before >= after
    assert k_at(strategy, 0.0) == first
    assert k_at(strategy, 1.0) == last


def test_a_curriculum_of_depths_advances_by_the_same_number() -> None:
    strategy = parse_truncation("3/3..3/24")
    assert [planned(strategy, spent) for spent in (0.0, 0.3, 0.5, 0.7)] == [Plan(3, k2) for k2 in (3, 6, 12, 24)]


def shares_of(strategy: Strategy, rows: int, rung_of: Callable[[Plan], float]) -> dict[float, float]:
    """The share of the characters that each rung reads of a budget of so many."""
    read, updates, chars = 0, 0, Counter()
    while read < rows:
        plan = strategy.next(Progress(read / rows, rows - read, updates))
        chars[rung_of(plan)] += plan.advance
        read, updates = read + plan.advance, updates + 1
    return {rung: count / rows for rung, count in chars.items()}


by_advance, by_depth = (lambda plan: plan.advance), (lambda plan: plan.depth)


@pytest.mark.parametrize(
    ("spec", "rung_of"),
    [("1..64", by_advance), ("64..1", by_advance), ("1/1..1/64", by_depth), ("1/64..64/64", by_advance)],
)
def test_a_curriculum_reads_as_much_at_each_rung_but_the_last(spec: str, rung_of: Callable[[Plan], float]) -> None:
    shares = shares_of(parse_truncation(spec), 64_000, rung_of)
    last = int(spec.split("..")[1].split("/")[-1])
    for k in (1, 2, 4, 8, 16, 32, 64):
        assert shares.pop(k) == pytest.approx(0.4 if k == last else 0.1, abs=64 / 64_000)
    assert sum(shares.values()) < 64 / 64_000


@pytest.mark.parametrize(
    ("spec", "rung_of"),
    [
        ("1..64", by_advance),
        ("64..1", by_advance),
        ("1/1..1/64", by_depth),
        ("2..5@linear", by_advance),
        ("stateless:4..stateless:16", by_advance),
    ],
)
def test_a_shuffled_curriculum_reads_as_much_at_each_rung(spec: str, rung_of: Callable[[Plan], float]) -> None:
    rows = 20_000 if spec.startswith("1/") else 60_000
    expected = shares_of(parse_truncation(spec), rows, rung_of)
    shares = shares_of(parse_truncation(f"shuffle({spec})"), rows, rung_of)
    for rung, share in expected.items():
        assert shares.get(rung, 0) == pytest.approx(share, abs=0.02), (rung, shares)


def test_a_shuffled_curriculum_makes_as_many_updates_at_each_rung_where_the_budget_counts_these() -> None:
    counts = {}
    for spec in ("1..64", "shuffle(1..64)"):
        strategy = parse_truncation(spec)
        plans = [strategy.next(Progress(n / 8000, 1 << 62, n, in_updates=True)) for n in range(8000)]
        counts[spec] = Counter(plan.advance for plan in plans)
    for rung in (1, 2, 4, 8, 16, 32, 64):
        assert counts["shuffle(1..64)"][rung] == pytest.approx(counts["1..64"][rung], abs=0.015 * 8000)


def test_a_shuffled_curriculum_of_one_rung_is_that_rung() -> None:
    assert planned(parse_truncation("shuffle(5..5)"), 0.5) == Plan(5, 5)
