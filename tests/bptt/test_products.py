"""Products with a matrix that rests, packed or not."""

from __future__ import annotations

import pytest
import torch

from rnnbptt.bptt.products import FEWEST, _can_pack, add_rows, pays_to_pack, repeated


@pytest.mark.parametrize("rows", [1, 3, 16])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_packed_matrix_gives_the_same(rows: int, transposed: bool) -> None:
    """By far the most bits, in any case: how oneDNN adds up is its own matter."""
    torch.manual_seed(0)
    weight, a = torch.randn(96, 40), torch.randn(rows, 40).bfloat16()
    if transposed:
        weight = weight.t().contiguous().t()
    narrow = torch.empty(rows, 96, dtype=torch.bfloat16)
    exact = a.double() @ weight.bfloat16().double().t()
    outs = []
    for count in (1, FEWEST):
        assert pays_to_pack(narrow, count) == (count == FEWEST and _can_pack())
        out = torch.empty(rows, 96)
        assert repeated(weight.bfloat16(), narrow, count)(out, a) is out
        assert (out - exact).norm() / exact.norm() < 3e-3
        outs.append(out)
    assert (outs[0] == outs[1]).float().mean() > 0.99


def test_what_has_no_narrow_operands_is_not_packed() -> None:
    assert not pays_to_pack(None, 1000)
    assert not pays_to_pack(torch.empty(3, 4), 1000)
    weight, a = torch.randn(5, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    out = torch.empty(3, 5, dtype=torch.float64)
    assert torch.allclose(repeated(weight, None, 1000)(out, a), a @ weight.t(), rtol=1e-14)


def test_rows_are_added_in_turn() -> None:
    """As a loop adds them, to the bit; a row may be met many times, or never."""
    torch.manual_seed(0)
    rows, d = torch.randint(5, (64,)), torch.randn(64, 7)
    out, looped = torch.ones(6, 7), torch.ones(6, 7)
    add_rows(out, rows, d)
    for row, d_row in zip(rows, d, strict=True):
        looped[row] += d_row
    assert torch.equal(out, looped)
