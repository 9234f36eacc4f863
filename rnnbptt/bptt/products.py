"""Matrix products of operands that may be narrower than what comes out of them."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Multiply = Callable[[Tensor, Tensor], Tensor]  # out, a -> out = a W^T

FEWEST = 32  # products for which a matrix is packed: packing takes as long as 5 to 25 of them save


def product(out: Tensor, a: Tensor, b: Tensor, narrow: Tensor | None) -> Tensor:
    """out = a @ b; where `out` has a wider dtype than the operands by way of `narrow`, a buffer like it of theirs."""
    if narrow is None:
        return torch.mm(a, b, out=out)
    return out.copy_(torch.mm(a, b, out=narrow))


def pays_to_pack(narrow: Tensor | None, count: int) -> bool:
    """Whether `repeated` packs its matrix for so many products: of bfloat16, on a processor, with oneDNN."""
    fits = narrow is not None and narrow.dtype == torch.bfloat16 and narrow.device.type == "cpu"
    return fits and count >= FEWEST and _can_pack()


@cache
def _can_pack() -> bool:
    """Whether oneDNN does it on this processor: torch says so in no other way."""
    try:
        one = torch.ones(16, 16, dtype=torch.bfloat16)
        _multiply(one, _pack(one, 16))
    except (RuntimeError, AttributeError):  # not on this processor; not in this torch
        return False
    return True


def _pack(weight: Tensor, rows: int) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return packed


def _multiply(a: Tensor, packed: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")
    return out


def repeated(weight: Tensor, narrow: Tensor | None, count: int) -> Multiply:
    """The product with the transpose of a matrix W (N, K) that rests for so many of them: a (B, K) -> out (B, N), by
    way of `narrow` as for `product`.

    oneDNN brings W into an order of its own for each product, which with few rows takes a quarter of the time; here it
    is done once, where that pays.
    """
    if narrow is None or not pays_to_pack(narrow, count):
        transposed = weight.t()
        return lambda out, a: product(out, a, transposed, narrow)
    packed = _pack(weight.to(narrow.dtype).contiguous(), len(narrow))
    return lambda out, a: out.copy_(_multiply(a, packed))


def add_rows(out: Tensor, rows: Tensor, d: Tensor) -> None:
    """out[rows[n]] += d[n] for each n in turn: out (V, G), rows (N,), d (N, G).

    A GPU's `index_add_` adds in whatever order its threads come, so that no two runs have the same bits; its
    `index_put_` sorts the rows first.
    """
    if out.is_cuda:
        out.index_put_((rows,), d, accumulate=True)
    else:
        out.index_add_(0, rows, d)
