"""checking.py: it finds the gradient right, and would find it wrong."""

from __future__ import annotations

import pytest
import torch

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.network import CharRNN
from rnnbptt.study.probe.checking import STEPS, check_gradient
from support.networks import make_model, random_text


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("steps", [STEPS + 5, 7])
def test_the_gradient_is_right(cell: str, steps: int) -> None:
    model = make_model(cell, layers=2)
    before = model.parameters.flat.clone()
    checks = check_gradient(model, *random_text(model, steps))
    assert [check.parameter for check in checks] == list(model.parameters.shapes)
    for check in checks:
        assert check.autograd_error < 1e-13
        assert check.finite_difference_error < 1e-6
        assert check.written_out == pytest.approx(check.autograd, rel=1e-12)
        assert check.finite_difference == pytest.approx(check.autograd, rel=1e-5)
    assert torch.equal(model.parameters.flat, before)


def test_a_wrong_gradient_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("gru")
    right = CharRNN.backward

    def wrong(self: CharRNN, *args: object) -> None:
        right(self, *args)
        self.parameters.grads["rnn.bias_hh_l0"].mul_(1.01)

    monkeypatch.setattr(CharRNN, "backward", wrong)
    checks = {check.parameter: check for check in check_gradient(model, *random_text(model, 40))}
    hidden = checks.pop("rnn.bias_hh_l0")
    assert hidden.autograd_error == pytest.approx(0.01, rel=1e-6)
    assert hidden.finite_difference_error == pytest.approx(0.01, rel=1e-4)
    assert all(check.autograd_error < 1e-13 for check in checks.values())
