"""What a run counts and writes down: plain data that a checkpoint keeps and metrics.jsonl is made of."""

from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]  # a line of metrics.jsonl


@dataclass
class Axes:
    """How far training has come, on the four axes of every comparison.

    chars    characters predicted, over all streams
    updates  optimizer steps
    seconds  of training alone: no validation, no saving
    flops    floating-point operations of the matrix products
    """

    chars: int = 0
    updates: int = 0
    seconds: float = 0.0
    flops: float = 0.0


@dataclass
class Sums:
    """Sums over the updates since the last train record; `nats` over their characters, `grad_norm` before clipping."""

    chars: int = 0
    updates: int = 0
    seconds: float = 0.0
    nats: float = 0.0
    grad_norm: float = 0.0
    clipped: int = 0


@dataclass
class Validations:
    """The validations so far: characters seen and nats per character."""

    chars: list[int] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)

    def latest_is_best(self) -> bool:
        """Whether the last one is better than all before it."""
        return all(self.nats[-1] < earlier for earlier in self.nats[:-1])


@dataclass
class Standing:
    """Where a run stands.

    position  symbols that each stream has read
    sums      since the last train record
    measured  what the plans' `measure` returned so far
    k1, k2    of the last update, and `lr` its learning rate
    """

    position: int = 0
    axes: Axes = field(default_factory=Axes)
    sums: Sums = field(default_factory=Sums)
    validations: Validations = field(default_factory=Validations)
    measured: list[int] = field(default_factory=list)
    k1: int = 0
    k2: int = 0
    lr: float = 0.0
