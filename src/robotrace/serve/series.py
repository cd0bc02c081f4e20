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

__all__ = ["SeriesError", "decimate", "read_series"]

_VALUE = "/value"
_TIME = "/_t_ns"
_OFFSETS = "/_offsets"
_BESIDE = (_TIME, "/_rows")
_MAX_COLUMNS = 64  # more are an image, not a chart
_DECIMATE_ABOVE = 50_000  # rows a browser draws without a pause
_CLOCK = "wall_clock"


# What an engineer looks at first is sent first.
_LEADING = ("observation", "action", "reward")


@dataclass(frozen=True)
class _Window:
    start_ms: float
    end_ms: float
    points: int

    @property
    def is_whole(self) -> bool:
        return math.isinf(self.start_ms) and math.isinf(self.end_ms)


@dataclass
class _Answer:
    """The answer as it grows."""

    window: _Window
    facts: StreamFacts
    most_bytes: int | None
    streams: list[dict[str, Any]] = field(default_factory=list)
    texts: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    payload: bytearray = field(default_factory=bytearray)

    def encode(self) -> bytes:
        header = {"streams": self.streams, "texts": self.texts, "skipped": self.skipped}
        text = json.dumps(header, ensure_ascii=False).encode("utf-8", "replace")
        text += b" " * (-(4 + len(text)) % 8)
        return len(text).to_bytes(4, "little") + text + bytes(self.payload)


@dataclass(frozen=True)
class _Source:
    """An array in a file, and the two beside it."""

    npz: NpzFile
    artifact: str
    name: str
    member: NpzMember
    clock: NpzMember | None
    offsets: NpzMember | None


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
    window = _Window(-math.inf if start_ms is None else start_ms, math.inf if end_ms is None else end_ms, points)
    answer = _Answer(window, facts or StreamFacts({}), most_bytes)
    with ExitStack() as files:
        found: list[_Source] = []
        for artifact, path in sources:
            if _is_zip(path):
                found.extend(_arrays(files.enter_context(NpzFile(path)), artifact))
            else:
                reason = "not an NPZ file: download it to read it"
                answer.skipped.append(_skipped(artifact, artifact, "", (), 0, reason))
        if most_bytes is not None:
            found.sort(key=_rank)
        for source in found:
            if names is None or source.name in names:
                _add(answer, source)
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
    """Whether an array only says something of another: when its rows were, which they are, where they begin."""
    return key.endswith(_BESIDE) or ("/" + key.rpartition("/")[2]).startswith(_OFFSETS)


def _arrays(npz: NpzFile, artifact: str) -> Iterator[_Source]:
    for key, member in npz.members.items():
        if _is_beside(key):
            continue
        stream = key.rpartition("/")[0]
        name = stream if key.endswith(_VALUE) else key
        offsets = npz.members.get(stream + _OFFSETS)
        yield _Source(npz, artifact, name, member, npz.members.get(stream + _TIME), offsets)


def _rank(source: _Source) -> int:
    return next(
        (rank for rank, name in enumerate(_LEADING) if source.name == name or source.name.startswith(f"{name}.")),
        len(_LEADING),
    )


def _add(answer: _Answer, source: _Source) -> None:
    """Append a stream to the answer, or the reason why it is left out."""
    npz, member, clock, name = source.npz, source.member, source.clock, source.name
    text = _text_of(source) if answer.window.is_whole else None
    if text is not None:
        answer.texts.append({"name": name, "artifact": source.artifact, **text})
        return
    reason = "rows of different lengths" if source.offsets is not None else _reason(name, member, clock)
    if reason is not None or clock is None:
        shape, dtype = member.shape[1:], member.dtype.name
        answer.skipped.append(_skipped(name, source.artifact, dtype, shape, member.rows, reason or ""))
        return
    header = {
        "name": name,
        "artifact": source.artifact,
        "dtype": member.dtype.name,
        "shape": list(member.shape[1:]),
        "labels": [",".join(map(str, index)) for index in np.ndindex(*member.shape[1:])],
        "count": member.rows,
        **answer.facts.about(name, math.prod(member.shape[1:])),
    }
    answer.streams.append(header)
    if _is_left(answer, member):
        last = npz.read_tail(clock, 1)
        header.update(rows=0, decimated=False, left=True, end_ms=float(last[0]) / 1e6 if len(last) else 0.0)
        header.update(time_offset=0, values_offset=0)
        return
    times = npz.read(clock).astype(np.float64) / 1e6
    # The two differ in length when a writer was killed between them.
    count = min(member.rows, clock.rows)
    values = npz.read(member)[:count].reshape(count, math.prod(member.shape[1:]))
    end_ms = float(times[:count].max()) if count else 0.0
    times, values, decimated = _thin(times[:count], values, answer.window)
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which is what a chart makes of it
        columns = np.ascontiguousarray(values.T, dtype="<f4")
    header.update(rows=len(times), decimated=decimated, end_ms=end_ms)
    header["time_offset"] = _append(answer.payload, times.astype("<f8").tobytes())
    header["values_offset"] = _append(answer.payload, columns.tobytes())


def _is_left(answer: _Answer, member: NpzMember) -> bool:
    if answer.most_bytes is None or not answer.payload:
        return False
    rows = member.rows if member.rows <= _DECIMATE_ABOVE else 2 * answer.window.points
    return len(answer.payload) + rows * (8 + 4 * math.prod(member.shape[1:])) > answer.most_bytes


def _text_of(source: _Source) -> dict[str, Any] | None:
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
