"""bootstrap.py against what an interval promises, and against resampling spelled out character by character."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from rnnbptt.study import bootstrap
from rnnbptt.study.bootstrap import (
    block_residuals,
    choose_block_length,
    paired_interval,
    standard_error,
    studentized_errors,
)


def autoregressive(series: int, n: int, phi: float, seed: int = 0) -> np.ndarray:
    """AR(1) series of mean 0, (series, n), each value phi times the one before and noise."""
    noise = np.random.default_rng(seed).standard_normal((n, series))
    noise[0] /= np.sqrt(1 - phi**2)
    for before, value in pairwise(noise):
        value += phi * before
    return np.ascontiguousarray(noise.T)


def test_it_covers_the_mean_of_dependent_differences_where_a_bootstrap_of_characters_fails() -> None:
    trials, n = 300, 10_000
    covered = covered_by_characters = 0
    for differences in autoregressive(trials, n, phi=0.95):
        interval = paired_interval(differences + 1, resamples=400)
        assert interval is not None
        # What a bootstrap of characters tends to, with resamples enough.
        half_by_characters = 1.96 * differences.std() / np.sqrt(n)
        assert interval.half_width > 2 * half_by_characters
        covered += interval.low <= 1 <= interval.high
        covered_by_characters += abs(differences.mean()) <= half_by_characters
    assert 0.93 <= covered / trials <= 0.98
    assert covered_by_characters / trials < 0.4


def test_it_covers_with_the_fewest_blocks_too() -> None:
    trials = 600
    differences = np.random.default_rng(1).standard_normal((trials, 2000))
    intervals = [paired_interval(row, resamples=400) for row in differences]
    assert {interval.blocks for interval in intervals if interval} == {10}
    covered = sum(interval.low <= 0 <= interval.high for interval in intervals if interval)
    assert 0.93 <= covered / trials <= 0.98


def test_a_higher_level_is_wider() -> None:
    differences = np.random.default_rng(0).standard_normal(20_000)
    widths = []
    for level in (0.9, 0.95, 0.99):
        interval = paired_interval(differences, level)
        assert interval is not None
        assert interval.level == level
        widths.append(interval.half_width)
    assert widths == sorted(set(widths))


def test_identical_models_differ_by_exactly_nothing() -> None:
    interval = paired_interval(np.zeros(10_000))
    assert interval is not None
    assert (interval.low, interval.high, interval.half_width) == (0, 0, 0)


def test_swapping_the_two_flips_the_interval() -> None:
    differences = np.random.default_rng(0).standard_normal(10_007) + 0.1
    one, other = paired_interval(differences), paired_interval(-differences)
    assert one is not None
    assert other is not None
    assert (one.low, one.high) == (-other.high, -other.low)


def test_it_is_the_same_every_time_and_whatever_the_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).standard_normal(10_000)
    interval = paired_interval(differences)
    assert interval == paired_interval(differences)
    assert interval != paired_interval(differences, seed=1)
    monkeypatch.setattr(bootstrap, "PIECE", 1000)
    assert interval == paired_interval(differences)


class EveryDraw:
    """In place of a random generator: all the ways to draw `blocks` of `blocks` blocks."""

    def integers(self, blocks: int, size: tuple[int, int]) -> np.ndarray:
        draws = np.array(list(product(range(blocks), repeat=blocks)))
        assert size == draws.shape
        return draws


def resample_by_hand(differences: np.ndarray, blocks: int, draw: tuple[int, ...]) -> float:
    """The studentized error of one resample, from the text it stands for: whole blocks put one after the other."""
    edges = [block * len(differences) // blocks for block in range(blocks + 1)]
    pieces = [differences[edges[block] : edges[block + 1]] for block in draw]
    text = np.concatenate(pieces)
    variance = sum((piece - text.mean()).sum() ** 2 for piece in pieces) / (blocks - 1) * blocks
    error = abs(text.mean() - differences.mean())
    return error / (np.sqrt(variance) / len(text)) if len(set(draw)) > 1 else np.inf


def test_the_vectorized_resampling_is_the_one_done_by_hand() -> None:
    differences = np.random.default_rng(0).standard_normal(11)  # blocks of 2, 3, 3 and 3
    every: Any = EveryDraw()
    errors = studentized_errors(*block_residuals(differences, 4), 4**4, every)
    by_hand = [resample_by_hand(differences, 4, draw) for draw in product(range(4), repeat=4)]
    finite = np.isfinite(by_hand)
    assert finite.sum() == 4**4 - 4
    np.testing.assert_allclose(errors[finite], np.array(by_hand)[finite], rtol=1e-9, atol=1e-12)
    # One block drawn every time says nothing of the spread: no finite number of standard errors will do.
    assert (errors[~finite] > 1e6).all()


@pytest.mark.parametrize(("n", "blocks"), [(10, 5), (11, 5), (14, 5), (2999, 10), (5, 5)])
def test_blocks_cover_the_text_and_weigh_as_many_characters_as_they_have(n: int, blocks: int) -> None:
    differences = np.random.default_rng(0).standard_normal(n)
    residuals, sizes = block_residuals(differences, blocks)
    assert sizes.sum() == n
    assert len(sizes) == blocks
    assert sizes.max() - sizes.min() <= 1
    ends = np.cumsum(sizes)
    sums = [differences[end - size : end].sum() for end, size in zip(ends, sizes, strict=True)]
    np.testing.assert_allclose(residuals + sizes * differences.mean(), sums, atol=1e-12)
    assert abs(residuals.sum()) < 1e-12


def test_the_standard_error_of_blocks_of_one_is_the_usual_one() -> None:
    differences = np.random.default_rng(0).standard_normal(50)
    residuals, _ = block_residuals(differences, 50)
    assert standard_error(residuals, 50) == pytest.approx(differences.std(ddof=1) / np.sqrt(50))


def test_blocks_grow_with_the_dependence_until_it_fits_in() -> None:
    independent = autoregressive(1, 200_000, phi=0.0)[0]
    assert choose_block_length(independent) == (2000, True)
    dependent = autoregressive(1, 200_000, phi=0.999)[0]
    length, flat = choose_block_length(dependent)
    assert length >= 4000
    assert flat


def test_a_trend_through_the_text_is_never_flat() -> None:
    assert choose_block_length(np.linspace(-1, 1, 40_000)) == (4000, False)


@pytest.mark.parametrize(("n", "length"), [(2000, 200), (5000, 250), (39_000, 1950), (1_000_000, 2000)])
def test_short_texts_have_shorter_blocks(n: int, length: int) -> None:
    alternating = np.tile([1.0, -1.0], n // 2)
    assert choose_block_length(alternating)[0] == length


def test_no_interval_where_none_can_be_honest() -> None:
    rng = np.random.default_rng(0)
    assert paired_interval(rng.standard_normal(1999)) is None
    assert paired_interval(rng.standard_normal(2000)) is not None
    one_place = np.zeros(10_000)
    one_place[5000] = 1
    assert paired_interval(one_place) is None
