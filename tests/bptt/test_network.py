"""The written-out gradient of the whole model against autograd on torch.nn, and against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.lags import norms_by_lag
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.tape import Tape
from rnnbptt.bptt.window import create_network
from rnnbptt.model.config import CELL_NAMES, ModelConfig
from rnnbptt.model.precision import choose_device
from rnnbptt.model.reference import logits_of, mean_loss
from rnnbptt.model.shapes import update_flops
from rnnbptt.study.probe.decay import fit_decay
from support.networks import EVERY_CELL, TorchNetwork, error, independent, make_model, random_state, random_text
from support.refusals import message_of

OWN_LEAK = {"elstm": 1, "mingru": -1}  # of cells whose first gate keeps a unit's state, or lets go of it: its sign
every_cell = pytest.mark.parametrize("cell", EVERY_CELL)
every_depth = pytest.mark.parametrize("layers", [1, 2, 3])


def gradient(
    model: CharRNN, x: Tensor, y: Tensor, state: Tensor, dropout: torch.Generator | None = None
) -> tuple[Tensor, Tape]:
    """One update but for its step: the nats, and the gradient in `parameters.grad`. The state is moved on."""
    logits, tape = model.forward(x, state, dropout)
    nats, d_logits = cross_entropy(logits, y)
    model.backward(tape, d_logits)
    return nats, tape


def spoil(model: CharRNN, tape: Tape) -> None:
    """Fill with NaN whatever an update has to write before it reads it."""
    model.parameters.grad.fill_(torch.nan)
    for holder in (tape.gradients, *tape.layers):
        for buffer in vars(holder).values():
            if isinstance(buffer, Tensor):
                buffer.fill_(torch.nan)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 16, 64])
@every_depth
@every_cell
def test_loss_state_and_gradient_equal_autograd(cell: str, layers: int, steps: int) -> None:
    model = make_model(cell, layers=layers)
    theirs = independent(model)
    state = random_state(model)
    (x, y), before = random_text(model, steps), state.clone()
    _, tape = gradient(model, *random_text(model, 70), random_state(model))  # something longer was in the buffers
    spoil(model, tape)

    loss, after = theirs.loss(x, y, before)
    loss.backward()
    nats, _ = gradient(model, x, y, state)
    assert nats.shape == (steps, 3)
    assert abs(nats.mean() - loss) < 1e-13 * loss
    assert error(state, after) < 1e-12
    for name, parameter in theirs.named_parameters():
        assert error(model.parameters.grads[name], parameter.grad) < 1e-10, name


@every_depth
@every_cell
def test_gradient_equals_finite_differences(cell: str, layers: int) -> None:
    model = make_model(cell, layers=layers)
    (x, y), state, flat = random_text(model, 16), random_state(model), model.parameters.flat
    gradient(model, x, y, state.clone())
    grad, origin, step = model.parameters.grad.clone(), flat.clone(), 1e-5
    for _ in range(5):
        direction = functional.normalize(torch.randn_like(flat), dim=0)
        slope = 0.0
        for sign in (1, -1):
            flat.copy_(origin + sign * step * direction)
            logits, _ = model.forward(x, state.clone())
            slope += sign * float(functional.cross_entropy(logits, y.flatten())) / (2 * step)
        assert slope == pytest.approx(float(grad @ direction), rel=1e-6)


@every_depth
@every_cell
def test_gradient_under_dropout_equals_autograd_under_the_same_masks(cell: str, layers: int) -> None:
    model = make_model(cell, layers=layers, dropout=0.4)
    (x, y), state = random_text(model, 9), random_state(model)
    before = state.clone()
    nats, tape = gradient(model, x, y, state, torch.Generator().manual_seed(3))
    masks = [layer.views(tape.segment).mask for layer in tape.layers]
    assert len({mask.sum().item() for mask in masks}) == layers, "the layers share a mask"

    leaves = {name: value.clone().requires_grad_() for name, value in model.parameters.values.items()}
    loss, after = mean_loss(model.config, leaves, x, y, before, masks)
    loss.backward()
    assert abs(nats.mean() - loss) < 1e-13
    assert error(state, after.detach()) < 1e-12
    for name, leaf in leaves.items():
        assert error(model.parameters.grads[name], leaf.grad) < 1e-10, name


def test_dropout_is_drawn_anew_for_each_update_and_only_when_asked_for() -> None:
    model, rng = make_model(dropout=0.5), torch.Generator().manual_seed(3)
    x, _ = random_text(model, 9)
    plain, first, second, again, other = (
        model.forward(x, model.zero_state(3), source)[0].clone()
        for source in (None, rng, rng, torch.Generator().manual_seed(3), None)
    )
    assert torch.equal(first, again)
    assert torch.equal(plain, other)
    assert not torch.equal(first, second)
    assert not torch.equal(first, plain)


def test_dropout_0_leaves_the_generator_alone() -> None:
    model, rng = make_model(), torch.Generator().manual_seed(3)
    model.forward(random_text(model, 9)[0], model.zero_state(3), rng)
    assert torch.equal(rng.get_state(), torch.Generator().manual_seed(3).get_state())


@every_cell
def test_bfloat16_operands_give_almost_the_same_gradient(cell: str) -> None:
    gradients = []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        model = make_model(cell, hidden=24, layers=2, precision=precision)
        model.parameters.flat.mul_(0.5)
        model.parameters.refresh_operands()
        gradient(model, *random_text(model, 32), random_state(model))
        gradients.append(model.parameters.grad)
    assert gradients[0].dtype == gradients[1].dtype == torch.float32
    assert not torch.equal(*gradients)
    assert functional.cosine_similarity(*gradients, dim=0) > 0.999


# --- forward: how the state moves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@every_depth
@pytest.mark.parametrize("cell", CELLS)
def test_how_the_state_moves_is_the_forward_derivative_of_autograd(cell: str, layers: int, dropout: float) -> None:
    """The product with the Jacobian, for characters in the middle of a tape, whatever lies in its buffers."""
    model = make_model(cell, layers=layers, dropout=dropout)
    (x, _), state, v = random_text(model, 9), random_state(model), random_state(model)
    rng = torch.Generator().manual_seed(3)
    model.forward(x[:4], state, rng, history=9)
    before = state.clone()
    _, tape = model.forward(x[4:], state, rng, history=9)
    for buffer in (tape.gradients.h, tape.gradients.inputs, *(layer.share for layer in tape.layers)):
        buffer.fill_(torch.nan)
    masks = [layer.views(tape.segment).mask for layer in tape.layers] if dropout else None
    weights, carried, ours = dict(model.parameters.values), list(CELLS[cell].carried), v.clone()

    def after(state: Tensor) -> Tensor:
        return logits_of(model.config, weights, x[4:], state, masks)[1]

    model.tangent_state(tape, tape.segment, ours)
    expected = torch.autograd.functional.jvp(after, before, v)[1]
    assert error(ours[:, carried], expected[:, carried]) < 1e-12
    assert expected[:, carried].norm() > 1e-6 * v.norm()


@pytest.mark.parametrize("cell", CELLS)
def test_with_bfloat16_operands_the_state_moves_almost_the_same_way(cell: str) -> None:
    model, moved = make_model(cell, hidden=24, layers=2, precision="float32"), []
    model.parameters.flat.mul_(0.5)
    (x, _), state, v = random_text(model, 6), random_state(model), random_state(model)
    for network in (model, model.at_precision("bfloat16")):
        _, tape = network.forward(x, state.clone())
        network.tangent_state(tape, tape.segment, v_state := v.clone())
        moved.append(v_state[:, list(CELLS[cell].carried)])
    assert 0 < error(*moved) < 0.05


# --- how far back a gradient reaches ----------------------------------------------------------------------------------


def leaf_and_output(model: CharRNN, after: Tensor) -> tuple[Tensor, Tensor]:
    """A state (L, S, B, H) as a leaf, and what the last layer passes upwards as autograd sees it: (B, H)."""
    leaf = after.detach().clone().requires_grad_()
    if model.config.cell != "elstm":
        return leaf, leaf[-1, 0]
    (h, _), (_, c) = after[-1].detach(), leaf[-1]
    co = c @ model.parameters.values[f"rnn.weight_co_l{model.config.layers - 1}"].t()
    return leaf, c * torch.sigmoid(co - co.detach() + torch.logit(h / c.detach()))  # h is made of c


def norms_by_autograd(model: CharRNN, x: Tensor, y: Tensor, state: Tensor, masks: list[Tensor]) -> list[float]:
    """Of the gradient of the last loss with respect to the state 0, 1, 2, ... characters before, lag by lag."""
    weights, states = model.parameters.values, [state]
    for t in range(len(x)):
        here = [mask[t : t + 1] for mask in masks]
        states.append(logits_of(model.config, weights, x[t : t + 1], states[-1], here)[1])
    norms = []
    for first in range(len(x), 0, -1):
        leaf, h = leaf_and_output(model, states[first])
        if first == len(x):
            h = h * masks[-1][-1] if masks else h
            logits = functional.linear(h, weights["head.weight"], weights["head.bias"])
        else:
            logits, _ = logits_of(model.config, weights, x[first:], leaf, [mask[first:] for mask in masks])
        loss = functional.cross_entropy(logits[-len(y[-1]) :], y[-1])
        (grad,) = torch.autograd.grad(loss, leaf)
        norms.append(float(grad.square().sum((0, 1, 3)).sqrt().mean()))
    return norms


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_gradient_norms_are_those_of_autograd_lag_by_lag(cell: str, layers: int, dropout: float) -> None:
    model = make_model(cell, layers=layers, dropout=dropout)
    (x, y), state = random_text(model, 12), random_state(model)
    before = state.clone()
    logits, tape = model.forward(x, state, torch.Generator().manual_seed(3))
    d_logits = cross_entropy(logits, y)[1] * len(x)  # of the mean over the streams alone
    model.backward(tape, d_logits)
    grad = model.parameters.grad.clone()
    norms = norms_by_lag(model, tape, d_logits[-3:])
    masks = [layer.views(tape.segment).mask for layer in tape.layers] if dropout else []
    assert norms == pytest.approx(norms_by_autograd(model, x, y, before, masks), rel=1e-10)
    assert torch.equal(model.parameters.grad, grad)


def test_gradient_norms_are_of_the_segment_alone() -> None:
    """Also where the tape holds more, or only a single character is new."""
    model, state = make_model(layers=2), make_model(layers=2).zero_state(3)
    for steps in (5, 3, 1):
        logits, tape = model.forward(random_text(model, steps)[0], state, history=4)
        norms = norms_by_lag(model, tape, cross_entropy(logits, random_text(model, steps)[1])[1][-3:])
        assert len(norms) == steps


@pytest.mark.parametrize(("hidden", "a"), [(1, 0.8), (4, 0.95)])
def test_the_gradient_of_a_linear_network_falls_by_its_own_factor(hidden: int, a: float) -> None:
    """h' = a Q h with an orthogonal Q: the norm of the gradient j characters back is a^j of what it was."""
    model = make_model("rnn", hidden=hidden)
    for name, value in model.parameters.values.items():
        if name.startswith("rnn."):
            value.zero_()  # so that h stays 0, where tanh is the identity
    rotation = torch.linalg.qr(torch.randn(hidden, hidden, dtype=torch.float64)).Q
    model.parameters.values["rnn.weight_hh_l0"].copy_(a * rotation)
    logits, tape = model.forward(random_text(model, 40)[0], model.zero_state(3))
    norms = norms_by_lag(model, tape, cross_entropy(logits, random_text(model, 40)[1])[1][-3:])
    assert norms == pytest.approx([norms[0] * a**lag for lag in range(40)], rel=1e-12)
    assert fit_decay(norms) == pytest.approx(a, rel=1e-12)


# --- state ------------------------------------------------------------------------------------------------------------


@every_depth
@every_cell
def test_carried_state_does_not_depend_on_where_the_text_is_cut(cell: str, layers: int) -> None:
    model = make_model(cell, layers=layers)
    (x, y), start = random_text(model, 64), random_state(model)
    whole = start.clone()
    logits = model.forward(x, whole)[0].clone()
    for sizes in ([1] * 64, [7] * 9 + [1], [1, 2, 4, 8, 16, 33], [63, 1], [1, 63]):
        state, pieces = start.clone(), []
        for x_piece, y_piece in zip(x.split(sizes), y.split(sizes), strict=True):
            pieces.append(model.forward(x_piece, state)[0].clone())
            gradient(model, x_piece, y_piece, random_state(model))  # what is done between does not matter
        assert error(state, whole) < 1e-14
        assert error(torch.cat(pieces), logits) < 1e-14


def test_zero_state() -> None:
    for cell, parts in {"rnn": 1, "gru": 1, "lstm": 2}.items():
        state = make_model(cell, hidden=5, layers=2).zero_state(3)
        assert torch.equal(state, torch.zeros(2, parts, 3, 5, dtype=torch.float64))
    for window in (1, 2, 256):
        state = make_model(f"window:{window}", layers=2).zero_state(3)
        assert torch.equal(state, torch.zeros(window - 1, 1, 3, 1, dtype=torch.float64))


def test_the_state_of_a_window_is_the_symbols_before_the_next_one() -> None:
    model, x = make_model("window:4"), torch.tensor([[5, 0], [6, 1]])
    state = model.zero_state(2)
    model.forward(x, state)
    assert state[:, 0, :, 0].tolist() == [[0, 0], [6, 1], [7, 2]]
    state[:, :, torch.tensor([True, False])] = 0  # as at the start of the text
    model.forward(x[:1], state)
    assert state[:, 0, :, 0].tolist() == [[0, 1], [0, 2], [6, 1]]


def test_a_window_of_1_is_a_network_on_one_character() -> None:
    model, (x, _) = make_model("window:1"), torch.randint(7, (2, 9, 3))
    p = model.parameters.values
    assert p["rnn.weight_ih_l0"].shape == (5, 7)
    h = torch.tanh(p["rnn.weight_ih_l0"].t()[x.flatten()] + p["rnn.bias_ih_l0"])
    logits, _ = model.forward(x, model.zero_state(3))
    assert error(logits, functional.linear(h, p["head.weight"], p["head.bias"])) < 1e-14


def test_nothing_before_the_text_is_a_symbol_of_its_own() -> None:
    """One column of W_ih for each symbol of the newest character, and for older ones one more, the first, for none."""
    model = make_model("window:3")
    p = model.parameters.values
    p["rnn.weight_ih_l0"].copy_(torch.arange(7 + 8 + 8).expand(5, -1) / 100)
    p["rnn.bias_ih_l0"].zero_()
    _, tape = model.forward(torch.tensor([[2], [6]]), model.zero_state(1))
    sums = torch.atanh(tape.layers[0].h[1:3, 0, 0]) * 100
    assert sums.tolist() == pytest.approx([2 + 7 + 15, 6 + (7 + 1 + 2) + 15])


@every_cell
def test_streams_do_not_see_each_other(cell: str) -> None:
    model = make_model(cell, layers=2)
    (x, _), state = random_text(model, 9), random_state(model)
    alone = state[:, :, 1:2].clone()
    logits = model.forward(x, state)[0].view(9, 3, -1)[:, 1].clone()
    assert error(model.forward(x[:, 1:2], alone)[0], logits) < 1e-14
    assert error(alone, state[:, :, 1:2]) < 1e-14


# --- making a model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cell": "mamba"}, "--cell mamba: unknown; give one of rnn, gru, lstm, mogrifier, elstm, mingru, window:N"),
        ({"cell": "window"}, "--cell window: unknown; give one of rnn, gru, lstm, mogrifier, elstm, mingru, window:N"),
        (
            {"cell": "window:-1"},
            "--cell window:-1: unknown; give one of rnn, gru, lstm, mogrifier, elstm, mingru, window:N",
        ),
        (
            {"cell": "window:02"},
            "--cell window:02: unknown; give one of rnn, gru, lstm, mogrifier, elstm, mingru, window:N",
        ),
        ({"cell": "window:0"}, "--cell window:0: a window has 1 to 256 characters; give window:2, say"),
        ({"cell": "window:257"}, "--cell window:257: a window has 1 to 256 characters; give window:2, say"),
        ({"vocabulary": 0}, "--vocabulary 0: must be between 1 and 2,000,000"),
        ({"hidden": 0}, "--hidden 0: must be between 1 and 2,000,000"),
        ({"hidden": 10**10}, "--hidden 10000000000: must be between 1 and 2,000,000"),
        ({"layers": -1}, "--layers -1: must be between 1 and 1,000"),
        ({"dropout": 1.0}, "--dropout 1: must be at least 0 and below 1"),
        ({"dropout": -0.1}, "--dropout -0.1: must be at least 0 and below 1"),
        ({"dropout": float("nan")}, "--dropout nan: must be at least 0 and below 1"),
    ],
)
def test_impossible_models_are_refused(wrong: dict[str, object], message: str) -> None:
    assert message_of(ModelConfig, **{"vocabulary": 5, **wrong}) == message


@every_depth
@pytest.mark.parametrize("cell", TorchNetwork.CELLS)
def test_shapes_are_those_of_torch(cell: str, layers: int) -> None:
    model = make_model(cell, layers=layers)
    theirs = {name: tuple(parameter.shape) for name, parameter in TorchNetwork(model).named_parameters()}
    assert {name: tuple(value.shape) for name, value in model.parameters.values.items()} == theirs


@every_cell
def test_fresh_weights(cell: str) -> None:
    hidden = 64
    model = create_network(ModelConfig(30, cell, hidden, 2), "float32", seed=1)
    for name, value in model.parameters.values.items():
        if "weight" in name:
            assert value.abs().max() <= hidden**-0.5
            assert value.std() == pytest.approx((3 * hidden) ** -0.5, rel=0.05 if value.dim() > 1 else 0.2)
        else:
            expected = torch.zeros_like(value)
            if cell in ("lstm", "mogrifier") and "bias_ih" in name:
                expected[hidden : 2 * hidden] = 1
            if cell in OWN_LEAK and "bias_ih" in name:  # half-lives of the units evenly spread on a logarithmic scale
                tau = 1 + torch.exp(OWN_LEAK[cell] * value[:hidden].double())
                ratio = 512 ** (1 / (hidden - 1))
                torch.testing.assert_close(tau, 2 * ratio ** torch.arange(hidden).double(), rtol=1e-4, atol=0)
                expected[:hidden] = value[:hidden]
            assert torch.equal(value, expected), name


def test_seed_alone_determines_the_weights() -> None:
    def flat(seed: int, precision: str = "float32") -> Tensor:
        torch.rand(1)  # the global generator has no part in it
        return create_network(ModelConfig(9, "gru", 5), precision, seed=seed).parameters.flat

    assert torch.equal(flat(1), flat(1))
    assert torch.equal(flat(1), flat(1, "bfloat16"))
    assert torch.equal(flat(1), flat(1, "float64").float())
    assert not torch.equal(flat(1), flat(2))


def test_at_precision_shares_the_weights() -> None:
    model = create_network(ModelConfig(9, "gru", 5, 2), "bfloat16")
    (x, _), exact = random_text(model, 9), model.at_precision("float32")
    model.parameters.flat.mul_(2)  # a change after it was made
    same = create_network(model.config, "float32")
    same.parameters.load(model.parameters.values)
    assert exact.parameters.flat is model.parameters.flat
    assert torch.equal(exact.forward(x, exact.zero_state(3))[0], same.forward(x, same.zero_state(3))[0])


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_a_float64_model_at_precision_stays_one_but_has_other_tapes(name: str) -> None:
    wide = make_model(layers=2)
    (x, y), other = random_text(wide, 9), wide.at_precision(name)
    assert other is not wide
    assert other.precision == wide.precision
    assert other.parameters.flat is wide.parameters.flat
    logits, tape = wide.forward(x, wide.zero_state(3), history=4)
    held, logits = {key: value.clone() for key, value in wide.tapes.history(3, 9).items()}, logits.clone()
    _, others = gradient(other, y, x, random_state(other))
    assert others is not tape
    assert held["x"].equal(x)
    assert all(torch.equal(value, held[key]) for key, value in wide.tapes.history(3, 9).items())
    assert torch.equal(other.forward(x, other.zero_state(3))[0], logits)


@pytest.mark.parametrize("device", ["nowhere", "cuda:99", ""])
def test_a_device_that_is_not_here_is_refused(device: str) -> None:
    message = f"--device {device}: torch has no such device here; give cpu"
    assert message_of(choose_device, device) == message
    assert message_of(create_network, ModelConfig(9), "float32", device) == message
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@every_cell
def test_tape_bytes_covers_what_an_update_keeps(cell: str, dropout: float, precision: str) -> None:
    model = make_model(cell, hidden=16, layers=2, dropout=dropout, precision=precision)
    steps, streams = 200, 4
    _, tape = gradient(model, *random_text(model, steps, streams), random_state(model, streams), torch.Generator())
    holders = [*tape.layers, tape.layers[0].gradients]
    kept = [buffer for holder in holders for buffer in vars(holder).values() if isinstance(buffer, Tensor)]
    storages = {buffer.untyped_storage().data_ptr(): buffer.untyped_storage().nbytes() for buffer in kept}
    logits = 2 * steps * streams * model.config.vocabulary * model.parameters.flat.itemsize
    assert 0.99 <= model.tape_bytes(steps, streams) / (sum(storages.values()) + logits) < 1.35
    assert model.tape_bytes(3 * steps, 5 * streams) == 15 * model.tape_bytes(steps, streams)


def test_every_cell_can_be_configured() -> None:
    assert tuple(CELLS) == CELL_NAMES


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("layers", [1, 3])
@every_cell
def test_operations_are_those_that_torch_counts(cell: str, layers: int, k: int) -> None:
    """Of its matrix products, that is: not those by w_f and w_z of an elstm."""
    model = make_model(cell, layers=layers)
    (x, y), state = random_text(model, k), model.zero_state(3)
    with FlopCounterMode(display=False) as counter:
        logits, tape = model.forward(x, state)
        model.backward(tape, cross_entropy(logits, y)[1])
    products = {name: shape for name, shape in model.parameters.shapes.items() if len(shape) > 1}
    assert counter.get_total_flops() == update_flops(products, 3 * k, 3 * k, 3 * (k - 1), 3 * k, again=0)
