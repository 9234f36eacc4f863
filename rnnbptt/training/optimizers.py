"""What moves the weights: clipping, weight decay, and optimizers over one flat parameter tensor.

The optimizers are torch's fused kernels, called without torch.optim's per-call overhead,
which at truncation 1 costs more than the update itself; the tests hold each against torch.optim.

The `state` of each is what a checkpoint must keep; `step` moves `flat` (P,) against the gradient `grad` (P,),
with learning rate `lr`; `beta2` is the decay of the running mean of squared gradients. kernels.py takes the same steps,
of which `count` is told.
"""

import math

import torch
from torch import Tensor

from rnnbptt.bptt.update import Means

DECAY_EVERY = 1000  # characters between two decays of the weights


def clip(grad: Tensor, longest: float) -> float:
    """The norm of the gradient (P,), which is shortened to `longest` where it is longer; 0: never."""
    norm = float(torch.linalg.vector_norm(grad))
    if 0 < longest < norm:
        grad.mul_(longest / norm)
    return norm


def kept_share(rate: float, before: int, after: int) -> float:
    """Decoupled weight decay (Loshchilov & Hutter 2019) for the characters from number `before` to `after`: the weights
    shrink to exp(-rate) once for each 1,000 of them. What they are to be multiplied by: 1 where it is not due.

    Not the biases: these say how long a unit remembers, not how much it fits. And not at each update: so all
    truncations have the same decay over a text, and a short update's own share is not lost in the rounding of float32.
    """
    return math.exp(-rate * (after // DECAY_EVERY - before // DECAY_EVERY))


class Adam:
    """Kingma & Ba 2015."""

    def __init__(self, flat: Tensor) -> None:
        self.state = {
            "exp_avg": torch.zeros_like(flat),
            "exp_avg_sq": torch.zeros_like(flat),
            "step": torch.zeros((), dtype=torch.float32, device=flat.device),
        }

    @property
    def means(self) -> Means:
        """Both, and the steps so far."""
        return Means("adam", self.state["exp_avg"], self.state["exp_avg_sq"], int(self.state["step"]))

    def count(self, steps: int) -> None:
        """So many were made elsewhere."""
        self.state["step"].add_(steps).clamp_(max=1 << 24)  # where adding 1 ends in float32

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        """Against the mean of the gradient, divided by the root of the mean of its square, both without bias."""
        means, squares, step = self.state["exp_avg"], self.state["exp_avg_sq"], self.state["step"]
        step.add_(1)
        torch._fused_adam_(
            *([flat], [grad], [means], [squares], [], [step]),
            lr=lr,
            beta1=0.9,
            beta2=beta2,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


class RMSprop:
    """Divide by the root of the running mean square: Tieleman & Hinton 2012, as torch.optim.RMSprop has it."""

    def __init__(self, flat: Tensor) -> None:
        self.state = {"square_avg": torch.zeros_like(flat)}

    @property
    def means(self) -> Means:
        """The one that it has."""
        return Means("rmsprop", self.state["square_avg"], self.state["square_avg"])

    def count(self, steps: int) -> None:
        """All its steps are alike."""

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        """Against the gradient, divided by the root of the mean of its square."""
        square_avg = self.state["square_avg"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        flat.addcdiv_(grad, square_avg.sqrt().add_(1e-8), value=-lr)


class SGD:
    """Stochastic gradient descent with momentum 0.9, as torch.optim.SGD has it."""

    def __init__(self, flat: Tensor) -> None:
        self.state = {"momentum": torch.zeros_like(flat)}

    @property
    def means(self) -> Means:
        """The one that it has."""
        return Means("sgd", self.state["momentum"], self.state["momentum"])

    def count(self, steps: int) -> None:
        """All its steps are alike."""

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        """Against the momentum; beta2 plays no part."""
        momentum = self.state["momentum"].mul_(0.9).add_(grad)
        flat.add_(momentum, alpha=-lr)


Optimizer = Adam | RMSprop | SGD
OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "rmsprop": RMSprop, "sgd": SGD}
