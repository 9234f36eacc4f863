"""What the configuration of a model says of sizes: its parameters and its state, before any number is computed.

Axes: H hidden units, G = gates x H, V symbols, L layers, S tensors of a state, B streams, N characters of a window.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rnnbptt.errors import UserError, check_bytes
from rnnbptt.model.config import ModelConfig
from rnnbptt.model.precision import Precision

Shapes = Mapping[str, tuple[int, ...]]


# Matrices of the first layer with a column for each symbol, stored the other way round: see OneHotInput
OF_SYMBOLS = frozenset({"rnn.weight_ih_l0", "rnn.weight_r_l0"})
LONGEST_MEMORY = 1024  # characters after which the slowest unit of a fresh elstm or mingru layer keeps 1/e of its state


def input_columns(config: ModelConfig) -> int:
    """Columns of the first layer's W_ih: one a symbol. Of a window: one for each symbol that the newest character may
    be, then, for each older one, a column for "no character, the text begins later" and one for each symbol.
    """
    return max(1, config.window) * (config.vocabulary + 1) - 1


def recurrent_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The parameters of a layer that act on its own state, by kind: W_hh and b_hh as torch.nn has them; of an elstm,
    w_f and w_z one after the other, and W_co; of a mingru or a window none.
    """
    hidden, rows = config.hidden, config.sizes.gates * config.hidden
    if config.window or config.cell == "mingru":
        return {}
    if config.cell == "elstm":
        return {"weight_hh": (2 * hidden,), "weight_co": (hidden, hidden)}
    return {"weight_hh": (rows, hidden), "bias_hh": (rows,)}


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter; below "rnn." the names of torch.nn.RNN, GRU, LSTM (where they have one), below "head."
    those of Linear.
    """
    rows = config.sizes.gates * config.hidden
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(config.layers):
        columns = config.hidden if layer else input_columns(config)
        kinds = {"weight_ih": (rows, columns), "bias_ih": (rows,), **recurrent_shapes(config)}
        if config.cell == "mogrifier":
            kinds["weight_r"] = (config.hidden, columns)  # R, see gated.py
        for kind in sorted(kinds, key=lambda kind: "bias" in kind):  # in torch's order, the biases last
            shapes[f"rnn.{kind}_l{layer}"] = kinds[kind]
    shapes["head.weight"] = (config.vocabulary, config.hidden)
    shapes["head.bias"] = (config.vocabulary,)
    return shapes


def check_size(config: ModelConfig, precision: Precision) -> None:
    """UserError where the parameters, their gradient and their copy for products are more than the machine can hold."""
    numbers = sum(map(math.prod, parameter_shapes(config).values()))
    size = numbers * (2 * precision.float.itemsize + precision.operand.itemsize)
    what = f"a model of {config.layers:,} x {config.hidden:,} units and {config.vocabulary:,} symbols"
    check_bytes(size, what, "give less --hidden or fewer --layers")


def check_tensor(name: str, tensor: Tensor, shape: Sequence[int], *dtypes: torch.dtype) -> None:
    """UserError unless a tensor that somebody gave has this shape, one of these dtypes, and only finite numbers."""
    if tuple(tensor.shape) != tuple(shape):
        raise UserError(f"{name!r} has shape {tuple(tensor.shape)}, the model wants {tuple(shape)}")
    if tensor.dtype not in dtypes:
        wanted = " or ".join(map(_plain, dtypes))
        raise UserError(f"{name!r} has numbers of type {_plain(tensor.dtype)}, the model wants {wanted}")
    if tensor.is_floating_point() and not tensor.float().isfinite().all():  # in float32, whatever they are kept in
        raise UserError(f"{name!r} has numbers that are not finite")


def copy_checked(name: str, target: Tensor, tensors: Mapping[str, Tensor]) -> None:
    """Copy one of the tensors where it has the target's shape and dtype; KeyError without it, UserError otherwise."""
    check_tensor(name, tensors[name], target.shape, target.dtype)
    target.copy_(tensors[name])


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def initial_bias(config: ModelConfig) -> Tensor:
    """b_ih of a fresh layer, (G,): zero, but for what says how long a unit remembers.

    The forget gates of an LSTM and a mogrifier start open (Gers et al. 2000). The gates of an elstm and a mingru give
    their units time constants tau spread evenly on a logarithmic scale from 2 characters on: f = 1 - 1/tau, z = 1/tau.
    """
    hidden = config.hidden
    bias = torch.zeros(config.sizes.gates * hidden)
    if config.cell in ("lstm", "mogrifier"):
        bias[hidden : 2 * hidden] = 1
    elif config.cell in ("elstm", "mingru"):
        tau = torch.logspace(math.log(2), math.log(LONGEST_MEMORY), hidden, base=math.e)
        bias[:hidden] = torch.log(tau - 1) if config.cell == "elstm" else -torch.log(tau - 1)
    return bias


def update_flops(shapes: Shapes, chars: int, depth: int, carried: int, losses: int, again: int) -> float:
    """Floating-point operations of an update's matrix products, 2 a weight and character in each.

    Forward and head: for the new `chars` of all streams; forward without the head: also for those read `again`.
    Gradients of the head: for the `losses` gone back from; of the layers: for the `depth` characters gone back through.
    The product that carries the gradient one step back in time: for those `carried`, so that truncation 1 has none; for
    all gone back through, where gates of the state get their gradient by it. The first layer's inputs are look-ups.
    """

    def weights(*kinds: str) -> int:
        found = (name for name in shapes.keys() - OF_SYMBOLS if any(kind in name for kind in kinds))
        return sum(math.prod(shapes[name]) for name in found)

    recurrent, head = weights("weight_hh"), weights("head.weight")
    layers = weights("weight_ih", "weight_co", "weight_r")
    if "rnn.weight_r_l0" in shapes:
        carried = depth
    forward = chars * (recurrent + layers + head) + again * (recurrent + layers)
    return 2.0 * (forward + 2 * losses * head + depth * (recurrent + 2 * layers) + carried * recurrent)
