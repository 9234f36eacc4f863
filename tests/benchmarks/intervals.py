"""The statistics of a race on synthetic races whose true differences are known.

    python tests/benchmarks/intervals.py [--races 2000]

A race is what S seeds lose on 56 stretches of one test text: a true difference, what each seed adds, what each stretch
adds for all seeds, and what it adds for one seed alone. The latter two go on from stretch to stretch (correlation 0.3).
First table: how often, in %, a 95 % interval covers the true difference, and how wide that of the race is; asked: 93 to
97. Second: how often verdicts are right, in %; asked of A/A: 95 or more; fewer than 6 seeds never show a difference,
7 are needed for 3 contestants. Third: how often the 95 % interval of a crossing covers the true one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (3, 5, 7, 10)
ENOUGH = (6, 7, 10)  # for A/A to show anything
STRETCHES, CORRELATION, RESAMPLES, DIFFERENCE = 56, 0.3, 400, 0.02
# what luck there is: standard deviation in bits per character of a seed, of the text, of a seed on this text
LUCK = {
    "seeds": (0.010, 0.001, 0.001),
    "seeds and text": (0.010, 0.004, 0.003),
    "text": (0.003, 0.008, 0.003),
    "seeds on this text": (0.002, 0.0005, 0.010),
}
Floats = np.ndarray
Edges = tuple[float, float]


def main() -> None:
    """Run the races and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=2000, help="for each row")
    races = parser.parse_args().races
    print(f"| luck | seeds | {' | '.join(METHODS)} | half-width, median |")
    print("|" + "---|" * (3 + len(METHODS)))
    for luck, spreads in LUCK.items():
        for seeds in SEEDS:
            print(f"| {luck} | {seeds} | {' | '.join(coverage(seeds, spreads, races))} |", flush=True)
    print("\n| luck | seeds | A/A: not shown | none of 3 equals shown | 5 standard errors shown |")
    print("|---|---|---|---|---|")
    for luck, spreads in LUCK.items():
        for seeds in ENOUGH:
            print(f"| {luck} | {seeds} | {' | '.join(judged(seeds, spreads, races))} |", flush=True)
    print("\n| seeds | crossing: the race's | resampled seeds |")
    print("|---|---|---|")
    for seeds in SEEDS:
        print(f"| {seeds} | {' | '.join(crossed(seeds, races // 2))} |", flush=True)


# --- synthetic races --------------------------------------------------------------------------------------------------


def draw(rng: np.random.Generator, shape: tuple[int, ...], spreads: tuple[float, float, float]) -> Floats:
    """Differences of mean 0, (..., S, stretches)."""
    *races, seeds = shape
    per_seed, text, both = spreads
    each = per_seed * rng.standard_normal((*races, seeds, 1))
    return each + text * wander(rng, (*races, 1)) + both * wander(rng, (*races, seeds))


def wander(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Correlated stretches, (..., stretches), whose means have the standard deviation 1 (a little less, of so few)."""
    noise = rng.standard_normal((*shape, STRETCHES))
    noise[..., 0] /= np.sqrt(1 - CORRELATION**2)
    for place in range(1, STRETCHES):
        noise[..., place] += CORRELATION * noise[..., place - 1]
    return noise * (1 - CORRELATION) * np.sqrt(STRETCHES)


# --- intervals --------------------------------------------------------------------------------------------------------


def percentiles(means: Floats) -> Edges:
    """The middle 95 %."""
    low, high = np.quantile(means, [0.025, 0.975])
    return low, high


def resampled_seeds(table: Floats, rng: np.random.Generator) -> Edges:
    """Percentiles over seeds drawn with replacement."""
    return percentiles(rng.choice(table.mean(axis=1), (RESAMPLES, len(table))).mean(axis=1))


def t_over_seeds(table: Floats, rng: np.random.Generator) -> Edges:
    """The usual one of a mean of S."""
    from rnnbptt.study.race.student import t_quantile

    figures = table.mean(axis=1)
    half = t_quantile(0.95, len(table) - 1) * figures.std(ddof=1) / np.sqrt(len(table))
    return figures.mean() - half, figures.mean() + half


def nested(table: Floats, rng: np.random.Generator) -> Edges:
    """Seeds drawn, then for each drawn one blocks of its own: takes the text for one that each seed has to itself."""
    table = in_blocks(table)
    seeds, blocks = table.shape
    rows = rng.integers(seeds, size=(RESAMPLES, seeds, 1))
    return percentiles(table[rows, rng.integers(blocks, size=(RESAMPLES, seeds, blocks))].mean(axis=(1, 2)))


def crosswise(table: Floats, rng: np.random.Generator) -> Edges:
    """Seeds drawn, and blocks that all of them share."""
    table = in_blocks(table)
    rows, columns = (rng.multinomial(size, np.full(size, 1 / size), RESAMPLES) / size for size in table.shape)
    return percentiles(np.einsum("rs,sb,rb->r", rows, table, columns, optimize=True))


def in_blocks(table: Floats) -> Floats:
    """Means of as many blocks as the race takes, (S, blocks)."""
    from rnnbptt.study.race.differences import BLOCKS

    return np.stack([block.mean(axis=1) for block in np.array_split(table, BLOCKS, axis=1)], axis=1)


def of_the_race(table: Floats, rng: np.random.Generator) -> Edges:
    """Ours."""
    from rnnbptt.study.race.differences import spread_interval

    interval = spread_interval(float(table.mean()), table)
    return interval.low, interval.high


METHODS: dict[str, Callable[[Floats, np.random.Generator], Edges]] = {
    "resampled seeds": resampled_seeds,
    "t over seeds": t_over_seeds,
    "hierarchical, nested": nested,
    "hierarchical, crossed": crosswise,
    "the race's": of_the_race,
}


def coverage(seeds: int, spreads: tuple[float, float, float], races: int) -> list[str]:
    """Of each method in %, and the median half-width of ours."""
    rng = np.random.default_rng(0)
    tables = DIFFERENCE + draw(rng, (races, seeds), spreads)
    edges = np.array([[method(table, rng) for method in METHODS.values()] for table in tables])  # (races, methods, 2)
    covered = ((edges[..., 0] <= DIFFERENCE) & (edges[..., 1] >= DIFFERENCE)).mean(axis=0)
    half = np.median(edges[:, -1, 1] - edges[:, -1, 0]) / 2
    return [*(f"{100 * share:.1f}" for share in covered), f"{half:.4f}"]


# --- verdicts ---------------------------------------------------------------------------------------------------------


def judged(seeds: int, spreads: tuple[float, float, float], races: int) -> list[str]:
    """In %: A/A shows no difference, none of 3 contestants as good as the reference does, each of 3 better ones does.

    A/A has the luck of the seeds alone: a text that all its runs read favours neither.
    """
    from rnnbptt.study.race.verdicts import verdicts

    rng = np.random.default_rng(1)
    per_seed, text, both = spreads
    distance = 5 * np.sqrt((per_seed**2 + both**2) / seeds + text**2)
    quiet = false = true = 0
    for _ in range(races):
        same = compared(draw(rng, (seeds,), (per_seed, 0, both)))
        equals = [draw(rng, (seeds,), spreads) for _ in range(3)]
        quiet += not shown(verdicts([same], None))
        false += not shown(verdicts([compared(table) for table in equals], same))
        true += shown(verdicts([compared(table - distance) for table in equals], same))
    return [f"{100 * quiet / races:.1f}", f"{100 * false / races:.1f}", f"{100 * true / races / 3:.1f}"]


def compared(table: Floats):
    """The paired difference of runs that are apart by `table` (S, stretches)."""
    from rnnbptt.study.race.differences import paired_difference

    return paired_difference(list(table.mean(axis=1)), [0.0] * len(table), table)


def shown(found) -> int:
    """How many of the verdicts show a difference."""
    return sum(verdict.word != "no difference shown" for verdict in found)


# --- crossings --------------------------------------------------------------------------------------------------------


def crossed(seeds: int, races: int) -> list[str]:
    """In %: covered by our interval, and by the percentiles of resampled seeds."""
    from rnnbptt.study.race import crossings
    from rnnbptt.study.race.curves import LearningCurve

    rng = np.random.default_rng(2)
    x = np.linspace(0.1, 4, 40)
    first = [LearningCurve(x, np.zeros(len(x)))] * seeds
    ours = plain = 0
    for _ in range(races):
        # The second falls by 0.1 bits a unit more and begins 0.2 above: it overtakes at 2.
        begins, falls = 0.03 * rng.standard_normal((seeds, 1)), 0.01 * rng.standard_normal((seeds, 1))
        apart = 0.2 + begins - (0.1 + falls) * x + 0.002 * rng.standard_normal((seeds, len(x)))
        found = crossings.find_crossing(first, [LearningCurve(x, row) for row in apart], RESAMPLES)
        # an open side covers all that lies there; without a crossing none is covered
        ours += found.at is not None and (found.low or 0) <= 2 <= (found.high or np.inf)
        rows = rng.integers(seeds, size=(RESAMPLES, seeds))
        low, high = percentiles(crossings.last_crossings(apart[rows].mean(axis=1), x))
        plain += low <= 2 <= high
    return [f"{100 * ours / races:.1f}", f"{100 * plain / races:.1f}"]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
