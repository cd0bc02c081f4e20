"""The numeric streams of an episode's NPZ files as one binary answer, thinned out where a chart could not show more.

The answer: a little-endian uint32 with the length of the header; the header, UTF-8 JSON, padded with spaces so that
what follows starts at a multiple of 8; then the payload. The header says where in the payload each stream lies::

    {"streams": [{"name": "observation", "artifact": "sensors", "dtype": "float32", "shape": [4],
                  "labels": ["0", "1", "2", "3"], "count": 501, "rows": 501, "decimated": false,
                  "time_offset": 0, "values_offset": 4008}, …],
     "skipped": [{"name", "artifact", "dtype", "shape", "count", "reason"}, …]}

At ``time_offset`` lie ``rows`` float64 in ms, at ``values_offset`` ``len(labels) * rows`` float32, column after column.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.serve.npz import NpzFile, NpzMember, SeriesError

__all__ = [
    "Listed",
    "SeriesAnswer",
    "SeriesError",
    "SeriesWindow",
    "decimate",
    "is_zip",
    "listed_streams",
    "read_series",
]

_VALUE = "/value"
_TIME = "/_t_ns"
_OFFSETS = "/_offsets"
_BESIDE = (_TIME, "/_rows")
_MAX_COLUMNS = 64  # more are an image, not a chart
_DECIMATE_ABOVE = 50_000  # rows a browser draws without a pause
_CLOCK = "wall_clock"


@dataclass(frozen=True)
class SeriesWindow:
    """What of each stream is sent.

    Args:
        start_ms: First time; None from the beginning. One row before is sent, too.
        end_ms: Last time; None to the end. One row after is sent, too.
        points: Into how many buckets a stream of more than 50,000 rows in the window is thinned out.
    """

    start_ms: float | None = None
    end_ms: float | None = None
    points: int = 4000


@dataclass(frozen=True)
class Listed:
    """A stream of an NPZ file: its arrays, and why it is no series, None when it is."""

    name: str
    member: NpzMember
    clock: NpzMember | None
    reason: str | None

    @property
    def columns(self) -> int:
        """Values a row."""
        return math.prod(self.member.shape[1:])

    @property
    def labels(self) -> list[str]:
        """What its columns are called: ``0``, or ``0,2`` of rows with two axes."""
        return [",".join(map(str, index)) for index in np.ndindex(*self.member.shape[1:])]


def read_series(
    sources: Sequence[tuple[str, Path]],
    *,
    start_ms: float | None = None,
    end_ms: float | None = None,
    points: int = 4000,
) -> bytes:
    """The answer of ``series.bin``; its format is described above.

    Args:
        sources: Artifact kind and file; a file that is no NPZ is listed as skipped.
        start_ms: First time to send; None from the beginning. One row before is sent, too.
        end_ms: Last time to send; None to the end. One row after is sent, too.
        points: Into how many buckets a stream of more than 50,000 rows in the window is thinned out.

    Raises:
        SeriesError: A file is broken, or larger than we read.
    """
    answer = SeriesAnswer(SeriesWindow(start_ms, end_ms, points))
    for artifact, path in sources:
        if not is_zip(path):
            answer.skip(artifact, artifact, "not an NPZ file: download it to read it")
            continue
        with NpzFile(path) as npz:
            for stream in listed_streams(npz):
                _add_stream(npz, stream, artifact, answer)
    return answer.to_bytes()


class SeriesAnswer:
    """An answer of ``series.bin`` in the making.

    Args:
        window: What of each stream is sent.
    """

    def __init__(self, window: SeriesWindow) -> None:
        self._start_ms = -math.inf if window.start_ms is None else window.start_ms
        self._end_ms = math.inf if window.end_ms is None else window.end_ms
        self._points = window.points
        self._streams: list[dict[str, Any]] = []
        self._skipped: list[dict[str, Any]] = []
        self._payload = bytearray()

    def add(self, times_ms: NDArray[np.float64], values: NDArray[Any], **described: Any) -> None:
        """Append what the window shows of a stream.

        Args:
            times_ms: ``(rows,) float64``.
            values: ``(rows, columns)``.
            **described: What its header says beside the rows and where they lie.
        """
        times, values, decimated = _thin(times_ms, values, self._start_ms, self._end_ms, self._points)
        with np.errstate(over="ignore"):  # beyond float32 is infinity, which is what a chart makes of it
            columns = np.ascontiguousarray(values.T, dtype="<f4")
        placed = {
            "rows": len(times),
            "decimated": decimated,
            "time_offset": self._append(times.astype("<f8").tobytes()),
        }
        self._streams.append({**described, **placed, "values_offset": self._append(columns.tobytes())})

    def skip(self, name: str, artifact: str, reason: str, member: NpzMember | None = None) -> None:
        """Say why a stream, or a file, is left out."""
        told = ("", [], 0) if member is None else (member.dtype.name, list(member.shape[1:]), member.rows)
        dtype, shape, count = told
        self._skipped.append(
            {"name": name, "artifact": artifact, "dtype": dtype, "shape": shape, "count": count, "reason": reason}
        )

    def to_bytes(self) -> bytes:
        """The whole of it."""
        described = {"streams": self._streams, "skipped": self._skipped}
        text = json.dumps(described, ensure_ascii=False).encode("utf-8", "replace")
        text += b" " * (-(4 + len(text)) % 8)
        return len(text).to_bytes(4, "little") + text + bytes(self._payload)

    def _append(self, data: bytes) -> int:
        """Where the data begins; always at a multiple of 8, as a Float64Array wants it."""
        self._payload.extend(b"\0" * (-len(self._payload) % 8))
        offset = len(self._payload)
        self._payload.extend(data)
        return offset


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


def listed_streams(npz: NpzFile) -> Iterator[Listed]:
    """The streams of a file, those that are no series among them."""
    for key, member in npz.members.items():
        # What only says something of another: when its rows were, which they are, where they begin.
        if key.endswith(_BESIDE) or ("/" + key.rpartition("/")[2]).startswith(_OFFSETS):
            continue
        stream = key.rpartition("/")[0]
        name = stream if key.endswith(_VALUE) else key
        clock = npz.members.get(stream + _TIME)
        ragged = stream + _OFFSETS in npz.members
        yield Listed(name, member, clock, "rows of different lengths" if ragged else _reason(name, member, clock))


def _add_stream(npz: NpzFile, stream: Listed, artifact: str, answer: SeriesAnswer) -> None:
    member, clock = stream.member, stream.clock
    if stream.reason is not None or clock is None:
        answer.skip(stream.name, artifact, stream.reason or "", member)
        return
    times = npz.read(clock).astype(np.float64) / 1e6
    # The two differ in length when a writer was killed between them.
    count = min(member.rows, clock.rows)
    answer.add(
        times[:count],
        npz.read(member)[:count].reshape(count, stream.columns),
        name=stream.name,
        artifact=artifact,
        dtype=member.dtype.name,
        shape=list(member.shape[1:]),
        labels=stream.labels,
        count=member.rows,
    )


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
    times: NDArray[np.float64], values: NDArray[Any], start_ms: float, end_ms: float, points: int
) -> tuple[NDArray[np.float64], NDArray[Any], bool]:
    if np.any(np.diff(times) < 0):
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
    # One neighbour each side, so that a line reaches the edges of the chart.
    first = max(int(np.searchsorted(times, start_ms, "left")) - 1, 0)
    last = min(int(np.searchsorted(times, end_ms, "right")) + 1, len(times))
    times, values = times[first:last], values[first:last]
    if len(times) <= _DECIMATE_ABOVE:
        return times, values, False
    return *decimate(times, values, points), True


def is_zip(path: Path) -> bool:
    """Whether a file may be an NPZ file."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"
