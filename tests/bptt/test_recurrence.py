"""What the recurrences have in common: each stream's gradient by itself, the steps backwards, and the way of a gradient
from a unit to itself alone.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.recurrence import Each, OneHotOuter, Outer, PerStream, Weights, later
from rnnbptt.bptt.tape import LayerTape, Span
from support.networks import error, make_model, random_state, random_text

T, B, G, C = 5, 3, 6, 4
FLOAT64, FLOAT32, BFLOAT16 = torch.float64, torch.float32, torch.bfloat16
# of d, of x, and of what their product is added to
DTYPES = [
    (FLOAT64, FLOAT64, FLOAT64),
    (FLOAT32, FLOAT32, FLOAT32),
    (FLOAT32, BFLOAT16, FLOAT32),  # the input of an upper layer
    (BFLOAT16, BFLOAT16, FLOAT32),  # the recurrence
]
PRECISE = {FLOAT64: 1e-14, FLOAT32: 1e-6, BFLOAT16: 6e-3}  # a product in bfloat16 is rounded to 8 bits


def streams_of(outer: PerStream, shape: tuple[int, ...], streams: int, dtype: torch.dtype) -> Tensor:
    """What it adds for each stream to a tensor of ones, (B, ...); for symbols, stored as its transpose."""
    out = torch.ones(streams, *shape, dtype=dtype)
    if isinstance(outer, OneHotOuter):
        out = torch.ones(streams, *shape[::-1], dtype=dtype).transpose(1, 2)
    outer.add_to(out, Scratch())
    return out.double() - 1


# --- each stream by itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d_dtype", "x_dtype", "dtype"), DTYPES)
def test_outer_is_the_product_over_time(d_dtype: torch.dtype, x_dtype: torch.dtype, dtype: torch.dtype) -> None:
    d, x = torch.randn(T, B, G).to(d_dtype), torch.randn(T, B, C).to(x_dtype)
    operand = BFLOAT16 if BFLOAT16 in (d_dtype, x_dtype) else dtype
    expected = torch.einsum("tbg,tbc->bgc", d.to(operand).double(), x.to(operand).double())
    assert error(streams_of(Outer(d, x), (G, C), B, dtype), expected) < PRECISE[operand]


def test_outer_reads_only_its_part_of_what_is_cut_from_a_tape() -> None:
    """As the cells hand it over: a gate of all gates, and characters from the middle."""
    d, x = torch.randn(3 * T, B, 3 * G, dtype=FLOAT64), torch.randn(3 * T, B, C, dtype=FLOAT64)
    d, x = d[T : 2 * T, :, G : 2 * G], x[T : 2 * T]
    assert error(streams_of(Outer(d, x), (G, C), B, FLOAT64), torch.einsum("tbg,tbc->bgc", d, x)) < 1e-14


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32])
def test_one_hot_outer_is_the_product_with_one_hot_vectors(dtype: torch.dtype) -> None:
    """Also of a symbol that comes again."""
    d, x = torch.randn(T, B, G).to(dtype), torch.tensor([[0, 1, 3], [2, 1, 3], [0, 1, 0], [0, 3, 2], [1, 1, 3]])
    expected = torch.einsum("tbg,tbc->bgc", d.double(), torch.nn.functional.one_hot(x, C).double())
    assert error(streams_of(OneHotOuter(d, x), (G, C), B, dtype), expected) < PRECISE[dtype]


@pytest.mark.parametrize("d_dtype", [FLOAT64, BFLOAT16])
def test_each_is_the_tensor_it_was_given(d_dtype: torch.dtype) -> None:
    d = torch.randn(B, G).to(d_dtype)
    assert error(streams_of(Each(d), (G,), B, FLOAT64), d.double()) < 1e-14


@pytest.mark.parametrize(("steps", "streams"), [(T, B), (1, B), (T, 1), (1, 1)])
@pytest.mark.parametrize(("d_dtype", "x_dtype", "dtype"), DTYPES)
@pytest.mark.parametrize("one_hot", [False, True], ids=["dense", "one-hot"])
def test_what_is_kept_does_not_follow_the_next_backward_pass(
    one_hot: bool, d_dtype: torch.dtype, x_dtype: torch.dtype, dtype: torch.dtype, steps: int, streams: int
) -> None:
    width, d = C, torch.randn(steps, streams, G).to(dtype if one_hot else d_dtype)
    x = torch.randint(width, (steps, streams)) if one_hot else torch.randn(steps, streams, width).to(x_dtype)
    outer = OneHotOuter(d, x) if one_hot else Outer(d, x)
    expected = streams_of(outer, (G, width), streams, dtype)
    assert expected.any()
    outer.keep(Scratch(), "kept")
    d.normal_()
    assert torch.equal(streams_of(outer, (G, width), streams, dtype), expected)
    other = OneHotOuter(d, x) if one_hot else Outer(d, x)
    assert not torch.equal(streams_of(other, (G, width), streams, dtype), expected)


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_influences_that_are_kept_outlive_another_pass_over_the_tape(cell: str, layers: int, steps: int) -> None:
    """As two parts of a state need it: what is kept of the first pass is read after the second."""
    model = make_model(cell, layers=layers)
    (x, _), state = random_text(model, steps, B), random_state(model, B)
    _, tape = model.forward(x, state)
    passed_on = torch.empty_like(state[0])
    for layer in range(layers):
        seeds = torch.randn(2, *state[0].shape, dtype=FLOAT64)
        model.backward_units(tape, layer, tape.segment, seeds[0], passed_on)
        kept = model.influences(tape, layer, tape.segment)
        shapes = {name: model.parameters.shapes[name] for name in kept}
        expected = {name: streams_of(kept[name], shape, B, FLOAT64) for name, shape in shapes.items()}
        scratch = Scratch()
        for name, influence in kept.items():
            influence.keep(scratch, name)
        model.backward_units(tape, layer, tape.segment, seeds[1], passed_on)
        after = model.influences(tape, layer, tape.segment)
        for name, shape in shapes.items():
            assert torch.equal(streams_of(kept[name], shape, B, FLOAT64), expected[name]), name
            assert not torch.equal(streams_of(after[name], shape, B, FLOAT64), expected[name]), name


# --- back through time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "carry", "steps"),
    [
        (Span(0, 1), (), [(None, "a")]),
        (Span(3, 4), (), [(None, "d")]),
        (Span(0, 4), (1.0, 0.0, 2.0), [(None, "d"), (2.0, "c"), (0.0, "b"), (1.0, "a")]),
        (Span(1, 4), (0.5, 3.0), [(None, "d"), (3.0, "c"), (0.5, "b")]),
        (Span(2, 2), (), None),
        (Span(0, 3), (1.0,), None),
        (Span(0, 3), (1.0, 1.0, 1.0), None),
    ],
)
def test_steps_come_from_the_last_with_the_factor_from_the_next(
    span: Span, carry: tuple[float, ...], steps: list[tuple[float | None, str]] | None
) -> None:
    """The factor at t is that between t and t + 1; another number of factors than T - 1 is an error."""
    if steps is not None:
        assert list(later([*"abcd"], span, carry)) == steps
    else:
        with pytest.raises(ValueError, match=r"zip\(\)"):
            list(later([*"abcd"], span, carry))


def recurrent(cell: str, diagonal: bool) -> tuple[Weights, LayerTape]:
    """The recurrent weights of one layer, at random, and a tape."""
    model = make_model(cell)
    w_hh = model.parameters.values["rnn.weight_hh_l0"]
    if diagonal and w_hh.dim() > 1:
        w_hh.view(-1, 5, 5).mul_(torch.eye(5))
    _, tape = model.forward(random_text(model, T)[0], model.zero_state(B))
    kinds = {"weight_hh": w_hh}
    return Weights(kinds, kinds), tape.layers[0]


@pytest.mark.parametrize("cell", CELLS)
def test_where_units_do_not_see_each_other_all_of_the_way_back_is_their_own(cell: str) -> None:
    weights, tape = recurrent(cell, diagonal=True)
    d = torch.randn(B, tape.gates.shape[-1], dtype=FLOAT64)
    expected = CELLS[cell].back(weights, tape)(d).clone()
    assert expected.any()
    assert error(CELLS[cell].own_back(weights, tape)(d), expected) < 1e-14


@pytest.mark.parametrize("d_dtype", [FLOAT64, BFLOAT16])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "elstm"])
def test_the_own_way_back_is_the_diagonal_of_each_block(cell: str, d_dtype: torch.dtype) -> None:
    """In the dtype of the weights whatever that of d, which is left as it is."""
    weights, tape = recurrent(cell, diagonal=False)
    gates = CELLS[cell].gates
    d = torch.randn(B, gates * 5).to(d_dtype)
    before = d.clone()
    ours = CELLS[cell].own_back(weights, tape)(d)
    blocks = weights.values["weight_hh"].view(gates, 5, 5)
    assert error(ours, torch.einsum("bgh,ghh->bh", d.double().view(B, gates, 5), blocks)) < 1e-14
    assert torch.equal(d, before)
    if d_dtype == FLOAT64:
        assert error(CELLS[cell].back(weights, tape)(d), ours) > 0.1, "the blocks are diagonal"
        assert error(CELLS[cell].back(weights, tape)(d), d @ weights.values["weight_hh"]) < 1e-14
