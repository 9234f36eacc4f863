"""How far back an update may go: the tape that outlives its segment, held against autograd on stored states."""

from __future__ import annotations

import pytest
import torch

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.tape import Span
from rnnbptt.model.reference import logits_of
from support.networks import (
    EVERY_CELL,
    ReferenceNetwork,
    TorchNetwork,
    error,
    independent,
    make_model,
    random_state,
    random_text,
)

STREAMS = 3


def ours(
    model: CharRNN, state: torch.Tensor, x: torch.Tensor, y: torch.Tensor, k1: int, k2: int, again: bool = False
) -> list[dict[str, torch.Tensor]]:
    """The gradient of each update of k1 characters with depth k2, at weights that stay, with nothing read before."""
    model.tapes.forget(STREAMS)
    gradients, keep = [], max(0, k2 - k1)
    for start in range(0, len(x) - k1 + 1, k1):
        logits, tape = model.forward(x[start : start + k1], state, history=keep, rerun=keep if again else 0)
        model.backward(tape, cross_entropy(logits, y[start : start + k1])[1], k2)
        gradients.append({name: grad.clone() for name, grad in model.parameters.grads.items()})
    return gradients


def states_of(theirs: TorchNetwork | ReferenceNetwork, state: torch.Tensor, x: torch.Tensor) -> list[torch.Tensor]:
    """The state before each character."""
    states = [state.clone()]
    with torch.no_grad():
        for symbols in x:
            states.append(theirs(symbols[None], states[-1])[1])
    return states


@pytest.mark.parametrize(("k1", "k2"), [(1, 5), (4, 10), (8, 8), (5, 40), (1, 40), (3, 2)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_depth_beyond_the_segment_is_that_of_williams_and_peng(cell: str, layers: int, k1: int, k2: int) -> None:
    """Each loss once, back to k2 characters before the end of its update: truncation.md calls it w(t, tau)."""
    model = make_model(cell, layers=layers)
    theirs = independent(model)
    (x, y), state = random_text(model, 40), random_state(model)
    states = states_of(theirs, state, x)
    for update, gradient in enumerate(ours(model, state, x, y, k1, k2)):
        start, stop = update * k1, (update + 1) * k1
        first = max(0, min(start, stop - k2))
        logits, _ = theirs(x[first:stop], states[first])
        scored = logits.view(stop - first, STREAMS, -1)[start - first :].flatten(0, 1)
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(scored, y[start:stop].flatten()).backward()
        for name, parameter in theirs.named_parameters():
            assert error(gradient[name], parameter.grad) < 1e-12, (name, update)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(("k1", "k2"), [(1, 4), (2, 6), (3, 5)])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", EVERY_CELL)
def test_older_characters_are_read_once_more_with_the_weights_of_now(
    cell: str, layers: int, k1: int, k2: int, dropout: float
) -> None:
    """The weights move between the updates; each begins at the state that the one before wrote there."""
    model, rng = make_model(cell, layers=layers, dropout=dropout), torch.Generator().manual_seed(1)
    (x, y), state = random_text(model, 6 * k1), random_state(model)
    states = {0: state.clone()}  # before each character, as written last
    for start in range(0, len(x), k1):
        stop = start + k1
        logits, tape = model.forward(x[start:stop], state, rng, history=k2 - k1, rerun=k2 - k1)
        model.backward(tape, cross_entropy(logits, y[start:stop])[1], k2)

        span = tape.last(k2)
        first = stop - span.length
        assert first == (start if cell.startswith("window") else max(0, stop - k2))
        masks = [layer.views(span).mask for layer in tape.layers] if dropout else []
        leaves = {name: value.clone().requires_grad_() for name, value in model.parameters.values.items()}
        after, read = states[first], []
        for t in range(first, stop):
            here = [mask[t - first : t - first + 1] for mask in masks]
            logits, after = logits_of(model.config, leaves, x[t : t + 1], after, here)
            states[t + 1] = after.detach()
            read.append(logits)
        torch.nn.functional.cross_entropy(torch.cat(read[start - first :]), y[start:stop].flatten()).backward()
        assert error(state, states[stop]) < 1e-12
        for name, leaf in leaves.items():
            assert error(model.parameters.grads[name], leaf.grad) < 1e-12, (name, start)
        model.parameters.flat.add_(torch.randn_like(model.parameters.flat), alpha=0.3)
        model.parameters.refresh_operands()


@pytest.mark.parametrize("cell", CELLS)
def test_reading_once_more_changes_nothing_while_the_weights_rest(cell: str) -> None:
    model = make_model(cell, layers=2)
    (x, y), state = random_text(model, 24), random_state(model)
    stored, rerun = (ours(model, state.clone(), x, y, 2, 7, again) for again in (False, True))
    for pair in zip(stored, rerun, strict=True):
        for name in pair[0]:
            assert error(pair[1][name], pair[0][name]) < 1e-13, name


def test_what_is_read_once_more_is_dropped_anew() -> None:
    model, rng = make_model("gru", dropout=0.5), torch.Generator().manual_seed(1)
    (x, _), state, masks = random_text(model, 8), model.zero_state(STREAMS), []
    for piece in x.split(2):
        _, tape = model.forward(piece, state, rng, history=4, rerun=4)
        masks.append(tape.layers[0].views(tape.last(6)).mask.clone())
    older, newer = masks[-2][2:], masks[-1][:-2]
    assert older.shape == newer.shape == (4, STREAMS, 5)
    assert all(not torch.equal(*pair) for pair in zip(older, newer, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_a_carry_of_0_cuts_and_of_another_number_scales(cell: str) -> None:
    model = make_model(cell, layers=2)
    theirs = independent(model)
    x, y = random_text(model, 6)
    carry = [1.0, 0.5, 0.0, 1.0, 2.0]
    logits, tape = model.forward(x, model.zero_state(STREAMS))
    model.backward(tape, cross_entropy(logits, y)[1], carry=carry)

    state, losses = model.zero_state(STREAMS), []
    for t, symbols in enumerate(x):
        logits, state = theirs(symbols[None], state)
        losses.append(torch.nn.functional.cross_entropy(logits, y[t]))
        factor = carry[t] if t < len(carry) else 1.0
        state = state.detach() + factor * (state - state.detach())  # the same value, its gradient scaled
    torch.stack(losses).mean().backward()
    for name, parameter in theirs.named_parameters():
        assert error(model.parameters.grads[name], parameter.grad) < 1e-12, name


def test_dropout_masks_are_remembered_with_their_characters() -> None:
    """The same masks, drawn at once or piece by piece, and the loss of the last piece alone: the same gradient."""
    model = make_model("lstm", dropout=0.5)
    x, _ = random_text(model, 8)
    d_last = torch.randn(2 * STREAMS, model.config.vocabulary, dtype=torch.float64)
    state, rng, masks = model.zero_state(STREAMS), torch.Generator().manual_seed(1), []
    for piece in x.split(2):
        _, tape = model.forward(piece, state, rng, history=6)
        masks.append(tape.layers[0].views(tape.segment).mask.clone())
    model.backward(tape, d_last, depth=8)
    in_pieces = model.parameters.grad.clone()

    _, tape = model.forward(x, model.zero_state(STREAMS), rng)
    views = tape.layers[0].views(tape.segment)
    views.mask.copy_(torch.cat(masks))
    torch.mul(views.h_after, views.mask, out=views.dropped.view(views.mask.shape))
    model.backward(tape, torch.cat([torch.zeros(6 * STREAMS, model.config.vocabulary, dtype=torch.float64), d_last]))
    assert error(in_pieces, model.parameters.grad) < 1e-12


def test_what_is_not_held_is_not_gone_back_to() -> None:
    model = make_model("gru")
    state = model.zero_state(STREAMS)
    _, tape = model.forward(random_text(model, 5)[0], state, history=3)
    assert tape.last(100) == tape.segment == Span(0, 5)
    _, tape = model.forward(random_text(model, 2)[0], state, history=3)
    assert tape.last(100).stop - tape.last(100).start == 5
    tape.forget()
    _, tape = model.forward(random_text(model, 2)[0], state, history=3)
    assert tape.last(100) == tape.segment


def test_the_tape_grows_without_losing_what_it_holds() -> None:
    model = make_model("lstm")
    (x, y), state = random_text(model, 30), random_state(model)
    expected = ours(model, state.clone(), x, y, 1, 8)
    model = model.at_precision("float64")  # another one, whose tapes are new
    for t in range(30):
        logits, tape = model.forward(x[t : t + 1], state, history=7 if t < 9 else 15)  # a longer one from the tenth on
        model.backward(tape, cross_entropy(logits, y[t : t + 1])[1], 8)
        assert all(error(model.parameters.grads[name], expected[t][name]) < 1e-12 for name in expected[t])
