"""Streams of text in an episode's NPZ files, as the times at which the text changed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from robotrace.serve.npz import NpzFile, NpzMember

__all__ = ["read_text"]

_MAX_BYTES = 8 * 1024**2
"""Of all texts of a stream: 80,000 log lines."""
_MAX_ROWS = 200_000
_MAX_CHANGES = 500
"""That a page lists."""
_MAX_LETTERS = 300
_CONTROL = frozenset(map(chr, range(32))) - set("\t\n\r")


def read_text(npz: NpzFile, member: NpzMember, clock: NpzMember, offsets: NpzMember | None) -> dict[str, Any] | None:
    """Read a stream of text.

    Args:
        npz: The file.
        member: The values: UTF-8 bytes with offsets, or an array of text.
        clock: Their times.
        offsets: Where each row begins; None for an array of text.

    Returns:
        ``count``, how many rows there are, ``changes``, how many of them differ from the one before, and ``rows``, the
        first 500 of those, ``[time in ms, text]``. None when it is no text.
    """
    if clock.rows > _MAX_ROWS:
        return None
    texts = _array_of_text(npz, member) if offsets is None else _rows_of_bytes(npz, member, offsets)
    if texts is None:
        return None
    times = npz.read(clock) / 1e6
    rows: list[tuple[float, str]] = []
    changes, last = 0, None
    for time_ms, text in zip(times.tolist(), texts, strict=False):
        if text != last:
            changes += 1
            if changes <= _MAX_CHANGES:
                rows.append((time_ms, text if len(text) <= _MAX_LETTERS else f"{text[:_MAX_LETTERS]}…"))
        last = text
    return {"count": len(texts), "changes": changes, "rows": rows}


def _array_of_text(npz: NpzFile, member: NpzMember) -> list[str] | None:
    if member.dtype.kind != "U" or len(member.shape) != 1 or member.rows > _MAX_ROWS:
        return None
    if member.rows * member.dtype.itemsize > 4 * _MAX_BYTES:
        return None
    return [str(text) for text in npz.read(member)]


def _rows_of_bytes(npz: NpzFile, member: NpzMember, offsets: NpzMember) -> list[str] | None:
    """Rows of several lengths are text when all of them read as text: the file does not say it."""
    if member.dtype != np.uint8 or len(member.shape) != 1 or member.rows > _MAX_BYTES:
        return None
    if offsets.dtype.kind not in "iu" or len(offsets.shape) != 1 or offsets.rows > _MAX_ROWS + 1:
        return None
    content, edges = npz.read(member).tobytes(), npz.read(offsets).tolist()
    try:
        texts = [content[start:end].decode() for start, end in itertools.pairwise(edges)]
    except UnicodeDecodeError:
        return None
    return None if any(_CONTROL & set(text) for text in texts) else texts
