"""Each optimizer against torch.optim, with a learning rate and a beta2 that change from step to step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rnnbptt.model.parameters import Parameters
from rnnbptt.training.config import OPTIMIZER_NAMES
from rnnbptt.training.optimizers import PLAIN, Muon, evened, make_optimizer
from support.networks import EVERY_CELL, error, make_model

TORCH: dict[str, Callable[[torch.Tensor], torch.optim.Optimizer]] = {
    "adam": lambda p: torch.optim.Adam([p], eps=1e-8),
    "rmsprop": lambda p: torch.optim.RMSprop([p], eps=1e-8),
    "sgd": lambda p: torch.optim.SGD([p], momentum=0.9),
}


def trajectories(name: str, dtype: torch.dtype, steps: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Where `steps` steps on the same gradients lead: ours, torch's."""
    start = torch.randn(50, dtype=dtype)
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    optimizer, reference = PLAIN[name](ours), TORCH[name](theirs)
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
    assert (*PLAIN, "muon") == OPTIMIZER_NAMES == (*TORCH, "muon")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", PLAIN)
def test_twenty_steps_equal_torch(name: str, dtype: torch.dtype, tolerance: float) -> None:
    ours, theirs = trajectories(name, dtype)
    assert error(ours, theirs) < tolerance


@pytest.mark.parametrize("name", PLAIN)
def test_state_is_all_there_is_to_keep(name: str) -> None:
    flat, rng = torch.randn(50), torch.Generator()
    first = PLAIN[name](flat)
    for _ in range(3):
        first.step(flat, torch.randn(50, generator=rng), 0.1, 0.99)
    second, copy = PLAIN[name](flat), flat.clone()
    for part, tensor in first.state.items():
        second.state[part].copy_(tensor)
    for _ in range(3):
        grad = torch.randn(50, generator=rng)
        first.step(flat, grad.clone(), 0.1, 0.99)
        second.step(copy, grad.clone(), 0.1, 0.99)
    assert torch.equal(flat, copy)


@pytest.mark.parametrize("name", PLAIN)
def test_the_gradient_is_not_written(name: str) -> None:
    flat, grad = torch.randn(50), torch.randn(50)
    before = grad.clone()
    PLAIN[name](flat).step(flat, grad, 0.1, 0.99)
    assert torch.equal(grad, before)


# --- Muon -------------------------------------------------------------------------------------------------------------


def muon(cell: str, precision: str = "float32") -> tuple[Parameters, Muon]:
    parameters = make_model(cell, hidden=8, layers=2, precision=precision).parameters
    optimizer = make_optimizer("muon", parameters, 8)
    assert isinstance(optimizer, Muon)
    return parameters, optimizer


@pytest.mark.parametrize("cell", EVERY_CELL)
def test_muon_is_that_of_torch_for_matrices_and_adam_for_the_rest(cell: str) -> None:
    """torch computes in bfloat16, whatever it is given, and so do we here. Each gate's rows are a matrix of its own."""
    parameters, optimizer = muon(cell, "bfloat16")
    values = parameters.values.items()
    gates = {name: 8 if name.startswith("rnn.") and value.ndim == 2 else len(value) for name, value in values}
    theirs = {name: [torch.nn.Parameter(gate.clone()) for gate in value.split(gates[name])] for name, value in values}
    matrices = [name for name, value in values if gates[name] == 8 and value.ndim == 2]
    of_matrices = torch.optim.Muon(
        [gate for name in matrices for gate in theirs[name]], momentum=0.95, weight_decay=0.0, ns_steps=3
    )
    of_others = torch.optim.Adam([theirs[name][0] for name in theirs if name not in matrices], eps=1e-8)
    before = parameters.flat.clone()
    for step in range(5):
        lr, beta2 = 0.01 / (1 + step), 0.9 + 0.01 * step
        parameters.grad.normal_()
        for name, own in theirs.items():
            for gate, grad in zip(own, parameters.grads[name].split(gates[name]), strict=True):
                gate.grad = grad.clone(memory_format=torch.contiguous_format)
        of_matrices.param_groups[0]["lr"] = 8 * lr
        of_others.param_groups[0] |= {"lr": lr, "betas": (0.9, beta2)}
        optimizer.step(parameters.flat, parameters.grad, lr, beta2)
        of_matrices.step()
        of_others.step()
    for name, start in parameters.views(before).items():
        ours, reference = parameters.values[name] - start, torch.cat([gate.detach() for gate in theirs[name]]) - start
        assert error(ours, reference) < (0.05 if name in matrices else 1e-5), name  # of bfloat16
    of_a_layer = {"mingru": 1, "window": 1, "mogrifier": 3}.get(cell.partition(":")[0], 2)
    assert len(matrices) == 2 * of_a_layer


@pytest.mark.parametrize("shape", [(3, 20, 20), (4, 30, 7), (2, 7, 30)])
def test_only_the_singular_values_of_a_matrix_change_and_come_near_1(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, dtype=torch.float64) * 10.0 ** torch.arange(-2, 2 * shape[0] - 2, 2)[:, None, None]
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    values = before = values / values.square().sum(-1, keepdim=True).sqrt()
    for _ in range(3):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    assert error(evened(matrices, torch.float64), u @ torch.diag_embed(values) @ v) < 1e-4  # 1e-7 is added to the norm
    assert values[before > 0.02].min() > 0.6
    assert values.max() < 1.3


def test_the_state_of_muon_is_all_there_is_to_keep() -> None:
    parameters, first = muon("lstm")
    _, second = muon("lstm")
    grads = torch.randn(6, len(parameters.flat))
    for grad in grads[:3]:
        first.step(parameters.flat, grad, 0.01, 0.99)
    for name, tensor in first.state.items():
        second.state[name].copy_(tensor)
    before = parameters.flat.clone()
    for grad in grads[3:]:
        first.step(parameters.flat, grad, 0.01, 0.99)
    after = parameters.flat.clone()
    parameters.flat.copy_(before)
    for grad in grads[3:]:
        second.step(parameters.flat, grad, 0.01, 0.99)
    assert torch.equal(parameters.flat, after)
