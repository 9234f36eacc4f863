"""What all tests share: one thread, fixed seeds, tiny texts, and a network of torch.nn to hold ours against."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import settings

from rnnbptt.budget import Budget
from rnnbptt.cells import CELLS
from rnnbptt.checkpoint import Checkpoint
from rnnbptt.config import ModelConfig, TrainConfig
from rnnbptt.corpus import Corpus, TextOptions
from rnnbptt.errors import UserError
from rnnbptt.model import CharRNN
from rnnbptt.preparing import prepare
from rnnbptt.reference import logits_of
from rnnbptt.runs import RunFolder
from rnnbptt.training import Trainer

torch.set_num_threads(1)
# Shared machines are no stopwatch, and a failure must come again on the next run.
settings.register_profile("rnnbptt", deadline=None, derandomize=True)
settings.load_profile("rnnbptt")

EVERY_CELL = (*CELLS, "window:1", "window:3")

PHRASE = "the quick brown fox jumps over a lazy dog and is not at all sorry for what it did to him by that time of day"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same start for every test, whatever a command before it has set."""
    torch.manual_seed(0)
    torch.set_flush_denormal(False)


def prose(length: int, seed: int = 0) -> str:
    """That many characters of words at random."""
    rng = random.Random(seed)
    words = [rng.choice(PHRASE.split()) + rng.choice([" ", " ", " ", ", ", ".\n"]) for _ in range(length)]
    return "".join(words)[:length]


def make_corpus(folder: Path, text: str, split: str = "0.9/0.05/0.05") -> Corpus:
    """The text, prepared below `folder`."""
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8", newline="")
    return prepare([source], folder / "prepared", TextOptions(split=split))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """2,000 characters: 1,800 to train on, 100 to validate, 100 to test."""
    return make_corpus(tmp_path_factory.mktemp("corpus"), prose(2000))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """200 characters to train on, 199 predictions, and 20 to validate."""
    return make_corpus(tmp_path_factory.mktemp("small"), prose(220), split="200/20/0")


def message_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """What the user is told: always one line."""
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without_time(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: without_time(v) for k, v in data.items() if k not in ("seconds", "chars_per_second")}
    return [without_time(item) for item in data] if isinstance(data, list) else data


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    """Bit for bit but for time."""
    assert without_time(a.document) == without_time(b.document)
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert torch.equal(tensor, b.tensors[name]), name


def make_model(
    cell: str = "lstm",
    hidden: int = 5,
    layers: int = 1,
    vocabulary: int = 7,
    dropout: float = 0.0,
    precision: str = "float64",
) -> CharRNN:
    """A small model whose every parameter, the biases too, is at random."""
    model = CharRNN.create(ModelConfig(vocabulary, cell, hidden, layers, dropout), precision)
    model.parameters.flat.normal_(0, 0.5)
    model.parameters.refresh_operands()
    return model


def random_text(model: CharRNN, steps: int, streams: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y, (T, B)."""
    return tuple(torch.randint(model.config.vocabulary, (2, steps, streams)))


def random_state(model: CharRNN, streams: int = 3) -> torch.Tensor:
    """A state to come from, (L, S, B, H); that of a window is made of symbols, and of 0 where there was none."""
    zero = model.zero_state(streams)
    if model.config.window:
        return torch.randint_like(zero, model.config.vocabulary + 1)
    return torch.tanh(torch.randn_like(zero))


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The norm of the difference, relative to that of what it should be."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).norm() / theirs.norm()) if theirs.numel() else 0.0


class TorchNetwork(torch.nn.Module):
    """The same network made of torch.nn: its `state_dict` has our names, so it loads our weights as they are."""

    CELLS: ClassVar = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}

    def __init__(self, model: CharRNN) -> None:
        super().__init__()
        config, weights = model.config, model.parameters.values
        dtype = model.parameters.flat.dtype
        self.v, self.lstm = config.vocabulary, config.cell == "lstm"
        self.rnn = self.CELLS[config.cell](self.v, config.hidden, config.layers, dtype=dtype)
        self.head = torch.nn.Linear(config.hidden, self.v, dtype=dtype)
        self.load_state_dict(weights, strict=True)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x (T, B), state (L, S, B, H) -> logits (T*B, V), the state after."""
        parts = tuple(part.contiguous() for part in state.unbind(1))
        one_hot = torch.nn.functional.one_hot(x, self.v).to(state.dtype)
        out, after = self.rnn(one_hot, parts if self.lstm else parts[0])
        return self.head(out.flatten(0, 1)), torch.stack(after if self.lstm else (after,), 1)

    def loss(self, x: torch.Tensor, y: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean nats over all characters, and the state after; the state before is a constant."""
        logits, after = self(x, state.detach())
        return torch.nn.functional.cross_entropy(logits, y.flatten()), after.detach()


class ReferenceNetwork(torch.nn.Module):
    """The same interface for every cell, by the package's plain equations, which test_reference.py holds against
    torch.nn where that has the cell.
    """

    loss = TorchNetwork.loss

    def __init__(self, model: CharRNN) -> None:
        super().__init__()
        self.config = model.config
        self.names = list(model.parameters.values)
        self.weights = torch.nn.ParameterList(value.clone() for value in model.parameters.values.values())

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """By our names, which hold dots."""
        return zip(self.names, self.weights, strict=True)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x (T, B), state (L, S, B, H) -> logits (T*B, V), the state after."""
        return logits_of(self.config, dict(self.named_parameters()), x, state)


def independent(model: CharRNN) -> TorchNetwork | ReferenceNetwork:
    """The same network for autograd: torch.nn's where it has the cell."""
    return (TorchNetwork if model.config.cell in TorchNetwork.CELLS else ReferenceNetwork)(model)


def train_run(
    folder: Path,
    corpus: Corpus,
    chars: int = 400,
    hidden: int = 6,
    cell: str = "lstm",
    precision: str = "float64",
    **options: Any,
) -> Path:
    """A run folder."""
    config = TrainConfig(budget=Budget("chars", chars), **{"trunc": "4", "streams": 4, **options})
    model_config = ModelConfig(len(corpus.vocabulary), cell, hidden, dropout=0.0)
    model = CharRNN.create(model_config, precision, seed=config.seed)
    run = RunFolder(folder)
    run.clear()
    list(run.follow(Trainer(model, corpus, config)))
    return folder


@pytest.fixture(scope="session")
def text_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """5,000 characters: 4,000 to train on, 600 to validate and 400 to test."""
    return make_corpus(tmp_path_factory.mktemp("text"), prose(5000), "4000/600/400")


@pytest.fixture(scope="session")
def run(text_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on it."""
    return train_run(tmp_path_factory.mktemp("runs") / "four", text_corpus, chars=2000)
