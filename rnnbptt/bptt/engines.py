"""Which engine computes a run: `--engine`. numba is not imported before its turn."""

from importlib import import_module
from typing import NamedTuple

import torch

from rnnbptt.bptt.influence import UNIT_WAYS
from rnnbptt.bptt.network import CharRNN
from rnnbptt.bptt.update import FusedEngine, TorchEngine
from rnnbptt.errors import UserError, check_option
from rnnbptt.model.config import ModelConfig
from rnnbptt.truncation.plan import Strategy

ENGINES = ("auto", "torch", "compiled")
COMPILED = ("rnn", "gru", "lstm", "elstm", "mingru")
MANY = 8  # characters of an update: more of them make torch no faster beside the compiled engine
HINT = "computed by --engine torch, as longer truncations are; --engine compiled is faster for this one"
WHAT_IT_TAKES = (
    f"computes in --precision float32, on --device cpu, --cell {', '.join(COMPILED)}, every --trunc but"
    " shuffled-state:K, uoro, uoro:K, adaptive:D, and of several layers rtrl, rtrl:K, by any optimizer but muon;"
    " give --engine torch"
)


class Choice(NamedTuple):
    """An engine, the `--precision` that it computes in, what to tell of it, and what to tell of another one to who
    trains by it alone; empty: nothing.
    """

    engine: str
    precision: str
    note: str = ""
    hint: str = ""


def supports(config: ModelConfig, precision: str, device: str, strategy: Strategy, optimizer: str) -> bool:
    """Whether the compiled engine can train such a model in such a way; "auto" precision is its own."""
    ours = ("none", *UNIT_WAYS, *(["rtrl"] if config.layers == 1 else []))
    more = strategy.influence not in ours or strategy.measures or strategy.hands_on
    here = precision in ("auto", "float32") and device == "cpu"
    return here and config.cell in COMPILED and optimizer != "muon" and not more


def wins(config: ModelConfig, streams: int) -> bool:
    """Whether it is the faster one, as measured by tests/benchmarks/online.py: whatever the truncation, so that those
    that are to be compared are computed alike.
    """
    return streams == 1 or streams * config.hidden <= 1024


def wins_at(config: ModelConfig, streams: int, strategy: Strategy) -> bool:
    """Where it does not: whether it is the faster one for this truncation all the same, as measured there."""
    chars = min(strategy.reach or MANY, MANY)
    return strategy.influence != "rtrl" and streams * config.hidden * chars <= 1024 * MANY


def choose_engine(
    name: str, config: ModelConfig, precision: str, device: str, strategy: Strategy, optimizer: str, streams: int
) -> Choice:
    """The engine of that `--engine`; UserError for an unknown one, and for one that cannot."""
    check_option(name in ENGINES, "engine", name, f"unknown; give one of {', '.join(ENGINES)}")
    able = supports(config, precision, device, strategy, optimizer)
    check_option(able or name != "compiled", "engine", name, WHAT_IT_TAKES)
    if name == "torch" or not able:
        return Choice("torch", precision)
    if name == "auto" and not wins(config, streams):
        told = wins_at(config, streams, strategy) and not unavailable()
        return Choice("torch", precision, hint=HINT if told else "")
    if reason := unavailable():
        return Choice("torch", precision, f"the compiled engine cannot be had here, torch computes: {reason}")
    return Choice("compiled", "float32")


def runs_compiled(network: CharRNN) -> bool:
    """Whether the kernels can run a network that is there."""
    in_float32 = network.precision.operand == network.precision.float == torch.float32
    return in_float32 and network.device.type == "cpu" and network.config.cell in COMPILED


def unavailable() -> str:
    """Why the kernels cannot be had; empty where they can."""
    try:
        import_module("rnnbptt.bptt.kernels")
    except ImportError as error:
        return str(error)
    except RuntimeError as error:  # numba finds no folder for its cache that can be written
        return str(error).splitlines()[0]
    return ""


def make_engine(name: str, network: CharRNN, strategy: Strategy, streams: int, seed: int) -> TorchEngine | FusedEngine:
    """The engine of that name, for such a run."""
    if name == "torch":
        return TorchEngine(network, strategy, streams, seed)
    if unavailable():
        raise UserError("--engine compiled: it cannot be had here; give --engine torch")
    from rnnbptt.bptt.compiled import CompiledEngine

    return CompiledEngine(network, strategy, streams, seed)
