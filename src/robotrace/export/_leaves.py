"""The streams of an episode's NPZ files, to be read a few rows at a time."""

from __future__ import annotations

import codecs
import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robotrace.export._episode import ExportedEpisode, ExportError
from robotrace.serve.npz import NpzFile, NpzMember, SeriesError

__all__ = ["WALL_CLOCK", "Leaf", "Streams", "open_streams"]

WALL_CLOCK = "wall_clock"
_VALUE, _TIME, _OFFSETS, _ROWS = "/value", "/_t_ns", "/_offsets", "/_rows"
_SLOTS = ("sensors", "actions")
_BLOCK_BYTES = 256 * 1024
_MOST_ROWS = 16 * 1024
"""A block's: with 8 bytes a row for the times, a thousand streams take less than 400 MB."""
_MOST_ITEMS = 16 * 1024 * 1024
"""Bytes of one row of several lengths: what offsets promise is not believed."""
_MOST_ROW = 64 * 1024 * 1024
"""Bytes of one row: it is in memory as a whole."""
_TEXT_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r")


@dataclass(frozen=True)
class Leaf:
    """A stream with times.

    Attributes:
        name: As pages show it: ``observation``, ``imu/linear_acceleration``.
        slot: ``sensors`` or ``actions``.
        kind: ``rows``: arrays of one shape; ``ragged``: flat arrays of any length; ``text``.
        dtype: Of a value.
        shape: Of a row; of ``ragged`` that of an item.
        rows: How many.
    """

    name: str
    slot: str
    kind: Literal["rows", "ragged", "text"]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    rows: int
    _npz: NpzFile
    _value: NpzMember
    _clock: NpzMember
    _offsets: NpzMember | None = None

    @property
    def columns(self) -> int:
        """Values a row; of an item for ``ragged``."""
        return math.prod(self.shape)

    @property
    def is_ascending(self) -> bool:
        """Whether no row is of a time before that of the row before it."""
        last = np.iinfo(np.int64).min
        try:
            clock = self._npz.rows(self._clock)
            for begin in range(0, self.rows, _MOST_ROWS):
                times = clock.take(min(_MOST_ROWS, self.rows - begin)).astype(np.int64)
                if times[0] < last or np.any(np.diff(times) < 0):
                    return False
                last = times[-1]
        except SeriesError as error:
            raise ExportError(f"{self.name} cannot be read: {error}") from error
        return True

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """Times in ns and rows: an array ``(n, …)``, or a list of arrays or of texts.

        Raises:
            ExportError: The file is broken.
        """
        try:
            yield from self._blocks()
        except SeriesError as error:
            raise ExportError(f"{self.name} cannot be read: {error}") from error

    def _blocks(self) -> Iterator[tuple[NDArray[np.int64], Any]]:
        times, values = self._npz.rows(self._clock), self._npz.rows(self._value)
        offsets = None if self._offsets is None else self._npz.rows(self._offsets)
        last = 0 if offsets is None else int(offsets.take(1)[0])
        if last:
            raise SeriesError("its offsets do not begin at 0")
        size = max(self.columns * self.dtype.itemsize, 1)
        step = max(1, min(_MOST_ROWS, _BLOCK_BYTES // size))
        for begin in range(0, self.rows, step):
            count = min(step, self.rows - begin)
            t_ns = times.take(count).astype(np.int64)
            if offsets is None:
                yield t_ns, values.take(count)
                continue
            for at, end in enumerate(offsets.take(count).tolist()):
                if end < last or (end - last) * size > _MOST_ITEMS:
                    raise SeriesError("its offsets are none")
                row = values.take(end - last)
                last = end
                yield t_ns[at : at + 1], [_text(row.tobytes()) if self.kind == "text" else row]


@dataclass(frozen=True)
class Streams:
    """All streams of an episode.

    Attributes:
        leaves: In the order of the files.
        left_out: Why others are none of these, by name.
        camera_times: ``<camera>/_t_ns`` of cameras whose exact times were kept.
        start_ns: Time 0 in ns since 1970; None where nobody knows.
        bytes_size: Of all arrays, unpacked.
    """

    leaves: list[Leaf]
    left_out: dict[str, str]
    camera_times: Mapping[str, NDArray[np.int64]]
    start_ns: int | None
    bytes_size: int


@contextlib.contextmanager
def open_streams(episode: ExportedEpisode) -> Iterator[Streams]:
    """The streams of an episode, as long as the block lasts.

    Raises:
        ExportError: A file is broken.
    """
    with contextlib.ExitStack() as stack:
        leaves: list[Leaf] = []
        left_out: dict[str, str] = {}
        cameras: dict[str, NDArray[np.int64]] = {}
        size = 0
        for slot in _SLOTS:
            if slot not in episode.files:
                continue
            if not _is_zip(episode.files[slot]):
                left_out[slot] = "it is no NPZ file"
                continue
            try:
                npz = stack.enter_context(NpzFile(episode.files[slot]))
                size += sum(math.prod(member.shape) * member.dtype.itemsize for member in npz.members.values())
                found, why = _leaves_of(npz, slot)
                cameras |= _camera_times(npz)
            except SeriesError as error:
                raise ExportError(f"the {slot} cannot be read: {error}") from error
            leaves += found
            left_out |= why
        yield Streams(leaves, left_out, cameras, _start_ns(leaves, episode.metadata), size)


def _leaves_of(npz: NpzFile, slot: str) -> tuple[list[Leaf], dict[str, str]]:
    found: list[Leaf] = []
    left_out: dict[str, str] = {}
    texts, others = _described(npz)
    for key, member in npz.members.items():
        stem, _, field = key.rpartition("/")
        if field.startswith("_"):
            continue
        name = stem if field == "value" else key
        clock = npz.members.get(stem + _TIME)
        if clock is None or clock.dtype.kind not in "iu" or len(clock.shape) != 1:
            left_out[name] = "it has no times"
            continue
        if not member.shape:
            left_out[name] = "a single value, no series"
            continue
        offsets = npz.members.get(stem + _OFFSETS)
        if stem + _OFFSETS + "_1" in npz.members:
            left_out[name] = "its rows have rows of several lengths"
        elif member.dtype.kind not in "biufUS" or member.dtype.itemsize == 0 or member.dtype.name in _TOO_LONG:
            left_out[name] = f"its type {member.dtype}"
        elif math.prod(member.shape[1:]) * member.dtype.itemsize > _MOST_ROW:
            left_out[name] = f"its rows are larger than {_MOST_ROW // 1024**2} MiB"
        elif offsets is not None and (offsets.dtype.kind not in "iu" or len(offsets.shape) != 1 or not offsets.rows):
            left_out[name] = "its offsets are none"
        elif offsets is not None:
            rows = min(offsets.rows - 1, clock.rows)
            base = stem.partition("#")[0]
            is_text = base in texts or (base not in others and _reads_as_text(npz, member))
            kind: Literal["ragged", "text"] = "text" if is_text else "ragged"
            found.append(Leaf(name, slot, kind, member.dtype, member.shape[1:], rows, npz, member, clock, offsets))
        else:
            # They differ when a writer was killed between the two: rows without a time are at the end.
            rows = min(member.rows, clock.rows)
            found.append(Leaf(name, slot, "rows", member.dtype, member.shape[1:], rows, npz, member, clock))
    return found, left_out


_TOO_LONG = ("float128", "longdouble")
"""Of this machine's own width."""


def _described(npz: NpzFile) -> tuple[set[str], set[str]]:
    """The leaves that are texts, and those that are not, as the recorder says in the archive's comment."""
    texts: set[str] = set()
    others: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            for kind, content in node.items():
                if kind in ("text", "leaf") and isinstance(content, str):
                    (texts if kind == "text" else others).add(content)
                else:
                    visit(content)
        elif isinstance(node, list):
            for item in node:
                visit(item)

    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        visit(json.loads(npz.comment)["structure"])
    return texts, others


def _reads_as_text(npz: NpzFile, member: NpzMember) -> bool:
    """Whether bytes that nobody describes are UTF-8 without control characters: imports keep their texts so."""
    if member.dtype != np.uint8 or len(member.shape) != 1:
        return False
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    rows, left = npz.rows(member), member.rows
    try:
        while left:
            taken = rows.take(min(left, _BLOCK_BYTES)).tobytes()
            left -= len(taken)
            if not _TEXT_CONTROLS.isdisjoint(taken):
                return False
            decoder.decode(taken, final=not left)
    except UnicodeDecodeError:
        return False
    return True


def _camera_times(npz: NpzFile) -> dict[str, NDArray[np.int64]]:
    """Clocks without a stream are those of cameras."""
    with_fields = {key.rpartition("/")[0] for key in npz.members if not key.rpartition("/")[2].startswith("_")}
    return {
        key.removesuffix(_TIME): npz.read(member).astype(np.int64)
        for key, member in npz.members.items()
        if key.endswith(_TIME)
        and key.removesuffix(_TIME) not in with_fields
        and member.dtype.kind in "iu"
        and len(member.shape) == 1
    }


def _start_ns(leaves: list[Leaf], metadata: Mapping[str, Any]) -> int | None:
    for leaf in leaves:
        if leaf.name == WALL_CLOCK and leaf.kind == "rows" and not leaf.shape and leaf.dtype.kind in "iu" and leaf.rows:
            times, values = next(leaf.blocks())
            return int(values[0]) - int(times[0])
    bag = metadata.get("ros2")
    started = bag.get("start_ns") if isinstance(bag, dict) else None
    return started if isinstance(started, int) and not isinstance(started, bool) and started > 0 else None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
