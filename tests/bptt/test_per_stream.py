"""Gradients for each stream by itself, against the same sums written with einsum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.per_stream import add_one_hot_outer, add_outer
from support.networks import error

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


def outer(d: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added for each stream to a tensor of ones, (B, G, C)."""
    out = torch.ones(d.shape[1], d.shape[2], x.shape[2], dtype=dtype)
    add_outer(out, d, x, Scratch())
    return out.double() - 1


@pytest.mark.parametrize(("d_dtype", "x_dtype", "dtype"), DTYPES)
def test_outer_is_the_product_over_time(d_dtype: torch.dtype, x_dtype: torch.dtype, dtype: torch.dtype) -> None:
    d, x = torch.randn(T, B, G).to(d_dtype), torch.randn(T, B, C).to(x_dtype)
    operand = BFLOAT16 if BFLOAT16 in (d_dtype, x_dtype) else dtype
    expected = torch.einsum("tbg,tbc->bgc", d.to(operand).double(), x.to(operand).double())
    assert error(outer(d, x, dtype), expected) < PRECISE[operand]


def test_outer_reads_only_its_part_of_what_is_cut_from_a_tape() -> None:
    """As the cells hand it over: a gate of all gates, and characters from the middle."""
    d, x = torch.randn(3 * T, B, 3 * G, dtype=FLOAT64), torch.randn(3 * T, B, C, dtype=FLOAT64)
    d, x = d[T : 2 * T, :, G : 2 * G], x[T : 2 * T]
    assert error(outer(d, x, FLOAT64), torch.einsum("tbg,tbc->bgc", d, x)) < 1e-14


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32])
def test_one_hot_outer_is_the_product_with_one_hot_vectors(dtype: torch.dtype) -> None:
    """Also of a symbol that comes again."""
    d, x = torch.randn(T, B, G).to(dtype), torch.tensor([[0, 1, 3], [2, 1, 3], [0, 1, 0], [0, 3, 2], [1, 1, 3]])
    out = torch.ones(B, C, G, dtype=dtype).transpose(1, 2)
    add_one_hot_outer(out, d, x)
    expected = torch.einsum("tbg,tbc->bgc", d.double(), torch.nn.functional.one_hot(x, C).double())
    assert error(out.double() - 1, expected) < PRECISE[dtype]
