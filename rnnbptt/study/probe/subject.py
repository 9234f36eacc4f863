"""What is probed: a trained model, the text it was not trained on, and the truncations to measure on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rnnbptt.bptt.influence import BYTES, MOST_BYTES, UNIT_WAYS, parts_followed
from rnnbptt.bptt.network import CharRNN
from rnnbptt.errors import UserError, check_bytes
from rnnbptt.study.probe.checking import STEPS, STREAMS, Check, check_gradient
from rnnbptt.text.corpus import Corpus
from rnnbptt.text.options import stand_in
from rnnbptt.text.streams import gather
from rnnbptt.training.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from rnnbptt.training.corpora import corpus_of
from rnnbptt.truncation.curriculum import ladder
from rnnbptt.truncation.fixed import Fixed, RealTime, Snap, SnapTail
from rnnbptt.truncation.plan import Strategy

PRECISION = "float32"
MOST_INFLUENCES = 1 << 25  # numbers of an exact influence that is kept without being asked for


@dataclass(frozen=True, eq=False)
class Subject:
    """A checkpoint to probe, and the held-out text to do it on.

    start, stop  of that text in the ids of the corpus
    depth        R
    streams      lanes
    strategies   the truncations whose gradients are measured
    """

    checkpoint: Checkpoint
    model: CharRNN
    corpus: Corpus
    start: int
    stop: int
    depth: int
    streams: int
    strategies: tuple[Strategy, ...]

    @property
    def tape_bytes(self) -> int:
        """Memory of the gradient of full depth."""
        return self.model.tape_bytes(2 * self.depth, self.streams)

    @property
    def influence_bytes(self) -> int:
        """Memory of the influences that take most: those of one strategy at a time are kept."""
        return max(kept_bytes(strategy, self.model, self.streams) for strategy in self.strategies)

    @property
    def text(self) -> str:
        """What it is."""
        training = self.start < self.checkpoint.document.corpus.splits["train"][1]
        return "the end of the training text" if training else "held-out text"

    def lanes(self) -> tuple[Tensor, Tensor]:
        """x and y (2R, B), evenly spaced over the held-out text. UserError where that is not what it was any more."""
        self.corpus.check_unchanged()
        length = 2 * self.depth
        starts = np.linspace(self.start, self.stop - length - 1, self.streams).astype(np.int64)
        ids = torch.from_numpy(gather(self.corpus.ids, starts, length + 1))
        return ids[:-1], ids[1:]


def open_subject(path: Path, depth: int, streams: int, more: Sequence[Strategy] = ()) -> Subject:
    """The checkpoint in `path`, a run folder or a file, to be probed with the usual strategies and `more`.

    UserError where its corpus is gone or too short, and for a strategy that cannot be measured.
    """
    for strategy in more:  # one that goes back further would be cut there, and so measured as another truncation
        if strategy.reach is None:
            raise UserError(f"--trunc {strategy.spec}: its depth comes of training; give depths to probe, such as 16")
        if strategy.reach > depth:
            raise UserError(
                f"--trunc {strategy.spec}: does not fit into --depth {depth}; give --depth {strategy.reach} or more"
            )
    checkpoint = load_checkpoint(find_checkpoint(path))
    model = checkpoint.build_model(PRECISION)
    if model.config.window:
        raise UserError(
            f"{path}: --cell {model.config.cell} has no state, so no truncation cuts anything; give another"
        )
    corpus = corpus_of(checkpoint)
    start, stop = held_out(checkpoint.document.corpus.splits)
    if (needed := 2 * depth * streams + 1) > stop - start:
        raise UserError(
            f"--depth {depth}: {streams} streams of twice as many characters take {needed:,}, and the held-out text"
            f" has {stop - start:,}; give a smaller --depth or fewer --streams"
        )
    if not corpus.count_scored(start + depth, stop):
        raise UserError(f"--depth {depth}: of held-out text with so much before it none is scored; give a smaller one")
    for strategy in more:
        check_influence(strategy, model, streams)
    tape = model.tape_bytes(2 * depth, streams)
    check_bytes(tape, f"--depth {depth} on {streams} streams", "give a smaller --depth or fewer --streams")
    chosen = {strategy.spec: strategy for strategy in (*usual(model, depth, streams), *more)}
    return Subject(checkpoint, model, corpus, start, stop, depth, streams, tuple(chosen.values()))


def kept_bytes(strategy: Strategy, model: CharRNN, streams: int) -> int:
    """Memory of its influences; those that stay in the units are not needed, see fidelity.py."""
    return BYTES[strategy.influence](model, streams) if strategy.influence in BYTES else 0


def check_influence(strategy: Strategy, model: CharRNN, streams: int) -> None:
    """UserError where its influences take more memory than training would let them, or a cell has none."""
    if strategy.influence in UNIT_WAYS:
        parts_followed(model, UNIT_WAYS[strategy.influence][0])
    size = kept_bytes(strategy, model, streams)
    advice = f"give {'' if model.cell.gates_state else 'snap, or '}fewer --streams"
    if strategy.influence == "rtrl" and size > MOST_BYTES:
        raise UserError(
            f"--trunc {strategy.spec}: would keep {size / 2**30:,.1f} GiB of influences, of which"
            f" {MOST_BYTES // 2**30} are allowed; {advice}"
        )
    check_bytes(size, f"--trunc {strategy.spec} on {streams:,} streams", advice)


def held_out(splits: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """The validation and the test part, which are neighbours; without them what stands in for validations too."""
    start, stop = splits["valid"][0], splits["test"][1]
    return (start, stop) if start < stop else stand_in(splits)


def usual(model: CharRNN, depth: int, streams: int) -> list[Strategy]:
    """1, 2, 4, ..., R, and those with an influence, as far as R reaches and it is affordable."""
    chosen: list[Strategy] = [*map(Fixed, ladder(1, depth))]
    if not model.cell.gates_state:
        chosen += [Snap(), *(SnapTail(k) for k in (1, 8, 64) if k <= depth)]
    if depth >= 64 and model.zero_state(streams).numel() * model.parameters.flat.numel() <= MOST_INFLUENCES:
        chosen.append(RealTime(64))
    return chosen


def check_subject(subject: Subject) -> tuple[Check, ...]:
    """Its written-out gradient against others, in float64 on a little of the held-out text."""
    x, y = (ids[-2 * STEPS :, :STREAMS] for ids in subject.lanes())
    return tuple(check_gradient(subject.checkpoint.build_model("float64"), x, y))
