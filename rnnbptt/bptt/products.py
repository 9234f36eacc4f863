"""Matrix products of operands that may be narrower than what comes out of them."""

from collections.abc import Callable

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
    return fits and count >= FEWEST and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def repeated(weight: Tensor, narrow: Tensor | None, count: int) -> Multiply:
    """The product with the transpose of a matrix W (N, K) that rests for so many of them: a (B, K) -> out (B, N), by
    way of `narrow` as for `product`.

    oneDNN brings W into an order of its own for each product, which with few rows takes a quarter of the time; here it
    is done once, where that pays. The bits are the same.
    """
    if narrow is None or not pays_to_pack(narrow, count):
        transposed = weight.t()
        return lambda out, a: product(out, a, transposed, narrow)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(narrow.dtype).contiguous(), len(narrow))
    multiply = torch.ops.mkldnn._linear_pointwise
    return lambda out, a: out.copy_(multiply(a, packed, None, "none", [], ""))
