"""How much a cut takes from the gradient, measured on an update."""

import math

import torch
from torch import Tensor

from rnnbptt.bptt.layers import Carry
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.tape import Tape


def relative_bias(network: CharRNN, tape: Tape, d_logits: Tensor, carry: Carry) -> float:
    """|g_k - g| / |g| for the losses of the later half of the segment, given by d_logits (T*B, V): g is their gradient
    back to the start of the segment, g_k the one that `carry` cuts, both of all parameters but the head's, which is
    never cut. 0 where there is no gradient, 1 where it is no finite number.

    `parameters.grad` is overwritten.
    """
    parameters, length = network.parameters, tape.segment.length
    later = d_logits.clone()
    later[: length // 2 * tape.streams] = 0
    layers = parameters.flat.numel() - sum(parameters.values[f"head.{name}"].numel() for name in ("weight", "bias"))
    network.backward(tape, later, length)
    whole = parameters.grad[:layers].clone()
    network.backward(tape, later, length, carry)
    lost, norm = (float(gradient.norm(dtype=torch.float64)) for gradient in (parameters.grad[:layers] - whole, whole))
    bias = lost / norm if norm else 0.0
    return bias if math.isfinite(bias) else 1.0
