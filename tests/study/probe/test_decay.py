"""The decay of a gradient: profiles whose factor is known."""

from __future__ import annotations

import math

import pytest

from rnnbptt.study.probe.decay import fit_decay


def profile(beta: float, lags: int = 100, first: float = 3.0) -> list[float]:
    return [first * beta**lag for lag in range(lags)]


@pytest.mark.parametrize("lags", [3, 4, 10, 64, 512])
@pytest.mark.parametrize("beta", [0.3, 0.834, 0.99, 1.0, 1.05])
def test_the_factor_of_a_geometric_profile_is_found(beta: float, lags: int) -> None:
    assert fit_decay(profile(beta, lags)) == pytest.approx(beta, rel=1e-12)


def test_only_the_later_lags_count() -> None:
    """The first three tenths, where the gradient has not settled, and the last, which is rounding."""
    norms = profile(0.9)
    assert fit_decay([5.0] * 30 + norms[30:90] + [1e-3] * 10) == pytest.approx(0.9, rel=1e-12)
    assert fit_decay([5.0] * 31 + norms[31:]) != pytest.approx(0.9, rel=1e-3)


def test_a_profile_that_vanishes_has_no_factor() -> None:
    assert fit_decay([6.0, 3.0, 1.0] + [0.0] * 7) == 0


@pytest.mark.parametrize("norms", [[1.0], [0.0], [1.0, 0.5]])
def test_a_factor_takes_two_norms_of_the_later_lags_to_see(norms: list[float]) -> None:
    assert math.isnan(fit_decay(norms))
