"""The numeric streams of an episode's NPZ files as one binary answer, thinned out where a chart could not show more.

The answer: a little-endian uint32 with the length of the header; the header, UTF-8 JSON, padded with spaces so that
what follows starts at a multiple of 8; then the payload. The header says where in the payload each stream lies::

    {"streams": [{"name": "observation", "artifact": "sensors", "dtype": "float32", "shape": [4],
                  "labels": ["0", "1", "2", "3"], "count": 501, "rows": 501, "decimated": false, "end_ms": 10000.0,
                  "time_offset": 0, "values_offset": 4008}, …],
     "texts": [{"name", "artifact", "count", "changes", "rows": [[12.5, "grasp"], …]}, …],
     "skipped": [{"name", "artifact", "dtype", "shape", "count", "reason"}, …]}

At ``time_offset`` lie ``rows`` float64 in ms, at ``values_offset`` ``len(labels) * rows`` float32, column after column.
What is known of a stream beside its values (:class:`robotrace.serve.stream_facts.StreamFacts`) is in its header, too. A
stream that did not fit any more is described with ``"left": true`` and without rows: it can be asked for by its name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.serve.npz import NpzFile, NpzMember, SeriesError
from robotrace.serve.series_texts import read_text
from robotrace.serve.stream_facts import StreamFacts

__all__ = [
    "SeriesAnswer",
    "SeriesError",
    "SeriesSource",
    "SeriesWindow",
    "decimate",
    "is_zip",
    "read_series",
    "series_sources",
]

_VALUE = "/value"
_TIME = "/_t_ns"
_OFFSETS = "/_offsets"
_BESIDE = (_TIME, "/_rows", "/_structure")
_MAX_COLUMNS = 64  # more are an image, not a chart
_DECIMATE_ABOVE = 50_000  # rows a browser draws without a pause
_CLOCK = "wall_clock"


# What an engineer looks at first is sent first.
_LEADING = ("observation", "action", "reward")


@dataclass(frozen=True)
class SeriesWindow:
    """What of each stream is sent.

    Args:
        start_ms: First time. One row before is sent, too.
        end_ms: Last time. One row after is sent, too.
        points: Into how many buckets a stream of more than 50,000 rows in the window is thinned out.
    """

    start_ms: float = -math.inf
    end_ms: float = math.inf
    points: int = 4000

    @classmethod
    def of(cls, start_ms: float | None, end_ms: float | None, points: int) -> SeriesWindow:
        """From what was asked for; None from the beginning, or to the end."""
        return cls(-math.inf if start_ms is None else start_ms, math.inf if end_ms is None else end_ms, points)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return math.isinf(self.start_ms) and math.isinf(self.end_ms)


@dataclass
class SeriesAnswer:
    """The answer as it grows.

    Args:
        window: What of each stream is sent.
        most_bytes: How much to send about; None for no bound.
    """

    window: SeriesWindow
    most_bytes: int | None = None
    streams: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    payload: bytearray = field(default_factory=bytearray)

    def add(self, header: dict[str, Any], times_ms: NDArray[np.float64], values: NDArray[Any]) -> None:
        """Append what the window shows of a stream.

        Args:
            header: What is said of it beside the rows and where they lie.
            times_ms: ``(rows,) float64``.
            values: ``(rows, columns)``.
        """
        end_ms = float(times_ms.max()) if len(times_ms) else 0.0
        times, values, decimated = _thin(times_ms, values, self.window)
        with np.errstate(over="ignore"):  # beyond float32 is infinity, which is what a chart makes of it
            columns = np.ascontiguousarray(values.T, dtype="<f4")
        told = {"rows": len(times), "decimated": decimated, "end_ms": end_ms}
        time_offset = _append(self.payload, times.astype("<f8").tobytes())
        values_offset = _append(self.payload, columns.tobytes())
        self.streams.append({**header, **told, "time_offset": time_offset, "values_offset": values_offset})

    def is_full(self, rows: int, columns: int) -> bool:
        """Whether a stream does not fit any more; the first one always does."""
        if self.most_bytes is None or not self.payload:
            return False
        sent = rows if rows <= _DECIMATE_ABOVE else 2 * self.window.points
        return len(self.payload) + sent * (8 + 4 * columns) > self.most_bytes

    def leave(self, header: dict[str, Any], end_ms: float) -> None:
        """Describe a stream that does not fit: it can be asked for by its name."""
        told = {"rows": 0, "decimated": False, "left": True, "end_ms": end_ms, "time_offset": 0, "values_offset": 0}
        self.streams.append({**header, **told})

    def encode(self) -> bytes:
        """The whole of it."""
        header = {"streams": self.streams, "texts": self.texts, "skipped": self.skipped}
        text = json.dumps(header, ensure_ascii=False).encode("utf-8", "replace")
        text += b" " * (-(4 + len(text)) % 8)
        return len(text).to_bytes(4, "little") + text + bytes(self.payload)


@dataclass(frozen=True)
class SeriesSource:
    """An array in a file, and the two beside it."""

    npz: NpzFile
    artifact: str
    name: str
    member: NpzMember
    clock: NpzMember | None
    offsets: NpzMember | None

    @property
    def columns(self) -> int:
        """Values a row."""
        return math.prod(self.member.shape[1:])

    @property
    def labels(self) -> list[str]:
        """What its columns are called: ``0``, or ``0,2`` of rows with two axes."""
        return [",".join(map(str, index)) for index in np.ndindex(*self.member.shape[1:])]

    @property
    def reason(self) -> str | None:
        """Why it is no series, None when it is."""
        if self.offsets is not None:
            return "rows of different lengths"
        return _reason(self.name, self.member, self.clock)


def read_series(
    sources: Sequence[tuple[str, Path]],
    *,
    start_ms: float | None = None,
    end_ms: float | None = None,
    points: int = 4000,
    names: Collection[str] | None = None,
    most_bytes: int | None = None,
    facts: StreamFacts | None = None,
) -> bytes:
    """The answer of ``series.bin``; its format is described above.

    Args:
        sources: Artifact kind and file; a file that is no NPZ is listed as skipped.
        start_ms: First time to send; None from the beginning. One row before is sent, too.
        end_ms: Last time to send; None to the end. One row after is sent, too.
        points: Into how many buckets a stream of more than 50,000 rows in the window is thinned out.
        names: Of the streams to send, nothing else; None for all there is.
        most_bytes: How much to send about; the streams that come after are described only. None for no bound.
        facts: What is known of the streams.

    Raises:
        SeriesError: A file is broken, or larger than we read.
    """
    answer = SeriesAnswer(SeriesWindow.of(start_ms, end_ms, points), most_bytes)
    with ExitStack() as files:
        found: list[SeriesSource] = []
        for artifact, path in sources:
            if is_zip(path):
                found.extend(series_sources(files.enter_context(NpzFile(path)), artifact))
            else:
                reason = "not an NPZ file: download it to read it"
                answer.skipped.append(_skipped(artifact, artifact, "", (), 0, reason))
        if most_bytes is not None:
            found.sort(key=_rank)
        for source in found:
            if names is None or source.name in names:
                _add(answer, source, facts or StreamFacts({}))
    return answer.encode()


def decimate(
    times: NDArray[np.float64], values: NDArray[Any], buckets: int
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Keep the smallest and the largest value of each bucket, in the order in which they came.

    A NaN is kept only where a bucket has nothing else: a gap narrower than a bucket shows when one zooms in. Several
    columns have their extremes at different times but share an axis, so the two rows of a bucket get the times of its
    first and last row: less than a bucket beside the truth. With one column the times are exact.

    Args:
        times: ``(rows,) float64``.
        values: ``(rows, columns)``.
        buckets: How many; each has the same number of rows, but for a last, shorter one.

    Returns:
        Times and values, two rows for each bucket.
    """
    rows, columns = values.shape
    size = -(-rows // buckets)
    full = rows // size
    parts = [_extremes(times[: full * size].reshape(full, size), values[: full * size].reshape(full, size, columns))]
    if full * size < rows:
        parts.append(_extremes(times[full * size :][np.newaxis], values[full * size :][np.newaxis]))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _extremes(times: NDArray[np.float64], values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The two rows of each bucket; ``(buckets, size)`` times, ``(buckets, size, columns)`` values."""
    buckets, size, columns = values.shape
    low = high = values
    if values.dtype.kind == "f" and (missing := np.isnan(values)).any():
        low, high = np.where(missing, np.inf, values), np.where(missing, -np.inf, values)
    lowest, highest = low.argmin(axis=1), high.argmax(axis=1)
    at = np.stack([np.minimum(lowest, highest), np.maximum(lowest, highest)], axis=1)
    picked = np.take_along_axis(values, at, axis=1).reshape(buckets * 2, columns)
    if columns == 1:
        return np.take_along_axis(times, at[:, :, 0], axis=1).reshape(-1), picked
    return times[:, [0, size - 1]].reshape(-1), picked


def _is_beside(key: str) -> bool:
    """Whether an array only says something of another: when its rows were, which, where they begin, how they nest."""
    return key.endswith(_BESIDE) or ("/" + key.rpartition("/")[2]).startswith(_OFFSETS)


def series_sources(npz: NpzFile, artifact: str) -> Iterator[SeriesSource]:
    """The streams of a file, those that are no series among them."""
    for key, member in npz.members.items():
        if _is_beside(key):
            continue
        stream = key.rpartition("/")[0]
        name = stream if key.endswith(_VALUE) else key
        offsets = npz.members.get(stream + _OFFSETS)
        yield SeriesSource(npz, artifact, name, member, npz.members.get(stream + _TIME), offsets)


def _rank(source: SeriesSource) -> int:
    return next(
        (rank for rank, name in enumerate(_LEADING) if source.name == name or source.name.startswith(f"{name}.")),
        len(_LEADING),
    )


def _add(answer: SeriesAnswer, source: SeriesSource, facts: StreamFacts) -> None:
    """Append a stream to the answer, or the reason why it is left out."""
    npz, member, clock, name = source.npz, source.member, source.clock, source.name
    text = _text_of(source) if answer.window.is_whole else None
    if text is not None:
        answer.texts.append({"name": name, "artifact": source.artifact, **text})
        return
    reason = source.reason
    if reason is not None or clock is None:
        shape, dtype = member.shape[1:], member.dtype.name
        answer.skipped.append(_skipped(name, source.artifact, dtype, shape, member.rows, reason or ""))
        return
    header = {
        "name": name,
        "artifact": source.artifact,
        "dtype": member.dtype.name,
        "shape": list(member.shape[1:]),
        "labels": source.labels,
        "count": member.rows,
        **facts.about(name, source.columns),
    }
    if answer.is_full(member.rows, source.columns):
        last = npz.read_tail(clock, 1)
        answer.leave(header, float(last[0]) / 1e6 if len(last) else 0.0)
        return
    times = npz.read(clock).astype(np.float64) / 1e6
    # The two differ in length when a writer was killed between them.
    count = min(member.rows, clock.rows)
    answer.add(header, times[:count], npz.read(member)[:count].reshape(count, source.columns))


def _text_of(source: SeriesSource) -> dict[str, Any] | None:
    clock, offsets = source.clock, source.offsets
    if clock is None or clock.dtype.kind not in "iu" or len(clock.shape) != 1:
        return None
    if offsets is None and source.member.dtype.kind != "U":
        return None
    if offsets is not None and f"{offsets.key}_1" in source.npz.members:  # items within items
        return None
    return read_text(source.npz, source.member, clock, offsets)


def _reason(name: str, member: NpzMember, clock: NpzMember | None) -> str | None:
    """Why a stream is not sent, None when it is."""
    if name == _CLOCK:
        return "clock"
    if member.dtype.kind not in "biuf":
        return "not numeric"
    if not member.shape:
        return "a single value, not a series"
    columns = math.prod(member.shape[1:])
    if columns > _MAX_COLUMNS:
        return f"{columns} values a row: an image rather than a series"
    if columns == 0:
        return "rows without values"
    if clock is None or clock.dtype.kind not in "iu" or len(clock.shape) != 1:
        return f"no times: {name.removesuffix(_VALUE)} has no _t_ns of integers beside it"
    return None


def _thin(
    times: NDArray[np.float64], values: NDArray[Any], window: SeriesWindow
) -> tuple[NDArray[np.float64], NDArray[Any], bool]:
    if np.any(np.diff(times) < 0):
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
    # One neighbour each side, so that a line reaches the edges of the chart.
    first = max(int(np.searchsorted(times, window.start_ms, "left")) - 1, 0)
    last = min(int(np.searchsorted(times, window.end_ms, "right")) + 1, len(times))
    times, values = times[first:last], values[first:last]
    if len(times) <= _DECIMATE_ABOVE:
        return times, values, False
    return *decimate(times, values, window.points), True


def _append(payload: bytearray, data: bytes) -> int:
    """Where the data begins; always at a multiple of 8, as a Float64Array wants it."""
    payload.extend(b"\0" * (-len(payload) % 8))
    offset = len(payload)
    payload.extend(data)
    return offset


def _skipped(name: str, artifact: str, dtype: str, shape: Sequence[int], count: int, reason: str) -> dict[str, Any]:
    return {
        "name": name,
        "artifact": artifact,
        "dtype": dtype,
        "shape": list(shape),
        "count": count,
        "reason": reason,
    }


def is_zip(path: Path) -> bool:
    """Whether a file may be an NPZ file."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"
