"""The loop over time: the factors on the way back, what each stream owes, and the way from a unit to itself alone."""

from __future__ import annotations

import pytest
import torch

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.layers import Weights, cross_entropy
from rnnbptt.bptt.tape import LayerTape
from rnnbptt.model.config import CELL_SIZES
from support.networks import error, make_model, random_state, random_text

T, B = 5, 3
FLOAT64, BFLOAT16 = torch.float64, torch.bfloat16
DENSE = [name for name, cell in CELLS.items() if cell.dense]


@pytest.mark.parametrize("factors", [T - 2, T])
def test_another_number_of_factors_than_steps_back_is_an_error(factors: int) -> None:
    model, state = make_model("gru"), make_model("gru").zero_state(B)
    logits, tape = model.forward(random_text(model, T)[0], state)
    with pytest.raises(ValueError, match=r"zip\(\)"):
        model.backward(tape, logits, carry=[1.0] * factors)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_added_for_each_stream_is_its_own_gradient(cell: str, layers: int) -> None:
    """Against the gradient of that stream read alone."""
    model = make_model(cell, layers=layers)
    (x, y), state = random_text(model, T, B), random_state(model, B)
    logits, tape = model.forward(x, state.clone())
    names = [name for name in model.parameters.shapes if name.startswith("rnn.")]
    ours = {name: model.parameters.zeros(name, B) for name in names}

    def add(layer: int) -> None:
        own = {name: out for name, out in ours.items() if name.endswith(f"_l{layer}")}
        model.add_per_stream(own, tape, layer, tape.segment, tape.gradients.adjoint(tape.segment))

    d_logits = cross_entropy(logits, y)[1].mul_(B)
    none = torch.zeros_like(state)
    model.backward_state(tape, tape.segment, none, none, d_logits, add)
    for b in range(B):
        logits, alone = model.forward(x[:, b : b + 1], state[:, :, b : b + 1].clone())
        model.backward(alone, cross_entropy(logits, y[:, b : b + 1])[1])
        for name in names:
            assert error(ours[name][b], model.parameters.grads[name]) < 1e-12, name


def recurrent(cell: str, diagonal: bool) -> tuple[Weights, LayerTape]:
    """The recurrent weights of one layer, at random, and a tape."""
    model = make_model(cell)
    w_hh = model.parameters.values["rnn.weight_hh_l0"]
    if diagonal and w_hh.dim() > 1:
        w_hh.view(-1, 5, 5).mul_(torch.eye(5))
    _, tape = model.forward(random_text(model, T)[0], model.zero_state(B))
    kinds = {"weight_hh": w_hh}
    return Weights(kinds, kinds, {}), tape.layers[0]


@pytest.mark.parametrize("cell", [*DENSE, "elstm"])
def test_where_units_do_not_see_each_other_all_of_the_way_back_is_their_own(cell: str) -> None:
    weights, tape = recurrent(cell, diagonal=True)
    d = torch.randn(B, tape.gates.shape[-1], dtype=FLOAT64)
    expected = CELLS[cell].back(weights, tape, alone=False, count=1)(d).clone()
    assert expected.any()
    assert error(CELLS[cell].back(weights, tape, alone=True, count=1)(d), expected) < 1e-14


@pytest.mark.parametrize("d_dtype", [FLOAT64, BFLOAT16])
@pytest.mark.parametrize("cell", DENSE)
def test_the_own_way_back_is_the_diagonal_of_each_block(cell: str, d_dtype: torch.dtype) -> None:
    """In the dtype of the weights whatever that of d, which is left as it is."""
    weights, tape = recurrent(cell, diagonal=False)
    gates = CELL_SIZES[cell].gates
    d = torch.randn(B, gates * 5).to(d_dtype)
    before = d.clone()
    ours = CELLS[cell].back(weights, tape, alone=True, count=1)(d)
    blocks = weights.values["weight_hh"].view(gates, 5, 5)
    assert error(ours, torch.einsum("bgh,ghh->bh", d.double().view(B, gates, 5), blocks)) < 1e-14
    assert torch.equal(d, before)
    if d_dtype == FLOAT64:
        assert error(CELLS[cell].back(weights, tape, alone=False, count=1)(d), ours) > 0.1, "the blocks are diagonal"
        assert error(CELLS[cell].back(weights, tape, alone=False, count=1)(d), d @ weights.values["weight_hh"]) < 1e-14
