"""Credit carried past the cut: real-time recurrent learning is back-propagation through all of the text, SnAp-1 is its
diagonal, RFLO the leak in that, and UORO is all of it in the mean.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.influence import INFLUENCES, FullInfluence, Influence, RankOneInfluence, UnitInfluence
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.model.reference import STEPS, Parts, mean_loss
from rnnbptt.model.shapes import update_flops
from support.networks import error, independent, make_model, random_state, random_text
from support.refusals import message_of

B = 3
every_cell = pytest.mark.parametrize("cell", CELLS)
APART = [name for name, cell in CELLS.items() if not cell.gates_state]  # units have parameters of their own
DENSE, ELEMENT_WISE = ([name for name in APART if CELLS[name].dense == dense] for dense in (True, False))


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
        if cell == "mingru" and "bias_ih" in name:
            value[:hidden] -= 4
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
    streams = x.shape[1]
    influence = INFLUENCES[kind](model, streams) if isinstance(kind, str) else kind
    total, start, state = torch.zeros_like(model.parameters.flat), 0, state.clone()
    for length in lengths:
        stop = min(start + length, len(x))
        logits, tape = model.forward(x[start:stop], state, dropout)
        d_logits = cross_entropy(logits, y[start:stop])[1].mul_((stop - start) * streams)
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
@pytest.mark.parametrize("cell", ELEMENT_WISE)
def test_snap_is_exact_for_one_layer_of_an_element_wise_cell(cell: str, kind: str, k: int) -> None:
    model = remembering(cell, hidden=6)
    (x, y), state = random_text(model, 96, B), random_state(model, B)
    expected = full(model, x, y, state)
    assert worst(online(model, kind, segments(k, 96), x, y, state), expected) < 1e-10
    assert worst(online(model, "none", segments(k, 96), x, y, state), expected) > 0.1


@pytest.mark.parametrize("cell", ELEMENT_WISE)
def test_of_two_layers_of_an_element_wise_cell_only_the_upper_is_exact(cell: str) -> None:
    model = remembering(cell, hidden=6, layers=2)
    (x, y), state = random_text(model, 64, B), random_state(model, B)
    ours, expected = online(model, "snap", segments(1, 64), x, y, state), full(model, x, y, state)
    assert max(error(ours[name], grad) for name, grad in expected.items() if "_l0" not in name) < 1e-10
    lower = [torch.cat([grads[name].flatten() for name in expected if "_l0" in name]) for grads in (ours, expected)]
    assert 0.3 < float(torch.cosine_similarity(*lower, dim=0)) < 0.99


# --- SnAp-1 -----------------------------------------------------------------------------------------------------------


Layers = list[dict[str, Tensor]]  # for each layer a tensor for each of its parameters, by kind


def read(
    model: CharRNN, symbols: Tensor, state: Tensor, nudges: Tensor | float = 0.0
) -> tuple[list[Tensor], Tensor, Tensor]:
    """One character of each stream by the plain equations: each layer's input, the state after and the logits; nudges
    (L, B, H) are added to each layer's output on its way up.
    """
    out, inputs, after = torch.nn.functional.one_hot(symbols, model.config.vocabulary).to(state.dtype), [], []
    for index, parameters in enumerate(layers_of(model)):
        inputs.append(out)
        after.append(torch.stack(STEPS[model.config.cell](parameters, out, tuple(state[index]))))
        out = after[-1][0] + (nudges[index] if isinstance(nudges, Tensor) else nudges)
    head = (model.parameters.values[f"head.{kind}"] for kind in ("weight", "bias"))
    return inputs, torch.stack(after), torch.nn.functional.linear(out, *head)


def layers_of(model: CharRNN) -> Layers:
    values, ends = model.parameters.values, [f"_l{index}" for index in range(model.config.layers)]
    return [{name[4:-3]: value for name, value in values.items() if name.endswith(end)} for end in ends]


Move = Callable[[Mapping[str, Tensor], Tensor, Parts, Parts], Parts]


def recurrent(cell: str) -> Move:
    """One character with all of the recurrence in J: everything reads the state that moves."""
    return lambda parameters, x, kept, read: STEPS[cell](parameters, x, kept)


def own_influences(
    model: CharRNN, x: Tensor, state: Tensor, step: Move | None = None
) -> tuple[list[Tensor], list[Layers], list[Layers]]:
    """RTRL, M' = J M + I by autograd's Jacobians, of each layer by itself, its input a constant, with all of M set to
    zero but what a unit's own parameters did to it: SnAp-1 as its authors define it.

    The states before each character, and the last; M before each, and the last; and what J M + I was after each with
    nothing set to zero. Influences are (B, S, H, ...). With a `step` J is the derivative by what that keeps alone.
    """
    hidden, step = model.config.hidden, step or recurrent(model.config.cell)
    empty = [
        {name: value.new_zeros(B, *state.shape[1::2], *value.shape) for name, value in layer.items()}
        for layer in layers_of(model)
    ]
    states, kept, whole = [state], [empty], []
    for symbols in x:
        inputs, after, _ = read(model, symbols, states[-1])
        whole.append([])
        kept.append([])
        for index, parameters in enumerate(layers_of(model)):

            def step_of(kept: Tensor, weights: dict[str, Tensor], out: Tensor, read: Tensor) -> Tensor:
                return torch.stack(step(weights, out, tuple(kept), tuple(read)))

            jacobians = torch.vmap(torch.func.jacrev(step_of, argnums=(0, 1)), in_dims=(1, None, 0, 1))
            before = states[-1][index]
            by_state, immediate = jacobians(before, parameters, inputs[index], before)
            moved = {
                name: torch.einsum("bphqg,bqg...->bph...", by_state, m) + immediate[name]
                for name, m in kept[-2][index].items()
            }
            whole[-1].append(moved)
            kept[-1].append({})
            for name, m in moved.items():
                rows = m.shape[3]
                own = torch.arange(rows) % hidden == torch.arange(hidden)[:, None]  # (H, rows)
                kept[-1][index][name] = m * own.view(hidden, rows, *[1] * (m.dim() - 4))
        states.append(after)
    return states, kept, whole


def through_outputs(
    model: CharRNN, x: Tensor, y: Tensor, states: list[Tensor], influences: list[Layers]
) -> dict[str, Tensor]:
    """The sum over the characters of delta M: each loss goes back to each layer's output through the layers above at
    that same character, and meets the influence on the state after it.
    """
    total = {name: torch.zeros_like(value) for name, value in model.parameters.values.items()}
    head = {name: value.clone().requires_grad_() for name, value in model.parameters.values.items() if "head" in name}
    for symbols, targets, state, influence in zip(x, y, states, influences, strict=False):
        nudges = torch.zeros_like(state[:, 0]).requires_grad_()
        _, after, logits = read(model, symbols, state, nudges)
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        for index, (delta, layer) in enumerate(zip(torch.autograd.grad(loss, nudges)[0], influence, strict=True)):
            for name, m in layer.items():
                total[f"rnn.{name}_l{index}"] += torch.tensordot(delta, m[:, 0], 2)
        out = after[-1, 0].detach()
        logits = torch.nn.functional.linear(out, head["head.weight"], head["head.bias"])
        torch.nn.functional.cross_entropy(logits, targets, reduction="sum").backward()
    return total | {name: leaf.grad for name, leaf in head.items()}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", DENSE)
def test_snap_is_real_time_learning_with_all_but_the_diagonal_set_to_zero(cell: str, layers: int) -> None:
    """In each layer by itself; between the layers the gradient of a character is whole."""
    model = remembering(cell, layers=layers)
    (x, y), state = random_text(model, 12, B), random_state(model, B)
    states, kept, _ = own_influences(model, x, state)
    expected = through_outputs(model, x, y, states, kept[1:])
    assert worst(online(model, "snap", segments(1, 12), x, y, state), expected) < 1e-10
    assert worst(full(model, x, y, state), expected) > 0.01, "the rest of it is nothing"


def leaky_gru(p: Mapping[str, Tensor], x: Tensor, kept: Parts, read: Parts) -> Parts:
    i_r, i_z, i_n = linear(x, p["weight_ih"], p["bias_ih"]).chunk(3, -1)
    h_r, h_z, h_n = linear(read[0], p["weight_hh"], p["bias_hh"]).chunk(3, -1)
    z, n = torch.sigmoid(i_z + h_z), torch.tanh(i_n + torch.sigmoid(i_r + h_r) * h_n)
    return (n - z * n + z * kept[0],)


def leaky_lstm(p: Mapping[str, Tensor], x: Tensor, kept: Parts, read: Parts) -> Parts:
    gates = linear(x, p["weight_ih"], p["bias_ih"]) + linear(read[0], p["weight_hh"], p["bias_hh"])
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * kept[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def leaky_elstm(p: Mapping[str, Tensor], x: Tensor, kept: Parts, read: Parts) -> Parts:
    (w_f, w_z), (i_f, i_z, i_o) = p["weight_hh"].chunk(2), linear(x, p["weight_ih"], p["bias_ih"]).chunk(3, -1)
    f = torch.sigmoid(i_f + w_f * read[1])
    c = f * kept[1] + (1 - f) * torch.tanh(i_z + w_z * read[1])
    return torch.sigmoid(i_o + linear(c, p["weight_co"])) * c, c


def leaky_mingru(p: Mapping[str, Tensor], x: Tensor, kept: Parts, read: Parts) -> Parts:
    z, candidate = linear(x, p["weight_ih"], p["bias_ih"]).chunk(2, -1)
    return ((1 - z.sigmoid()) * kept[0] + z.sigmoid() * candidate,)


LEAKY: dict[str, Move] = {"gru": leaky_gru, "lstm": leaky_lstm, "elstm": leaky_elstm, "mingru": leaky_mingru}


def test_every_cell_has_its_leak_or_none() -> None:
    assert {name for name, cell in CELLS.items() if cell.leaky} == set(LEAKY)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", LEAKY)
def test_rflo_is_real_time_learning_in_which_only_the_leak_reads_the_past(cell: str, layers: int) -> None:
    """M' = J M + I, J the derivative by the state that the leak keeps, while all weights read a constant; nothing has
    to be set to zero.
    """
    model = remembering(cell, layers=layers)
    (x, y), state = random_text(model, 12, B), random_state(model, B)
    states, _, whole = own_influences(model, x, state, LEAKY[cell])
    expected = through_outputs(model, x, y, states, whole)
    assert worst(online(model, "rflo", segments(1, 12), x, y, state), expected) < 1e-10
    for other in ("none",) if cell == "mingru" else ("snap", "none"):  # a mingru has nothing but its leak
        assert worst(online(model, other, segments(1, 12), x, y, state), expected) > 0.005, f"it is {other}"


@pytest.mark.parametrize("cell", [cell for cell in LEAKY if cell != "mingru"])
def test_rflo_is_exact_where_there_are_no_recurrent_weights_and_snap_where_no_unit_has_one_to_itself(cell: str) -> None:
    model = remembering(cell)
    w_hh = model.parameters.values["rnn.weight_hh_l0"]
    (x, y), state = random_text(model, 32, B), random_state(model, B)
    if w_hh.dim() > 1:
        w_hh.view(-1, 4, 4).mul_(1 - torch.eye(4))
        ours, snap = (online(model, kind, segments(1, 32), x, y, state) for kind in ("rflo", "snap"))
        assert worst(ours, snap) < 1e-10
        assert worst(ours, full(model, x, y, state)) > 0.01, "there is nothing to lose"
    w_hh.zero_()
    expected = full(model, x, y, state)
    assert worst(online(model, "rflo", segments(1, 32), x, y, state), expected) < 1e-10
    assert worst(online(model, "none", segments(1, 32), x, y, state), expected) > 0.05


def test_without_a_leak_there_is_no_rflo() -> None:
    assert message_of(INFLUENCES["rflo"], make_model("rnn"), B) == (
        "--trunc rflo: --cell rnn has no leak, so that it would be 1; give 1, or one of --cell gru, lstm, elstm, mingru"
    )


@pytest.mark.parametrize("kind", ["snap", "tail", "rflo"])
def test_where_a_weight_reaches_all_units_at_once_no_influence_stays_in_one(kind: str) -> None:
    assert message_of(INFLUENCES[kind], make_model("mogrifier"), B) == (
        "--cell mogrifier: its R, which gates the state, reaches all units at once, and snap and rflo keep influences"
        " that stay in a unit; give --trunc uoro, rtrl or K, or --cell lstm"
    )


# --- UORO -------------------------------------------------------------------------------------------------------------


class EverySign(RankOneInfluence):
    """Of streams that read the same, each draws other signs; together they draw all there are."""

    drawn = 0

    def signs(self) -> Tensor:
        """Bit n of the stream's number for unit n, counted on from segment to segment."""
        v, parts = torch.zeros_like(self._s), list(self._network.cell.carried)
        units = v[:, parts].transpose(2, 3)  # (..., B)
        places = self.drawn + torch.arange(units[..., 0].numel()).view(*units.shape[:-1], 1)
        v[:, parts] = (1.0 - 2 * (torch.arange(v.shape[2]) >> places & 1)).to(v.dtype).transpose(2, 3)
        self.drawn += units[..., 0].numel()
        return v


def alike(model: CharRNN, steps: int, streams: int) -> tuple[Tensor, Tensor, Tensor]:
    """A text and a state, the same in every stream."""
    (x, y), state = random_text(model, steps, 1), random_state(model, 1)
    return x.expand(-1, streams).clone(), y.expand(-1, streams).clone(), state.expand(-1, -1, streams, -1).clone()


@pytest.mark.parametrize(
    ("cell", "hidden", "layers", "k", "cuts"),
    [
        *((cell, 2, 1, k, 2) for cell in CELLS for k in (1, 2)),
        *(("rnn", 3, 1, 1, 3), ("gru", 2, 1, 1, 4), ("gru", 1, 2, 1, 4), ("elstm", 2, 2, 2, 2)),
    ],
)
def test_the_mean_over_all_signs_is_the_whole_gradient(cell: str, hidden: int, layers: int, k: int, cuts: int) -> None:
    """The proof that it is unbiased: each way in which the signs of all but the last segment can fall, once."""
    model = remembering(cell, hidden, layers)
    streams = 2 ** (hidden * layers * len(CELLS[cell].carried) * cuts)
    x, y, state = alike(model, k * (cuts + 1), streams)
    expected = full(model, x, y, state)
    ours = online(model, EverySign(model, streams), segments(k, len(x)), x, y, state)
    assert worst(ours, expected) < 1e-10
    assert worst(online(model, "none", segments(k, len(x)), x, y, state), expected) > 0.02, "nothing to be lost"
    one = (x[:, :1], y[:, :1], state[:, :, :1])
    assert worst(online(model, EverySign(model, 1), segments(k, len(x)), *one), full(model, *one)) > 0.02, "no noise"


def test_signs_at_random_come_near_the_whole_gradient_as_their_number_grows() -> None:
    """By as much as their scatter says. The signs of one update are those of no other, and each has the same chance."""
    model, tries = remembering("gru"), []
    x, y, state = alike(model, 6, 100)
    influence = RankOneInfluence(model, 100)
    for _ in range(10):
        tries.append(torch.cat([g.flatten() for g in online(model, influence, segments(1, 6), x, y, state).values()]))
        influence.reset(torch.ones(100, dtype=torch.bool))
    scatter = torch.stack(tries)
    expected = torch.cat([g.flatten() for g in full(model, x, y, state).values()])
    standard_error = scatter.std(0).norm() / 10**0.5
    assert 0.3 < (scatter.mean(0) - expected).norm() / standard_error < 2
    assert standard_error < 0.2 * expected.norm()
    assert influence.signs().unique().tolist() == [-1, 1]
    assert abs(influence.signs().mean()) < 0.2


def test_it_forgets_when_it_is_told_and_each_stream_has_its_own() -> None:
    """The influence of a stream does not depend on the others: alone, by the same signs, it has the same."""
    model = remembering("lstm", layers=2)
    (x, y), state = random_text(model, 6, B), random_state(model, B)
    together = RankOneInfluence(model, B)
    drawn = [together.signs() for _ in range(3)]

    class Told(RankOneInfluence):
        def signs(self) -> Tensor:
            return next(given)

    given = iter(drawn)
    online(model, together := Told(model, B), segments(2, 6), x, y, state)
    for b in range(B):
        given = iter([v[:, :, b : b + 1] for v in drawn])
        one = slice(b, b + 1)
        online(model, alone := Told(model, 1), segments(2, 6), x[:, one], y[:, one], state[:, :, one])
        for name, tensor in alone.state.items():
            assert torch.allclose(together.state[name][:, b], tensor[:, 0], rtol=1e-12, atol=1e-15), name


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", APART)
def test_a_tail_is_the_whole_gradient_of_a_segment_times_the_influence_before(cell: str, layers: int, k: int) -> None:
    """Autograd gives the gradient of the segment's losses with respect to the parameters used in it, and with respect
    to the state it began at, which meets the influence of each unit's own parameters.
    """
    model, expected = remembering(cell, layers=layers), {}
    (x, y), state = random_text(model, 13, B), random_state(model, B)
    states, kept, _ = own_influences(model, x, state)
    leaves = {name: value.clone().requires_grad_() for name, value in model.parameters.values.items()}
    for first in range(0, len(x), k):
        before = states[first].clone().requires_grad_()
        part = slice(first, first + k)
        mean_loss(model.config, leaves, x[part], y[part], before)[0].mul(y[part].numel()).backward()
        for index, (d_state, layer) in enumerate(zip(before.grad, kept[first], strict=True)):
            for name, m in layer.items():
                tail = torch.tensordot(d_state.transpose(0, 1), m, 3)
                expected[f"rnn.{name}_l{index}"] = expected.get(f"rnn.{name}_l{index}", 0) + tail
    cut = {name: leaf.grad for name, leaf in leaves.items()}
    expected = {name: grad + expected.get(name, 0) for name, grad in cut.items()}
    assert worst(online(model, "tail", segments(k, 13), x, y, state), expected) < 1e-10
    assert worst(cut, expected) > 0.05, "nothing comes from before"
    if cell in DENSE or layers > 1:
        assert worst(full(model, x, y, state), expected) > 0.01, "the rest of it is nothing"


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", DENSE)
def test_a_tail_of_one_character_reads_the_influence_through_the_whole_recurrence(cell: str, layers: int) -> None:
    """delta (J S + I) with all of J, not with the diagonal that moves S on: it is no SnAp-1."""
    model = remembering(cell, layers=layers)
    (x, y), state = random_text(model, 12, B), random_state(model, B)
    states, _, whole = own_influences(model, x, state)
    expected = through_outputs(model, x, y, states, whole)
    ours = online(model, "tail", segments(1, 12), x, y, state)
    assert worst(ours, expected) < 1e-10
    assert worst(online(model, "snap", segments(1, 12), x, y, state), ours) > 0.005, "it is SnAp-1"


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", APART)
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


@pytest.mark.parametrize(
    ("cell", "kind"),
    [(cell, kind) for cell in CELLS for kind in ("tail", "rtrl", "uoro") if cell in APART or kind != "tail"],
)
def test_without_what_came_before_it_is_truncation(cell: str, kind: str) -> None:
    model = remembering(cell, layers=2)
    (x, y), state, everywhere = random_text(model, 24, B), random_state(model, B), torch.ones(B, dtype=torch.bool)

    class Forgetful({"tail": UnitInfluence, "rtrl": FullInfluence, "uoro": RankOneInfluence}[kind]):
        def update(self, tape: object) -> None:
            super().update(tape)
            self.reset(everywhere)

    for k in (1, 8, 24):
        cut = online(model, "none", segments(k, 24), x, y, state)
        assert worst(online(model, Forgetful(model, B), segments(k, 24), x, y, state), cut) < 1e-12
    assert worst(online(model, kind, [24], x, y, state), full(model, x, y, state)) < 1e-10


@pytest.mark.parametrize("kind", ["snap", "rflo", "rtrl", "uoro"])
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
        assert before[name].any(), name


@pytest.mark.parametrize("cell", APART)
def test_snap_with_bfloat16_operands_is_almost_the_same(cell: str) -> None:
    model = make_model(cell, hidden=16, precision="float32")
    model.parameters.flat.mul_(0.3)
    (x, y), state = random_text(model, 32, B), random_state(model, B)
    exact = online(model, "tail", segments(8, 32), x, y, state)
    assert worst(online(model.at_precision("bfloat16"), "tail", segments(8, 32), x, y, state), exact) < 0.03


# --- cost -------------------------------------------------------------------------------------------------------------


class Live(NamedTuple):
    """What is in memory."""

    tensors: int
    bytes: int
    graphs: int  # tensors that carry one


@pytest.fixture
def live() -> Callable[[], Live]:
    """Asks for all tensors made since the test began; views share their bytes. What was there before is put aside,
    because to look through all of it takes longer than the updates.
    """
    gc.collect()
    gc.freeze()
    return count


def count() -> Live:
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return Live(len(tensors), sum(sizes.values()), sum(tensor.grad_fn is not None for tensor in tensors))


@pytest.mark.parametrize("kind", [kind for kind in INFLUENCES if kind != "rflo"])  # which is as snap
def test_memory_does_not_grow_with_the_text(kind: str, live: Callable[[], Live]) -> None:
    """After hundreds of updates there is no tensor, no byte that was not there after one, and no graph."""
    model, steps = remembering("lstm"), 300
    influence = INFLUENCES[kind](model, B)
    (x, y), state = random_text(model, steps, B), random_state(model, B)
    online(model, influence, [1], x[:1], y[:1], state)
    first = live()
    assert first.bytes > sum(tensor.nbytes for tensor in influence.state.values()) + model.tape_bytes(1, B)
    online(model, influence, [1] * steps, x, y, state)
    assert live() == first
    assert first.graphs == 0


@pytest.mark.parametrize(("cell", "kind"), [*((cell, "none") for cell in CELLS), ("lstm", "tail")])
def test_memory_is_linear_in_the_longest_segment(cell: str, kind: str, live: Callable[[], Live]) -> None:
    """As `tape_bytes` tells it, but for the symbols, and with one number for each logit, of which a loss takes two. The
    gradients of the pre-activations of one layer are kept from one part of the state to the next, for W_ih and W_hh.
    """
    model, bytes_after = remembering(cell, hidden=8, layers=2), []
    influence = INFLUENCES[kind](model, B)
    for k in (40, 160):
        for lengths in ([k], [1, k, 7]):
            online(model, influence, lengths, *random_text(model, sum(lengths), B), random_state(model, B))
        bytes_after.append(live().bytes)
    symbols, logits = (B * size for size in (torch.int64.itemsize, model.config.vocabulary * torch.float64.itemsize))
    kept = 2 * B * 4 * 8 * torch.float64.itemsize if kind == "tail" else 0
    assert bytes_after[1] - bytes_after[0] == 120 * (model.tape_bytes(1, B) + symbols - logits + kept)


def test_real_time_learning_beyond_its_memory_is_refused() -> None:
    model = make_model("lstm", hidden=256, precision="float32")
    assert message_of(FullInfluence, model, 32) == (
        "--trunc rtrl would take 65.1 GiB for influences (512 units of state x parameters x 32 streams), of which 2 are"
        " allowed; give snap, which keeps one number a parameter and stream, or less --hidden or fewer --streams"
    )
    gated = make_model("mogrifier", hidden=256, precision="float32")
    assert "; give uoro, which keeps two numbers a parameter" in message_of(FullInfluence, gated, 32)
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
    assert whole.flops(chars) == units * (
        update_flops(model.parameters.shapes, 0, chars * B, chars * B, 0, 0) + 2 * numbers
    )
    assert whole.bytes == 2 * 8 * (numbers + units * B * 16 * 5)
    leak, rank_one = INFLUENCES["rflo"](model, B), RankOneInfluence(model, B)
    numbers = B * (squares + others)
    assert leak.flops(chars) == 2 * chars * B * squares + 2 * 2 * numbers
    assert leak.bytes == 8 * numbers
    forward, back, of_weights = squares, squares, squares
    assert rank_one.flops(chars) == 2 * chars * B * (forward + back + of_weights) + 9 * numbers
    assert rank_one.bytes == 2 * 8 * numbers == 2 * sum(t.nbytes for n, t in rank_one.state.items() if n != "s")
