"""What `compare` finds: plain values, to be shown, drawn or written as JSON."""

from dataclasses import dataclass
from pathlib import Path

from rnnbptt.study.bootstrap import Interval
from rnnbptt.study.contexts import ContextLoss
from rnnbptt.study.grouping import Group


@dataclass(frozen=True)
class Curve:
    """The validations of a run, from its metrics.jsonl; `split` is "train" where the validation split is empty.

    chars, updates and seconds (of training) are where each validation was made, bpc its bits per character.
    """

    split: str
    chars: tuple[int, ...]
    updates: tuple[int, ...]
    seconds: tuple[float, ...]
    bpc: tuple[float, ...]


@dataclass(frozen=True)
class Score:
    """The loss on one text: `characters` were scored; bits per character, and perplexity per character (2^bpc); what to
    know of it.
    """

    split: str
    characters: int
    bpc: float
    perplexity: float
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One checkpoint.

    name                   short, and no other row has it
    chars, updates         of training, up to this checkpoint
    seconds                of training alone, on whatever machine that was
    characters_per_second  None where nothing was trained
    scores                 one for each text, in the order of `Comparison.splits`
    contexts               losses by context on the last of these, where they were asked for
    curve                  None without a metrics.jsonl of the checkpoint's own run beside it
    """

    name: str
    path: Path
    trunc: str
    cell: str
    parameters: int
    chars: int
    updates: int
    seconds: float
    characters_per_second: float | None
    scores: tuple[Score, ...]
    curve: Curve | None
    contexts: tuple[ContextLoss, ...] = ()


@dataclass(frozen=True)
class Yardstick:
    """What is reached on a text without any network, bits per character; the optimum of a task cannot be beaten."""

    split: str
    label: str
    bpc: float
    optimum: bool = False


@dataclass(frozen=True)
class Pair:
    """A checkpoint against the first one on one text: `difference` is second minus first, bits per character.

    `interval` is that of the difference, None for a text too short for one; `verdict` says it in plain words.
    """

    split: str
    first: str
    second: str
    difference: float
    interval: Interval | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. Pairs are in the order of splits, then of rows. Groups are of checkpoints that differ in
    the seed alone, none where no two do. A foreign text has no yardsticks.
    """

    splits: tuple[str, ...]
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    groups: tuple[Group, ...]
    yardsticks: tuple[Yardstick, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
