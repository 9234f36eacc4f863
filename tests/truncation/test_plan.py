"""What holds of the plans of every strategy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnbptt.truncation.plan import Plan, Progress
from rnnbptt.truncation.specs import parse_truncation
from support.specs import specs

moments = st.builds(
    Progress,
    spent=st.floats(0, 1),
    room=st.integers(1, 300),
    updates=st.integers(0, 10**6),
    seed=st.integers(0, 10**6),
    measured=st.lists(st.floats(0, 10), max_size=40).map(tuple),
    validations=st.lists(st.floats(0, 5), max_size=5).map(tuple),
)


@given(specs, moments)
def test_a_plan_fits_its_room_and_itself(spec: str, progress: Progress) -> None:
    strategy = parse_truncation(spec)
    plan = strategy.next(progress)
    assert 1 <= plan.advance <= strategy.longest(progress.room) <= progress.room
    if plan.carry is None:
        assert plan.depth >= plan.advance
    else:
        assert len(plan.carry) == plan.advance - 1
        pieces = "".join("0" if factor == 0 else "1" for factor in plan.carry).split("0")
        assert max(map(len, pieces)) + 1 == plan.depth <= plan.advance, "the deepest a gradient goes"
    assert plan.scale > 0 < plan.lr_scale
    assert strategy.next(progress) == plan, "it has a memory"


@given(specs, moments)
def test_no_plan_goes_back_to_more_than_is_kept(spec: str, progress: Progress) -> None:
    """Also where the room cuts an update short; otherwise a record would say more than was done."""
    strategy = parse_truncation(spec)
    plan = strategy.next(progress)
    assert plan.depth - plan.advance <= strategy.history


@pytest.mark.parametrize(
    ("spec", "room", "plan"),
    [
        ("7", 1000, Plan(7, 7)),
        ("7", 5, Plan(5, 5)),
        ("full", 1000, Plan(1000, 1000)),
        ("2/6", 1000, Plan(2, 6)),
        ("6/6", 1000, Plan(6, 6)),
        ("6/1", 1000, Plan(6, 1, carry=(0, 0, 0, 0, 0))),
        ("7/3", 1000, Plan(7, 3, carry=(0, 1, 1, 0, 1, 1))),
        ("7/3", 5, Plan(5, 3, carry=(1, 0, 1, 1))),
        ("7/3", 2, Plan(2, 2)),
        ("2/6", 1, Plan(1, 5)),
        ("2/6@rerun", 1000, Plan(2, 6, rerun=4)),
        ("2/6@rerun", 1, Plan(1, 5, rerun=4)),
        ("snap:7", 5, Plan(5, 5)),
        ("rflo", 1000, Plan(1, 1)),
        ("rtrl:7", 1000, Plan(7, 7)),
        ("uoro:7", 5, Plan(5, 5)),
        ("stateless:7", 1000, Plan(7, 7, reset=True)),
        ("stateless:7", 5, Plan(5, 5, reset=True)),
        ("shuffled-state:7", 5, Plan(5, 5, hand_on=1)),
        ("last:7", 1000, Plan(1, 7, reset=True, rerun=6, losses=1)),
        ("last:7/3", 1000, Plan(3, 7, reset=True, rerun=4, losses=1)),
        ("last:7/3", 2, Plan(2, 6, reset=True, rerun=4, losses=1)),
        ("last-carried:7", 5, Plan(5, 5, losses=1)),
    ],
)
def test_plans_that_do_not_change(spec: str, room: int, plan: Plan) -> None:
    for spent in (0.0, 0.5, 1.0):
        for updates in range(3):
            assert parse_truncation(spec).next(Progress(spent, room, updates)) == plan


@pytest.mark.parametrize("room", [9, 5])
def test_four_training_schemes_are_all_losses_or_the_last_and_the_state_carried_or_zero(room: int) -> None:
    carried, stateless, last, last_carried = (
        parse_truncation(spec).next(Progress(0.0, room)) for spec in ("7", "stateless:7", "last:7/7", "last-carried:7")
    )
    assert carried == replace(stateless, reset=False) == replace(last_carried, losses=None)
    assert last == replace(stateless, losses=1)


@pytest.mark.parametrize(
    ("spec", "longest", "history"),
    [
        ("64", 64, 0),
        ("2000", 1000, 0),
        ("full", 1000, 0),
        ("1/64", 1, 63),
        ("4/10", 4, 6),
        ("10/4", 10, 0),
        ("stateless:64", 64, 0),
        ("last:64", 1, 63),
        ("last:64/16", 16, 48),
        ("last:64/64", 64, 0),
        ("last:4..last:24", 1, 23),
        ("random:64", 114, 0),
        ("random:2000", 1000, 0),
        ("artbp:64", 640, 0),
        ("artbp:200", 1000, 0),
        ("4/10@rerun", 4, 6),
        ("adaptive:0.5", 1000, 0),
        ("snap:64", 64, 0),
        ("rtrl..rtrl:8", 8, 0),
        ("1..64", 64, 0),
        ("64..1", 64, 0),
        ("1..2000", 1000, 0),
        ("1/1..1/64", 1, 63),
        ("1/9..16/9", 16, 8),
        ("shuffle(64..1)", 64, 0),
        ("shuffle(1/1..1/64)", 1, 63),
    ],
)
def test_longest_update_and_what_is_kept_before_it(spec: str, longest: int, history: int) -> None:
    strategy = parse_truncation(spec)
    assert (strategy.longest(room=1000), strategy.history) == (longest, history)


@pytest.mark.parametrize(
    ("spec", "reach"),
    [
        ("64", 64),
        ("snap", 1),
        ("snap:8", 8),
        ("rtrl:8", 8),
        ("stateless:8", 8),
        ("last:8/2", 6),
        ("random:8", 8),
        ("artbp:8", 8),
        ("4/6", 4),
        ("4/9@rerun", 5),
        ("9/4", 9),
        ("full", 0),
        ("adaptive:0.5", None),
        ("64..8", 8),
        ("artbp:2..artbp:8", 8),
        ("1/1..1/9@linear", 8),
        ("shuffle(64..8)", 64),
        ("shuffle(1/9..1/2)", 8),
    ],
)
def test_what_a_strategy_takes_in_at_its_end(spec: str, reach: int | None) -> None:
    assert parse_truncation(spec).reach == reach


@given(specs, moments)
def test_what_a_strategy_says_of_itself_is_what_it_plans(spec: str, progress: Progress) -> None:
    strategy = parse_truncation(spec)
    plan = strategy.next(progress)
    assert plan.reset == strategy.resets == ("stateless" in spec or "last:" in spec)
    assert plan.hand_on == strategy.hands_on == ("shuffled-state" in spec)
    assert plan.scored == (1 if "last" in spec else plan.advance)
    assert (strategy.influence in ("snap", "tail")) == ("snap" in spec)
    assert (strategy.influence == "uoro") == ("uoro" in spec)
    again = "last:" in spec and strategy.history > 0
    assert strategy.needs_state == (again or any(name in spec for name in ("snap", "rflo", "rtrl", "uoro", "adaptive")))


@pytest.mark.parametrize("spec", ["random:50", "artbp:50", "shuffle(1..64)", "shuffle(1/1..1/64)"])
def test_chance_is_that_of_the_seed_and_the_update_alone(spec: str) -> None:
    def drawn(seed: int, spent: float, validations: tuple[float, ...] = ()) -> list[Plan]:
        strategy = parse_truncation(spec)
        return [strategy.next(Progress(spent, 1000, updates, seed, validations)) for updates in range(50)]

    assert drawn(1, 0.1) == drawn(1, 0.9, (3.0, 3.0, 3.0))
    assert drawn(1, 0.1) != drawn(2, 0.1)
    assert len({plan.advance + plan.depth for plan in drawn(1, 0.1)}) > 4


def test_the_numbers_of_a_moment_differ_by_purpose_update_and_seed_but_come_again() -> None:
    def drawn(purpose: str, updates: int = 3, seed: int = 5) -> float:
        return Progress(0.0, 1000, updates, seed).rng(purpose).random()

    numbers = [drawn(purpose) for purpose in ("length", "cuts", "rung")]
    assert numbers == [drawn(purpose) for purpose in ("length", "cuts", "rung")]
    assert len({*numbers, drawn("cuts", updates=4), drawn("cuts", seed=6)}) == 5
