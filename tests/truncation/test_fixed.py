"""That the gradient an unchanging strategy, or a curriculum of such, leads to is the right part of the triangle.

A loss at t depends on the parameters as they were used at every tau up to t. A truncation keeps some of the cells
(t, tau) of this influence triangle (Williams & Peng 1990), or weighs them; full back-propagation keeps all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.network import CharRNN
from rnnbptt.text.streams import Streams
from rnnbptt.truncation.fixed import Fixed, Separate
from rnnbptt.truncation.plan import Plan, Progress, Strategy
from rnnbptt.truncation.specs import parse_truncation
from support.networks import error, independent, make_model, random_state
from support.updates import B, T, a_text, gradient, package_sum, package_updates

Weight = Callable[[int, int], float]

# --- the part of the triangle -----------------------------------------------------------------------------------------


def states_of(model: CharRNN, x: NDArray, h: NDArray) -> list[NDArray]:
    """The states of one stream of a tanh network: the one before each character, and the last."""
    p = {name: value.numpy() for name, value in model.parameters.values.items()}
    states = [h]
    for symbol in x:
        pre = p["rnn.weight_ih_l0"][:, symbol] + p["rnn.bias_ih_l0"] + p["rnn.bias_hh_l0"]
        states.append(np.tanh(pre + p["rnn.weight_hh_l0"] @ states[-1]))
    return states


def triangle_sum(
    model: CharRNN, x: NDArray, y: NDArray, states: list[NDArray], weight: Weight, losses: Sequence[int] | None = None
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
    assert_part_of_the_triangle(spec, weight)


def test_the_last_losses_alone_are_as_many_rows_of_the_triangle() -> None:
    assert_part_of_the_triangle("last-carried:7", chunk(7), (6, 13, 19))


def assert_part_of_the_triangle(spec: str, weight: Weight, losses: Sequence[int] | None = None) -> None:
    model = make_model("rnn", hidden=3, vocabulary=4)
    ids, state = a_text(), random_state(model, B)
    expected: dict[str, NDArray] = {}
    for b in range(B):
        lane = ids[b * T : (b + 1) * T + 1]
        states = states_of(model, lane[:-1], state[0, 0, b].numpy().copy())
        for name, grad in triangle_sum(model, lane[:-1], lane[1:], states, weight, losses).items():
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
    model.forward(torch.from_numpy(symbols[:-1]), state, history=strategy.history)
    plan = strategy.next(Progress(0.0, 1))
    _, tape = model.forward(torch.from_numpy(symbols[-1:]), state, history=strategy.history)
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
