"""Each optimizer against torch.optim, with a learning rate and a beta2 that change from step to step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rnnbptt.training.config import OPTIMIZER_NAMES
from rnnbptt.training.optimizers import OPTIMIZERS
from support.networks import error

TORCH: dict[str, Callable[[torch.Tensor], torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.Adam([p], eps=1e-8),
    "rmsprop": lambda p: torch.optim.RMSprop([p], eps=1e-8),
    "sgd": lambda p: torch.optim.SGD([p], momentum=0.9),
}


def trajectories(name: str, dtype: torch.dtype, steps: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Where `steps` steps on the same gradients lead: ours, torch's."""
    start = torch.randn(50, dtype=dtype)
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    optimizer, reference = OPTIMIZERS[name](ours), TORCH[name](theirs)
    for step in range(steps):
        lr, beta2 = 0.1 / (1 + step), 0.9 + 0.004 * step
        grad = torch.randn(50, dtype=dtype) * 10.0 ** (step % 5 - 3)
        grad[:5] = 0
        optimizer.step(ours, grad.clone(), lr, beta2)
        (group,) = reference.param_groups
        group |= {"lr": lr, "betas": (0.9, beta2), "alpha": beta2}
        theirs.grad = grad
        reference.step()
    return ours, theirs.detach()


def test_every_optimizer_is_compared() -> None:
    assert tuple(OPTIMIZERS) == OPTIMIZER_NAMES == tuple(TORCH)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_equal_torch(name: str, dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = trajectories(name, dtype)
    assert error(ours, theirs) < tolerance


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_all_there_is_to_keep(name: str) -> None:
    flat, rng = torch.randn(50), torch.Generator()
    first = OPTIMIZERS[name](flat)
    for _ in range(3):
        first.step(flat, torch.randn(50, generator=rng), 0.1, 0.99)
    second, copy = OPTIMIZERS[name](flat), flat.clone()
    for part, tensor in first.state.items():
        second.state[part].copy_(tensor)
    for _ in range(3):
        grad = torch.randn(50, generator=rng)
        first.step(flat, grad.clone(), 0.1, 0.99)
        second.step(copy, grad.clone(), 0.1, 0.99)
    assert torch.equal(flat, copy)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_gradient_is_not_written(name: str) -> None:
    flat, grad = torch.randn(50), torch.randn(50)
    before = grad.clone()
    OPTIMIZERS[name](flat).step(flat, grad, 0.1, 0.99)
    assert torch.equal(grad, before)
