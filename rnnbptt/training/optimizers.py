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
from rnnbptt.model.parameters import Parameters

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
        _adam([flat], [grad], [self.state["exp_avg"]], [self.state["exp_avg_sq"]], self.state["step"], lr, beta2)


def _adam(
    weights: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    step: Tensor,
    lr: float,
    beta2: float,
) -> None:
    """The fused kernel; `step` is that of all of them."""
    step.add_(1)
    torch._fused_adam_(
        *(weights, gradients, means, squares, [], [step] * len(weights)),
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


class Muon:
    """Jordan et al. 2024: the matrices of the layers, W_ih, W_hh and others, move nearly as much in all directions. The
    rest, biases, vectors and the head, is Adam's.

    Of the gradient of each gate's own H rows, with momentum as Nesterov has it, the singular values are evened out. The
    rate is `RATE` times Adam's, times the root of rows / columns where there are fewer columns. That takes some 9 H^3
    multiplications a gate: little beside many characters, much beside few.
    """

    MOMENTUM = 0.95
    RATE = 8

    def __init__(self, parameters: Parameters, hidden: int) -> None:
        self._parameters, self._hidden = parameters, hidden
        of_layers = {name: shape for name, shape in parameters.shapes.items() if name.startswith("rnn.")}
        self._matrices = [name for name, shape in of_layers.items() if len(shape) == 2]
        flat = parameters.flat
        self.state = {"momentum": torch.zeros_like(flat), **Adam(flat).state}

    def step(self, flat: Tensor, grad: Tensor, lr: float, beta2: float) -> None:
        """The matrices against their evened gradient and its momentum, the rest as Adam does."""
        weights, gradients, momenta, means, squares = (
            self._parameters.views(buffer)
            for buffer in (flat, grad, *(self.state[name] for name in ("momentum", "exp_avg", "exp_avg_sq")))
        )
        for name in self._matrices:
            momentum = momenta[name].lerp_(gradients[name], 1 - self.MOMENTUM)
            columns = momentum.shape[1]
            gates = gradients[name].lerp(momentum, self.MOMENTUM).reshape(-1, self._hidden, columns)
            rate = self.RATE * lr * max(1.0, self._hidden / columns) ** 0.5
            weights[name].sub_(evened(gates, self._parameters.operand).flatten(0, 1), alpha=rate)
        rest = [name for name in weights if name not in self._matrices]
        w, g, m, v = ([views[name] for name in rest] for views in (weights, gradients, means, squares))
        _adam(w, g, m, v, self.state["step"], lr, beta2)


def evened(matrices: Tensor, operand: torch.dtype) -> Tensor:
    """U f(S) V^T of each of these matrices U S V^T, (N, R, C), divided by its norm; f is a polynomial, three times
    over, that takes singular values from 0.02 to 1 to some between 0.6 and 1.2 (Newton-Schulz; its coefficients are
    Jordan's, who applies it five times: by three, here, the loss fell as fast). `operand` is the type of the products'
    operands.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
    x = wide.to(operand)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(3):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # a x + (b g + c g g) x
    found: Tensor = x if wide is matrices else x.mT
    return found.to(matrices.dtype)


Optimizer = Adam | RMSprop | SGD | Muon
PLAIN: dict[str, type[Adam | RMSprop | SGD]] = {"adam": Adam, "rmsprop": RMSprop, "sgd": SGD}


def make_optimizer(name: str, parameters: Parameters, hidden: int) -> Optimizer:
    """Of that name, for the parameters of layers of so many units."""
    return Muon(parameters, hidden) if name == "muon" else PLAIN[name](parameters.flat)
