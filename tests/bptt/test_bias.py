"""What a cut takes from the gradient, against autograd with a cut graph."""

from __future__ import annotations

import pytest
import torch

from rnnbptt.bptt.bias import relative_bias
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.truncation.plan import pieces
from support.networks import TorchNetwork, make_model, random_state, random_text

T, K = 12, 3


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_it_is_that_of_autograd_for_the_later_half_of_the_losses(cell: str, layers: int) -> None:
    torch.manual_seed(0)
    model = make_model(cell, layers=layers)
    x, y = random_text(model, T)
    start = random_state(model)
    network = TorchNetwork(model)
    gradients = []
    for cut in (T, K):
        state, losses = start.clone(), []
        for t in range(T):
            logits, state = network(x[t : t + 1], state)
            losses.append(torch.nn.functional.cross_entropy(logits, y[t]))
            if (t + 1) % cut == 0:
                state = state.detach()
        network.zero_grad()
        (sum(losses[T // 2 :]) / T).backward()
        gradients.append(torch.cat([p.grad.flatten() for name, p in network.named_parameters() if "head" not in name]))
    whole, cut = gradients
    with torch.no_grad():
        logits, tape = model.forward(x, start.clone())
        _, d_logits = cross_entropy(logits, y)
        before = d_logits.clone()
        found = relative_bias(model, tape, d_logits, pieces(T, K))
    assert found == pytest.approx(float((cut - whole).norm() / whole.norm()), rel=1e-10)
    assert torch.equal(d_logits, before), "the update's own gradient is still to come"


def test_no_gradient_has_no_bias() -> None:
    model = make_model("lstm")
    x, _ = random_text(model, T)
    with torch.no_grad():
        logits, tape = model.forward(x, model.zero_state(3))
        assert relative_bias(model, tape, torch.zeros_like(logits), pieces(T, K)) == 0


def test_a_gradient_that_overflows_is_all_lost() -> None:
    model = make_model("rnn", precision="float32")
    x, y = random_text(model, T)
    with torch.no_grad():
        model.parameters.values["rnn.weight_hh_l0"].fill_(1e30)
        logits, tape = model.forward(x, model.zero_state(3))
        tape.layers[0].h.zero_()  # where tanh' is 1
        _, d_logits = cross_entropy(logits, y)
        assert relative_bias(model, tape, d_logits, pieces(T, K)) == 1
