"""What a comparison came to, in a sentence."""

from __future__ import annotations

from robotrace.serve.comparisons import Comparison
from robotrace.serve.divergence import Instant, StreamDifference
from robotrace.serve.portal_format import number

__all__ = ["scope", "told"]


def told(comparison: Comparison, tolerance: float) -> str:
    """Where the two part, or that they do not."""
    streams = [stream for stream in comparison.streams if stream.compared]
    if not streams:
        return "They have no stream in common that can be compared."
    first, beyond = comparison.first, comparison.beyond
    # Values of other dtypes have other bits, whatever they are worth.
    exactly = "identical to the bit" if all(len(set(each.dtypes)) == 1 for each in streams) else "equal in value"
    if first is None:
        return f"{exactly.capitalize()} in {_many(streams)}."
    aside = [each.name for each in streams if each.first is not None and each.first.t_ms < first.t_ms]
    if aside:
        exactly = f"apart from {', '.join(aside)} {exactly}"
    until = f"{exactly[0].upper()}{exactly[1:]} until {_moment(first, streams)}: there {_values(first)}."
    if first.t_ms <= min(each.begins_ms for each in streams if each.begins_ms is not None):
        until = f"Different from the first {'step' if first.row_a == first.row_b else 'moment'} on: {_values(first)}."
    if not tolerance:
        return until
    if beyond is None:
        return f"Never more than {number(tolerance)} apart. {until}"
    if beyond == first:
        return until
    return f"Within {number(tolerance)} until {_moment(beyond, streams)}: there {_values(beyond)}. {until}"


def scope(comparison: Comparison) -> str:
    """How much of the two was compared, and how; empty where nothing was."""
    streams = [stream for stream in comparison.streams if stream.compared]
    if not streams:
        return ""
    longest = max(streams, key=lambda stream: stream.compared)
    a, b = longest.rows
    counted = f"{len(streams)} stream{'' if len(streams) == 1 else 's'} by {longest.by}, {longest.compared} rows"
    if longest.by == "step" and a != b:
        return f"{counted}; {'A' if a > b else 'B'} goes on for {abs(a - b)} more."
    return f"{counted}."


def _many(streams: list[StreamDifference]) -> str:
    return "the one stream they have in common" if len(streams) == 1 else f"all {len(streams)} common streams"


def _moment(instant: Instant, streams: list[StreamDifference]) -> str:
    by = next(stream.by for stream in streams if stream.name == instant.stream)
    seconds = f"{instant.t_ms / 1000:.3f} s"
    return f"step {instant.row_a} ({seconds})" if by == "step" else seconds


def _values(instant: Instant) -> str:
    apart = "" if instant.distance is None else f", {number(instant.distance)} apart"
    return f"{instant.value} is {instant.a} in A and {instant.b} in B{apart}"
