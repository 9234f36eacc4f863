"""What is lost when the gradient is cut, and how much memory a model uses at all: measurements on a trained model, at
resting weights, on text that it was not trained on.

Axes: T characters, B streams or lanes, V symbols, L layers, S tensors of a state, H hidden.
"""

import math
from itertools import takewhile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnbptt.bptt.lags import norms_by_lag
from rnnbptt.bptt.layers import cross_entropy
from rnnbptt.bptt.network import CharRNN
from rnnbptt.model.shapes import check_tensor
from rnnbptt.study.contexts import ContextLoss, context_bpc, read_lanes, spread_targets
from rnnbptt.study.probe.concluding import conclude
from rnnbptt.study.probe.decay import fit_decay, fitted_lags
from rnnbptt.study.probe.fidelity import Count, fidelities
from rnnbptt.study.probe.results import REREAD, Fading, Probe, Staleness
from rnnbptt.study.probe.subject import PRECISION, Subject
from rnnbptt.text.corpus import Ids
from rnnbptt.text.reading import Tell
from rnnbptt.training.lanes import streams_of
from rnnbptt.truncation.curriculum import ladder
from rnnbptt.truncation.specs import parse_truncation

FAINTEST = 1e-16  # norm that a decay is fitted on: below, its squares leave the range of float32
WINDOWS = 4  # of a lane, in which the gradient is measured by lag


@torch.no_grad()
def probe(subject: Subject, tell: Tell = lambda done, total: None) -> Probe:
    """Measure everything. `tell` is told the characters read so far and how many there will be."""
    document, model, depth = subject.checkpoint.document, subject.model, subject.depth
    x, y = subject.lanes()
    targets, contexts = spread_targets(subject.corpus, subject.start + depth, subject.stop), ladder(1, depth)
    total = (len(subject.strategies) + 1 + WINDOWS) * x.numel() + len(targets) * sum(contexts)
    done = 0

    def count(chars: int) -> None:
        """Add them to what has been read, and tell; before more is read, the text has to be what it was."""
        nonlocal done
        subject.corpus.check_unchanged()
        done += chars
        tell(done, total)

    gradients = tuple(fidelities(model, x, y, subject.strategies, count))
    decay = fading(model, x, y, count)
    stale = tuple(staleness(subject))
    losses = tuple(ContextLoss(n, context_bpc(model, subject.corpus.ids, targets, n, count)) for n in contexts)
    return Probe(
        path=subject.checkpoint.path,
        trunc=document.train.trunc,
        cell=model.config.cell,
        precision=PRECISION,
        text=subject.text,
        depth=depth,
        streams=subject.streams,
        tape_bytes=subject.tape_bytes,
        targets=len(targets),
        gradients=gradients,
        fading=decay,
        staleness=stale,
        contexts=losses,
        conclusion=conclude(gradients, losses, stale, parse_truncation(document.train.trunc).hands_on),
    )


def fading(model: CharRNN, x: Tensor, y: Tensor, count: Count = lambda chars: None) -> Fading:
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
        sums += norms_by_lag(model, tape, d_logits.mul_(streams))  # of each loss, not of their mean
        count(x.numel())
    norms = sums / WINDOWS
    visible = list(takewhile(lambda norm: norm > FAINTEST, norms.tolist()))
    beta = fit_decay(visible)
    half_life = math.log(0.5) / math.log(beta) if 0 < beta < 1 else math.nan
    return Fading(tuple(norms.tolist()), beta, fitted_lags(len(visible)), half_life)


def staleness(subject: Subject) -> list[Staleness]:
    """Of the state in the checkpoint, layer by layer. UserError where the text is not what it was any more."""
    subject.corpus.check_unchanged()
    checkpoint, document = subject.checkpoint, subject.checkpoint.document
    config, position = document.train, document.standing.position
    start, stop = document.corpus.splits["train"]  # the folder may have been split anew since
    ids, parts = subject.corpus.ids[start:stop], list(subject.model.cell.carried)
    with checkpoint.read("take another checkpoint of that run"):
        streams, carried = streams_of(ids, config, position, checkpoint.tensors), checkpoint.tensors["state.carried"]
        zero = subject.model.zero_state(config.streams)
        check_tensor("state.carried", carried, zero.shape, torch.float32, torch.float64)
    ends, lengths = streams.ends(), streams.since
    if resets := parse_truncation(config.trunc).resets:
        # zero before all that the last update read, which is no more than since any stream has wrapped
        lengths = np.full_like(lengths, min(document.standing.k2, *lengths))
    lengths = np.minimum(lengths, REREAD * subject.depth)
    fresh, half = (fresh_state(subject.model, ids, ends, read)[:, parts] for read in (lengths, lengths // 2))
    stale, unsettled = (
        (other - fresh).norm(dim=(1, 3)) / fresh.norm(dim=(1, 3)) for other in (carried[:, parts], half)
    )  # (L, B) each
    unsettled[:, torch.from_numpy((lengths == streams.since) & (lengths > 0))] = 0  # all of its text was read again
    if resets:
        unsettled.fill_(math.nan)
    shares = zip(stale.median(1).values, stale.amax(1), unsettled.median(1).values, strict=True)
    return [Staleness(layer, *map(float, of_layer)) for layer, of_layer in enumerate(shares)]


def fresh_state(model: CharRNN, ids: Ids, ends: NDArray[np.int64], lengths: NDArray[np.int64]) -> Tensor:
    """The state (L, S, B, H) after ids[end - length:end], read from the zero state, of each stream."""
    state = model.zero_state(len(ends))
    for length in np.unique(lengths[lengths > 0]):
        (lanes,) = np.nonzero(lengths == length)
        here = model.zero_state(len(lanes))
        read_lanes(model, ids, ends[lanes] - length, length, here)
        state[:, :, lanes] = here
    return state
