"""The compiled engine against autograd, against the engine of torch, and against itself in other blocks."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from rnnbptt.bptt.compiled import CompiledEngine, bytes_of
from rnnbptt.bptt.engines import COMPILED
from rnnbptt.bptt.kernels import CELLS, online, segments, traced
from rnnbptt.bptt.layers import draw_masks
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.update import Engine, Steps, TorchEngine
from rnnbptt.model.reference import mean_loss
from rnnbptt.text.streams import Segment
from rnnbptt.training.optimizers import PLAIN
from rnnbptt.truncation.fixed import Fixed
from rnnbptt.truncation.plan import Plan, Progress, Strategy
from rnnbptt.truncation.specs import parse_truncation
from support.networks import error, make_model, random_state, random_text

HIDDEN = 37  # no multiple of what a register holds
EIGHT = Fixed(8)
every_cell = pytest.mark.parametrize("cell", CELLS)


def calm_model(*args: Any, **kwargs: Any) -> CharRNN:
    """With weights so small that a tanh RNN does not make much of every rounding."""
    model = make_model(*args, **kwargs, precision="float32")
    model.parameters.flat.mul_(0.4)
    return model


def copy_of(model: CharRNN) -> CharRNN:
    return CharRNN(model.config, model.precision, model.device, model.parameters.flat.clone())


def segment_of(model: CharRNN, steps: int, streams: int) -> Segment:
    x, y = (ids.numpy() for ids in random_text(model, steps, streams))
    return Segment(x, y, np.zeros(streams, bool))


def engine_of(
    kind: type[Engine], model: CharRNN, streams: int, state: torch.Tensor, strategy: Strategy = EIGHT
) -> Engine:
    engine = kind(model, strategy, streams, seed=0)
    engine.load_state_dict(engine.state_dict() | {"state.carried": state})
    return engine


def states_after_the_same(plan: Plan, segment: Segment, engines: list[Engine], models: list[CharRNN]) -> Any:
    """What both engines keep after an update, which has the same loss, counts and gradient by either."""
    a, b = (engine.update(plan, segment) for engine in engines)
    assert a.loss == pytest.approx(b.loss, rel=1e-5)
    assert a[1:] == b[1:]
    ours, theirs = models
    for name, grad in theirs.parameters.grads.items():
        assert error(ours.parameters.grads[name], grad) < 2e-5, name
    return [engine.state_dict() for engine in engines]


@every_cell
@pytest.mark.parametrize(("layers", "steps", "streams"), [(1, 1, 1), (1, 5, 1), (2, 5, 3), (3, 3, 4), (2, 2, 6)])
def test_loss_gradient_and_state_are_those_of_autograd(cell: str, layers: int, steps: int, streams: int) -> None:
    model = calm_model(cell, HIDDEN, layers, vocabulary=11)
    segment, state = segment_of(model, steps, streams), random_state(model, streams)
    engine = engine_of(CompiledEngine, model, streams, state)
    outcome = engine.update(Plan(steps, steps), segment)
    weights = {name: value.double().requires_grad_() for name, value in model.parameters.values.items()}
    x, y = torch.from_numpy(segment.x), torch.from_numpy(segment.y)
    loss, after = mean_loss(model.config, weights, x, y, state.double())
    assert outcome.loss == pytest.approx(loss.item(), rel=1e-6)
    assert outcome.chars == steps * streams
    assert error(engine.state_dict()["state.carried"].double(), after.detach()) < 2e-6
    for name, grad in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
        assert error(model.parameters.grads[name].double(), grad) < 1e-5, name


PLANS = {
    "K": Plan(6, 6),
    "K1/K2": Plan(6, 2, carry=(0.0, 1.0, 0.0, 1.0, 0.0)),
    "artbp": Plan(6, 6, carry=(1.3, 1.2, 1.1, 1.5, 2.0), scale=0.7),
    "stateless": Plan(6, 6, reset=True),
    "last": Plan(6, 6, reset=True, losses=1),
    "last two": Plan(6, 6, losses=2),
}


@every_cell
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_an_update_is_that_of_the_engine_of_torch(cell: str, plan: Plan) -> None:
    """The same dropout too, and streams that wrap."""
    ours = calm_model(cell, HIDDEN, layers=2, dropout=0.4)
    theirs, state = copy_of(ours), random_state(ours)
    engines = [engine_of(CompiledEngine, ours, 3, state), engine_of(TorchEngine, theirs, 3, state)]
    for wrapped in ([False, True, False], [False] * 3):
        segment = segment_of(ours, 6, 3)._replace(reset=np.array(wrapped))
        a, b = states_after_the_same(plan, segment, engines, [ours, theirs])
        assert error(a["state.carried"], b["state.carried"]) < 1e-5
        assert torch.equal(a["rng.dropout"], b["rng.dropout"])


OLDER = ["2/7", "1/5", "2/7@rerun", "last:5/2", "shuffle(last:1..last:4)", "shuffle(4/1..4/8)", "shuffle(1/4..4/4)"]


@every_cell
@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("trunc", OLDER)
def test_older_characters_are_those_of_the_engine_of_torch(cell: str, trunc: str, streams: int) -> None:
    """With weights that move in between, and a stream that wraps, before which nothing is gone back to."""
    ours, strategy = calm_model(cell, HIDDEN, layers=2, dropout=0.4), parse_truncation(trunc)
    theirs, state = copy_of(ours), random_state(ours, streams)
    engines = [
        engine_of(kind, model, streams, state, strategy)
        for kind, model in ((CompiledEngine, ours), (TorchEngine, theirs))
    ]
    for update in range(12):
        plan = strategy.next(Progress(update / 12, room=1 if update == 11 else 100, updates=update))
        wrapped = np.arange(streams) == (streams - 1 if update == 6 else -1)
        segment = segment_of(ours, plan.advance, streams)._replace(reset=wrapped)
        after, expected = states_after_the_same(plan, segment, engines, [ours, theirs])
        assert after.keys() == expected.keys()
        of_states = {name for name in expected if name.startswith("history.") and name != "history.x"}
        gates_of_rnn = {"history.0.gates", "history.1.gates"} if cell == "rnn" else set()  # it needs none
        for name in expected.keys() - (of_states if strategy.resets else {"history.place"} | gates_of_rnn):
            assert error(after[name].double(), expected[name].double()) < 1e-5, name
        for model in (ours, theirs):
            model.parameters.flat.mul_(1.03)
            model.parameters.refresh_operands()


INFLUENCES = [("snap", 1), ("snap:5", 5), ("snap:1", 1), ("rflo", 1), ("rtrl", 1), ("rtrl:3", 3)]
TRACED = [
    (cell, trunc, k, layers, streams)
    for cell, (trunc, k), (layers, streams) in product(CELLS, INFLUENCES, [(1, 1), (2, 3)])
    if (cell, trunc) != ("rnn", "rflo")  # it has no leak
]


@pytest.mark.parametrize(("cell", "trunc", "k", "layers", "streams"), TRACED)
def test_influences_are_those_of_the_engine_of_torch(cell: str, trunc: str, k: int, layers: int, streams: int) -> None:
    """What they add to the gradient, and how they go on, from any that came before; streams that wrap lose theirs."""
    layers = 1 if trunc.startswith("rtrl") else layers
    ours, strategy = calm_model(cell, HIDDEN, layers, dropout=0.4), parse_truncation(trunc)
    theirs, state = copy_of(ours), random_state(ours, streams)
    engines = [
        engine_of(kind, model, streams, state, strategy)
        for kind, model in ((CompiledEngine, ours), (TorchEngine, theirs))
    ]
    before = {
        name: torch.randn_like(tensor) if name.startswith("influence.") else tensor
        for name, tensor in engines[0].state_dict().items()
    }
    for engine in engines:
        engine.load_state_dict(before)
    for wrapped in (False, True, False):
        segment = segment_of(ours, k, streams)._replace(reset=np.arange(streams) == (streams - 1 if wrapped else -1))
        after, expected = states_after_the_same(Plan(k, k), segment, engines, [ours, theirs])
        assert after.keys() == expected.keys()
        for name, tensor in expected.items():
            assert error(after[name].double(), tensor.double()) < 2e-5, name


def test_what_it_is_said_to_compute_it_has_a_kernel_for() -> None:
    assert tuple(CELLS) == COMPILED


def test_masks_drawn_at_once_are_those_drawn_one_by_one() -> None:
    at_once, one_by_one = torch.empty(5, 37), torch.empty(5, 37)
    draw_masks(at_once, 0.3, torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(1)
    for mask in one_by_one:
        draw_masks(mask[None], 0.3, rng)
    assert torch.equal(at_once, one_by_one)


def train(
    model: CharRNN,
    optimizer: Any,
    text: Segment,
    block: int,
    streams: int,
    k: int,
    strategy: Strategy = EIGHT,
    **steps: Any,
) -> Any:
    """The text in updates of k characters, `block` of them a call: losses and norms."""
    engine = engine_of(CompiledEngine, model, streams, torch.zeros_like(model.zero_state(streams)), strategy)
    found = []
    for start in range(0, len(text.x), block * k):
        part = Segment(text.x[start : start + block * k], text.y[start : start + block * k], text.reset)
        n = len(part.x) // k
        first = start // k
        rates = [0.01 / (1 + first + i) ** 0.5 for i in range(n)]
        kept = [0.9 if (first + i) % 5 == 2 else 1.0 for i in range(n)]
        found.append(engine.train(Plan(k, k, **steps), part, Steps(rates, kept, 0.99, 0.5), optimizer.means)[:2])
        optimizer.count(n)
    nats, norms = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return nats, norms, engine.state_dict()


@every_cell
@pytest.mark.parametrize(("streams", "k"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("optimizer", PLAIN)
def test_updates_are_a_gradient_and_a_step_of_torch_each(cell: str, streams: int, k: int, optimizer: str) -> None:
    """Losses, norms, clipping, decay and the optimizer, with layers and dropout."""
    ours = calm_model(cell, HIDDEN, layers=2, dropout=0.3)
    theirs, text = copy_of(ours), segment_of(ours, 12 * k, streams)
    rule, reference = PLAIN[optimizer](ours.parameters.flat), PLAIN[optimizer](theirs.parameters.flat)
    nats, norms, state = train(ours, rule, text, 12, streams, k)
    engine = engine_of(TorchEngine, theirs, streams, torch.zeros_like(theirs.zero_state(streams)))
    for update in range(12):
        part = Segment(text.x[update * k : (update + 1) * k], text.y[update * k : (update + 1) * k], text.reset)
        outcome = engine.update(Plan(k, k), part)
        norm = float(theirs.parameters.grad.norm())
        assert nats[update] == pytest.approx(outcome.loss, rel=1e-4)
        assert norms[update] == pytest.approx(norm, rel=1e-3)
        theirs.parameters.grad.mul_(min(1.0, 0.5 / norm))
        for weight in theirs.parameters.weights:
            weight.mul_(0.9 if update % 5 == 2 else 1.0)
        reference.step(theirs.parameters.flat, theirs.parameters.grad, 0.01 / (1 + update) ** 0.5, 0.99)
    assert error(ours.parameters.flat, theirs.parameters.flat) < 1e-4
    assert error(state["state.carried"], engine.state_dict()["state.carried"]) < 1e-3
    for name, tensor in reference.state.items():
        assert error(rule.state[name], tensor) < 1e-3, name


@every_cell
@pytest.mark.parametrize(("streams", "k", "reset"), [(1, 1, False), (1, 1, True), (2, 3, False), (1, 4, True)])
def test_how_many_updates_a_call_makes_changes_no_bit(cell: str, streams: int, k: int, reset: bool) -> None:
    start = calm_model(cell, HIDDEN, layers=2, dropout=0.3)
    text, results = segment_of(start, 40 * k, streams), []
    for block in (40, 7, 1):
        model = copy_of(start)
        optimizer = PLAIN["adam"](model.parameters.flat)
        nats, norms, state = train(model, optimizer, text, block, streams, k, reset=reset)
        tensors = [torch.from_numpy(nats), torch.from_numpy(norms), model.parameters.flat]
        results.append([*tensors, *optimizer.state.values(), *state.values()])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(("streams", "trunc"), [(1, "1"), (2, "1"), (1, "snap")])
def test_nothing_moves_once_a_number_is_not_finite(streams: int, trunc: str) -> None:
    model, strategy = calm_model("lstm", HIDDEN), parse_truncation(trunc)
    model.parameters.values["head.bias"][3] = torch.inf
    before, optimizer = model.parameters.flat.clone(), PLAIN["adam"](model.parameters.flat)
    nats, norms, _ = train(model, optimizer, segment_of(model, 4, streams), 4, streams, 1, strategy)
    assert len(nats) == len(norms) == 1
    assert not np.isfinite(nats[0] + norms[0])
    assert torch.equal(model.parameters.flat, before)


@pytest.mark.parametrize("longest", [1, 3, 64])
def test_memory_is_that_of_the_longest_update(longest: int) -> None:
    more = {f"{longest}": 0, f"snap:{longest}": 0, f"rtrl:{longest}": 0, f"{longest}/{longest + 4}": 4}
    for trunc, older in more.items():
        model = calm_model("gru", HIDDEN, layers=1 if "rtrl" in trunc else 2, dropout=0.2)
        engine = CompiledEngine(model, parse_truncation(trunc), streams=2, seed=0)
        assert engine.memory(longest) == bytes_of(engine._make_room(longest + older))


def test_what_an_exact_influence_keeps_of_a_character_does_not_grow_with_units() -> None:
    """One unit's gradients at a time: those of all units would be thousands of times the tape."""
    plain, exact = (CompiledEngine(calm_model("lstm", HIDDEN), parse_truncation(t), 2, 0) for t in ("8", "rtrl:8"))
    of_a_character = [engine.memory(1001) - engine.memory(1000) for engine in (plain, exact)]
    assert of_a_character[1] < 2 * of_a_character[0]


def test_each_kernel_is_compiled_once() -> None:
    """For all cells, layers, streams, optimizers, with dropout and without: another kind of argument would take as
    long again.
    """
    for dropout, streams, cell in ((0.0, 1, "rnn"), (0.3, 2, "lstm")):
        model = calm_model(cell, dropout=dropout)
        for strategy in (Fixed(2), parse_truncation("snap:2"), parse_truncation("1/3@rerun")):
            CompiledEngine(model, strategy, streams, seed=0).prepare()
            optimizer = PLAIN["sgd"](model.parameters.flat)
            train(model, optimizer, segment_of(model, 2, streams), 1, streams, 1, strategy)
    assert len(online.signatures) == len(segments.signatures) == len(traced.signatures) == 1
