"""What a success rate can say: intervals of one rate, and of the difference of two; pure functions of counts.

Score intervals throughout: they stay within 0 and 1, and hold what they promise where a policy ran ten episodes and
passed all of them, which is where the textbook's ± is zero wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Interval", "Pairs", "difference", "exact_mcnemar", "paired_difference", "wilson"]

_Z = NormalDist().inv_cdf(0.975)  # 95 %, both sides


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, of a rate or of a difference of rates: ``low <= high``, as shares (0.5 is 50 %)."""

    low: float
    high: float


@dataclass(frozen=True)
class Pairs:
    """How two policies did on the same cases: the four cells of a paired table.

    Args:
        both: Both succeeded.
        only_first: The first alone.
        only_second: The second alone.
        neither: None did.
    """

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def total(self) -> int:
        """How many pairs there are."""
        return self.both + self.only_first + self.only_second + self.neither


def wilson(successes: int, total: int) -> Interval:
    """Wilson's score interval of a rate (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927), without continuity correction.

    Args:
        successes: Of ``total``.
        total: At least 1.

    Raises:
        ValueError: The counts are none.
    """
    if not 0 <= successes <= total or total == 0:
        raise ValueError(f"{successes} of {total} is no rate")
    share, spread = successes / total, _Z * _Z / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    # Exact at the ends, where rounding would leave 1e-17.
    return Interval(0.0 if successes == 0 else middle - half, 1.0 if successes == total else middle + half)


def difference(successes: int, total: int, reference_successes: int, reference_total: int) -> Interval:
    """The interval of ``rate - reference rate`` of two samples that have nothing to do with each other.

    Newcombe's hybrid score interval: method 10 of R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890. Of
    policies that ran the same seeds, :func:`paired_difference` says more.

    Args:
        successes: Of ``total``.
        total: At least 1.
        reference_successes: Of ``reference_total``.
        reference_total: At least 1.

    Raises:
        ValueError: The counts are none.
    """
    one, two = wilson(successes, total), wilson(reference_successes, reference_total)
    return _hybrid(successes / total, one, reference_successes / reference_total, two, 0.0)


def paired_difference(pairs: Pairs) -> Interval:
    """The interval of ``second's rate - first's rate`` over pairs: the same seeds, or the same baselines.

    Newcombe's for paired samples: method 10 of R. G. Newcombe, Statistics in Medicine 17 (1998), 2635-2650, the two
    Wilson intervals joined by the correlation of the outcomes, which is taken as smaller by half a case of each cell.

    Args:
        pairs: At least one.

    Raises:
        ValueError: There is no pair.
    """
    first, second, total = pairs.both + pairs.only_first, pairs.both + pairs.only_second, pairs.total
    margins = first * (total - first) * second * (total - second)
    product = pairs.both * pairs.neither - pairs.only_first * pairs.only_second
    corrected = max(product - total / 2, 0.0) if product > 0 else product
    phi = corrected / math.sqrt(margins) if margins else 0.0
    return _hybrid(second / max(total, 1), wilson(second, total), first / max(total, 1), wilson(first, total), phi)


def exact_mcnemar(pairs: Pairs) -> float:
    """How likely pairs this uneven are when both policies are equally good: McNemar's exact test, both sides.

    A binomial test of the pairs in which only one succeeded, against one half. 1.0 where there is none.
    """
    uneven, fewer = pairs.only_first + pairs.only_second, min(pairs.only_first, pairs.only_second)
    term, below = 1, 0  # whole numbers: of 10,000 pairs, 0.5 ** 10_000 is no float any more
    for count in range(fewer + 1):
        below += term
        term = term * (uneven - count) // (count + 1)
    share: float = 2 * below / (1 << uneven)
    return min(1.0, share)


def _hybrid(one: float, of_one: Interval, two: float, of_two: Interval, phi: float) -> Interval:
    """The interval of ``one - two``: each limit lies as far out as the nearer and the farther one together."""
    low = _joined(one - of_one.low, of_two.high - two, phi)
    high = _joined(of_one.high - one, two - of_two.low, phi)
    return Interval(max(-1.0, one - two - low), min(1.0, one - two + high))


def _joined(one: float, two: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * two + two * two))
