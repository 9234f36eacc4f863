"""What a run counts and writes down: plain data that a checkpoint keeps and metrics.jsonl is made of."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=2**53)]  # what a file may say
Amount = Annotated[float, Meta(ge=0, le=1e300)]

Record = dict[str, Any]  # a line of metrics.jsonl


@dataclass
class Axes:
    """How far training has come, on the four axes of every comparison.

    chars    characters read, over all streams
    updates  optimizer steps
    seconds  of training alone: no validation, no saving
    flops    floating-point operations of the matrix products
    """

    chars: Count = 0
    updates: Count = 0
    seconds: Amount = 0.0
    flops: Amount = 0.0


@dataclass(frozen=True)
class Validation:
    """A validation as metrics.jsonl has it: how far training had come, and the mean per character of `split`."""

    chars: Count
    updates: Count
    seconds: Amount
    bpc: Amount
    nats: Amount
    split: str
    flops: Amount = 0.0


@dataclass
class Sums:
    """Sums over the updates since the last train record; `nats` over their characters, of which so many are `unscored`
    and have no loss, `grad_norm` before clipping.
    """

    chars: Count = 0
    unscored: Count = 0
    updates: Count = 0
    seconds: Amount = 0.0
    nats: Amount = 0.0
    grad_norm: Amount = 0.0
    clipped: Count = 0


@dataclass
class Validations:
    """The validations so far: characters seen and nats per character."""

    chars: list[Count] = field(default_factory=list)
    nats: list[Amount] = field(default_factory=list)

    def latest_is_best(self) -> bool:
        """Whether the last one is better than all before it."""
        return all(self.nats[-1] < earlier for earlier in self.nats[:-1])


@dataclass
class Standing:
    """Where a run stands.

    position  symbols that each stream has read
    sums      since the last train record
    measured  the relative biases that plans asked for so far
    remarks   what to know of the best validation
    owing     whether a validation is due before the next update
    k1, k2    of the last update, and `lr` its learning rate
    """

    position: Count = 0
    axes: Axes = field(default_factory=Axes)
    sums: Sums = field(default_factory=Sums)
    validations: Validations = field(default_factory=Validations)
    measured: list[Amount] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    owing: bool = False
    k1: Count = 0
    k2: Count = 0
    lr: Amount = 0.0
