"""The configuration of a model: plain data, checked on construction, kept in the checkpoint.

No torch here: the command line takes its defaults from this class, and its help must be instant.
"""

import re
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from annotated_doc import Doc

from rnnbptt.errors import check_option

WIDEST_WINDOW = 256
LARGEST = 2_000_000  # of units and symbols: there are 1,114,112 Unicode characters
MOST_LAYERS = 1000


class CellSizes(NamedTuple):
    """Of a cell: G / H, and the tensors of its state: h, or h and c, or none."""

    gates: int
    parts: int


CELL_SIZES = {
    "rnn": CellSizes(1, 1),
    "gru": CellSizes(3, 1),
    "lstm": CellSizes(4, 2),
    "mogrifier": CellSizes(4, 2),
    "elstm": CellSizes(3, 2),
    "mingru": CellSizes(2, 1),
    "window": CellSizes(1, 0),
}
CELL_NAMES = tuple(name for name in CELL_SIZES if name != "window")


@dataclass(frozen=True)
class ModelConfig:
    """What fixes the shapes of a model.

    The documented fields are the options of `train`. The `vocabulary`, V, is the number of symbols; "window:N" is a
    feed-forward network on the last N characters; dropout is applied in training only.
    """

    vocabulary: int
    cell: Annotated[str, Doc("rnn (tanh), gru, lstm, mogrifier, elstm, mingru, or window:N (no recurrence).")] = "lstm"
    hidden: Annotated[int, Doc("Units of each layer.")] = 512
    layers: Annotated[int, Doc("Stacked layers.")] = 1
    dropout: Annotated[float, Doc("Dropout between layers and before the output.")] = 0.3

    def __post_init__(self) -> None:
        if self.cell not in CELL_NAMES:
            known = bool(re.fullmatch("window:(0|[1-9][0-9]{0,8})", self.cell))
            check_option(known, "cell", self.cell, f"unknown; give one of {', '.join(CELL_NAMES)}, window:N")
            advice = f"a window has 1 to {WIDEST_WINDOW} characters; give window:2, say"
            check_option(1 <= self.window <= WIDEST_WINDOW, "cell", self.cell, advice)
        for name, most in (("vocabulary", LARGEST), ("hidden", LARGEST), ("layers", MOST_LAYERS)):
            size = getattr(self, name)
            check_option(1 <= size <= most, name, size, f"must be between 1 and {most:,}")
        check_option(0 <= self.dropout < 1, "dropout", self.dropout, "must be at least 0 and below 1")

    @property
    def sizes(self) -> CellSizes:
        """Of the cell."""
        return CELL_SIZES[self.cell.partition(":")[0]]

    @property
    def window(self) -> int:
        """N of "window:N"; 0: the network is recurrent."""
        kind, _, size = self.cell.partition(":")
        return int(size) if kind == "window" else 0
