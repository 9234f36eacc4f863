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


def test_a_mingru_is_a_mean_of_its_candidates_that_its_gates_weigh() -> None:
    """Unrolled: h = sum_t z_t h~_t prod_{s > t} (1 - z_s), and what is left of the state before."""
    model = make_model("mingru", hidden=5)
    (x, _), state, p = random_text(model, 9), random_state(model), model.parameters.values
    assert list(p) == ["rnn.weight_ih_l0", "rnn.bias_ih_l0", "head.weight", "head.bias"]
    inputs = p["rnn.weight_ih_l0"].t()[x] + p["rnn.bias_ih_l0"]
    z, candidates = inputs[..., :5].sigmoid(), inputs[..., 5:]
    left = torch.cat([(1 - z).flip(0).cumprod(0).flip(0), torch.ones(1, 3, 5)])  # after all from each character on
    _, after = ReferenceNetwork(model)(x, state)
    assert error(after.detach()[0, 0], left[0] * state[0, 0] + (left[1:] * z * candidates).sum(0)) < 1e-14
