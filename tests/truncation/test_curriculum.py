"""Which rung of a curriculum has its turn, and how the rungs are laid out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.truncation.curriculum import ladder, line
from rnnbptt.truncation.plan import Plan, Progress, Strategy
from rnnbptt.truncation.specs import parse_truncation
from support.specs import lengths

ends = st.tuples(lengths, lengths)
by_share = st.sampled_from(["", "@linear"])


def planned(strategy: Strategy, spent: float, validations: tuple[float, ...] = ()) -> Plan:
    return strategy.next(Progress(spent, room=1000, validations=validations))


def k_at(strategy: Strategy, spent: float, validations: tuple[float, ...] = ()) -> int:
    return planned(strategy, spent, validations).advance


@pytest.mark.parametrize(
    ("first", "last", "rungs"),
    [
        (1, 64, (1, 2, 4, 8, 16, 32, 64)),
        (64, 1, (64, 32, 16, 8, 4, 2, 1)),
        (1, 50, (1, 2, 4, 8, 16, 32, 50)),
        (3, 7, (3, 6, 7)),
        (7, 3, (7, 6, 3)),
        (3, 6, (3, 6)),
        (63, 64, (63, 64)),
        (5, 5, (5,)),
        (1, 1, (1,)),
    ],
)
def test_ladder(first: int, last: int, rungs: tuple[int, ...]) -> None:
    assert ladder(first, last) == rungs


@given(ends)
def test_a_ladder_doubles_from_the_lower_end_to_the_upper(ends: tuple[int, int]) -> None:
    low, high = sorted(ends)
    expected = [low]
    while 2 * expected[-1] < high:
        expected.append(2 * expected[-1])
    expected += [high] * (high > low)
    assert ladder(low, high) == tuple(expected)
    assert ladder(high, low) == tuple(reversed(expected))


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_line_is_even_and_has_a_thousand_rungs_at_most(first: int, last: int) -> None:
    rungs = line(first, last)
    assert (rungs[0], rungs[-1]) == (first, last)
    assert len(rungs) == min(1000, abs(last - first) + 1)
    steps = [after - before for before, after in pairwise(rungs)]
    assert all(step * (last - first) > 0 for step in steps)
    assert not steps or max(steps) - min(steps) <= 1


@given(ends)
def test_a_short_line_has_every_length(ends: tuple[int, int]) -> None:
    first, last = ends
    assert line(first, last) == tuple(range(first, last + 1) if first <= last else range(first, last - 1, -1))


@given(ends, by_share)
def test_rungs_take_equal_shares_and_the_last_at_least_two_fifths(ends: tuple[int, int], growth: str) -> None:
    strategy = parse_truncation("{}..{}".format(*ends) + growth)
    *below, last = (line if growth else ladder)(*ends)
    shares = [1.0]
    if below:
        share = min(0.6, len(below) / (len(below) + 1)) / len(below)
        shares = [share] * len(below) + [1 - share * len(below)]
    assert shares[-1] >= 0.4 - 1e-12
    start = 0.0
    for k, share in zip((*below, last), shares, strict=True):
        assert k_at(strategy, start + 1e-9) == k_at(strategy, start + share - 1e-9) == k
        start += share
    assert k_at(strategy, 0.0) == ends[0]
    assert k_at(strategy, 1.0) == last


@pytest.mark.parametrize(
    ("validations", "rung"),
    [
        ((), 0),
        ((3.0,), 0),  # nothing to compare with
        ((3.0, 2.98, 2.96), 0),
        ((3.0, 2.995), 1),
        ((3.0, 3.5), 1),
        ((3.0, 3.5, 3.4), 2),  # against the best, not the latest
        ((3.0, 3.5, 2.9), 1),
        ((3.0,) * 4, 3),
        ((3.0,) * 5, 4),
        ((3.0,) * 99, 4),
    ],
)
@pytest.mark.parametrize(("spec", "rungs"), [("1..12", (1, 2, 4, 8, 12)), ("12..1", (12, 8, 4, 2, 1))])
def test_plateau_growth_goes_a_rung_on_whenever_validation_stalls(
    spec: str, rungs: tuple[int, ...], validations: tuple[float, ...], rung: int
) -> None:
    strategy = parse_truncation(f"{spec}@plateau")
    assert k_at(strategy, 0.59, validations) == rungs[rung]
    assert k_at(strategy, 0.6, validations) == rungs[-1]


@given(
    ends,
    st.sampled_from(["", "@linear", "@plateau"]),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 5)), min_size=2),
)
def test_a_curriculum_never_turns_back_nor_leaves_its_range(
    ends: tuple[int, int], growth: str, moments: list[tuple[float, float]]
) -> None:
    first, last = ends
    strategy = parse_truncation(f"{first}..{last}{growth}")
    spent, losses = sorted(share for share, _ in moments), tuple(loss for _, loss in moments)
    ks = [k_at(strategy, share, losses[:seen]) for seen, share in enumerate(spent)]
    for before, after in pairwise([first, *ks, last]):
        assert before <= after if first <= last else before >= after
    assert k_at(strategy, 0.0) == first
    assert k_at(strategy, 1.0) == last


def test_a_curriculum_of_depths_advances_by_the_same_number() -> None:
    strategy = parse_truncation("3/3..3/24")
    assert [planned(strategy, spent) for spent in (0.0, 0.3, 0.5, 0.7)] == [Plan(3, k2) for k2 in (3, 6, 12, 24)]


def shares_of(strategy: Strategy, rows: int, rung_of: Callable[[Plan], float]) -> dict[float, float]:
    """The share of the characters that each rung reads of a budget of so many."""
    read, updates, chars = 0, 0, Counter()
    while read < rows:
        plan = strategy.next(Progress(read / rows, rows - read, updates))
        chars[rung_of(plan)] += plan.advance
        read, updates = read + plan.advance, updates + 1
    return {rung: count / rows for rung, count in chars.items()}


by_advance, by_depth = (lambda plan: plan.advance), (lambda plan: plan.depth)


@pytest.mark.parametrize(
    ("spec", "rung_of"),
    [("1..64", by_advance), ("64..1", by_advance), ("1/1..1/64", by_depth), ("1/64..64/64", by_advance)],
)
def test_a_curriculum_reads_as_much_at_each_rung_but_the_last(spec: str, rung_of: Callable[[Plan], float]) -> None:
    shares = shares_of(parse_truncation(spec), 64_000, rung_of)
    last = int(spec.split("..")[1].split("/")[-1])
    for k in (1, 2, 4, 8, 16, 32, 64):
        assert shares.pop(k) == pytest.approx(0.4 if k == last else 0.1, abs=64 / 64_000)
    assert sum(shares.values()) < 64 / 64_000


@pytest.mark.parametrize(
    ("spec", "rung_of"),
    [
        ("1..64", by_advance),
        ("64..1", by_advance),
        ("1/1..1/64", by_depth),
        ("2..5@linear", by_advance),
        ("stateless:4..stateless:16", by_advance),
    ],
)
def test_a_shuffled_curriculum_reads_as_much_at_each_rung(spec: str, rung_of: Callable[[Plan], float]) -> None:
    rows = 20_000 if spec.startswith("1/") else 60_000
    expected = shares_of(parse_truncation(spec), rows, rung_of)
    shares = shares_of(parse_truncation(f"shuffle({spec})"), rows, rung_of)
    for rung, share in expected.items():
        assert shares.get(rung, 0) == pytest.approx(share, abs=0.02), (rung, shares)


def test_a_shuffled_curriculum_makes_as_many_updates_at_each_rung_where_the_budget_counts_these() -> None:
    counts = {}
    for spec in ("1..64", "shuffle(1..64)"):
        strategy = parse_truncation(spec)
        plans = [strategy.next(Progress(n / 8000, 1 << 62, n, in_updates=True)) for n in range(8000)]
        counts[spec] = Counter(plan.advance for plan in plans)
    for rung in (1, 2, 4, 8, 16, 32, 64):
        assert counts["shuffle(1..64)"][rung] == pytest.approx(counts["1..64"][rung], abs=0.015 * 8000)


def test_a_shuffled_curriculum_of_one_rung_is_that_rung() -> None:
    assert planned(parse_truncation("shuffle(5..5)"), 0.5) == Plan(5, 5)
