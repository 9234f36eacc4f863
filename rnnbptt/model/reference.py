"""The same networks once more, in the fewest lines and for autograd: what the written-out gradients are held against.

Slow, and used for nothing but that. Names as in torch.nn's documentation.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, one_hot

from rnnbptt.model.config import ModelConfig

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


def _mogrifier(p: Mapping[str, Tensor], x: Tensor, state: Parts) -> Parts:
    h, c = state
    return _lstm(p, x, (2 * torch.sigmoid(linear(x, p["weight_r"])) * h, c))


def _elstm(p: Mapping[str, Tensor], x: Tensor, state: Parts) -> Parts:
    _, c = state
    (w_f, w_z), (i_f, i_z, i_o) = p["weight_hh"].chunk(2), linear(x, p["weight_ih"], p["bias_ih"]).chunk(3, -1)
    f = torch.sigmoid(i_f + w_f * c)
    c = f * c + (1 - f) * torch.tanh(i_z + w_z * c)
    return torch.sigmoid(i_o + linear(c, p["weight_co"])) * c, c


def _mingru(p: Mapping[str, Tensor], x: Tensor, state: Parts) -> Parts:
    (h,) = state
    i_z, candidate = linear(x, p["weight_ih"], p["bias_ih"]).chunk(2, -1)
    z = torch.sigmoid(i_z)
    return ((1 - z) * h + z * candidate,)


def _feed_forward(p: Mapping[str, Tensor], x: Tensor, state: Parts) -> Parts:
    return (torch.tanh(linear(x, p["weight_ih"], p["bias_ih"])),)


STEPS: dict[str, Step] = {
    "rnn": _rnn,
    "gru": _gru,
    "lstm": _lstm,
    "mogrifier": _mogrifier,
    "elstm": _elstm,
    "mingru": _mingru,
    "window": _feed_forward,
}


def _windows(x: Tensor, state: Tensor, symbols: int) -> tuple[list[Tensor], Tensor]:
    """For each of x (T, B) its one-hot vector and those of the characters before it, side by side, and the state after;
    what came before x is in `state` (N-1, 1, B, 1): symbol + 1, 0 where there was none, the oldest first.
    """
    before, inputs = list(state[:, 0, :, 0].long()), []
    for newest in x:
        older = [one_hot(character, symbols + 1) for character in reversed(before)]
        inputs.append(torch.cat([one_hot(newest, symbols), *older], -1))
        before = [*before, newest + 1][1:]
    return inputs, torch.stack(before)[:, None, :, None].to(state.dtype) if before else state


def logits_of(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    x: Tensor,
    state: Tensor,
    masks: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits (T*B, V) after each character of x (T, B), read from `state` (L, S, B, H), and the state after. For a
    window of N characters the state is (N-1, 1, B, 1), see `_windows`.

    `weights` are named as in a checkpoint, "rnn.weight_ih_l0" and so on; `masks` are those of dropout, one (T, B, H) a
    layer, none unless given.
    """
    layers = [
        {name[4 : -len(suffix)]: value for name, value in weights.items() if name.endswith(suffix)}
        for suffix in (f"_l{index}" for index in range(config.layers))
    ]
    if config.window:
        inputs, after = _windows(x, state, config.vocabulary)
        states: list[Parts] = [()] * config.layers
    else:
        inputs, states = list(one_hot(x, config.vocabulary)), [tuple(parts) for parts in state]
    step, logits = STEPS[config.cell.partition(":")[0]], []
    for t, out in enumerate(inputs):
        out = out.to(state.dtype)
        for index, parameters in enumerate(layers):
            states[index] = step(parameters, out, states[index])
            out = states[index][0] * (masks[index][t] if masks else 1)
        logits.append(linear(out, weights["head.weight"], weights["head.bias"]))
    if not config.window:
        after = torch.stack([torch.stack(parts) for parts in states])
    return torch.cat(logits), after


def mean_loss(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    state: Tensor,
    masks: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean nats per character of x, y (T, B), and the state after; the rest as for `logits_of`."""
    logits, after = logits_of(config, weights, x, state, masks)
    return cross_entropy(logits, y.flatten()), after
