"""grid.py: which learning rates are tried, and which of them is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from rnnbptt.study.race.grid import Tuned, centred, explore, share_of, tuned
from rnnbptt.training.config import Budget

Curve = Callable[[float], float | None]


def search(grid: tuple[float, ...], candidates: tuple[float, ...], curve: Curve) -> tuple[list[list[float]], Tuned]:
    """The rates of each round, where runs come to what the curve says, and what they have shown in the end."""
    known: dict[float, float | None] = {}
    asked = []
    while (step := explore(grid, candidates, known))[1]:
        asked.append(step[1])
        known |= {rate: curve(rate) for rate in step[1]}
    assert step[0] == known
    return asked, tuned("it", step[0])


def around(best: float) -> Curve:
    return lambda rate: 2 + abs(math.log2(rate / best))


GRID, CANDIDATES = centred(8, 3), centred(8, 11)


def test_rates_lie_around_the_middle_a_factor_of_two_apart() -> None:
    assert centred(0.006, 5) == (0.0015, 0.003, 0.006, 0.012, 0.024)
    assert centred(0.006, 4) == (0.0015, 0.003, 0.006, 0.012)
    assert centred(0.006, 0) == ()
    assert (GRID, CANDIDATES) == ((4, 8, 16), (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256))


@pytest.mark.parametrize(
    ("best", "rounds", "at_edge"),
    [
        (8, [[4, 8, 16]], False),
        (16, [[4, 8, 16], [32]], False),
        (32, [[4, 8, 16], [32], [64]], False),
        (2, [[4, 8, 16], [2], [1]], False),
        (256, [[4, 8, 16], [32], [64], [128], [256]], True),
        (0.25, [[4, 8, 16], [2], [1], [0.5], [0.25]], True),
    ],
)
def test_the_grid_goes_on_while_the_best_lies_at_its_edge(
    best: float, rounds: list[list[float]], at_edge: bool
) -> None:
    asked, found = search(GRID, CANDIDATES, around(best))
    assert asked == rounds
    assert found.rates == tuple(sorted(rate for rates in rounds for rate in rates))
    assert found.bpc == tuple(map(around(best), found.rates))
    assert (found.chosen, found.at_edge) == (best, at_edge)


def test_it_does_not_go_on_past_its_limit() -> None:
    asked, found = search(GRID, CANDIDATES, around(1e9))
    assert [len(rates) for rates in asked] == [3, 1, 1, 1, 1]
    assert (found.chosen, found.at_edge) == (256, True)


def test_a_grid_that_was_given_stays_as_it_is() -> None:
    given = (0.5, 3.0, 4.0)
    assert search(given, given, around(4.0)) == (
        [[0.5, 3.0, 4.0]],
        Tuned("it", given, tuple(map(around(4.0), given)), 4.0, True),
    )
    assert not search(given, given, around(3.0))[1].at_edge


def test_of_equal_rates_the_lowest_is_chosen() -> None:
    asked, found = search(GRID, CANDIDATES, lambda rate: 3.0 if rate == 4 else 2.0)
    assert (asked, found.chosen, found.at_edge) == ([[4, 8, 16]], 8, False)
    assert search(GRID, CANDIDATES, lambda rate: 2.0)[1].chosen == 0.25, "its edge is an edge"


def test_what_diverged_is_worse_than_any() -> None:
    def curve(rate: float) -> float | None:
        return None if rate > 4 else (1 + abs(rate - 2)) / 1e-30

    asked, found = search(GRID, CANDIDATES, curve)
    assert asked == [[4, 8, 16], [2], [1]]
    assert found == Tuned("it", (1, 2, 4, 8, 16), (2 / 1e-30, 1 / 1e-30, 3 / 1e-30, None, None), 2, False)


def test_where_all_diverge_lower_ones_are_tried() -> None:
    asked, found = search(GRID, CANDIDATES, lambda rate: None)
    assert asked == [[4, 8, 16], [2], [1], [0.5], [0.25]]
    assert (found.chosen, found.at_edge, set(found.bpc)) == (0.25, True, {None})


def test_what_is_known_is_not_asked_again() -> None:
    known = {4.0: 3.0, 16.0: 1.0}
    assert explore(GRID, CANDIDATES, known) == (known, [8])
    known[8.0] = 2.0
    assert explore(GRID, CANDIDATES, known) == (known, [32])
    assert explore(GRID, CANDIDATES, known | {32.0: 5.0, 64.0: 0.0}) == (known | {32.0: 5.0}, [])


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        (Budget("chars", 1001), Budget("chars", 251)),
        (Budget("updates", 1), Budget("updates", 1)),
        (Budget("epochs", 3.5), Budget("epochs", 0.875)),
        (Budget("minutes", 1), Budget("minutes", 0.25)),
    ],
)
def test_a_share_of_the_budget(budget: Budget, share: Budget) -> None:
    assert share_of(budget) == share
