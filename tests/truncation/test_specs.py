"""What `--trunc` may say: every form is understood and written back the same way, and anything else is refused."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given

from rnnbptt.truncation.adaptive import Adaptive
from rnnbptt.truncation.curriculum import Progressive, Shuffled
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
from rnnbptt.truncation.specs import parse_truncation
from support.refusals import message_of
from support.specs import specs


def fixed(*ks: int) -> tuple[Fixed, ...]:
    return tuple(map(Fixed, ks))


@pytest.mark.parametrize(
    ("spec", "strategy"),
    [
        ("1", Fixed(1)),
        ("64", Fixed(64)),
        ("999999999", Fixed(999_999_999)),
        ("full", Full()),
        ("1/5", Separate(1, 5)),
        ("64/1", Separate(64, 1)),
        ("8/8", Separate(8, 8)),
        ("stateless:64", Stateless(64)),
        ("shuffled-state:64", ShuffledState(64)),
        ("last:64", Last(64)),
        ("last:64/3", Last(64, 3)),
        ("last:64/64", Last(64, 64)),
        ("last-carried:64", LastCarried(64)),
        ("random:64", RandomLength(64)),
        ("artbp:64", Unbiased(64)),
        ("snap", Snap()),
        ("snap:64", SnapTail(64)),
        ("rflo", Rflo()),
        ("rtrl:1", RealTime(1)),
        ("uoro:64", RankOne(64)),
        ("1/5@rerun", Separate(1, 5, rerun=True)),
        ("adaptive:0.5", Adaptive(0.5)),
        ("adaptive:0.000000001", Adaptive(1e-9)),
        ("1..64", Progressive(fixed(1, 2, 4, 8, 16, 32, 64))),
        ("5..5", Progressive(fixed(5))),
        ("50..3", Progressive(fixed(50, 48, 24, 12, 6, 3))),
        ("2..5@linear", Progressive(fixed(2, 3, 4, 5), "linear")),
        ("5..2@linear", Progressive(fixed(5, 4, 3, 2), "linear")),
        ("1..6@plateau", Progressive(fixed(1, 2, 4, 6), "plateau")),
        ("1/1..1/4", Progressive((Separate(1, 1), Separate(1, 2), Separate(1, 4)))),
        ("1/4..4/4", Progressive((Separate(1, 4), Separate(2, 4), Separate(4, 4)))),
        ("4/4..4/4", Progressive((Separate(4, 4),))),
        ("4/3..4/1@linear", Progressive((Separate(4, 3), Separate(4, 2), Separate(4, 1)), "linear")),
        ("stateless:2..stateless:4", Progressive((Stateless(2), Stateless(4)))),
        ("last:4..last:24@plateau", Progressive((Last(4), Last(8), Last(16), Last(24)), "plateau")),
        ("last:8/4..last:8", Progressive((Last(8, 4), Last(8, 2), Last(8)))),
        ("shuffled-state:1..shuffled-state:2", Progressive((ShuffledState(1), ShuffledState(2)))),
        ("random:9..random:5@plateau", Progressive((RandomLength(9), RandomLength(5)), "plateau")),
        ("artbp:1..artbp:3", Progressive((Unbiased(1), Unbiased(2), Unbiased(3)))),
        ("snap:1..snap:4", Progressive((SnapTail(1), SnapTail(2), SnapTail(4)))),
        ("rtrl:3..rtrl:1@linear", Progressive((RealTime(3), RealTime(2), RealTime(1)), "linear")),
        ("shuffle(snap:1..snap:2)", Shuffled((SnapTail(1), SnapTail(2)))),
        ("shuffle(1..4)", Shuffled(fixed(1, 2, 4))),
        ("shuffle(last-carried:1..last-carried:2)", Shuffled((LastCarried(1), LastCarried(2)))),
        ("shuffle(1/4..1/2@linear)", Shuffled((Separate(1, 4), Separate(1, 3), Separate(1, 2)), "linear")),
    ],
)
def test_every_form_is_understood_and_written_the_same_way(spec: str, strategy: Strategy) -> None:
    assert parse_truncation(spec) == strategy
    assert strategy.spec == spec


@given(specs)
def test_every_spec_comes_back(spec: str) -> None:
    assert parse_truncation(spec).spec == spec


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        ("1..64@doubling", "1..64"),  # the default growth written out
        ("shuffle(4..1@doubling)", "shuffle(4..1)"),
        ("rtrl", "rtrl:1"),
        ("rtrl:8..rtrl@plateau", "rtrl:8..rtrl:1@plateau"),
        ("uoro", "uoro:1"),
        ("shuffle(uoro..uoro:4)", "shuffle(uoro:1..uoro:4)"),
        ("last:8/1", "last:8"),
        ("last:8/4..last:8/1", "last:8/4..last:8"),
        ("adaptive:.5", "adaptive:0.5"),
        ("adaptive:0.10", "adaptive:0.1"),
    ],
)
def test_some_may_be_written_in_two_ways(spec: str, same: str) -> None:
    assert parse_truncation(spec) == parse_truncation(same)
    assert parse_truncation(spec).spec == same


FORMS = (
    "K, K1/K2, K1/K2@rerun, A..B, A..B@linear, A..B@plateau, full, stateless:K, shuffled-state:K, last:K, last:K/S,"
    " last-carried:K, random:K, artbp:K, adaptive:D, snap, snap:K, rflo, rtrl, rtrl:K, uoro, uoro:K, shuffle(A..B)"
)
NEITHER = [
    *("", "k", "-1", "+1", "1.5", "Full", " 1", "1 ", "1\n", "1\u0663", "1234567890", "1@linear", "full@linear"),
    *("/", "1/", "/1", "1//2", "1/2/3", "1/k", "1 / 2"),
    *("1..", "..4", "..", "1...4", "1..2..4", "1..full", "(1..4)", "1..4\n"),
    *("stateless", "stateless:", ":4", "stateless:k", "Random:4", "tbptt:4", "artbp:4/2", "random: 4"),
    *(
        "snap:",
        "snap:k",
        "snap:1/2",
        "snap2",
        "snap@linear",
        "rflo:4",
        "rflo..rflo",
        "rtrl:-1",
        "snap..",
        "snap..snap:4",
        "full@rerun",
        "1/4@rerun@rerun",
    ),
    *("last", "last:", "last:4/", "last:4\n", "last:4/2/1", "last-carried:4/2", "shuffled-state:4/2", "shuffled:4"),
    *("adaptive", "adaptive:", "adaptive:-0.1", "adaptive:d", "adaptive:1e-3", "adaptive:0.5.5", "adaptive: 0.1"),
    *("adaptive:0,5", "adaptive:5.", "adaptive:0.1..adaptive:0.5", "adaptive:0.5@rerun", "adaptive:0.0123456789"),
    *("shuffle", "shuffle()", "shuffle(1..4", "shuffle 1..4", "shuffle(1..4)@linear"),
]


@pytest.mark.parametrize("spec", NEITHER)
def test_what_is_no_truncation_is_refused(spec: str) -> None:
    assert message_of(parse_truncation, spec) == f"--trunc {spec!r}: not a truncation; give one of {FORMS}"


@pytest.mark.parametrize(
    "spec",
    [
        "0",
        "0..4",
        "0..0",
        "3..0",
        "0/1",
        "1/0",
        "1/1..1/0",
        "stateless:0",
        "random:0",
        "artbp:00",
        "artbp:1..artbp:0",
        "snap:0",
        "rtrl:0",
        "uoro:0",
        "last:0",
        "last:4/0",
        "0/4@rerun",
    ],
)
def test_no_length_is_0(spec: str) -> None:
    message = f"--trunc {spec}: at least 1 character is read for an update; give 1 or more"
    assert message_of(parse_truncation, spec) == message


@pytest.mark.parametrize(
    ("spec", "growth"),
    [
        *(("1..4@cubic", "cubic"), ("1..4@2", "2"), ("1..4@", ""), ("4..1@linear@plateau", "linear@plateau")),
        ("1/1..1/4@rerun", "rerun"),
    ],
)
def test_no_other_growth_is_known(spec: str, growth: str) -> None:
    known = "@doubling, @linear, @plateau"
    assert message_of(parse_truncation, spec) == f"--trunc {spec}: unknown growth @{growth}; give one of {known}"


@pytest.mark.parametrize(
    "spec",
    [
        *("1..1/4", "1/4..4", "1/1..2/2", "stateless:1..4", "1..artbp:4", "random:1..artbp:4", "1/2..2/1@linear"),
        *("snap:1..4", "1..snap:4", "snap:1..rtrl:4", "rtrl..1/4", "rtrl..uoro:4", "last:1..last:24/3"),
        "last:4..last-carried:8",
    ],
)
def test_the_ends_of_a_curriculum_differ_in_one_number(spec: str) -> None:
    message = f"--trunc {spec}: its ends must be alike but for one number, such as 1..64 or 1/1..1/64"
    assert message_of(parse_truncation, spec) == message


@pytest.mark.parametrize(
    "spec",
    [
        *("shuffle(snap)", "shuffle(adaptive:0.5)", "shuffle(1/4@rerun)", "shuffle(snap:1..snap:4@plateau)"),
        *("shuffle(4)", "shuffle(full)", "shuffle(1/4)", "shuffle(random:4)", "shuffle(shuffle(1..4))"),
        *("shuffle(1..4@plateau)", "shuffle(1/1..1/4@plateau)", "shuffle(random:9..random:5@plateau)"),
    ],
)
def test_only_a_curriculum_by_share_can_be_shuffled(spec: str) -> None:
    assert message_of(parse_truncation, spec) == (
        f"--trunc {spec}: only A..B and A..B@linear can be shuffled; give shuffle(A..B)"
    )


@pytest.mark.parametrize("curriculum", ["random:40..random:80", "artbp:4..artbp:16", "artbp:16..artbp:4@linear"])
def test_random_lengths_cannot_be_shuffled(curriculum: str) -> None:
    assert message_of(parse_truncation, f"shuffle({curriculum})") == (
        f"--trunc shuffle({curriculum}): its lengths are random already; give {curriculum}, or shuffle(A..B)"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("shuffle(k)", f"--trunc 'k': not a truncation; give one of {FORMS}"),
        ("shuffle(1..0)", "--trunc 1..0: at least 1 character is read for an update; give 1 or more"),
    ],
)
def test_what_cannot_be_shuffled_because_it_is_nothing(spec: str, message: str) -> None:
    assert message_of(parse_truncation, spec) == message


@pytest.mark.parametrize("spec", ["last:4/5", "last:8/4..last:2/4"])
def test_windows_leave_no_character_out(spec: str) -> None:
    assert message_of(parse_truncation, spec) == (
        f"--trunc {spec}: windows of K characters move on by K at most; give last:K/S with S from 1 to K"
    )


@pytest.mark.parametrize("digits", ["0", "0.0", "1", "1.5", "00"])
def test_a_bias_is_a_share(digits: str) -> None:
    assert message_of(parse_truncation, f"adaptive:{digits}") == (
        f"--trunc adaptive:{digits}: the bias is a share of the gradient, above 0 and below 1"
    )


@pytest.mark.parametrize(
    "spec", ["4@rerun", "4/4@rerun", "4/2@rerun", "snap:4@rerun", "stateless:4@rerun", "last:4/2@rerun"]
)
def test_only_older_characters_can_be_read_once_more(spec: str) -> None:
    assert message_of(parse_truncation, spec) == (
        f"--trunc {spec}: there are older characters to read once more only in K1/K2 with K2 above K1"
    )


@pytest.mark.parametrize(
    "spec",
    [
        "adaptive:0.5",
        "snap:4",
        "1/4@rerun",
        "1",
        "full",
        "1/2",
        "last:4/2",
        "stateless:1",
        "random:9",
        "artbp:4",
        "1..4",
        "shuffle(1..4)",
    ],
)
def test_a_strategy_is_immutable(spec: str) -> None:
    strategy = parse_truncation(spec)
    for field in fields(strategy):
        with pytest.raises(FrozenInstanceError):
            setattr(strategy, field.name, 2)
