"""What the rules work on, and what they come to."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Analysis", "CannotJudge", "EpisodeFacts", "Finding", "Skipped", "Stream"]

_MAX_COLUMNS = 1024
"""More values a row are an image: what its pixels do is no sensor's reading."""
_MAX_TEXT = 2000
_MAX_ITEMS = 50
_NO_SENSORS = ("reward", "terminated", "truncated", "wall_clock")
"""Streams that the recorder adds; they are constant by design, or a clock."""


_WORDS = ((0.9, "certain"), (0.7, "likely"), (0.5, "possible"), (-math.inf, "a hint"))


class CannotJudge(Exception):
    """A rule lacks what it needs; the text says what."""


@dataclass(frozen=True)
class Stream:
    """A named series.

    Attributes:
        name: As its arrays are called, without ``/value``: ``observation``, ``battery.voltage_v``.
        values: ``(rows, …)``, of any dtype.
        t_ns: ``(rows,)`` integers, nanoseconds on the episode's clock; None where the stream has no times.
    """

    name: str
    values: NDArray[Any]
    t_ns: NDArray[Any] | None = None

    @functools.cached_property
    def rows(self) -> int:
        """How many rows have both a value and a time; a writer may have been killed between the two."""
        count = len(self.values) if self.values.ndim else 0
        return count if self.stamps is None else min(count, len(self.stamps))

    @functools.cached_property
    def stamps(self) -> NDArray[np.int64] | None:
        """``(rows,) int64`` nanoseconds in the order in which the rows came; None where there are none."""
        t_ns = self.t_ns
        if t_ns is None or t_ns.ndim != 1 or t_ns.dtype.kind not in "iu":
            return None
        return t_ns.astype(np.int64)

    @functools.cached_property
    def table(self) -> NDArray[Any] | None:
        """``(rows, columns)`` numbers in their own dtype; None where it has none, or is an image."""
        values = self.values
        if values.dtype.kind not in "biuf" or values.ndim not in (1, 2) or not self.rows:
            return None
        table = values[: self.rows].reshape(self.rows, -1)
        return table if 0 < table.shape[1] <= _MAX_COLUMNS else None

    @property
    def timed(self) -> bool:
        """Whether there is an interval between two of its rows."""
        return self.stamps is not None and self.rows > 1

    def time_s(self, row: int) -> float | None:
        """When a row was, in seconds of the episode; None where nobody knows."""
        return None if self.stamps is None or row >= len(self.stamps) else float(self.stamps[row]) / 1e9

    def column(self, index: int) -> str:
        """What to call a column: ``observation[2]``, or the stream where it has one only."""
        return self.name if self.table is None or self.table.shape[1] == 1 else f"{self.name}[{index}]"


@dataclass(frozen=True)
class EpisodeFacts:
    """An episode, as far as it is known.

    Attributes:
        metadata: Of the episode, create and finalize merged.
        status: ``failed``, ``ready``, …
        source: ``real``, ``sim`` or ``replay``.
        failure_time_s: When it failed.
        duration_s: Its length.
        fps: Steps a second.
        sensors: The streams of ``sensors.npz``, rewards and flags among them.
        actions: The streams of ``actions.npz``.
        frames_s: ``(frames,)`` seconds: when each frame of the first camera was; None without a video.
        reproduction: What running the episode again came to, as ``robotrace.reroll.jobs.Verdict.to_dict()``.
    """

    metadata: Mapping[str, Any] = field(default_factory=dict)
    status: str = "failed"
    source: str | None = None
    failure_time_s: float | None = None
    duration_s: float | None = None
    fps: float | None = None
    sensors: Sequence[Stream] = ()
    actions: Sequence[Stream] = ()
    frames_s: NDArray[Any] | None = None
    reproduction: Mapping[str, Any] | None = None

    @property
    def failed(self) -> bool:
        """Whether it ended as failed."""
        return self.status == "failed"

    @functools.cached_property
    def measured(self) -> tuple[Stream, ...]:
        """What came from sensors: neither rewards, flags and clocks, nor the scalars of infos."""
        return tuple(stream for stream in self.sensors if not _is_added(stream.name))

    @functools.cached_property
    def end_s(self) -> float | None:
        """When the last row of any stream was, else the duration."""
        ends = [stream.stamps.max() for stream in (*self.sensors, *self.actions) if _has_stamps(stream)]  # type: ignore[union-attr]
        return float(max(ends)) / 1e9 if ends else self.duration_s

    @property
    def failed_at_s(self) -> float | None:
        """When it failed: as recorded, else its end."""
        return self.end_s if self.failure_time_s is None else self.failure_time_s

    def part(self, name: str) -> Mapping[str, Any]:
        """A dict in the metadata; an empty one where something else is."""
        found = self.metadata.get(name)
        return found if isinstance(found, Mapping) else {}


def _has_stamps(stream: Stream) -> bool:
    return stream.stamps is not None and len(stream.stamps) > 0


def _is_added(name: str) -> bool:
    return name in _NO_SENSORS or name == "info" or name.startswith("info.") or name.endswith("__type")


@dataclass(frozen=True)
class Finding:
    """Something that may be why.

    Attributes:
        code: Stable; docs/explain.md lists them.
        title: In a few words.
        description: What was seen, with its figures.
        confidence: 0 to 1: how sure the rule is that this is so and matters.
        evidence: The figures, as small JSON.
        onset_s: When it began, in seconds of the episode; None where it has no time.
        streams: To look at.
        next_step: What to do about it.
    """

    code: str
    title: str
    description: str
    confidence: float
    evidence: Mapping[str, Any] = field(default_factory=dict)
    onset_s: float | None = None
    streams: tuple[str, ...] = ()
    next_step: str = ""

    @property
    def likelihood(self) -> str:
        """The confidence in a word."""
        return next(word for least, word in _WORDS if self.confidence >= least)

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON: no NaN, nothing long, no broken Unicode."""
        return {
            "code": self.code,
            "title": _text(self.title),
            "description": _text(self.description),
            "confidence": round(min(max(self.confidence, 0.0), 1.0), 3),
            "likelihood": self.likelihood,
            "evidence": _plain(self.evidence),
            "onset_s": None if self.onset_s is None else _plain(float(self.onset_s)),
            "streams": [_text(name) for name in self.streams[:_MAX_ITEMS]],
            "next_step": _text(self.next_step),
        }


@dataclass(frozen=True)
class Skipped:
    """A rule that could not judge, or a stream that was not looked at, and why."""

    what: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """As JSON."""
        return {"what": _text(self.what), "reason": _text(self.reason)}


@dataclass(frozen=True)
class Analysis:
    """What the rules say about an episode.

    Attributes:
        analyzer_version: Of the rules; another one may find something else.
        findings: Ranked, the likeliest cause first; each code once.
        skipped: What could not be judged.
    """

    analyzer_version: str
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON."""
        return {
            "analyzer_version": self.analyzer_version,
            "findings": [finding.to_dict() for finding in self.findings],
            "skipped": [item.to_dict() for item in self.skipped],
        }


def _text(value: str) -> str:
    plain = value.encode("utf-8", "backslashreplace").decode()
    return plain if len(plain) <= _MAX_TEXT else f"{plain[: _MAX_TEXT - 1]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_text(str(key)): _plain(item) for key, item in _first(value.items())}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in _first(value)]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (float, np.floating)):
        # Six places: a microsecond, and more than any of the figures is worth.
        return round(float(value), 6) if math.isfinite(value) else None
    if isinstance(value, (np.bool_, np.integer)):
        return value.item()
    return _text(str(value))


def _first(items: Any) -> Iterator[Any]:
    return (item for item, _ in zip(items, range(_MAX_ITEMS), strict=False))
