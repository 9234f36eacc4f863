"""Credit carried past the cut: real-time recurrent learning is back-propagation through all of the text, and SnAp-1 is
its diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from conftest import error, independent, make_model, message_of, random_state, random_text
from torch import Tensor

from rnnbptt.cells import CELLS
from rnnbptt.influence import INFLUENCES, FullInfluence, Influence, UnitInfluence
from rnnbptt.layers import cross_entropy
from rnnbptt.model import CharRNN
from rnnbptt.reference import STEPS, mean_loss

B = 3
every_cell = pytest.mark.parametrize("cell", CELLS)
DENSE = [cell for cell in CELLS if cell != "elstm"]


def remembering(cell: str, hidden: int = 4, layers: int = 1, dropout: float = 0.0) -> CharRNN:
    """A model in which a character still shows after dozens: with quick decay a wrong influence would hide."""
    model = make_model(cell, hidden, layers, vocabulary=5, dropout=dropout)
    for name, value in model.parameters.values.items():
        if cell == "rnn" and "weight_hh" in name:
            value.copy_(1.4 * torch.linalg.qr(value)[0])
        if cell == "gru" and "bias_ih" in name:
            value[hidden : 2 * hidden] += 4
        if cell == "lstm" and "bias_ih" in name:
            value[hidden : 2 * hidden] += 4
        if cell == "elstm" and "bias_ih" in name:
            value[:hidden] += 4
    model.parameters.refresh_operands()
    return model


def online(
    model: CharRNN,
    kind: str | Influence,
    lengths: Iterable[int],
    x: Tensor,
    y: Tensor,
    state: Tensor,
    dropout: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Sum over segments of these lengths of the gradients of the sums of their losses, at weights that rest."""
    influence = INFLUENCES[kind](model, B) if isinstance(kind, str) else kind
    total, start, state = torch.zeros_like(model.parameters.flat), 0, state.clone()
    for length in lengths:
        stop = min(start + length, len(x))
        logits, tape = model.forward(x[start:stop], state, dropout)
        d_logits = cross_entropy(logits, y[start:stop])[1].mul_((stop - start) * B)
        model.backward(tape, d_logits, boundary=influence.boundary)
        influence.update(tape)
        total += model.parameters.grad
        start = stop
    assert start == len(x)
    return model.parameters.views(total)


def segments(k: int, steps: int) -> list[int]:
    return [k] * math.ceil(steps / k)


def full(model: CharRNN, x: Tensor, y: Tensor, state: Tensor) -> dict[str, Tensor]:
    """The whole gradient of the sum of all losses, by autograd."""
    theirs = independent(model)
    theirs.loss(x, y, state)[0].mul(y.numel()).backward()
    return {name: parameter.grad for name, parameter in theirs.named_parameters()}


def worst(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    return max(error(ours[name], theirs[name]) for name in theirs)


# --- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 7, 16])
@pytest.mark.parametrize("layers", [1, 2])
@every_cell
def test_real_time_learning_is_full_back_propagation(cell: str, layers: int, k: int) -> None:
    model = remembering(cell, layers=layers)
    (x, y), state = random_text(model, 64, B), random_state(model, B)
    expected = full(model, x, y, state)
    assert worst(online(model, "rtrl", segments(k, 64), x, y, state), expected) < 1e-10
    assert worst(online(model, "none", segments(k, 64), x, y, state), expected) > 0.05, "nothing to be lost"


@every_cell
def test_real_time_learning_under_dropout_is_full_back_propagation_under_the_same_masks(cell: str) -> None:
    model = remembering(cell, layers=2, dropout=0.4)
    (x, y), state = random_text(model, 8, B), random_state(model, B)
    masks: list[list[Tensor]] = [[], []]

    class Spy(FullInfluence):
        def update(self, tape: object) -> None:
            for seen, layer in zip(masks, tape.layers, strict=True):
                seen.append(layer.mask[slice(*tape.segment)].clone())
            super().update(tape)

    ours = online(model, Spy(model, B), segments(3, 8), x, y, state, torch.Generator().manual_seed(1))
    leaves = {name: value.clone().requires_grad_() for name, value in model.parameters.values.items()}
    loss, _ = mean_loss(model.config, leaves, x, y, state, [torch.cat(seen) for seen in masks])
    loss.mul(y.numel()).backward()
    assert worst(ours, {name: leaf.grad for name, leaf in leaves.items()}) < 1e-10


@pytest.mark.parametrize(("kind", "k"), [("snap", 1), ("tail", 1), ("tail", 5)])
@pytest.mark.parametrize("cell", DENSE)
def test_snap_is_exact_where_units_do_not_see_each_other(cell: str, kind: str, k: int) -> None:
    """A diagonal W_hh: every derivative of every gate is in this."""
    model = remembering(cell)
    hidden = model.config.hidden
    w_hh = model.parameters.values["rnn.weight_hh_l0"].view(-1, hidden, hidden)
    w_hh.mul_(torch.eye(hidden))
    if cell == "rnn":
        w_hh.copy_(torch.diag_embed(torch.tensor([1.2, -1.2, 1.0, 0.9]))[None])
    (x, y), state = random_text(model, 64, B), random_state(model, B)
    ours, expected = online(model, kind, segments(k, 64), x, y, state), full(model, x, y, state)
    for name, grad in expected.items():
        if "weight_hh" not in name:
            assert error(ours[name], grad) < 1e-10, name
    blocks, theirs = (grads["rnn.weight_hh_l0"].view_as(w_hh) for grads in (ours, expected))
    diagonals = (block.diagonal(dim1=1, dim2=2) for block in (blocks, theirs))
    assert error(*diagonals) < 1e-10
    cut = online(model, "none", segments(k, 64), x, y, state)
    assert error(cut["rnn.weight_ih_l0"], expected["rnn.weight_ih_l0"]) > 0.05, "nothing to be lost"


@pytest.mark.parametrize(("kind", "k"), [("snap", 1), ("tail", 1), ("tail", 7), ("tail", 16)])
def test_snap_is_exact_for_one_layer_of_an_element_wise_cell(kind: str, k: int) -> None:
    model = remembering("elstm", hidden=6)
    (x, y), state = random_text(model, 96, B), random_state(model, B)
    expected = full(model, x, y, state)
    assert worst(online(model, kind, segments(k, 96), x, y, state), expected) < 1e-10
    assert worst(online(model, "none", segments(k, 96), x, y, state), expected) > 0.1


def test_of_two_layers_of_an_element_wise_cell_only_the_upper_is_exact() -> None:
    model = remembering("elstm", hidden=6, layers=2)
    (x, y), state = random_text(model, 64, B), random_state(model, B)
    ours, expected = online(model, "snap", segments(1, 64), x, y, state), full(model, x, y, state)
    assert max(error(ours[name], grad) for name, grad in expected.items() if "_l0" not in name) < 1e-10
    lower = [torch.cat([grads[name].flatten() for name in expected if "_l0" in name]) for grads in (ours, expected)]
    assert 0.3 < float(torch.cosine_similarity(*lower, dim=0)) < 0.99


# --- SnAp-1 -----------------------------------------------------------------------------------------------------------


def masked_recurrence(model: CharRNN, x: Tensor, y: Tensor, state: Tensor) -> dict[str, Tensor]:
    """RTRL, M' = J M + I by autograd's Jacobians, with all of M set to zero but what a unit's own parameters did to it:
    SnAp-1 as its authors define it.
    """
    weights = {name[4:-3]: value for name, value in model.parameters.values.items() if name.startswith("rnn.")}
    w_out, b_out = (model.parameters.values[f"head.{kind}"] for kind in ("weight", "bias"))
    hidden = model.config.hidden
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    for b in range(x.shape[1]):
        s = state[0, :, b]
        m = {name: torch.zeros(*s.shape, *value.shape, dtype=s.dtype) for name, value in weights.items()}
        for symbol, target in zip(x[:, b], y[:, b], strict=True):
            one_hot = torch.nn.functional.one_hot(symbol, model.config.vocabulary).to(s.dtype)

            def step(s: Tensor, weights: dict[str, Tensor], one_hot: Tensor = one_hot) -> Tensor:
                return torch.stack(STEPS[model.config.cell](weights, one_hot, tuple(s)))

            by_state, immediate = torch.func.jacrev(step, argnums=(0, 1))(s, weights)
            for name, value in weights.items():
                unit_of_row = torch.arange(len(value)) % hidden
                own = unit_of_row == torch.arange(hidden)[:, None]  # (H, rows)
                moved = torch.tensordot(by_state, m[name], 2) + immediate[name]
                m[name] = moved * own.view(1, hidden, len(value), *[1] * (value.dim() - 1))
            s = step(s, weights)
            h = s[0].clone().requires_grad_()
            torch.nn.functional.cross_entropy(w_out @ h + b_out, target).backward()
            for name in weights:
                total[name] += torch.tensordot(h.grad, m[name][0], 1)
    return {f"rnn.{name}_l0": grad for name, grad in total.items()}


@pytest.mark.parametrize("cell", DENSE)
def test_snap_is_real_time_learning_with_all_but_the_diagonal_set_to_zero(cell: str) -> None:
    model = remembering(cell)
    (x, y), state = random_text(model, 12, B), random_state(model, B)
    expected = masked_recurrence(model, x, y, state)
    assert worst(online(model, "snap", segments(1, 12), x, y, state), expected) < 1e-10
    assert worst(full(model, x, y, state), expected) > 0.01, "the rest of it is nothing"


@pytest.mark.parametrize("layers", [1, 2])
@every_cell
def test_the_traces_of_a_segment_are_those_of_its_characters_one_by_one(cell: str, layers: int) -> None:
    model = remembering(cell, layers=layers)
    (x, y), state = random_text(model, 64, B), random_state(model, B)
    traces = []
    for lengths in ([64], [1] * 64, [5, 1, 40, 18]):
        influence = UnitInfluence(model, B)
        online(model, influence, lengths, x, y, state)
        traces.append(influence.state)
    for other in traces[1:]:
        assert worst(other, traces[0]) < 1e-12


@pytest.mark.parametrize("kind", ["tail", "rtrl"])
@every_cell
def test_without_what_came_before_it_is_truncation(cell: str, kind: str) -> None:
    model = remembering(cell, layers=2)
    (x, y), state, everywhere = random_text(model, 24, B), random_state(model, B), torch.ones(B, dtype=torch.bool)

    class Forgetful({"tail": UnitInfluence, "rtrl": FullInfluence}[kind]):
        def update(self, tape: object) -> None:
            super().update(tape)
            self.reset(everywhere)

    for k in (1, 8, 24):
        cut = online(model, "none", segments(k, 24), x, y, state)
        assert worst(online(model, Forgetful(model, B), segments(k, 24), x, y, state), cut) < 1e-12
    assert worst(online(model, kind, [24], x, y, state), full(model, x, y, state)) < 1e-10


@pytest.mark.parametrize("kind", ["snap", "rtrl"])
def test_streams_are_reset_one_by_one(kind: str) -> None:
    model = remembering("lstm", layers=2)
    (x, y), state = random_text(model, 9, B), random_state(model, B)
    influence, fresh = INFLUENCES[kind](model, B), INFLUENCES[kind](model, B)
    online(model, influence, [9], x, y, state)
    before = {name: tensor.clone() for name, tensor in influence.state.items()}
    influence.reset(torch.tensor([False, True, False]))
    for name, tensor in influence.state.items():
        assert torch.equal(tensor[:, 1], fresh.state[name][:, 1])
        assert torch.equal(tensor[:, [0, 2]], before[name][:, [0, 2]])
        assert before[name].any() or "weight_co" in name, name


@every_cell
def test_snap_with_bfloat16_operands_is_almost_the_same(cell: str) -> None:
    model = make_model(cell, hidden=16, precision="float32")
    model.parameters.flat.mul_(0.3)
    (x, y), state = random_text(model, 32, B), random_state(model, B)
    exact = online(model, "tail", segments(8, 32), x, y, state)
    assert worst(online(model.at_precision("bfloat16"), "tail", segments(8, 32), x, y, state), exact) < 0.03


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["snap", "rtrl"])
def test_memory_does_not_grow_with_the_text(kind: str) -> None:
    model = remembering("lstm")
    influence = INFLUENCES[kind](model, B)
    size = {name: tensor.nbytes for name, tensor in influence.state.items()}
    for steps in (1, 300):
        online(model, influence, [1] * steps, *random_text(model, steps, B), random_state(model, B))
        assert {name: tensor.nbytes for name, tensor in influence.state.items()} == size
    assert all(tensor.grad_fn is None and not tensor.requires_grad for tensor in influence.state.values())


def test_real_time_learning_beyond_its_memory_is_refused() -> None:
    model = make_model("lstm", hidden=256, precision="float32")
    assert message_of(FullInfluence, model, 32) == (
        "--trunc rtrl would take 65.1 GiB for influences (512 units of state x parameters x 32 streams), of which 2 are"
        " allowed; give snap, which keeps one number a parameter and stream, or less --hidden or fewer --streams"
    )
    assert sum(tensor.nbytes for tensor in UnitInfluence(model, 32).state.values()) < 2**27


def test_operations_and_memory_are_those_of_its_products_and_its_numbers() -> None:
    """2 layers of 4 units, 5 symbols: the squares of 16 x 4 are products, the look-up of 16 x 5 and biases are not."""
    model, chars = remembering("lstm", layers=2), 7
    squares, others = 3 * 16 * 4, 16 * 5 + 4 * 16
    unit, whole = UnitInfluence(model, B), FullInfluence(model, B)
    numbers = 2 * B * (squares + others)
    assert unit.flops(chars) == 2 * chars * 2 * B * squares + 2 * 3 * numbers
    assert unit.bytes == 8 * numbers == sum(tensor.nbytes for tensor in unit.state.values())
    units, numbers = 16, 16 * B * (squares + others)
    assert whole.flops(chars) == units * (model.flops(0, chars * B, chars * B) + 2 * numbers)
    assert whole.bytes == 2 * 8 * (numbers + units * B * 16 * 5)
