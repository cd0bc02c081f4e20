"""The battery."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.explain.facts import CannotJudge, EpisodeFacts, Finding, Stream

__all__ = ["battery"]

_PERCENT = re.compile(r"batter.*(percent|charge|soc)|(^|[./_])(percentage|soc)$", re.IGNORECASE)
_VOLTAGE = re.compile(r"batter.*volt|(^|[./_])(battery|batt|vbat|voltage|voltage_v)$", re.IGNORECASE)
_LOW_PERCENT = 10.0
_EMPTY_PERCENT = 3.0
_SAG = 0.85
"""Of the level at the beginning. A healthy pack gives way by 5 to 10 % under load; at 15 % regulators drop out."""
_SUDDEN_S = 10.0
"""A fall from 95 to 85 % within it is a sag; slower it is one that runs down, no fault before it is empty."""
_FEWEST_ROWS = 3
"""Rows below, one after another: a single one is a wrong reading."""


def battery(episode: EpisodeFacts) -> Finding | None:
    """A battery that is nearly empty, or whose voltage breaks in.

    Streams of :class:`robotrace.types.Battery`, and those whose name says battery, voltage or percentage.
    """
    numeric = [stream for stream in episode.measured if stream.table is not None and stream.table.shape[1] == 1]
    charges = [stream for stream in numeric if _PERCENT.search(stream.name)]
    voltages = [stream for stream in numeric if _VOLTAGE.search(stream.name) and stream not in charges]
    if not charges and not voltages:
        raise CannotJudge("no stream of a battery is recorded")
    hits = [hit for stream in charges if (hit := _empty(stream)) is not None]
    hits += [hit for stream in voltages if (hit := _sag(stream)) is not None]
    if not hits:
        return None
    hits.sort(key=lambda hit: -hit["confidence"])
    first = hits[0]
    when = "" if first["onset_s"] is None else f" at {first['onset_s']:.3f} s"
    return Finding(
        "battery",
        first["title"],
        f"{first['stream']} {first['text']}{when}.",
        first["confidence"],
        {"batteries": [{key: hit[key] for key in ("stream", "from", "lowest", "row", "onset_s")} for hit in hits[:5]]},
        first["onset_s"],
        tuple(hit["stream"] for hit in hits),
        "Charge or change the pack, and compare the moment with what the motors were asked for.",
    )


def _empty(stream: Stream) -> dict[str, Any] | None:
    values = _smooth(stream)
    if len(values) < _FEWEST_ROWS:
        return None
    if float(np.nanmax(values)) <= 1.0:  # ROS says 0 to 1
        values = values * 100
    row = _below(values, _LOW_PERCENT)
    if row is None:
        return None
    lowest = float(np.nanmin(values[row:]))
    confidence = 0.85 if lowest <= _EMPTY_PERCENT else 0.55
    text = f"fell below {_LOW_PERCENT:.0f} %, down to {lowest:.1f} %,"
    return _hit(stream, "The battery was nearly empty", text, values, row, lowest, confidence)


def _sag(stream: Stream) -> dict[str, Any] | None:
    values = _smooth(stream)
    if len(values) < 2 * _FEWEST_ROWS:
        return None
    level = float(np.nanmedian(values[: max(_FEWEST_ROWS, len(values) // 10)]))
    row = _below(values, _SAG * level) if level > 0 else None
    if row is None:
        return None
    above = np.flatnonzero(values[:row] >= 0.95 * level)
    begin, end = stream.time_s(int(above[-1]) if len(above) else 0), stream.time_s(row)
    if begin is not None and end is not None and end - begin > _SUDDEN_S:
        return None
    lowest = float(np.nanmin(values[row:]))
    fall = 1 - lowest / level
    text = f"broke in from {level:.4g} to {lowest:.4g}, by {fall:.0%},"
    confidence = min(0.9, 0.7 + 0.6 * (fall - (1 - _SAG)))
    return _hit(stream, "The battery's voltage broke in", text, values, row, lowest, confidence)


def _hit(
    stream: Stream, title: str, text: str, values: NDArray[Any], row: int, lowest: float, confidence: float
) -> dict[str, Any]:
    return {
        "stream": stream.name,
        "title": title,
        "text": text,
        "from": float(values[0]),
        "lowest": lowest,
        "row": row,
        "onset_s": stream.time_s(row),
        "confidence": confidence,
    }


def _smooth(stream: Stream) -> NDArray[np.float64]:
    """The median of each row and its two neighbours."""
    assert stream.table is not None
    values = stream.table[:, 0].astype(np.float64)
    if len(values) < _FEWEST_ROWS:
        return values
    padded = np.concatenate((values[:1], values, values[-1:]))
    return np.median(np.stack((padded[:-2], padded[1:-1], padded[2:])), axis=0)


def _below(values: NDArray[Any], limit: float) -> int | None:
    """The first of three rows that are below."""
    low = values < limit
    together = np.flatnonzero(low[:-2] & low[1:-1] & low[2:])
    return int(together[0]) if len(together) else None
