"""The configuration of a model: plain data, checked on construction, kept in the checkpoint.

No torch here: the command line takes its defaults from this class, and its help must be instant.
"""

import re
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from annotated_doc import Doc

from rnnbptt.errors import UserError

WIDEST_WINDOW = 256
LARGEST = 2_000_000  # of units, layers and symbols: there are 1,114,112 Unicode characters


class CellSizes(NamedTuple):
    """Of a cell: G / H, and the tensors of its state: h, or h and c, or none."""

    gates: int
    parts: int


CELL_SIZES = {
    "rnn": CellSizes(1, 1),
    "gru": CellSizes(3, 1),
    "lstm": CellSizes(4, 2),
    "elstm": CellSizes(3, 2),
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
    cell: Annotated[str, Doc("rnn (tanh), gru, lstm, elstm, or window:N (no recurrence).")] = "lstm"
    hidden: Annotated[int, Doc("Units of each layer.")] = 512
    layers: Annotated[int, Doc("Stacked layers.")] = 1
    dropout: Annotated[float, Doc("Dropout between layers and before the output.")] = 0.3

    def __post_init__(self) -> None:
        if self.cell not in CELL_NAMES and not re.fullmatch("window:(0|[1-9][0-9]{0,8})", self.cell):
            raise UserError(f"--cell {self.cell}: unknown; give one of {', '.join(CELL_NAMES)}, window:N")
        if self.cell not in CELL_NAMES and not 1 <= self.window <= WIDEST_WINDOW:
            raise UserError(f"--cell {self.cell}: a window has 1 to {WIDEST_WINDOW} characters; give window:2, say")
        for name in ("vocabulary", "hidden", "layers"):
            if not 1 <= getattr(self, name) <= LARGEST:
                raise UserError(f"--{name} {getattr(self, name)}: must be between 1 and {LARGEST:,}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout {self.dropout:g}: must be at least 0 and below 1")

    @property
    def sizes(self) -> CellSizes:
        """Of the cell."""
        return CELL_SIZES[self.cell.partition(":")[0]]

    @property
    def window(self) -> int:
        """N of "window:N"; 0: the network is recurrent."""
        kind, _, size = self.cell.partition(":")
        return int(size) if kind == "window" else 0
