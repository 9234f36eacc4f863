"""Small networks, and the same ones made of torch.nn or of the plain equations, to hold ours against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch

from rnnbptt.bptt.cells import CELLS
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.window import create_network
from rnnbptt.model.config import ModelConfig
from rnnbptt.model.reference import logits_of

EVERY_CELL = (*CELLS, "window:1", "window:3")


def make_model(
    cell: str = "lstm",
    hidden: int = 5,
    layers: int = 1,
    vocabulary: int = 7,
    dropout: float = 0.0,
    precision: str = "float64",
) -> CharRNN:
    """A small model whose every parameter, the biases too, is at random."""
    model = create_network(ModelConfig(vocabulary, cell, hidden, layers, dropout), precision)
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
    """The norm of the difference, relative to that of what it should be, where that is not 0."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).norm() / (theirs.norm() if theirs.any() else 1.0))


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
