"""The same networks once more, in the fewest lines and for autograd: what the written-out gradients are held against.

Slow, and used for nothing but that. Names as in torch.nn's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, one_hot

from rnnbptt.config import ModelConfig

Parts = tuple[Tensor, ...]
Step = Callable[[Mapping[str, Tensor], Tensor, Parts], Parts]


def _rnn(p: Mapping[str, Tensor], x: Tensor, state: Parts) -> Parts:
    (h,) = state
    return (torch.tanh(linear(x, p["weight_ih"], p["bias_ih"]) + linear(h, p["weight_hh"], p["bias_hh"])),)


def _gru(p: Mapping[str, Tensor], x: Tensor, state: Parts) -> Parts:
    (h,) = state
    i_r, i_z, i_n = linear(x, p["weight_ih"], p["bias_ih"]).chunk(3, -1)
    h_r, h_z, h_n = linear(h, p["weight_hh"], p["bias_hh"]).chunk(3, -1)
    z = torch.sigmoid(i_z + h_z)
    return ((1 - z) * torch.tanh(i_n + torch.sigmoid(i_r + h_r) * h_n) + z * h,)


def _lstm(p: Mapping[str, Tensor], x: Tensor, state: Parts) -> Parts:
    h, c = state
    i, f, g, o = (linear(x, p["weight_ih"], p["bias_ih"]) + linear(h, p["weight_hh"], p["bias_hh"])).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _elstm(p: Mapping[str, Tensor], x: Tensor, state: Parts) -> Parts:
    _, c = state
    (w_f, w_z), (i_f, i_z, i_o) = p["weight_hh"].chunk(2), linear(x, p["weight_ih"], p["bias_ih"]).chunk(3, -1)
    f = torch.sigmoid(i_f + w_f * c)
    c = f * c + (1 - f) * torch.tanh(i_z + w_z * c)
    return torch.sigmoid(i_o + linear(c, p["weight_co"])) * c, c


STEPS: dict[str, Step] = {"rnn": _rnn, "gru": _gru, "lstm": _lstm, "elstm": _elstm}


def mean_loss(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    state: Tensor,
    masks: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean nats per character of x, y (T, B) from `state` (L, S, B, H), and the state after.

    `weights` are named as in a checkpoint, "rnn.weight_ih_l0" and so on; `masks` are those of dropout, one (T, B, H) a
    layer, none unless given.
    """
    layers = [
        {name[4 : -len(suffix)]: value for name, value in weights.items() if name.endswith(suffix)}
        for suffix in (f"_l{index}" for index in range(config.layers))
    ]
    states = [tuple(parts) for parts in state]
    logits = []
    for t, symbols in enumerate(x):
        out = one_hot(symbols, config.vocabulary).to(state.dtype)
        for index, parameters in enumerate(layers):
            states[index] = STEPS[config.cell](parameters, out, states[index])
            out = states[index][0] * (masks[index][t] if masks else 1)
        logits.append(linear(out, weights["head.weight"], weights["head.bias"]))
    return cross_entropy(torch.cat(logits), y.flatten()), torch.stack([torch.stack(parts) for parts in states])
