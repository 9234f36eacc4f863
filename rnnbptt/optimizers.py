"""Optimizers over one flat parameter tensor. torch's fused kernels, called without torch.optim's per-call overhead,
which at truncation 1 costs more than the update itself; the tests hold each against torch.optim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """One step moves `flat` (P,) along `grad` (P,); `state` is what a checkpoint must keep."""

    state: dict[str, Tensor]

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        """Take one step with learning rate `lr`; `beta2` is the decay of the running mean of squared gradients."""


class AdamW:
    """Adam with decoupled weight decay: Kingma & Ba 2015, Loshchilov & Hutter 2019."""

    def __init__(self, flat: Tensor, weight_decay: float) -> None:
        self._decay = weight_decay
        self.state = {
            "exp_avg": torch.zeros_like(flat),
            "exp_avg_sq": torch.zeros_like(flat),
            "step": torch.zeros((), dtype=torch.float32, device=flat.device),
        }

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        means, squares, step = self.state["exp_avg"], self.state["exp_avg_sq"], self.state["step"]
        step.add_(1)
        torch._fused_adamw_(
            *([flat], [grad], [means], [squares], [], [step]),
            lr=lr,
            beta1=0.9,
            beta2=beta2,
            weight_decay=self._decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


class RMSprop:
    """Divide by the root of the running mean square: Tieleman & Hinton 2012, as torch.optim.RMSprop has it, with
    decoupled weight decay.
    """

    def __init__(self, flat: Tensor, weight_decay: float) -> None:
        self._decay = weight_decay
        self.state = {"square_avg": torch.zeros_like(flat)}

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        square_avg = self.state["square_avg"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        flat.mul_(1 - lr * self._decay).addcdiv_(grad, square_avg.sqrt().add_(1e-8), value=-lr)


class SGD:
    """Stochastic gradient descent with momentum 0.9, as torch.optim.SGD has it, with decoupled weight decay."""

    def __init__(self, flat: Tensor, weight_decay: float) -> None:
        self._decay = weight_decay
        self.state = {"momentum": torch.zeros_like(flat)}

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        momentum = self.state["momentum"].mul_(0.9).add_(grad)
        flat.mul_(1 - lr * self._decay).add_(momentum, alpha=-lr)


OPTIMIZERS: dict[str, Callable[[Tensor, float], Optimizer]] = {"adam": AdamW, "rmsprop": RMSprop, "sgd": SGD}
