"""seeds.py: how many it takes, by Holm's correction itself."""

from __future__ import annotations

from rnnbptt.study.race.seeds import least_p, seeds_needed
from rnnbptt.study.race.signflip import holm


def test_seven_seeds_are_needed_for_three_comparisons() -> None:
    assert [seeds_needed(comparisons) for comparisons in (1, 2, 3, 4, 10)] == [6, 7, 7, 8, 9]
    for comparisons in range(1, 40):
        needed = seeds_needed(comparisons)
        assert max(holm([least_p(needed)] * comparisons)) <= 0.05 < max(holm([least_p(needed - 1)] * comparisons))
