"""Intervals and tests of success rates, against published figures and against scipy and statsmodels."""

from __future__ import annotations

import pytest

from robotrace.serve.proportions import Pairs, difference, exact_mcnemar, paired_difference, wilson


def ends(interval):
    return pytest.approx((interval.low, interval.high), abs=5e-5)


# Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
@pytest.mark.parametrize(
    ("successes", "total", "published"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_gives_the_published_intervals(successes, total, published):
    assert published == ends(wilson(successes, total))
    mirrored = wilson(total - successes, total)
    assert (1 - published[1], 1 - published[0]) == ends(mirrored)


def test_the_ends_are_exact():
    assert wilson(0, 7).low == 0.0
    assert wilson(7, 7).high == 1.0


@pytest.mark.parametrize("counts", [(0, 0), (-1, 5), (6, 5)])
def test_counts_that_are_no_rate_are_refused(counts):
    with pytest.raises(ValueError, match="no rate"):
        wilson(*counts)


# Newcombe, Statistics in Medicine 17 (1998), 873-890, table II, method 10.
@pytest.mark.parametrize(
    ("counts", "published"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((0, 10, 0, 10), (-0.2775, 0.2775)),
    ],
)
def test_the_difference_of_two_samples_has_the_published_interval(counts, published):
    assert published == ends(difference(*counts))


def test_the_difference_of_pairs_has_the_published_interval():
    """Airway hyper-responsiveness before and after a transplantation: Fagerland, Lydersen and Laake (2014), table 4."""
    interval = paired_difference(Pairs(both=1, only_first=1, only_second=7, neither=12))
    assert (interval.low, interval.high) == pytest.approx((0.026, 0.507), abs=5e-4)


def test_pairs_that_go_together_narrow_the_interval():
    together = paired_difference(Pairs(both=40, only_first=2, only_second=8, neither=50))
    apart = difference(48, 100, 42, 100)
    assert together.high - together.low < 0.6 * (apart.high - apart.low)
    assert together.low < 0.06 < together.high


def test_without_a_pair_there_is_no_interval():
    with pytest.raises(ValueError, match="no rate"):
        paired_difference(Pairs(0, 0, 0, 0))


def test_pairs_that_are_all_alike_have_no_direction():
    interval = paired_difference(Pairs(both=10, only_first=0, only_second=0, neither=0))
    assert interval.low == -interval.high
    assert exact_mcnemar(Pairs(both=10, only_first=0, only_second=0, neither=0)) == 1.0


@pytest.mark.parametrize(
    ("first", "second", "p"), [(0, 0, 1.0), (0, 5, 0.0625), (1, 7, 0.0703125), (3, 3, 1.0), (5000, 5000, 1.0)]
)
def test_mcnemar_is_a_binomial_test_of_the_uneven_pairs(first, second, p):
    assert exact_mcnemar(Pairs(3, first, second, 4)) == pytest.approx(p, rel=1e-12)
    assert exact_mcnemar(Pairs(3, second, first, 4)) == pytest.approx(p, rel=1e-12)


CASES = [(0, 1), (1, 1), (18, 20), (20, 20), (3, 11), (4999, 10_000)]


@pytest.mark.parametrize(("successes", "total"), CASES)
def test_wilson_and_mcnemar_agree_with_scipy(successes, total):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    theirs = stats.binomtest(successes, total).proportion_ci(method="wilson")
    ours = wilson(successes, total)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    pairs = Pairs(both=2, only_first=successes, only_second=total - successes, neither=1)
    assert exact_mcnemar(pairs) == pytest.approx(stats.binomtest(successes, total).pvalue, rel=1e-9)


@pytest.mark.parametrize(("successes", "total"), CASES)
def test_intervals_agree_with_statsmodels(successes, total):
    proportion = pytest.importorskip("statsmodels.stats.proportion", reason="statsmodels is not installed")
    ours = wilson(successes, total)
    theirs = proportion.proportion_confint(successes, total, method="wilson")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)
    between = difference(successes, total, 7, 12)
    theirs = proportion.confint_proportions_2indep(successes, total, 7, 12, method="newcomb", compare="diff")
    assert (between.low, between.high) == pytest.approx(theirs, abs=1e-9)
