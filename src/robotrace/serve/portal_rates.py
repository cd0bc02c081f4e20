"""Success rates as pages and their twins have them: never without the counts, never without the interval."""

from __future__ import annotations

from pydantic import BaseModel

from robotrace.serve.proportions import Interval, Pairs, difference, exact_mcnemar, paired_difference, wilson

__all__ = ["Difference", "PairedRates", "Rate", "difference_of", "paired_rates", "rate_of"]


class Rate(BaseModel):
    """A success rate with Wilson's 95 % interval, as shares."""

    successes: int
    total: int
    rate: float
    low: float
    high: float


class Difference(BaseModel):
    """A difference of two rates with Newcombe's 95 % interval, as shares; ``better`` is None when it holds zero."""

    delta: float
    low: float
    high: float
    better: bool | None


class PairedRates(BaseModel):
    """How two policies did on the same cases; the difference is the second's rate less the first's.

    ``p`` is of McNemar's exact test, both sides: how likely pairs this uneven are when both are equally good.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    pairs: int
    first: Rate | None
    second: Rate | None
    difference: Difference | None
    p: float


def rate_of(successes: int, total: int) -> Rate | None:
    """The rate; None of nothing."""
    if not total:
        return None
    interval = wilson(successes, total)
    return Rate(successes=successes, total=total, rate=successes / total, low=interval.low, high=interval.high)


def difference_of(rate: Rate | None, reference: Rate | None) -> Difference | None:
    """The difference of rates of unrelated episodes; None where one of them is not known."""
    if rate is None or reference is None:
        return None
    interval = difference(rate.successes, rate.total, reference.successes, reference.total)
    return _difference(rate.rate - reference.rate, interval)


def paired_rates(pairs: Pairs) -> PairedRates:
    """What pairs come to."""
    total = pairs.total
    delta = (pairs.only_second - pairs.only_first) / total if total else 0.0
    return PairedRates(
        both=pairs.both,
        only_first=pairs.only_first,
        only_second=pairs.only_second,
        neither=pairs.neither,
        pairs=total,
        first=rate_of(pairs.both + pairs.only_first, total),
        second=rate_of(pairs.both + pairs.only_second, total),
        difference=_difference(delta, paired_difference(pairs)) if total else None,
        p=exact_mcnemar(pairs),
    )


def _difference(delta: float, interval: Interval) -> Difference:
    better = True if interval.low > 0 else False if interval.high < 0 else None
    return Difference(delta=delta, low=interval.low, high=interval.high, better=better)
