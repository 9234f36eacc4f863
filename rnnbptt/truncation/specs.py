"""From what `--trunc` says to the strategy that it means.

spec        = curriculum | simple | K1 "/" K2 "@rerun" | "adaptive:" D | whole | "shuffle(" curriculum ")"
whole       = "full" | "snap" | "rflo"
curriculum  = simple ".." simple [ "@linear" | "@plateau" ]
simple      = K | K1 "/" K2 | name ":" K | "last:" K "/" S | "rtrl" | "uoro"
name        = "stateless" | "shuffled-state" | "last" | "last-carried" | "random" | "artbp" | "snap" | "rtrl" | "uoro"
"""

import re
from collections.abc import Callable

from rnnbptt.errors import UserError
from rnnbptt.truncation.adaptive import Adaptive
from rnnbptt.truncation.curriculum import GROWTHS, Progressive, Shuffled
from rnnbptt.truncation.drawn import RandomLength, Unbiased
from rnnbptt.truncation.fixed import (
    Fixed,
    Full,
    Last,
    LastCarried,
    RankOne,
    RealTime,
    Rflo,
    Separate,
    ShuffledState,
    Snap,
    SnapTail,
    Stateless,
)
from rnnbptt.truncation.plan import Strategy

FORMS = (
    "K, K1/K2, K1/K2@rerun, A..B, A..B@linear, A..B@plateau, full, stateless:K, shuffled-state:K, last:K, last:K/S,"
    " last-carried:K, random:K, artbp:K, adaptive:D, snap, snap:K, rflo, rtrl, rtrl:K, uoro, uoro:K, shuffle(A..B)"
)

WITHOUT_NUMBER: dict[str, Strategy] = {"full": Full(), "snap": Snap(), "rflo": Rflo()}

# By what is left of a spec when # takes the place of each number.
SIMPLE: dict[str, Callable[..., Strategy]] = {"#/#": Separate, "last:#/#": Last}
PREFIXED = (Fixed, Stateless, ShuffledState, LastCarried, RandomLength, Unbiased, SnapTail, RealTime, RankOne)
SIMPLE |= {f"{kind.prefix}#": kind for kind in PREFIXED}


def parse_truncation(spec: str) -> Strategy:
    """The strategy a `--trunc` names; UserError for anything else."""
    if spec in WITHOUT_NUMBER:
        return WITHOUT_NUMBER[spec]
    if match := re.fullmatch(r"shuffle\((.+)\)", spec):
        nested = match[1].startswith("shuffle(")  # without end, maybe
        curriculum = None if nested else parse_truncation(match[1])
        if not isinstance(curriculum, Progressive) or curriculum.growth == "plateau":
            raise UserError(f"--trunc {spec}: only A..B and A..B@linear can be shuffled; give shuffle(A..B)")
        if isinstance(curriculum.rungs[0], RandomLength | Unbiased):
            raise UserError(f"--trunc {spec}: its lengths are random already; give {match[1]}, or shuffle(A..B)")
        return Shuffled(curriculum.rungs, curriculum.growth)
    if ".." in spec:
        return _curriculum(spec)
    if match := re.fullmatch(r"adaptive:([0-9]{0,9}\.?[0-9]{1,9})", spec):
        if not 0 < (bias := float(match[1])) < 1:
            raise UserError(f"--trunc {spec}: the bias is a share of the gradient, above 0 and below 1")
        return Adaptive(bias)
    kind, lengths = _parse_simple(spec.removesuffix("@rerun"), spec)
    strategy = kind(*lengths)
    if not spec.endswith("@rerun"):
        return strategy
    if not isinstance(strategy, Separate) or not strategy.history:
        raise UserError(f"--trunc {spec}: there are older characters to read once more only in K1/K2 with K2 above K1")
    return Separate(strategy.k1, strategy.k2, rerun=True)


def _parse_simple(text: str, spec: str) -> tuple[Callable[..., Strategy], tuple[int, ...]]:
    """What makes the strategy, and the numbers that it takes: one, or two for K1/K2 and last:K/S."""
    if text in ("rtrl", "uoro"):
        text = f"{text}:1"
    elif re.fullmatch("last:[0-9]+", text):
        text = f"{text}/1"
    form = re.sub("[0-9]{1,9}", "#", text)
    if form not in SIMPLE or "#" in text:
        raise UserError(f"--trunc {spec!r}: not a truncation; give one of {FORMS}")
    lengths = tuple(map(int, re.findall("[0-9]+", text)))
    if min(lengths) < 1:
        raise UserError(f"--trunc {spec}: at least 1 character is read for an update; give 1 or more")
    if SIMPLE[form] is Last and lengths[1] > lengths[0]:
        advice = "give last:K/S with S from 1 to K"
        raise UserError(f"--trunc {spec}: windows of K characters move on by K at most; {advice}")
    return SIMPLE[form], lengths


def _curriculum(spec: str) -> Progressive:
    """A..B: what the ends have in common stays, the one number that differs grows (or shrinks)."""
    ends, at, growth = spec.partition("@")
    growth = growth if at else "doubling"
    if growth not in GROWTHS:
        raise UserError(f"--trunc {spec}: unknown growth @{growth}; give one of @{', @'.join(GROWTHS)}")
    first, _, last = ends.partition("..")
    (kind, start), (other, stop) = _parse_simple(first, spec), _parse_simple(last, spec)
    differing = [place for place, pair in enumerate(zip(start, stop, strict=False)) if pair[0] != pair[1]]
    if kind is not other or len(differing) > 1:
        raise UserError(f"--trunc {spec}: its ends must be alike but for one number, such as 1..64 or 1/1..1/64")
    place = differing[0] if differing else 0
    numbers = GROWTHS[growth](start[place], stop[place])
    return Progressive(tuple(kind(*start[:place], n, *start[place + 1 :]) for n in numbers), growth)
