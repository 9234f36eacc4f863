"""The decay of a gradient: profiles whose factor is known, and the depth that follows from it in closed form."""

from __future__ import annotations

import math

import pytest

from rnnbptt.truncation.decay import fit_decay, share_beyond, sufficient_depth

BETAS = [0.01, 0.3, 0.834, 0.99]


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


@pytest.mark.parametrize("depth", [0, 1, 7, 99, 100])
@pytest.mark.parametrize("beta", BETAS)
def test_beyond_depth_k_of_a_geometric_profile_lies_beta_to_the_k(beta: float, depth: int) -> None:
    assert share_beyond(profile(beta), depth, beta) == pytest.approx(beta**depth, rel=1e-12)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.02, 2e-6])
@pytest.mark.parametrize("beta", BETAS)
def test_the_sufficient_depth_of_a_geometric_profile_is_a_logarithm(beta: float, share: float) -> None:
    expected = max(1, math.ceil(math.log(share) / math.log(beta)))
    assert sufficient_depth(profile(beta), share) == min(100, expected)


def test_the_sufficient_depth_where_the_profile_is_not_geometric() -> None:
    """6 of the sum of 10 at lag 0, 3 at lag 1, 1 at lag 2, and nothing later."""
    norms = [6.0, 3.0, 1.0] + [0.0] * 7
    assert fit_decay(norms) == 0
    assert [sufficient_depth(norms, share) for share in (0.5, 0.4, 0.39, 0.1, 0.09, 1e-9)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("beta", [0.99, 1.0, 1.05])
def test_the_depth_is_all_there_is_where_none_suffices(beta: float) -> None:
    assert sufficient_depth(profile(beta), 1e-12) == 100
    assert sufficient_depth(profile(beta), 0.0) == 100
    if beta >= 1:
        assert sufficient_depth(profile(beta), 0.999) == 100


def test_where_there_is_no_gradient_nothing_is_lost() -> None:
    assert sufficient_depth([0.0] * 10, 0.1) == 1


@pytest.mark.parametrize(
    ("norms", "depth"),
    [([1.0], 1), ([0.0], 1), ([1.0, 0.5], 2), ([1.0, 0.0], 2), ([4.0, 2.0, 1.0], 1), ([1.0, 0.9, 0.81], 3)],
)
def test_short_profiles(norms: list[float], depth: int) -> None:
    """A factor takes two norms to see, of the later lags: fewer than three lags have none, and say all there is."""
    assert sufficient_depth(norms, 0.5) == depth
    assert math.isnan(fit_decay(norms)) == (len(norms) < 3)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_norms_that_are_no_numbers_say_all_there_is(wrong: float) -> None:
    """Training then says that the gradient is not finite."""
    assert sufficient_depth([wrong] * 10, 0.5) == 10
    assert sufficient_depth(profile(0.9, 5) + [wrong] * 5, 0.5) == 10
