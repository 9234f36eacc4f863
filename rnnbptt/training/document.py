"""Everything in a checkpoint that is no tensor: one typed document, checked in one place when it is read.

Its JSON has the names of these fields; msgspec holds each against its type, and leaves out what has no field.
Older formats are mended by one small function a change.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.options import PARTS, TextOptions
from rnnbptt.text.vocabulary import Vocabulary
from rnnbptt.training.config import MOST_THREADS, TrainConfig
from rnnbptt.training.records import Count, Standing

FORMAT = 4


@dataclass(frozen=True)
class Versions:
    """What wrote the checkpoint; unknown of format 1."""

    rnnbptt: str = "unknown"
    torch: str = "unknown"


@dataclass(frozen=True)
class TrainedOn:
    """The corpus of a run: where it was, its fingerprint, how it was split and made."""

    path: str
    fingerprint: str
    splits: dict[str, tuple[int, int]]
    options: TextOptions

    def __post_init__(self) -> None:
        """ValueError unless the splits lie one after the other, as those of every corpus do."""
        offsets = [offset for part in PARTS for offset in self.splits.get(part, (-1, -1))]
        if len(self.splits) != len(PARTS) or offsets != sorted(offsets) or offsets[0] < 0:
            raise ValueError("splits that no text has")


@dataclass(frozen=True)
class Initial:
    """The checkpoint whose weights a run began with, the symbols that it lacked, and those that were of no use."""

    path: str
    added: Count
    dropped: Count


@dataclass(frozen=True)
class Document:
    """Of a checkpoint: what was trained, on what, how, by what, and how far.

    precision  of the operands of matrix products: float32, bfloat16 or float64
    engine     what computed the updates
    threads    of torch; 0: unknown
    initial    None: fresh weights
    """

    model: ModelConfig
    train: TrainConfig
    vocabulary: Vocabulary
    corpus: TrainedOn
    standing: Standing
    device: str = "cpu"
    precision: str = "float32"
    engine: str = "torch"
    threads: Annotated[int, Meta(ge=0, le=MOST_THREADS)] = 0
    initial: Initial | None = None
    versions: Versions = field(default_factory=Versions)

    def __post_init__(self) -> None:
        """ValueError where the parts do not belong together."""
        if len(self.vocabulary) != self.model.vocabulary:
            raise ValueError(f"{len(self.vocabulary)} symbols, and a model of {self.model.vocabulary}")
        validations = self.standing.validations
        if len(validations.chars) != len(validations.nats):
            raise ValueError(f"{len(validations.chars)} and {len(validations.nats)} figures of validations")

    def settings(self) -> dict[str, Any]:
        """What was chosen for the model and its training, by the names of the options; the vocabulary, too."""
        return by_name(self.train) | by_name(self.model) | {"precision": self.precision}

    def to_json(self) -> str:
        """Only ASCII: a lone surrogate, as in a name that is not UTF-8, has no UTF-8."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Document:
        """The inverse of `to_json`, of any format up to this one.

        NewerFormatError for a newer one; ValueError or UserError for anything that is no such document.
        """
        data = json.loads(text, parse_constant=_refuse_constant)
        version = data.get("format") if isinstance(data, dict) else None
        if not isinstance(version, int) or version < 1:
            raise ValueError("no format")
        if version > FORMAT:
            raise NewerFormatError(f"format {version}, this rnnbptt reads up to {FORMAT}; upgrade rnnbptt")
        try:
            for mend in MENDS[version - 1 :]:
                data = mend(data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"format {version} lacks {error}") from None
        return msgspec.convert(data, cls)


def by_name(config: Any) -> dict[str, Any]:
    """The fields of a dataclass; `vars` lacks those that were not in the file, whose defaults stand in the class."""
    return {each.name: getattr(config, each.name) for each in fields(config)}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


class NewerFormatError(UserError):
    """A format that a later rnnbptt wrote."""


def name_the_standing(document: dict[str, Any]) -> dict[str, Any]:
    """1 to 2: `progress` became `standing`, its `counts` axes and its `interval` sums."""
    standing = dict(document["progress"])
    standing |= {"axes": standing.pop("counts"), "sums": standing.pop("interval")}
    return {**document, "standing": standing}


def measure_anew(document: dict[str, Any]) -> dict[str, Any]:
    """2 to 3: an adaptive run measures biases; what it had measured were depths."""
    return {**document, "standing": {**document["standing"], "measured": []}}


def name_the_decay(document: dict[str, Any]) -> dict[str, Any]:
    """3 to 4: every learning rate fell by a cosine."""
    return {**document, "train": {**document["train"], "decay": "cosine"}}


# from format 1, from 2, ...
MENDS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (name_the_standing, measure_anew, name_the_decay)
