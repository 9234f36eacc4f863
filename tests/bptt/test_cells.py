"""Each recurrence alone against torch.nn's: where W_ih is the identity, the input is the pre-activations themselves."""

from __future__ import annotations

import pytest
import torch

from rnnbptt.bptt import tape as tapes
from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.recurrence import Cell, Weights
from rnnbptt.bptt.tape import Gradients, LayerTape, Shape, Span
from support.networks import TorchNetwork, error

B, H = 3, 5
TOLERANCE = 1e-12


def make_tape(cell: Cell, capacity: int) -> LayerTape:
    """A tape full of NaN, so that whatever is read before it is written shows."""
    shape = Shape(
        B, H, cell.gates, cell.parts, cell.memo, cell.window, torch.float64, torch.float64, torch.device("cpu")
    )
    gradients = Gradients(shape, capacity, cell.separate_hidden)
    tape = LayerTape(shape, capacity, gradients, dropout=False)
    for buffer in (tape.h, tape.c, tape.gates, tape.memo, *(vars(gradients)[n] for n in ("h", "inputs", "hidden"))):
        buffer.fill_(torch.nan)
    cell.bind(tape)
    return tape


def torch_cell(cell: Cell) -> torch.nn.RNNBase:
    """torch.nn's, taking the pre-activations themselves as input."""
    width = cell.gates * H
    theirs = TorchNetwork.CELLS[cell.name](width, H, dtype=torch.float64)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    torch.nn.init.eye_(theirs.weight_ih_l0)
    return theirs


@pytest.mark.parametrize(("steps", "capacity"), [(1, 1), (1, 9), (3, 3), (7, 9), (64, 64)])
@pytest.mark.parametrize("name", TorchNetwork.CELLS)
def test_forward_and_backward_equal_torch(name: str, steps: int, capacity: int) -> None:
    for ours, theirs in both_ways(name, steps, capacity, scale=1.0):
        assert error(ours, theirs) < TOLERANCE


@pytest.mark.parametrize("name", TorchNetwork.CELLS)
def test_saturated_gates_do_no_harm(name: str) -> None:
    for ours, theirs in both_ways(name, steps=7, capacity=9, scale=1000.0):
        torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def both_ways(name: str, steps: int, capacity: int, scale: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Outputs, state after and gradients: ours, torch's."""
    cell = CELLS[name]
    theirs, tape = torch_cell(cell), make_tape(cell, capacity)
    x = (scale * torch.randn(steps, B, cell.gates * H, dtype=torch.float64)).requires_grad_()
    state = torch.tanh(torch.randn(cell.parts, B, H, dtype=torch.float64))
    d_out = torch.randn(steps, B, H, dtype=torch.float64)

    parts = tuple(state[:, None])
    out, after = theirs(x, parts if cell.parts == 2 else parts[0])
    out.backward(d_out)

    values = {parameter.removesuffix("_l0"): value.detach() for parameter, value in theirs.named_parameters()}
    weights, grads = Weights(values, values), {kind: torch.empty_like(value) for kind, value in values.items()}
    span = Span(capacity - steps, capacity)  # anywhere but at the front, where there is room
    views, ours = tape.views(span), state.clone()
    views.gates.copy_(x.detach().flatten(0, 1) + cell.folded_bias(values["bias_ih"], weights))
    tape.enter(span.start, ours)
    cell.forward(weights, tape, span)
    tape.leave(span.stop, ours)
    tape.gradients.h[slice(*span)] = d_out
    tape.gradients.d_c.zero_()
    cell.backward(weights, cell.back(weights, tape), tape, span, carry=(1.0,) * (steps - 1))
    cell.gradients(tape, span, grads, lambda product, a, b: torch.mm(a, b, out=product))
    return [
        (views.h_after, out.detach()),
        (ours, torch.cat(after if cell.parts == 2 else (after,)).detach()),
        (views.d_inputs.view_as(x), x.grad),
        *((grads[kind], getattr(theirs, f"{kind}_l0").grad) for kind in ("weight_hh", "bias_ih", "bias_hh")),
    ]


@pytest.mark.parametrize("name", TorchNetwork.CELLS)
def test_sizes(name: str) -> None:
    theirs = torch_cell(CELLS[name])
    assert CELLS[name].name == name
    assert CELLS[name].gates == theirs.weight_hh_l0.shape[0] // H
    assert CELLS[name].parts == (2 if name == "lstm" else 1)
    tape = make_tape(CELLS[name], 4)
    assert tape.c.shape == (5, B, H if name == "lstm" else 0)
    assert tape.memo.shape == (4, B, 0 if name == "rnn" else H)


def test_views_are_kept_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes, "MOST_VIEWS", 10)
    tape = make_tape(CELLS["gru"], 20)
    assert tape.views(Span(2, 5)) is tape.views(Span(2, 5))
    for start in range(20):
        for stop in range(start + 1, 21):
            views = tape.views(Span(start, stop))
            assert views.h_after.data_ptr() == tape.h[start + 1].data_ptr()
            assert views.gates.shape == ((stop - start) * B, 3 * H)
            assert len(tape._views) <= tapes.MOST_VIEWS + 1
