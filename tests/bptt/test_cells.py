"""Each recurrence alone against torch.nn's: where W_ih is the identity, the input is the pre-activations themselves."""

from __future__ import annotations

import pytest
import torch

from rnnbptt.bptt import tape as tapes
from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.recurrence import Cell, RecurrentLayer
from rnnbptt.bptt.tape import GradientBuffers, LayerTape, Span, TapeShape
from rnnbptt.model.config import CELL_SIZES
from rnnbptt.model.parameters import Parameters
from rnnbptt.model.precision import choose_precision
from support.networks import TorchNetwork, error

B, H = 3, 5
TOLERANCE = 1e-12


def make_tape(cell: Cell, capacity: int) -> LayerTape:
    """A tape full of NaN, so that whatever is read before it is written shows."""
    flags = (cell.memo, cell.separate_hidden, cell.gates_state, False)
    shape = TapeShape(B, H, *CELL_SIZES[cell.name], *flags, 0, torch.float64, torch.float64, torch.device("cpu"))
    gradients = GradientBuffers(shape, capacity)
    tape = LayerTape(shape, capacity, gradients)
    for buffer in (*vars(tape).values(), *vars(gradients).values()):
        if isinstance(buffer, torch.Tensor):
            buffer.fill_(torch.nan)
    return tape


def make_layer(theirs: torch.nn.RNNBase, name: str) -> tuple[RecurrentLayer, Parameters]:
    """Ours with torch's weights: an upper layer, whose input is a product."""
    values = {f"rnn.{kind[:-1]}1": value.detach() for kind, value in theirs.named_parameters()}
    cpu = torch.device("cpu")
    precision = choose_precision("float64", cpu)
    parameters = Parameters({kind: tuple(v.shape) for kind, v in values.items()}, frozenset(), precision, cpu)
    parameters.load(values)
    return RecurrentLayer(CELLS[name], parameters, 1, Scratch()), parameters


def torch_cell(cell: Cell) -> torch.nn.RNNBase:
    """torch.nn's, taking the pre-activations themselves as input."""
    width = CELL_SIZES[cell.name].gates * H
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
    gates, parts = CELL_SIZES[name]
    theirs, tape = torch_cell(CELLS[name]), make_tape(CELLS[name], capacity)
    x = (scale * torch.randn(steps, B, gates * H, dtype=torch.float64)).requires_grad_()
    state = torch.tanh(torch.randn(parts, B, H, dtype=torch.float64))
    d_out = torch.randn(steps, B, H, dtype=torch.float64)

    before = tuple(state[:, None])
    out, after = theirs(x, before if parts == 2 else before[0])
    out.backward(d_out)

    layer, parameters = make_layer(theirs, name)
    span = Span(capacity - steps, capacity)  # anywhere but at the front, where there is room
    views, ours, read = tape.views(span), state.clone(), x.detach().flatten(0, 1)
    layer.forward(read, ours, tape, span)
    tape.gradients.h[span.here] = d_out
    layer.backward(tape, span, carry=(1.0,) * (steps - 1))
    layer.write_gradients(read, tape, span)
    return [
        (views.h_after, out.detach()),
        (ours, torch.cat(after if parts == 2 else (after,)).detach()),
        (views.d_inputs.view_as(x), x.grad),
        *((parameters.grads[f"rnn.{kind[:-1]}1"], value.grad) for kind, value in theirs.named_parameters()),
    ]


@pytest.mark.parametrize("name", TorchNetwork.CELLS)
def test_sizes(name: str) -> None:
    theirs = torch_cell(CELLS[name])
    assert CELLS[name].name == name
    assert CELL_SIZES[name] == (theirs.weight_hh_l0.shape[0] // H, 2 if name == "lstm" else 1)
    tape = make_tape(CELLS[name], 4)
    assert tape.c.shape == (5, B, H if name == "lstm" else 0)
    assert tape.memo.shape == (4, B, 0 if name == "rnn" else H)


def test_views_are_kept_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes, "MOST_VIEWS", 10)
    tape = make_tape(CELLS["gru"], 20)
    first = tape.views(Span(2, 5))
    assert tape.views(Span(2, 5)) is first
    for start in range(20):
        for stop in range(start + 1, 21):
            views = tape.views(Span(start, stop))
            assert views.h_after.data_ptr() == tape.h[start + 1].data_ptr()
            assert views.gates.shape == ((stop - start) * B, 3 * H)
    assert tape.views(Span(2, 5)) is not first, "kept for ever"
