"""Buffers that grow, and products in them."""

from __future__ import annotations

import pytest
import torch

from rnnbptt.bptt.buffers import Scratch
from support.networks import error

T, H, G = 4, 5, 6


def test_it_hands_out_one_buffer_that_grows() -> None:
    scratch, like = Scratch(), torch.empty(0)
    small = scratch.get("a", (2, 3), like)
    large = scratch.get("a", (4, 3), like)
    assert (small.shape, large.shape, small.dtype) == ((2, 3), (4, 3), torch.float32)
    assert large.data_ptr() != small.data_ptr()
    assert scratch.get("a", (3, 2), like).data_ptr() == large.data_ptr()
    others = [scratch.get("b", (4, 3), like), scratch.get("a", (4, 3), like, torch.float64)]
    assert len({large.data_ptr(), *(other.data_ptr() for other in others)}) == 3
    assert others[1].dtype == torch.float64


@pytest.mark.parametrize("operand", [torch.float32, torch.bfloat16])
def test_it_multiplies_operands_into_a_wider_result(operand: torch.dtype) -> None:
    a, b, out = torch.randn(T, H).to(operand), torch.randn(H, G).to(operand), torch.full((T, G), torch.nan)
    Scratch().product(out, a, b)
    assert error(out, a.float() @ b.float()) < (1e-6 if operand == torch.float32 else 4e-3)


def test_it_converts_operands_only_where_it_must() -> None:
    tensor = torch.randn(T, H)
    assert Scratch().operand(tensor, torch.float32) is tensor
    assert torch.equal(Scratch().operand(tensor, torch.bfloat16), tensor.bfloat16())
