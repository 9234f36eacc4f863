"""Optimizers over the one flat tensor of parameters. torch's fused kernels, called without torch.optim's per-call
overhead, which at truncation 1 costs more than the update itself; the tests hold each against torch.optim.

Weight decay is decoupled (Loshchilov & Hutter 2019): taken off before the step, and off weights alone. A bias says how
long a unit remembers, not how much it fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from rnnbptt.parameters import Parameters


class Optimizer(Protocol):
    """One step moves the parameters along their gradient; `state` is what a checkpoint must keep."""

    state: dict[str, Tensor]

    def step(self, lr: float, beta2: float, decay: float) -> None:
        """Take one step with learning rate `lr`. `beta2` is the decay of the running mean of squared gradients, `decay`
        the share of the weights, per unit of `lr`, that is taken off first.
        """


class AdamW:
    """Adam: Kingma & Ba 2015."""

    def __init__(self, parameters: Parameters) -> None:
        flat = parameters.flat
        self.state = {
            "exp_avg": torch.zeros_like(flat),
            "exp_avg_sq": torch.zeros_like(flat),
            "step": torch.zeros((), dtype=torch.float32, device=flat.device),
        }
        buffers = (flat, parameters.grad, self.state["exp_avg"], self.state["exp_avg_sq"])
        weights, biases = parameters.weights_and_biases()
        self._weights = [[buffer[piece] for piece in weights] for buffer in buffers]
        self._biases = [[buffer[piece] for piece in biases] for buffer in buffers]

    def step(self, lr: float, beta2: float, decay: float) -> None:
        step = self.state["step"].add_(1)
        for tensors, weight_decay in ((self._weights, decay), (self._biases, 0.0)):
            torch._fused_adamw_(
                *(*tensors, [], [step] * len(tensors[0])),
                lr=lr,
                beta1=0.9,
                beta2=beta2,
                weight_decay=weight_decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )


class RMSprop:
    """Divide by the root of the running mean square: Tieleman & Hinton 2012, as torch.optim.RMSprop has it."""

    def __init__(self, parameters: Parameters) -> None:
        self._flat, self._grad, self._weights = parameters.flat, parameters.grad, _weights(parameters)
        self.state = {"square_avg": torch.zeros_like(parameters.flat)}

    def step(self, lr: float, beta2: float, decay: float) -> None:
        square_avg = self.state["square_avg"].mul_(beta2).addcmul_(self._grad, self._grad, value=1 - beta2)
        torch._foreach_mul_(self._weights, 1 - lr * decay)
        self._flat.addcdiv_(self._grad, square_avg.sqrt().add_(1e-8), value=-lr)


class SGD:
    """Stochastic gradient descent with momentum 0.9, as torch.optim.SGD has it."""

    def __init__(self, parameters: Parameters) -> None:
        self._flat, self._grad, self._weights = parameters.flat, parameters.grad, _weights(parameters)
        self.state = {"momentum": torch.zeros_like(parameters.flat)}

    def step(self, lr: float, beta2: float, decay: float) -> None:
        momentum = self.state["momentum"].mul_(0.9).add_(self._grad)
        torch._foreach_mul_(self._weights, 1 - lr * decay)
        self._flat.add_(momentum, alpha=-lr)


def _weights(parameters: Parameters) -> list[Tensor]:
    weights, _ = parameters.weights_and_biases()
    return [parameters.flat[piece] for piece in weights]


OPTIMIZERS: dict[str, Callable[[Parameters], Optimizer]] = {"adam": AdamW, "rmsprop": RMSprop, "sgd": SGD}
