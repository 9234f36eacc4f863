"""What is lost when the gradient is cut, and how much memory a model uses at all: measurements on a trained model, at
resting weights, on text that it was not trained on.

Axes: T characters, B streams or lanes, V symbols, L layers, S tensors of a state, H hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt.checking import STEPS, STREAMS, Check, check_gradient
from rnnbptt.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from rnnbptt.corpus import Corpus, Ids
from rnnbptt.decay import fit_decay, fitted_lags
from rnnbptt.errors import UserError
from rnnbptt.evaluation import LN2, PIECE
from rnnbptt.fidelity import Fidelity, Told, fidelities
from rnnbptt.influence import MOST_BYTES, exact_bytes
from rnnbptt.layers import cross_entropy
from rnnbptt.model import CharRNN
from rnnbptt.passages import Entry, find_corpora
from rnnbptt.specs import parse_truncation
from rnnbptt.streams import Streams
from rnnbptt.truncation import (
    Adaptive,
    Fixed,
    Full,
    Progress,
    Progressive,
    RandomLength,
    RealTime,
    Snap,
    SnapTail,
    Strategy,
    Unbiased,
    ladder,
)

PRECISION = "float32"
FAINTEST = 1e-16  # norm that a decay is fitted on: below, its squares leave the range of float32
WINDOWS = 4  # of a lane, in which the gradient is measured by lag
REREAD = 4  # times R, the characters that a carried state is compared over
TARGETS = 1024  # characters whose loss is measured by context
BATCH = 64  # of these at a time
MOST_INFLUENCES = 1 << 25  # numbers of an exact influence that is kept without being asked for

# --- the result -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fading:
    """The gradient of one loss, in nats, with respect to the state 0, 1, 2, ... characters before: its norm by lag.

    beta       the factor it fades by each character, fitted (decay.py)
    fitted     on these lags, from the first to before the second
    half_life  characters in which it halves; nan where it does not
    """

    norms: tuple[float, ...]
    beta: float
    fitted: tuple[int, int]
    half_life: float


@dataclass(frozen=True)
class Staleness:
    """How far the state that training carries along has fallen behind the weights, |carried - fresh| / |fresh|, over
    the streams of the checkpoint. The fresh state is read again with the weights of now, over REREAD R characters.

    unsettled  median distance of the fresh state from one that is read over half as many: where this is not far below
               the others, the model remembers more, and what looks stale may be what was not read again; nan where
               training resets the state, so that all of its text is read

    All are nan where no text was read before.
    """

    layer: int
    median: float
    largest: float
    unsettled: float


@dataclass(frozen=True)
class ContextLoss:
    """Bits per character where so many `characters` were read since the state was zero."""

    characters: int
    bpc: float


@dataclass(frozen=True)
class Probe:
    """What `probe` found.

    trunc       that the checkpoint was trained with
    text        what the gradients are measured on
    depth       R
    streams     lanes the gradients are means over
    tape_bytes  memory of the gradient of full depth
    targets     characters whose loss by context is measured
    checks      of the gradient itself, where asked for
    """

    path: Path
    trunc: str
    cell: str
    precision: str
    text: str
    depth: int
    streams: int
    tape_bytes: int
    targets: int
    gradients: tuple[Fidelity, ...]
    fading: Fading
    staleness: tuple[Staleness, ...]
    contexts: tuple[ContextLoss, ...]
    checks: tuple[Check, ...] = ()


# --- the subject ------------------------------------------------------------------------------------------------------


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
        """Memory of exact influences, where a strategy has them."""
        exact = any(strategy.influence == "rtrl" for strategy in self.strategies)
        return exact_bytes(self.model, self.streams) if exact else 0

    @property
    def text(self) -> str:
        """What it is."""
        training = self.start < self.checkpoint.document["corpus"]["splits"]["train"][1]
        return "the end of the training text" if training else "held-out text"

    def lanes(self) -> tuple[Tensor, Tensor]:
        """x and y (2R, B), evenly spaced over the held-out text."""
        length = 2 * self.depth
        starts = np.linspace(self.start, self.stop - length - 1, self.streams).astype(np.int64)
        ids = torch.from_numpy(self.corpus.ids[starts + np.arange(length + 1)[:, None]].astype(np.int64))
        return ids[:-1], ids[1:]


def open_subject(path: Path, depth: int, streams: int, more: Sequence[Strategy] = ()) -> Subject:
    """The checkpoint in `path`, a run folder or a file, to be probed with the usual strategies and `more`.

    UserError where its corpus is gone or too short, and for a strategy that cannot be measured.
    """
    for strategy in more:
        _check_depth(strategy, depth)
    checkpoint = load_checkpoint(find_checkpoint(path))
    model = checkpoint.build_model(PRECISION)
    if model.config.window:
        raise UserError(
            f"{path}: --cell {model.config.cell} has no state, so no truncation cuts anything; give another"
        )
    (corpus,) = find_corpora([Entry(str(path), checkpoint)])
    if corpus is None:
        raise UserError(
            f"{checkpoint.document['corpus']['path']}: the corpus that {path} was trained on is no longer there;"
            " put it back, or beside the checkpoint as corpus"
        )
    start, stop = held_out(checkpoint.document["corpus"]["splits"])
    if (needed := 2 * depth * streams + 1) > stop - start:
        raise UserError(
            f"--depth {depth}: {streams} streams of twice as many characters take {needed:,}, and the held-out text"
            f" has {stop - start:,}; give a smaller --depth or fewer --streams"
        )
    for strategy in more:
        _check_memory(strategy, model, streams)
    chosen = {strategy.spec: strategy for strategy in (*usual(model, depth, streams), *more)}
    return Subject(checkpoint, model, corpus, start, stop, depth, streams, tuple(chosen.values()))


def _check_depth(strategy: Strategy, depth: int) -> None:
    """UserError where its depth comes of training, or where one of its segments is longer than R or goes back before
    the history: it would be cut there, and what was measured would be another truncation.
    """
    if isinstance(strategy, Adaptive):
        raise UserError(f"--trunc {strategy.spec}: its depth comes of training; give depths to probe, such as 16")
    measured = strategy.rungs[-1] if isinstance(strategy, Progressive) else strategy
    if isinstance(measured, Full):  # R characters are all the text there is
        return
    # Lengths drawn at random have no end: their mean must fit.
    longest = measured.k if isinstance(measured, RandomLength | Unbiased) else measured.longest(1 << 62)
    if (needed := max(longest, math.ceil((longest + measured.keep) / 2))) > depth:
        raise UserError(f"--trunc {strategy.spec}: does not fit into --depth {depth}; give --depth {needed} or more")


def _check_memory(strategy: Strategy, model: CharRNN, streams: int) -> None:
    """UserError where its influences take more memory than training would let them."""
    if strategy.influence == "rtrl" and (size := exact_bytes(model, streams)) > MOST_BYTES:
        raise UserError(
            f"--trunc {strategy.spec}: would keep {size / 2**30:,.1f} GiB of influences, of which"
            f" {MOST_BYTES // 2**30} are allowed; give snap, or fewer --streams"
        )


def held_out(splits: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """The validation and the test part, which are neighbours; without them the last twentieth of the training part, as
    for validations.
    """
    start, stop = splits["valid"][0], splits["test"][1]
    return (start, stop) if start < stop else (stop - math.ceil((stop - splits["train"][0]) / 20), stop)


def usual(model: CharRNN, depth: int, streams: int) -> list[Strategy]:
    """1, 2, 4, ..., R, and those with an influence, as far as R reaches and it is affordable."""
    chosen: list[Strategy] = [*map(Fixed, ladder(1, depth)), Snap(), *(SnapTail(k) for k in (1, 8, 64) if k <= depth)]
    if depth >= 64 and model.zero_state(streams).numel() * model.parameters.flat.numel() <= MOST_INFLUENCES:
        chosen.append(RealTime(64))
    return chosen


def check_subject(subject: Subject) -> tuple[Check, ...]:
    """Its written-out gradient against others, in float64 on a little of the held-out text."""
    x, y = (ids[-2 * STEPS :, :STREAMS] for ids in subject.lanes())
    return tuple(check_gradient(subject.checkpoint.build_model("float64"), x, y))


# --- the measurements -------------------------------------------------------------------------------------------------


@torch.no_grad()
def probe(subject: Subject, progress: Callable[[int, int], None] = lambda done, total: None) -> Probe:
    """Measure everything. `progress` is told the characters read so far and how many there will be."""
    document, model, depth = subject.checkpoint.document, subject.model, subject.depth
    x, y = subject.lanes()
    targets = np.linspace(subject.start + depth, subject.stop, TARGETS, endpoint=False).astype(np.int64)
    targets, contexts = np.unique(targets), ladder(1, depth)
    total = (len(subject.strategies) + 1 + WINDOWS) * x.numel() + len(targets) * sum(contexts)
    done = 0

    def told(chars: int) -> None:
        nonlocal done
        done += chars
        progress(done, total)

    return Probe(
        path=subject.checkpoint.path,
        trunc=document["train"]["trunc"],
        cell=model.config.cell,
        precision=PRECISION,
        text=subject.text,
        depth=depth,
        streams=subject.streams,
        tape_bytes=subject.tape_bytes,
        targets=len(targets),
        gradients=tuple(fidelities(model, x, y, subject.strategies, told)),
        fading=fading(model, x, y, told),
        staleness=tuple(staleness(subject)),
        contexts=tuple(ContextLoss(n, context_bpc(model, subject.corpus.ids, targets, n, told)) for n in contexts),
    )


def fading(model: CharRNN, x: Tensor, y: Tensor, told: Told = lambda chars: None) -> Fading:
    """The norms at lags 0 to R, means over lanes x, y (2R, B) and several windows in each."""
    depth, streams = len(x) // 2, x.shape[1]
    sums = np.zeros(depth + 1)
    for window in range(WINDOWS):
        start = 1 + window * (depth - 2) // (WINDOWS - 1)  # from 1 to R - 1
        stop = start + depth + 1
        state = model.zero_state(streams)
        model.forward(x[:start], state)
        logits, tape = model.forward(x[start:stop], state)
        _, d_logits = cross_entropy(logits[-streams:], y[stop - 1 : stop])
        sums += model.gradient_norms(tape, d_logits.mul_(streams))  # of each loss, not of their mean
        told(x.numel())
    norms = sums / WINDOWS
    visible = list(takewhile(lambda norm: norm > FAINTEST, norms.tolist()))
    beta = fit_decay(visible)
    half_life = math.log(0.5) / math.log(beta) if 0 < beta < 1 else math.nan
    return Fading(tuple(norms.tolist()), beta, fitted_lags(len(visible)), half_life)


def staleness(subject: Subject) -> list[Staleness]:
    """Of the state in the checkpoint, layer by layer."""
    document, carried = subject.checkpoint.document, subject.checkpoint.tensors["state.carried"]
    config, position = document["train"], document["progress"]["position"]
    start, stop = document["corpus"]["splits"]["train"]  # the folder may have been split anew since
    ids, parts = subject.corpus.ids[start:stop], list(subject.model.cell.carried)
    ends, lengths = Streams(ids, config["streams"], position).history()
    resets = parse_truncation(config["trunc"]).next(Progress(spent=1.0, room=1 << 62)).reset
    if resets:
        lengths = np.minimum(lengths, document["progress"]["k1"])  # its state was zero before the last update
    lengths = np.minimum(lengths, REREAD * subject.depth)
    fresh, half = (fresh_state(subject.model, ids, ends, read)[:, parts] for read in (lengths, lengths // 2))
    stale, unsettled = (
        (other - fresh).norm(dim=(1, 3)) / fresh.norm(dim=(1, 3)) for other in (carried[:, parts], half)
    )  # (L, B) each
    return [
        Staleness(
            layer, float(ratios.median()), float(ratios.max()), math.nan if resets else float(unsettled[layer].median())
        )
        for layer, ratios in enumerate(stale)
    ]


def fresh_state(model: CharRNN, ids: Ids, ends: NDArray[np.int64], lengths: NDArray[np.int64]) -> Tensor:
    """The state (L, S, B, H) after ids[end - length:end], read from the zero state, of each stream."""
    state = model.zero_state(len(ends))
    for length in np.unique(lengths[lengths > 0]):
        (lanes,) = np.nonzero(lengths == length)
        here = model.zero_state(len(lanes))
        _read(model, ids, ends[lanes] - length, length, here)
        state[:, :, lanes] = here
    return state


def context_bpc(
    model: CharRNN, ids: Ids, targets: NDArray[np.int64], characters: int, told: Told = lambda chars: None
) -> float:
    """Mean bits per character of ids[targets], each given so many characters before it, from the zero state."""
    nats = 0.0
    for first in range(0, len(targets), BATCH):
        batch = targets[first : first + BATCH]
        logits = _read(model, ids, batch - characters, characters, model.zero_state(len(batch)))
        y = torch.from_numpy(ids[batch].astype(np.int64))
        nats += float(cross_entropy(logits, y[None])[0].double().sum())
        told(characters * len(batch))
    return nats / len(targets) / LN2


def _read(model: CharRNN, ids: Ids, starts: NDArray[np.int64], length: int, state: Tensor) -> Tensor:
    """Read so many characters of each lane from `state`, which is moved on; the logits after the last one, (B, V)."""
    x = torch.from_numpy(ids[starts + np.arange(length)[:, None]].astype(np.int64))
    for first in range(0, length, PIECE):  # memory does not grow with the length
        logits, _ = model.forward(x[first : first + PIECE], state)
    return logits[-len(starts) :]
