"""Beginning with the weights of another run: each symbol that both have reads and writes as it did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rnnbptt.bptt.window import create_network
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.vocabulary import UNKNOWN, Vocabulary
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.initial import of_shape, take_weights
from support.networks import EVERY_CELL
from support.refusals import message_of
from support.runs import make_document

OLD, NEW = Vocabulary("char", ("a", "b", "d", UNKNOWN), 3), Vocabulary("char", ("b", "c", "d", UNKNOWN), 3)


def checkpoint_of(config: ModelConfig, vocabulary: Vocabulary) -> Checkpoint:
    network = create_network(config, "float64", seed=1)
    tensors = {f"model.{name}": value.clone() for name, value in network.parameters.values.items()}
    return Checkpoint(Path("old"), tensors, make_document(config, vocabulary))


@pytest.mark.parametrize("cell", EVERY_CELL)
def test_a_text_of_known_symbols_is_read_as_before(cell: str) -> None:
    """The logits of symbols that both have are those of the old network; those of a new one are its own."""
    config = ModelConfig(4, cell, 5, 2)
    checkpoint = checkpoint_of(config, OLD)
    network, fresh = (create_network(config, "float64", seed=2) for _ in range(2))
    initial = take_weights(network, NEW, checkpoint)
    assert (Path(initial.path).name, initial.added, initial.dropped) == ("old", 1, 1)
    text = ["b", "d", UNKNOWN, "d", "b"]
    old = create_network(config, "float64")
    old.parameters.load(checkpoint.group("model"))
    logits = []
    for reader, vocabulary in ((old, OLD), (network, NEW)):
        x = torch.tensor([[vocabulary.symbols.index(symbol)] for symbol in text])
        logits.append(reader.forward(x, reader.zero_state(1))[0].clone())
    assert torch.allclose(logits[0][:, [1, 2, 3]], logits[1][:, [0, 2, 3]], rtol=0, atol=1e-14)
    assert torch.equal(network.parameters.values["head.weight"][1], fresh.parameters.values["head.weight"][1])


@pytest.mark.parametrize(
    ("change", "vocabulary", "said"),
    [
        ({"cell": "gru"}, NEW, "--cell gru: old has lstm; leave it out, or begin with fresh weights"),
        ({"hidden": 6}, NEW, "--hidden 6: old has 5; leave it out, or begin with fresh weights"),
        ({"layers": 2}, NEW, "--layers 2: old has 1; leave it out, or begin with fresh weights"),
        (
            {},
            Vocabulary("byte", ("a", "b", "c", "d")),
            "--unit byte: the symbols of old are chars; give that, or begin with fresh weights",
        ),
    ],
)
def test_models_that_differ_are_refused(change: dict[str, object], vocabulary: Vocabulary, said: str) -> None:
    config = ModelConfig(4, "lstm", 5)
    network = create_network(replace(config, **change), "float64")
    assert message_of(take_weights, network, vocabulary, checkpoint_of(config, OLD)) == said


def test_no_symbol_in_common_leaves_all_tables_fresh() -> None:
    config = ModelConfig(2, "rnn", 5)
    network, fresh = (create_network(config, "float64", seed=2) for _ in range(2))
    initial = take_weights(
        network, Vocabulary("char", ("x", "y")), checkpoint_of(config, Vocabulary("char", ("a", "b")))
    )
    assert (initial.added, initial.dropped) == (2, 2)
    for name, value in network.parameters.values.items():
        assert torch.equal(value, fresh.parameters.values[name]) == (
            name in ("head.weight", "head.bias", "rnn.weight_ih_l0") or "bias" in name
        )


def test_the_shape_is_that_of_the_checkpoint_and_the_rest_is_not() -> None:
    checkpoint = checkpoint_of(ModelConfig(4, "gru", 5, 2, 0.5), OLD)
    assert of_shape(ModelConfig(9, dropout=0.1), checkpoint) == ModelConfig(9, "gru", 5, 2, 0.1)
