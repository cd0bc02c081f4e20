"""Reading a recorded stream back into the values the env returned, row by row."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Graph", "read_arrays", "read_rows"]

_STRUCTURE = "_structure"


class Graph(NamedTuple):
    """A row of a Graph space: ``(n, …)`` nodes, ``(m, …)`` edges and ``(m, 2)`` links; without edges these are None."""

    nodes: NDArray[Any]
    edges: NDArray[Any] | None
    edge_links: NDArray[Any] | None


class _Absent:
    """The leaf is not in this row."""


_ABSENT = _Absent()


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Everything in a ``sensors.npz`` or ``actions.npz``.

    Args:
        path: The file.

    Returns:
        Its arrays by key, and ``<stream>/_structure``, a text () of JSON, for each stream whose rows are no single
        array: the file says it in its comment, where no reader takes it for a row.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or an array of it needs pickle.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
        comment = file.zip.comment
    try:
        structures = json.loads(comment)["structure"]
    except (ValueError, TypeError, KeyError):  # a file of somebody else's, with a comment of its own or none
        structures = {}
    return {**arrays, **{f"{stream}/{_STRUCTURE}": np.array(json.dumps(found)) for stream, found in structures.items()}}


def read_rows(arrays: Mapping[str, NDArray[Any]], stream: str) -> list[Any]:
    """The rows of a stream, as they were when they were recorded.

    Args:
        arrays: What :func:`read_arrays` gives for ``sensors.npz`` or ``actions.npz``.
        stream: ``observation``, ``action``, …

    Returns:
        One entry a row: an array or scalar of the recorded dtype, a text, a dict, a tuple (of a Sequence too), a
        :class:`Graph`, or ``(choice, value)`` of a OneOf. A key that was not in a row is missing there.

    Raises:
        KeyError: There is no such stream.
    """
    described = f"{stream}/{_STRUCTURE}"
    structure = json.loads(str(arrays[described])) if described in arrays else {"leaf": stream}
    leaves: dict[str, dict[int, Any]] = {}
    for name, levels, is_text in _leaves(structure, 0):
        leaves[name] = dict(_leaf_rows(arrays, name, levels, is_text))
    if not any(leaves.values()):
        raise KeyError(f"no stream {stream!r}")
    count = 1 + max(max(rows) for rows in leaves.values() if rows)
    return [_build(structure, {name: rows.get(row, _ABSENT) for name, rows in leaves.items()}) for row in range(count)]


def _leaves(node: Any, levels: int) -> Iterator[tuple[str, int, bool]]:
    (kind, content), *_ = node.items()
    if kind in ("leaf", "text"):
        yield content, levels, kind == "text"
    elif kind == "dict":
        for _, child in content:
            yield from _leaves(child, levels)
    elif kind == "tuple":
        for child in content:
            yield from _leaves(child, levels)
    elif kind == "list":
        yield from _leaves(content, levels + 1)
    elif kind == "oneof":
        yield from _leaves(content[0], levels)
        for child in content[1]:
            yield from _leaves(child, levels + 1)
    else:  # graph
        yield from _leaves(content[0], levels)
        yield from _leaves(content[1], levels + 1)
        yield from _leaves(content[2], levels + 1)


def _leaf_rows(arrays: Mapping[str, NDArray[Any]], name: str, levels: int, is_text: bool) -> Iterator[tuple[int, Any]]:
    """(row, nested value) of a leaf over all its segments."""
    pattern = re.compile(re.escape(name) + r"(#\d+)?/(?:value|_offsets)")
    found = {match[1] or "" for match in map(pattern.fullmatch, arrays) if match}
    row = 0
    for segment in sorted(found, key=lambda text: int(text[1:] or 0)):
        base = f"{name}{segment}"
        offsets = []
        for number in range(levels + 2):
            key = f"{base}/_offsets" + (f"_{number}" if number else "")
            if key in arrays:
                offsets.append(arrays[key])
        values = arrays.get(f"{base}/value", np.zeros(0))
        rows = len(offsets[0]) - 1 if offsets else len(values)
        places = arrays.get(f"{base}/_rows")
        for index in range(rows):
            place = row + index if places is None else int(places[index])
            yield place, _nested(values, offsets, index, levels, is_text)
        row += rows


def _nested(values: NDArray[Any], offsets: list[NDArray[Any]], index: int, levels: int, is_text: bool) -> Any:
    if not offsets:
        return values[index]
    begin, end = int(offsets[0][index]), int(offsets[0][index + 1])
    if levels == 0:
        part = values[begin:end]
        return part.tobytes().decode("utf-8", "surrogatepass") if is_text else part
    return [_nested(values, offsets[1:], item, levels - 1, is_text) for item in range(begin, end)]


def _build(node: Any, row: Mapping[str, Any]) -> Any:
    (kind, content), *_ = node.items()
    if kind in ("leaf", "text"):
        return row[content]
    if kind == "dict":
        built = {key: _build(child, row) for key, child in content}
        kept = {key: value for key, value in built.items() if value is not _ABSENT}
        return kept if kept or not built else _ABSENT
    if kind == "tuple":
        return tuple(_build(child, row) for child in content)
    if kind == "list":
        return _build_list(content, row)
    if kind == "oneof":
        choice = _build(content[0], row)
        if choice is _ABSENT:
            return _ABSENT
        return choice, _build(content[1][int(choice)], {name: _one(value) for name, value in row.items()})
    nodes, edges, links = (row[leaf["leaf"]] for leaf in content)
    return _ABSENT if nodes is _ABSENT else Graph(nodes, _first(edges), _first(links))


def _build_list(item: Any, row: Mapping[str, Any]) -> Any:
    names = [name for name, _, _ in _leaves(item, 0)]
    lists = {name: row[name] for name in names if row[name] is not _ABSENT}
    if not lists:
        return _ABSENT
    count = max(map(len, lists.values()))
    return tuple(
        _build(
            item, {name: values[index] for name, values in lists.items()} | dict.fromkeys(row.keys() - lists, _ABSENT)
        )
        for index in range(count)
    )


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None
