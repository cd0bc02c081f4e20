"""The streams of an episode's NPZ files for the rules of :mod:`robotrace.explain`, within a bound of memory.

Needs NumPy alone, so that the command line uses it without a server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from robotrace.explain import Skipped, Stream
from robotrace.serve.npz import NpzFile, NpzMember, SeriesError

__all__ = ["EpisodeStreams", "read_streams"]

_VALUE, _TIME, _OFFSETS = "/value", "/_t_ns", "/_offsets"
_MAX_ROWS = 1_000_000
"""Of a stream: over four hours at 60 Hz. The last ones are read, since a failure is at the end."""
_MAX_STREAM_BYTES = 64 * 1024**2
_MAX_BYTES = 256 * 1024**2
"""Of all streams of an episode; the rules take about twice a stream's size on top, one stream after another."""
_MAX_STREAMS = 1000
_MAX_COLUMNS = 1024
"""More integers a row are an image, which no rule looks at."""


class EpisodeStreams:
    """The streams of an episode, and what was left out of them.

    Attributes:
        sensors: Of ``sensors.npz``.
        actions: Of ``actions.npz``.
        skipped: Streams, or files, that were not read, or not whole.
    """

    def __init__(self) -> None:
        self.sensors: list[Stream] = []
        self.actions: list[Stream] = []
        self.skipped: list[Skipped] = []
        self.left = _MAX_BYTES


def read_streams(sources: Sequence[tuple[str, Path]]) -> EpisodeStreams:
    """Read what the rules look at.

    Args:
        sources: ``sensors`` or ``actions``, and the file; one that is no NPZ, or broken, is said to be skipped.
    """
    found = EpisodeStreams()
    for kind, path in sources:
        streams = found.sensors if kind == "sensors" else found.actions
        try:
            with NpzFile(path) as npz:
                for stream in _streams(npz, found):
                    streams.append(stream)
        except (SeriesError, OSError) as error:
            found.skipped.append(Skipped(kind, f"the file cannot be read: {error}"))
    return found


def _streams(npz: NpzFile, found: EpisodeStreams) -> Iterator[Stream]:
    # As HDF5 and ROS 2 name them too: `<topic>/<field>` beside `<topic>/_t_ns`.
    named = [key for key in npz.members if not key.rpartition("/")[2].startswith("_")]
    if len(named) > _MAX_STREAMS:
        found.skipped.append(Skipped("streams", f"only {_MAX_STREAMS} of {len(named)} streams were looked at"))
    for key in named[:_MAX_STREAMS]:
        stem = key.rpartition("/")[0]
        name = stem if key.endswith(_VALUE) else key
        try:
            stream = _read(npz, name, npz.members[key], npz.members.get(stem + _TIME), found)
        except SeriesError as error:
            found.skipped.append(Skipped(name, str(error)))
        else:
            if stream is not None:
                yield stream


def _read(npz: NpzFile, name: str, member: NpzMember, clock: NpzMember | None, found: EpisodeStreams) -> Stream | None:
    if name.rpartition("/")[0] + _OFFSETS in npz.members or name + _OFFSETS in npz.members:
        return None  # texts, and rows of different lengths: no rule looks at them
    if member.dtype.kind not in "biuf" or not member.shape:
        return None
    columns = math.prod(member.shape[1:])
    if columns > _MAX_COLUMNS and member.dtype.kind != "f":
        found.skipped.append(Skipped(name, f"{columns} values a row: an image rather than a series"))
        return None
    size = columns * member.dtype.itemsize
    rows = min(member.rows, _MAX_ROWS, min(_MAX_STREAM_BYTES, found.left) // max(size, 1))
    if rows < min(member.rows, 1):
        found.skipped.append(Skipped(name, f"not looked at: {size} bytes a row, after what was read before"))
        return None
    # A writer may have been killed between the two: rows without a time are at the end.
    if clock is not None and (len(clock.shape) != 1 or clock.dtype.kind not in "iu"):
        clock = None
    if clock is not None and clock.rows != member.rows and max(clock.rows, member.rows) > rows:
        raise SeriesError(f"{member.rows} rows, but {clock.rows} times")
    found.left -= rows * (size + 8)
    if rows < member.rows:
        found.skipped.append(Skipped(name, f"only the last {rows} of {member.rows} rows were looked at"))
    values = npz.read_tail(member, rows)
    return Stream(name, values, None if clock is None else npz.read_tail(clock, rows))
