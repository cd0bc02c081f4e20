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

__all__ = ["SeriesError", "decimate", "read_series"]

_VALUE = "/value"
_TIME = "/_t_ns"
_OFFSETS = "/_offsets"
_BESIDE = (_TIME, "/_rows")
_MAX_COLUMNS = 64  # more are an image, not a chart
_DECIMATE_ABOVE = 50_000  # rows a browser draws without a pause
_CLOCK = "wall_clock"


@dataclass(frozen=True)
class _Window:
    start_ms: float
    end_ms: float
    points: int


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
    window = _Window(-math.inf if start_ms is None else start_ms, math.inf if end_ms is None else end_ms, points)
    streams: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    payload = bytearray()
    for artifact, path in sources:
        if not _is_zip(path):
            skipped.append(_skipped(artifact, artifact, "", (), 0, "not an NPZ file: download it to read it"))
            continue
        with NpzFile(path) as npz:
            for key in npz.members:
                if not _is_beside(key):
                    for header in _add_stream(npz, key, artifact, window, payload):
                        (skipped if "reason" in header else streams).append(header)
    text = json.dumps({"streams": streams, "skipped": skipped}, ensure_ascii=False).encode("utf-8", "replace")
    text += b" " * (-(4 + len(text)) % 8)
    return len(text).to_bytes(4, "little") + text + bytes(payload)


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
    """Whether an array only says something of another: when its rows were, which they are, where they begin."""
    return key.endswith(_BESIDE) or ("/" + key.rpartition("/")[2]).startswith(_OFFSETS)


def _add_stream(npz: NpzFile, key: str, artifact: str, window: _Window, payload: bytearray) -> Iterator[dict[str, Any]]:
    """Append a stream to the payload; yields its header, or the reason why it is left out."""
    member = npz.members[key]
    stream = key.rpartition("/")[0]
    name = stream if key.endswith(_VALUE) else key
    clock = npz.members.get(stream + _TIME)
    ragged = stream + _OFFSETS in npz.members
    reason = "rows of different lengths" if ragged else _reason(name, member, clock)
    if reason is not None or clock is None:
        yield _skipped(name, artifact, member.dtype.name, member.shape[1:], member.rows, reason or "")
        return
    times = npz.read(clock).astype(np.float64) / 1e6
    # The two differ in length when a writer was killed between them.
    count = min(member.rows, clock.rows)
    values = npz.read(member)[:count].reshape(count, math.prod(member.shape[1:]))
    times, values, decimated = _thin(times[:count], values, window)
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which is what a chart makes of it
        columns = np.ascontiguousarray(values.T, dtype="<f4")
    time_offset = _append(payload, times.astype("<f8").tobytes())
    yield {
        "name": name,
        "artifact": artifact,
        "dtype": member.dtype.name,
        "shape": list(member.shape[1:]),
        "labels": [",".join(map(str, index)) for index in np.ndindex(*member.shape[1:])],
        "count": member.rows,
        "rows": len(times),
        "decimated": decimated,
        "time_offset": time_offset,
        "values_offset": _append(payload, columns.tobytes()),
    }


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
    times: NDArray[np.float64], values: NDArray[Any], window: _Window
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


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
