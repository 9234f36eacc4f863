"""What `probe` finds: plain values, to be shown, drawn or written as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnbptt.study.contexts import ContextLoss
from rnnbptt.study.probe.checking import Check
from rnnbptt.study.probe.fidelity import Fidelity

REREAD = 4  # times R, the characters that a carried state is compared over

Carried = Literal["fresh", "stale", "unsettled", "handed on", "unknown"]


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
               the others, the model remembers more, and what looks stale may be what was not read again; 0 of a stream
               whose text since a zero state was all read, nan where training sets the state to zero for each update

    All are nan where no text was read before.
    """

    layer: int
    median: float
    largest: float
    unsettled: float


@dataclass(frozen=True)
class Conclusion:
    """What the figures amount to, by the thresholds in concluding.py.

    gradient   whether there is any: of a text of one symbol alone there is none
    enough     the shortest plain truncation, K, whose relative bias is small enough; None where none measured has such
    nearest    the plain truncation with the least bias; None without a gradient
    bias       of `enough`, or else of `nearest`; nan without a gradient
    memory     characters of context after which more of it gain next to nothing: the memory that the model uses
    ends       whether that is below R; otherwise the model may use more
    carried    the state that training carries along: "fresh" enough; "stale"; "unsettled", where it is not told because
               the model remembers more than was read again; "handed on", where training gives it to another stream;
               "unknown", where there is none
    staleness  what it is judged by, the largest median of the layers; nan where there is none
    """

    gradient: bool
    enough: int | None
    nearest: int | None
    bias: float
    memory: int
    ends: bool
    carried: Carried
    staleness: float


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
    conclusion: Conclusion
    checks: tuple[Check, ...] = ()
