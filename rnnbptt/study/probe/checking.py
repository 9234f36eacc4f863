"""A check of the written-out gradient that anyone can repeat: against autograd's and against finite differences, in
float64, with the decimals.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.model.reference import mean_loss

STEPS, STREAMS = 32, 2  # of the text that is checked, after as many characters of warm-up
ENTRIES = 4  # of each parameter whose finite difference is taken: the largest gradients, and as many at random
STEP = 1e-5  # of a finite difference: its square and the rounding of the loss divided by it are about equally small


@dataclass(frozen=True)
class Check:
    """The gradient of one parameter, in three ways.

    entry                    where it is largest; what it is there: written_out, autograd, finite_difference
    autograd_error           largest distance of the written-out gradient from autograd's, over all entries
    finite_difference_error  and from finite differences, over some entries; both relative to the largest gradient
    """

    parameter: str
    entry: tuple[int, ...]
    written_out: float
    autograd: float
    finite_difference: float
    autograd_error: float
    finite_difference_error: float


def check_gradient(model: CharRNN, x: Tensor, y: Tensor) -> list[Check]:
    """Check a float64 model on x, y (T, B): the mean loss of the last STEPS characters, after those before."""
    warm = max(0, len(x) - STEPS)
    with torch.no_grad():
        state = model.zero_state(x.shape[1])
        if warm:
            model.forward(x[:warm], state)
        model.tapes.forget(x.shape[1])
        logits, tape = model.forward(x[warm:], state.clone())
        model.backward(tape, cross_entropy(logits, y[warm:])[1])
    exact, rng = autograd(model, x[warm:], y[warm:], state), torch.Generator().manual_seed(0)
    checks = []
    for name, ours in model.parameters.grads.items():
        entries = _entries(ours, rng)
        slopes = [finite_difference(model, x[warm:], y[warm:], state, name, entry) for entry in entries]
        theirs, largest = exact[name], entries[0]
        scale = float(theirs.abs().max()) or 1.0  # 1: where no gradient comes at all
        off_theirs = float((ours - theirs).abs().max()) / scale
        off_slopes = max(abs(float(ours[entry]) - slope) for entry, slope in zip(entries, slopes, strict=True)) / scale
        at_largest = (float(ours[largest]), float(theirs[largest]), slopes[0])
        checks.append(Check(name, largest, *at_largest, off_theirs, off_slopes))
    return checks


def _entries(grad: Tensor, rng: torch.Generator) -> list[tuple[int, ...]]:
    """Where a gradient is largest, the largest first, and as many places at random."""
    flat = grad.flatten()
    chosen = [*flat.abs().topk(min(ENTRIES, len(flat))).indices, *torch.randint(len(flat), (ENTRIES,), generator=rng)]
    return [tuple(int(i) for i in torch.unravel_index(index, grad.shape)) for index in chosen]


def autograd(model: CharRNN, x: Tensor, y: Tensor, state: Tensor) -> dict[str, Tensor]:
    """The gradient of the mean loss as autograd has it of the plain equations, by parameter."""
    weights = {name: value.clone().requires_grad_() for name, value in model.parameters.values.items()}
    loss, _ = mean_loss(model.config, weights, x, y, state)
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


@torch.no_grad()
def finite_difference(model: CharRNN, x: Tensor, y: Tensor, state: Tensor, name: str, entry: tuple[int, ...]) -> float:
    """The slope of the mean loss from one step above to one below the entry of a parameter."""
    value, losses = model.parameters.values[name], []
    middle = float(value[entry])
    for side in (1, -1):
        value[entry] = middle + side * STEP
        logits, _ = model.forward(x, state.clone())
        losses.append(float(cross_entropy(logits, y)[0].mean()))
    value[entry] = middle
    return (losses[0] - losses[1]) / (2 * STEP)
