"""A run that begins with the weights of another one, on another text or with other options.

The symbols that both texts have keep their weights; those of new ones stay fresh.
"""

from dataclasses import replace

import torch
from torch import Tensor

from rnnbptt.bptt.network import CharRNN
from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.model.shapes import OF_SYMBOLS
from rnnbptt.text.vocabulary import Vocabulary
from rnnbptt.training.checkpoint import Checkpoint
from rnnbptt.training.document import Initial


def take_weights(network: CharRNN, vocabulary: Vocabulary, checkpoint: Checkpoint) -> Initial:
    """Give a fresh network the weights of a checkpoint, symbol by symbol, and say whose they were.

    UserError where the models differ in more than their symbols and dropout, and where their symbols are of different
    units.
    """
    model = checkpoint.document.model
    fresh = "or begin with fresh weights"
    for name in ("cell", "hidden", "layers"):
        if (ours := getattr(network.config, name)) != (theirs := getattr(model, name)):
            raise UserError(f"--{name} {ours}: {checkpoint.path} has {theirs}; leave it out, {fresh}")
    if (ours := vocabulary.unit) != (theirs := checkpoint.vocabulary.unit):
        raise UserError(f"--unit {ours}: the symbols of {checkpoint.path} are {theirs}s; give that, {fresh}")
    known = {symbol: index for index, symbol in enumerate(_symbols(checkpoint.vocabulary))}
    shared = [(index, known[symbol]) for index, symbol in enumerate(_symbols(vocabulary)) if symbol in known]
    here, there = torch.tensor(shared, dtype=torch.int64).view(-1, 2).unbind(1)
    weights = checkpoint.build_model("float64").parameters.values
    for name, view in network.parameters.values.items():
        given = weights[name].to(view)
        if name in OF_SYMBOLS:
            view[:, _columns(network.config, here)] = given[:, _columns(model, there)]
        elif name.startswith("head."):
            view[here] = given[there]
        else:
            view.copy_(given)
    network.parameters.refresh_operands()
    added, dropped = (len(each) - len(shared) for each in (vocabulary, checkpoint.vocabulary))
    return Initial(str(checkpoint.path.resolve()), added, dropped)


def of_shape(config: ModelConfig, checkpoint: Checkpoint) -> ModelConfig:
    """The configuration with the shape of the checkpoint's model."""
    model = checkpoint.document.model
    return replace(config, cell=model.cell, hidden=model.hidden, layers=model.layers)


def _symbols(vocabulary: Vocabulary) -> list[str]:
    """Its symbols, the unknown one as none at all: U+FFFD may be a character of its own."""
    return ["" if index == vocabulary.unknown else symbol for index, symbol in enumerate(vocabulary.symbols)]


def _columns(config: ModelConfig, symbols: Tensor) -> Tensor:
    """The columns of the first layer's W_ih, and R, for these symbols, and those for none, in all places of a window:
    see `input_columns` in model/shapes.py.
    """
    places = torch.arange(max(1, config.window)) * (config.vocabulary + 1)
    nothing = places[1:] - 1
    return torch.cat([(places[:, None] + symbols).flatten(), nothing])
