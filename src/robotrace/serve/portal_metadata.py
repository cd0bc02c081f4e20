"""Metadata as a tree to be read: blocks that are known have a name, each says in short what is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MetadataNode", "MetadataTree", "metadata_tree"]

_NAMES = {
    "action_bounds": "Action bounds",
    "config": "Configuration",
    "env": "Environment",
    "final_info": "Final info",
    "git": "Git",
    "host": "Host",
    "names": "Names",
    "incomplete": "Incomplete",
    "outcome": "Outcome",
    "packages": "Packages",
    "params": "Parameters",
    "reproduce": "Reproducibility",
    "tags": "Tags",
    "units": "Units",
    "vector": "Vector of environments",
    "versions": "Packages",
    "video": "Video",
}
_FIRST = ("outcome", "env", "params", "config", "git", "versions", "packages", "host", "reproduce")
"""Blocks in this order; then the others, in the order in which they were recorded."""
_MOST_NODES = 2000
"""More is for the JSON: a page of 2,000 lines takes 50 ms to lay out."""
_DEEPEST = 12
_SHORT = 72
_LONG_TEXT = 400


@dataclass
class MetadataNode:
    """A key, with a value or with what is below it.

    Attributes:
        key: As recorded; of an item of a list its number.
        label: For people, where the block is known.
        value: As text; None for a block.
        kind: ``text``, ``number``, ``truth``, ``none``, ``empty``, or ``block``.
        short: What is in a block, in a line.
        children: Of a block.
        is_long: The text takes many lines.
    """

    key: str
    label: str
    value: str | None
    kind: str
    short: str = ""
    children: list[MetadataNode] = field(default_factory=list)
    is_long: bool = False


@dataclass(frozen=True)
class MetadataTree:
    """Single values first, then blocks.

    Attributes:
        values: Of the first level.
        blocks: Of the first level.
        count: Values in all.
        cut: How many values are not in the tree.
    """

    values: list[MetadataNode]
    blocks: list[MetadataNode]
    count: int
    cut: int


def metadata_tree(metadata: Mapping[str, Any]) -> MetadataTree:
    """The tree of an episode's metadata."""
    left = [_MOST_NODES]
    nodes = [_node(str(key), value, left, 0) for key, value in metadata.items()]
    known = [node for node in nodes if node is not None]
    order = {name: number for number, name in enumerate(_FIRST)}
    blocks = sorted((node for node in known if node.kind == "block"), key=lambda node: order.get(node.key, len(order)))
    for node in blocks:
        node.label = _NAMES.get(node.key, node.key)
    count = _count(metadata)
    shown = sum(map(_leaves, known))
    return MetadataTree([node for node in known if node.kind != "block"], blocks, count, count - shown)


def _node(key: str, value: Any, left: list[int], depth: int) -> MetadataNode | None:
    if left[0] <= 0:
        return None
    left[0] -= 1
    if isinstance(value, (Mapping, list)) and value:
        if depth >= _DEEPEST or _is_plain_list(value):
            return MetadataNode(key, key, _json(value), "text", is_long=len(_json(value)) > _LONG_TEXT)
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        children = [_node(str(name), item, left, depth + 1) for name, item in pairs]
        return MetadataNode(
            key, key, None, "block", _short(value), children=[child for child in children if child is not None]
        )
    if isinstance(value, (Mapping, list)):
        return MetadataNode(key, key, "{}" if isinstance(value, Mapping) else "[]", "empty")
    if value is None:
        return MetadataNode(key, key, "null", "none")
    if isinstance(value, bool):
        return MetadataNode(key, key, "true" if value else "false", "truth")
    if isinstance(value, (int, float)):
        return MetadataNode(key, key, _json(value), "number")
    text = str(value)
    return MetadataNode(key, key, text, "text", is_long=len(text) > _LONG_TEXT or text.count("\n") > 5)


def _is_plain_list(value: Any) -> bool:
    """A list of few short values reads better in a line."""
    return (
        isinstance(value, list)
        and all(item is None or isinstance(item, (str, int, float)) for item in value)
        and len(_json(value)) <= _LONG_TEXT
    )


def _short(value: Any) -> str:
    """The first values in a block, as far as a line goes."""
    if isinstance(value, list):
        return f"{len(value)} items"
    told = []
    for key, item in value.items():
        if isinstance(item, (str, int, float)) and item != "":
            text = f"{key} {item}" if not isinstance(item, bool) else key if item else f"not {key}"
            told.append(" ".join(text.split()))
        if sum(map(len, told)) > _SHORT:
            break
    line = " · ".join(told)
    if not line:
        return f"{len(value)} entries" if len(value) > 1 else "1 entry"
    return line if len(line) <= _SHORT else line[: _SHORT - 1].rstrip() + "…"


def _leaves(node: MetadataNode) -> int:
    if node.kind != "block":
        return 1
    return sum(map(_leaves, node.children))


def _count(value: Any, depth: int = 0) -> int:
    """Values, as :func:`_leaves` counts them."""
    return sum(1 for _ in _values(value, depth))


def _values(value: Any, depth: int) -> Iterator[Any]:
    # The mapping itself is at depth 0, what is in it is at that of its nodes.
    if depth == 0 or (isinstance(value, (Mapping, list)) and value and depth <= _DEEPEST and not _is_plain_list(value)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _values(item, depth + 1)
    else:
        yield value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
