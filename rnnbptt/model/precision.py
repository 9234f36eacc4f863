"""Where a model computes and with which dtypes: parameters and sums in one, operands of matrix products in another."""

from dataclasses import dataclass

import torch

from rnnbptt.errors import UserError

PRECISIONS = ("auto", "float32", "bfloat16", "float64")


@dataclass(frozen=True)
class Precision:
    """`float`: parameters, state, sums, optimizer. `operand`: what matrix products read."""

    float: torch.dtype
    operand: torch.dtype


def choose_precision(name: str, device: torch.device) -> Precision:
    """The dtypes for a `--precision`; "auto" takes bfloat16 operands where the processor multiplies them natively."""
    if name not in PRECISIONS:
        raise UserError(f"--precision {name}: unknown; give one of {', '.join(PRECISIONS)}")
    if name == "auto":
        name = "bfloat16" if _has_bfloat16(device) else "float32"
    if name == "bfloat16":
        return Precision(torch.float32, torch.bfloat16)
    dtype = torch.float64 if name == "float64" else torch.float32
    return Precision(dtype, dtype)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # torch emulates bfloat16 products on older processors, slower than float32: only the instruction itself counts
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


def choose_device(name: str) -> torch.device:
    """The torch device of that name; UserError where there is none here."""
    try:
        torch.Generator(device=torch.device(name))  # some devices hold tensors, but no numbers
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):  # torch says it in either way
        raise UserError(f"--device {name}: torch has no such device here; give cpu") from None
