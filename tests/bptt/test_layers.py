"""The parts of a model, one by one, against torch.nn.functional."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from rnnbptt.bptt.buffers import Scratch
from rnnbptt.bptt.layers import DenseInput, Head, OneHotInput, cross_entropy, drop
from rnnbptt.bptt.tape import Views
from rnnbptt.bptt.window import WindowInput
from rnnbptt.model.parameters import Parameters
from rnnbptt.model.precision import choose_precision
from support.networks import error

T, B, H, V, G = 4, 3, 5, 7, 6
CPU = torch.device("cpu")


def make_parameters(shapes: dict[str, tuple[int, ...]], transposed: str = "") -> Parameters:
    """At random, their gradients NaN: every one has to be written, none added to."""
    parameters = Parameters(shapes, frozenset({transposed}), choose_precision("float64", CPU), CPU)
    parameters.flat.normal_()
    parameters.grad.fill_(torch.nan)
    return parameters


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


# --- loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_cross_entropy_equals_torch(scale: float) -> None:
    logits, y = scale * random(T * B, V), torch.randint(V, (T, B))
    leaf = logits.clone().requires_grad_()
    functional.cross_entropy(leaf, y.flatten()).backward()
    place = logits.data_ptr()
    nats, d_logits = cross_entropy(logits, y)
    expected = functional.cross_entropy(leaf.detach(), y.flatten(), reduction="none").view(T, B)
    torch.testing.assert_close(nats, expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(d_logits, leaf.grad, rtol=1e-13, atol=1e-13)
    assert d_logits.data_ptr() == place, "not in the place of the logits"


def test_cross_entropy_in_float32_survives_logits_far_apart() -> None:
    nats, d_logits = cross_entropy(torch.tensor([[1e30, 0.0], [-1e4, 0.0]]), torch.tensor([[0], [0]]))
    assert nats.flatten().tolist() == [0, 1e4]
    assert d_logits.tolist() == [[0, 0], [-0.5, 0.5]]


# --- dropout ----------------------------------------------------------------------------------------------------------


def make_views(*shape: int) -> Views:
    """Only what dropout touches; no unit is 0 beforehand."""
    empty, h = torch.empty(0), torch.arange(1.0, math.prod(shape) + 1).view(shape)
    dropped = torch.full((shape[0] * shape[1], shape[2]), torch.nan)
    return Views(*[empty] * 3, h, empty, torch.full_like(h, torch.nan), dropped, *[empty] * 4)


@pytest.mark.parametrize("probability", [1e-5, 0.1, 0.25, 0.5, 0.9, 0.99999])
def test_drop_keeps_its_share_and_scales_the_rest(probability: float) -> None:
    views = make_views(128, 128, 127)  # so many that 1 in 65536 too few, or too many, would show
    dropped = drop(views, probability, torch.Generator().manual_seed(1))
    steps = min(round(probability * 65536), 65535)  # the threshold is one of 16 bits, and 1 would keep nothing
    kept = dropped != 0
    assert dropped is views.dropped
    assert torch.equal(dropped, (views.h_after * views.mask).flatten(0, 1))
    assert torch.equal(views.mask.unique(), torch.tensor([0, 65536 / (65536 - steps)]))
    p, n = 1 - steps / 65536, kept.numel()
    assert abs(float(kept.sum()) - n * p) < 4 * (n * p * (1 - p)) ** 0.5


def test_drop_treats_units_alike_and_apart() -> None:
    views = make_views(512, 16, 4)  # four draws to a random word
    drop(views, 0.5, torch.Generator().manual_seed(1))
    kept = (views.mask != 0).float().flatten(0, 1)
    assert (kept.mean(0) - 0.5).abs().max() < 0.025  # 4.5 standard deviations of a mean of 8192
    assert (torch.corrcoef(kept.t()) - torch.eye(4)).abs().max() < 0.05


def test_drop_is_determined_by_its_generator() -> None:
    views, rng = make_views(T, B, H), torch.Generator()
    masks = []
    for seed in (1, 1, 2):
        drop(views, 0.5, rng.manual_seed(seed))
        masks.append(views.mask.clone())
    drop(views, 0.5, rng)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[2], views.mask), "the generator did not move on"


# --- products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [0, 1, 3])
def test_one_hot_input_is_a_product_with_one_hot_vectors(window: int) -> None:
    parameters = make_parameters({"w": (G, V)}, transposed="w")
    layer, out = (WindowInput if window else OneHotInput)(parameters, "w"), random(5, G)
    x = torch.tensor([[1, 5, 6], [4, 5, 2], [1, 0, 1], [1, 2, 3], [0, 4, 6]])[:, : window or 1]
    one_hot, d_out, d_x = functional.one_hot(x, V).double().sum(1), random(5, G), random(5, H)
    x, untouched = x if window else x.flatten(), d_x.clone()
    layer.forward(x, out)
    torch.testing.assert_close(out, one_hot @ parameters.values["w"].t(), rtol=1e-14, atol=1e-14)
    for _ in range(2):
        layer.write_gradient(x, d_out)
        layer.down(d_out, d_x)
    assert error(parameters.grads["w"], d_out.t() @ one_hot) < 1e-14
    assert torch.equal(d_x, untouched)


@pytest.mark.parametrize("kind", ["one-hot", "dense"])
def test_what_is_added_is_the_gradient_of_each_stream_by_itself(kind: str) -> None:
    parameters = make_parameters({"w": (G, V)}, transposed="w" if kind == "one-hot" else "")
    d_out = random(T, B, G)
    layer = OneHotInput(parameters, "w") if kind == "one-hot" else DenseInput(parameters, "w", Scratch())
    x = torch.randint(V, (T, B)) if kind == "one-hot" else random(T, B, V)
    out = parameters.zeros("w", B).add_(1)
    layer.add_per_stream(out, x.flatten() if kind == "one-hot" else x.flatten(0, 1), d_out)
    for b in range(B):
        layer.write_gradient(x[:, b].contiguous(), d_out[:, b].contiguous())
        assert error(out[b] - 1, parameters.grads["w"]) < 1e-14


@pytest.mark.parametrize("head", [False, True], ids=["dense", "head"])
def test_linear_parts_equal_torch(head: bool) -> None:
    width = V if head else G
    parameters = make_parameters({"head.weight": (width, H), "head.bias": (width,)})
    weight, bias = (parameters.values[name].clone().requires_grad_() for name in ("head.weight", "head.bias"))
    x = random(T * B, H).requires_grad_()
    d_out, d_x = random(T * B, width), torch.full((T * B, H), torch.nan, dtype=torch.float64)
    expected = functional.linear(x, weight, bias if head else None)
    expected.backward(d_out)
    if head:
        layer = Head(parameters, Scratch())
        out = layer.forward(x.detach())
    else:
        layer, out = DenseInput(parameters, "head.weight", Scratch()), torch.empty_like(d_out)
        layer.forward(x.detach(), out)
    assert error(out, expected.detach()) < 1e-14
    for _ in range(2):
        layer.write_gradient(x.detach(), d_out)
        layer.down(d_out, d_x)
    assert error(d_x, x.grad) < 1e-14
    assert error(parameters.grads["head.weight"], weight.grad) < 1e-14
    if head:
        assert error(parameters.grads["head.bias"], bias.grad) < 1e-14
