"""Parameters: one flat buffer, named views, and what they refuse to load."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from rnnbptt.bptt.window import create_network
from rnnbptt.errors import memory_of_machine
from rnnbptt.model.config import ModelConfig
from rnnbptt.model.parameters import Parameters
from rnnbptt.model.precision import Precision, choose_precision
from rnnbptt.training.checkpoint import load_checkpoint, save_checkpoint
from support.networks import TorchNetwork, make_model, random_state, random_text
from support.refusals import message_of
from support.runs import make_document

CPU = torch.device("cpu")
SHAPES = {"a": (2, 3), "turned": (3, 4), "b": (5,)}


def make_parameters(precision: str = "float32") -> Parameters:
    return Parameters(SHAPES, frozenset({"turned"}), choose_precision(precision, CPU), CPU)


@pytest.mark.parametrize(
    ("name", "dtypes"),
    [
        ("float32", (torch.float32, torch.float32)),
        ("bfloat16", (torch.float32, torch.bfloat16)),
        ("float64", (torch.float64, torch.float64)),
    ],
)
def test_precision(name: str, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    assert choose_precision(name, CPU) == Precision(*dtypes)


@pytest.mark.parametrize(("native", "name"), [(True, "bfloat16"), (False, "float32"), (None, "float32")])
def test_auto_takes_bfloat16_only_where_it_is_native(
    native: bool | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if native is None:  # a torch that does not tell
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    assert choose_precision("auto", CPU) == choose_precision(name, CPU)


def test_unknown_precision_is_refused() -> None:
    assert message_of(choose_precision, "float16", CPU) == (
        "--precision float16: unknown; give one of auto, float32, bfloat16, float64"
    )


def test_weights_are_all_but_the_biases_and_in_their_place() -> None:
    parameters = make_model("elstm", layers=2).parameters
    for weight in parameters.weights:
        weight.fill_(7)
    for name, value in parameters.values.items():
        assert bool((value == 7).all()) == ("weight" in name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_every_number_of_the_flat_buffers_is_in_one_view(precision: str) -> None:
    parameters = make_parameters(precision)
    assert len(parameters.flat) == len(parameters.grad) == sum(math.prod(shape) for shape in SHAPES.values())
    for views, dtype in (
        (parameters.values, parameters.flat.dtype),
        (parameters.grads, parameters.flat.dtype),
        (parameters.operands, choose_precision(precision, CPU).operand),
    ):
        assert {name: tuple(view.shape) for name, view in views.items()} == SHAPES
        assert {view.dtype for view in views.values()} == {dtype}
    for flat, views in ((parameters.flat, parameters.values), (parameters.grad, parameters.grads)):
        flat.zero_()
        for view in views.values():
            view.add_(1)
        assert torch.equal(flat, torch.ones_like(flat))


def test_a_transposed_view_shares_memory_and_its_transpose_has_contiguous_rows() -> None:
    parameters = make_parameters()
    parameters.flat.copy_(torch.arange(len(parameters.flat)))
    turned = parameters.values["turned"]
    assert turned.t().is_contiguous()
    assert not turned.is_contiguous()
    assert torch.equal(turned, torch.arange(6.0, 18).view(4, 3).t())
    turned[2, 0] = -1
    assert parameters.flat[8] == -1


def test_operands_are_a_copy_only_where_their_dtype_differs() -> None:
    same, narrow = make_parameters("float32"), make_parameters("bfloat16")
    assert same.operands["a"].data_ptr() == same.values["a"].data_ptr()
    narrow.flat.fill_(1 / 3)
    narrow.refresh_operands()
    for name in SHAPES:
        assert torch.equal(narrow.operands[name], narrow.values[name].bfloat16())


def test_views_of_another_buffer_are_laid_out_alike() -> None:
    parameters = make_parameters()
    parameters.flat.copy_(torch.arange(len(parameters.flat)))
    for name, view in parameters.views(10 * parameters.flat).items():
        assert torch.equal(view, 10 * parameters.values[name])


def test_load_takes_values_and_refreshes_operands() -> None:
    parameters = make_parameters("bfloat16")
    tensors = {name: torch.randn(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    parameters.load(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(parameters.values[name], tensor.float())
        assert torch.equal(parameters.operands[name], tensor.float().bfloat16())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": None, "b": None}, "the weights lack 'a': they belong to another model"),
        ({"d": (1,), "c": (1,)}, "the weights hold an unknown 'c': they belong to another model"),
        ({"a": (3, 2)}, "'a' has shape (3, 2), the model wants (2, 3)"),
        ({"b": ()}, "'b' has shape (), the model wants (5,)"),
    ],
)
def test_load_refuses_weights_of_another_model(change: dict[str, tuple[int, ...] | None], message: str) -> None:
    shapes = {name: shape for name, shape in (SHAPES | change).items() if shape is not None}
    assert message_of(make_parameters().load, {name: torch.ones(shape) for name, shape in shapes.items()}) == message


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(5, dtype=torch.int64), "'b' has numbers of type int64, the model wants float32 or float64"),
        (torch.ones(5).bfloat16(), "'b' has numbers of type bfloat16, the model wants float32 or float64"),
        (torch.tensor([1, 1, 1, 1, torch.nan]), "'b' has numbers that are not finite"),
        (torch.tensor([1, 1, 1, 1, 1e200], dtype=torch.float64), "'b' has numbers that are not finite"),
    ],
)
def test_load_refuses_numbers_that_are_no_weights(tensor: torch.Tensor, message: str) -> None:
    tensors = {name: torch.ones(shape) for name, shape in SHAPES.items()} | {"b": tensor}
    assert message_of(make_parameters().load, tensors) == message


def test_a_model_that_the_machine_cannot_hold_is_refused_before_it_is_made() -> None:
    numbers = 4 * 2_000_000 * (7 + 2_000_000 + 2) + 2_000_001 * 7
    assert message_of(create_network, ModelConfig(7, "lstm", 2_000_000), "float32") == (
        f"a model of 1 x 2,000,000 units and 7 symbols would take {12 * numbers / 2**30:,.1f} GiB, and this"
        f" machine has {memory_of_machine() / 2**30:,.1f}; give less --hidden or fewer --layers"
    )


def test_refused_weights_change_nothing() -> None:
    parameters = make_parameters()
    message_of(parameters.load, {"a": torch.ones(2, 3), "turned": torch.ones(3, 4), "b": torch.ones(6)})
    assert not parameters.flat.any()


@pytest.mark.parametrize("cell", TorchNetwork.CELLS)
def test_checkpoint_weights_load_into_torch(cell: str, tmp_path: Path) -> None:
    model = make_model(cell, layers=2)
    tensors = {f"model.{name}": value for name, value in model.parameters.values.items()}
    save_checkpoint(tmp_path / "a", tensors, make_document(model.config))
    weights = load_checkpoint(tmp_path / "a").group("model")
    prefix, config = "rnn.", model.config
    rnn = TorchNetwork.CELLS[cell](config.vocabulary, config.hidden, config.layers, dtype=torch.float64)
    rnn.load_state_dict({name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)})
    back = create_network(config, "float64")
    back.parameters.load(weights)
    assert torch.equal(back.parameters.flat, model.parameters.flat)

    x, _ = random_text(model, 6)
    state = random_state(model)
    parts = tuple(part.contiguous() for part in state.unbind(1))
    out, _ = rnn(torch.nn.functional.one_hot(x, config.vocabulary).double(), parts if cell == "lstm" else parts[0])
    logits, _ = model.forward(x, state)
    torch.testing.assert_close(logits, out.flatten(0, 1) @ weights["head.weight"].t() + weights["head.bias"])
