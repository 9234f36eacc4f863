"""Each optimizer against torch.optim, with a learning rate and a beta2 that change from step to step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import error

from rnnbptt.config import OPTIMIZER_NAMES
from rnnbptt.optimizers import OPTIMIZERS
from rnnbptt.parameters import Parameters, Precision

TORCH: dict[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.AdamW(p, eps=1e-8, weight_decay=0),
    "rmsprop": lambda p: torch.optim.RMSprop(p, eps=1e-8),
    "sgd": lambda p: torch.optim.SGD(p, momentum=0.9),
}
SHAPES = {"weight_a": (8, 3), "bias_a": (8,), "weight_b": (4,), "bias_b": (14,)}


def make_parameters(flat: torch.Tensor) -> Parameters:
    """Parameters with a copy of these values."""
    return Parameters(SHAPES, frozenset({"weight_a"}), Precision(flat.dtype, flat.dtype), flat.device, flat.clone())


def trajectories(name: str, decay: float, dtype: torch.dtype, steps: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Where `steps` steps on the same gradients lead: ours, torch's. Decoupled decay shrinks weights before a step."""
    parameters = make_parameters(torch.randn(50, dtype=dtype))
    theirs = {key: torch.nn.Parameter(value.clone()) for key, value in parameters.values.items()}
    optimizer, reference = OPTIMIZERS[name](parameters), TORCH[name](list(theirs.values()))
    for step in range(steps):
        lr, beta2 = 0.1 / (1 + step), 0.9 + 0.004 * step
        parameters.grad.copy_(torch.randn(50, dtype=dtype) * 10.0 ** (step % 5 - 3))
        parameters.grad[:5] = 0
        (group,) = reference.param_groups
        group |= {"lr": lr, "betas": (0.9, beta2), "alpha": beta2}
        for key, tensor in theirs.items():
            tensor.grad = parameters.grads[key].clone()
            if key.startswith("weight"):
                tensor.data.mul_(1 - lr * decay)
        optimizer.step(lr, beta2, decay)
        reference.step()
    return parameters.flat, flat_of(theirs)


def flat_of(tensors: dict[str, torch.nn.Parameter]) -> torch.Tensor:
    """The flat tensor of these values."""
    parameters = make_parameters(torch.zeros(50, dtype=tensors["weight_a"].dtype))
    parameters.load({key: tensor.detach() for key, tensor in tensors.items()})
    return parameters.flat


def test_every_optimizer_is_compared() -> None:
    assert tuple(OPTIMIZERS) == OPTIMIZER_NAMES == tuple(TORCH)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_equal_torch(name: str, dtype: torch.dtype, tolerance: float, decay: float) -> None:
    ours, theirs = trajectories(name, decay, dtype)
    assert error(ours, theirs) < tolerance


def test_weight_decay_of_adam_is_that_of_adamw() -> None:
    parameters = make_parameters(torch.randn(50, dtype=torch.float64))
    theirs = {key: torch.nn.Parameter(value.clone()) for key, value in parameters.values.items()}
    weights, biases = ([theirs[key] for key in SHAPES if key.startswith(kind)] for kind in ("weight", "bias"))
    groups = [{"params": weights, "weight_decay": 0.3}, {"params": biases, "weight_decay": 0.0}]
    reference, optimizer = torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.99)), OPTIMIZERS["adam"](parameters)
    parameters.grad.copy_(torch.randn(50, dtype=torch.float64))
    for _ in range(20):
        optimizer.step(0.1, 0.99, 0.3)
        for key, tensor in theirs.items():
            tensor.grad = parameters.grads[key].clone()
        reference.step()
    assert error(parameters.flat, flat_of(theirs)) < 1e-12


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_all_there_is_to_keep(name: str) -> None:
    parameters = make_parameters(torch.randn(50))
    first = OPTIMIZERS[name](parameters)
    for _ in range(3):
        parameters.grad.copy_(torch.randn(50))
        first.step(0.1, 0.99, 0.1)
    copy = make_parameters(parameters.flat)
    second = OPTIMIZERS[name](copy)
    for part, tensor in first.state.items():
        second.state[part].copy_(tensor)
    for _ in range(3):
        parameters.grad.copy_(torch.randn(50))
        copy.grad.copy_(parameters.grad)
        first.step(0.1, 0.99, 0.1)
        second.step(0.1, 0.99, 0.1)
    assert torch.equal(parameters.flat, copy.flat)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_gradient_is_not_written(name: str) -> None:
    parameters = make_parameters(torch.randn(50))
    parameters.grad.copy_(torch.randn(50))
    before = parameters.grad.clone()
    OPTIMIZERS[name](parameters).step(0.1, 0.99, 0.1)
    assert torch.equal(parameters.grad, before)
