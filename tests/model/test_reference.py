"""The reference for autograd against torch.nn."""

from __future__ import annotations

import pytest
import torch

from support.networks import ReferenceNetwork, TorchNetwork, error, make_model, random_state, random_text


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", TorchNetwork.CELLS)
def test_loss_state_and_gradient_equal_those_of_torch(cell: str, layers: int) -> None:
    model = make_model(cell, layers=layers)
    (x, y), state = random_text(model, 9), random_state(model)
    ours, theirs = ReferenceNetwork(model), TorchNetwork(model)
    (loss, after), (expected, expected_after) = (network.loss(x, y, state) for network in (ours, theirs))
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(after, expected_after, rtol=1e-12, atol=1e-14)
    for network_loss in (loss, expected):
        network_loss.backward()
    grads = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert error(parameter.grad, grads[name].grad) < 1e-12, name
