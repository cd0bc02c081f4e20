"""From a space, or a first value, to a flat plan of leaves; spaces are known by the names of their classes.

A leaf is one array in the file; the steps of its path lead from what the env returned to its values. Below a Sequence a
row has any number of values: then the leaf is ragged, with one level of offsets for each such step (the files:
:mod:`robotrace.deliver.columns`).

========================  ============================================================================================
Dict, Tuple               ``observation.<key>``, ``observation.<index>``, nested alike
Text                      the UTF-8 bytes of the texts, ragged
Sequence                  as its items are, one level more; of a stacked one the arrays, ragged
Graph                     ``.nodes``, ``.edges``, ``.edge_links``, ragged; the last two, which may be None, one level
                          more
OneOf                     ``.choice``, and ``.<index>`` for each alternative: 0 or 1 values a row
anything else             one array, of the dtype and shape of the value (not of the space: envs return something else)
========================  ============================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["LeafPlan", "Plan", "Step", "collect", "plan_for"]

Kind = Literal["array", "ragged", "text"]
Step = tuple[Any, ...]
"""``("key", k)``, ``("attr", name)``, ``("each",)``, ``("maybe",)``, ``("choice",)`` or ``("alt", index)``."""

_EACH: Step = ("each",)
_MAYBE: Step = ("maybe",)
_LEVELS = ("each", "maybe", "alt")
_LIKE_A_SEGMENT = re.compile(r"#\d+$")
_GRAPH = ("nodes", "edges", "edge_links")


class _Unknown:
    """There is no value yet: what is in an empty sequence, or under a key that is not there."""


_UNKNOWN = _Unknown()


@dataclass(frozen=True)
class LeafPlan:
    """One array to be.

    Attributes:
        name: Its name in the file, without ``/value``.
        path: The steps to it.
        kind: ``array`` of one shape, ``ragged`` in its first axis, or ``text``.
    """

    name: str
    path: tuple[Step, ...]
    kind: Kind

    @property
    def keys(self) -> tuple[Any, ...] | None:
        """The keys to it, None where its path has other steps."""
        return tuple(step[1] for step in self.path) if all(step[0] == "key" for step in self.path) else None


@dataclass
class Plan:
    """The leaves of a stream.

    Attributes:
        leaves: In the order of the value.
        structure: How the leaves make up a row, as JSON: what :func:`robotrace.capture.rows.read_rows` goes by.
        nests: The keys known at each path of keys that leads to a dict or a tuple.
    """

    leaves: list[LeafPlan] = field(default_factory=list)
    structure: Any = None
    nests: dict[tuple[Any, ...], set[Any]] = field(default_factory=dict)

    def nest(self, path: tuple[Step, ...], keys: Iterable[Any]) -> None:
        """Note a dict or tuple."""
        if all(step[0] == "key" for step in path):
            self.nests[tuple(step[1] for step in path)] = set(keys)

    def leaf(self, name: str, path: tuple[Step, ...], kind: Kind) -> dict[str, str]:
        """Add a leaf; a second one of the same name (keys with dots), or one named as a segment is, gets another."""
        taken = {leaf.name for leaf in self.leaves}
        if _LIKE_A_SEGMENT.search(name):
            name += "~"
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}~{number}", number + 1
        self.leaves.append(LeafPlan(unique, path, kind))
        return {"text" if kind == "text" else "leaf": unique}


def plan_for(name: str, value: Any, space: Any = None, path: tuple[Step, ...] = (), into: Plan | None = None) -> Plan:
    """The plan of a stream called ``name``.

    Args:
        name: ``observation``, ``action``, …
        value: The first one.
        space: Of the env, where there is one; a value that does not fit it is planned by itself.
        path: Where the value is found, of a part that came later.
        into: The plan it is added to.
    """
    plan = Plan() if into is None else into
    structure = _node(plan, name, path, space, value)
    if into is None:
        plan.structure = structure
    return plan


def collect(value: Any, path: tuple[Step, ...]) -> tuple[list[list[int]], list[Any]]:
    """The values at the end of a path, and how many of them each level has.

    Raises:
        LookupError, TypeError, AttributeError: The value has no such path.
    """
    lengths: list[list[int]] = []
    items = [value]
    for kind, *argument in path:
        if kind == "key":
            items = [item[argument[0]] for item in items]
        elif kind == "attr":
            items = [getattr(item, argument[0]) for item in items]
        elif kind == "each":
            lengths.append([len(item) for item in items])
            items = [part for item in items for part in item]
        elif kind == "maybe":
            lengths.append([0 if item is None else 1 for item in items])
            items = [item for item in items if item is not None]
        elif kind == "choice":
            items = [choice for choice, _ in items]
        else:
            lengths.append([1 if choice == argument[0] else 0 for choice, _ in items])
            items = [part for choice, part in items if choice == argument[0]]
    return lengths, items


def _node(plan: Plan, name: str, path: tuple[Step, ...], space: Any, value: Any) -> Any:
    if value is not _UNKNOWN:
        make = _BY_SPACE.get(type(space).__name__)
        if make is not None and _fits(space, value):
            return make(plan, name, path, space, value)
        return _by_value(plan, name, path, value)
    make = _BY_SPACE.get(type(space).__name__)
    return plan.leaf(name, path, "array") if make is None else make(plan, name, path, space, value)


def _by_value(plan: Plan, name: str, path: tuple[Step, ...], value: Any) -> Any:
    if isinstance(value, Mapping):
        return _dict(plan, name, path, None, value)
    if all(hasattr(value, part) for part in _GRAPH):
        return _graph(plan, name, path, None, value)
    if isinstance(value, str):
        return plan.leaf(name, path, "text")
    if isinstance(value, (tuple, list)) and value and all(isinstance(item, str) for item in value):
        return {"list": plan.leaf(name, (*path, _EACH), "text")}
    if isinstance(value, tuple):
        return _tuple(plan, name, path, None, value)
    return plan.leaf(name, path, "array")


def _fits(space: Any, value: Any) -> bool:
    kind = type(space).__name__
    if kind == "Dict":
        return isinstance(value, Mapping)
    if kind == "Text":
        return isinstance(value, str)
    if kind == "Graph":
        return all(hasattr(value, part) for part in _GRAPH)
    if kind == "OneOf":
        return isinstance(value, tuple) and len(value) == 2
    if kind == "Sequence":
        return bool(space.stack) or isinstance(value, (tuple, list))
    return isinstance(value, (tuple, list))


def _dict(plan: Plan, name: str, path: tuple[Step, ...], space: Any, value: Any) -> Any:
    spaces = {} if space is None else dict(space.spaces)
    known = value if isinstance(value, Mapping) else {}
    keys = [*known, *(key for key in spaces if key not in known)]
    plan.nest(path, keys)
    return {
        "dict": [
            [key, _node(plan, f"{name}.{key}", (*path, ("key", key)), spaces.get(key), known.get(key, _UNKNOWN))]
            for key in keys
        ]
    }


def _tuple(plan: Plan, name: str, path: tuple[Step, ...], space: Any, value: Any) -> Any:
    spaces = [] if space is None else list(space.spaces)
    known = [] if value is _UNKNOWN else list(value)
    count = max(len(spaces), len(known))
    spaces += [None] * (count - len(spaces))
    known += [_UNKNOWN] * (count - len(known))
    plan.nest(path, range(count))
    return {
        "tuple": [
            _node(plan, f"{name}.{index}", (*path, ("key", index)), spaces[index], known[index])
            for index in range(count)
        ]
    }


def _text(plan: Plan, name: str, path: tuple[Step, ...], space: Any, value: Any) -> Any:
    return plan.leaf(name, path, "text")


def _sequence(plan: Plan, name: str, path: tuple[Step, ...], space: Any, value: Any) -> Any:
    if space.stack:
        return _stacked(plan, name, path, space.feature_space, value)
    first = value[0] if value is not _UNKNOWN and len(value) else _UNKNOWN
    return {"list": _node(plan, name, (*path, _EACH), space.feature_space, first)}


def _stacked(plan: Plan, name: str, path: tuple[Step, ...], space: Any, value: Any) -> Any:
    kind = type(space).__name__
    if kind == "Dict":
        parts = [(key, f"{name}.{key}", part) for key, part in space.spaces.items()]
        return {"dict": [[k, _stacked(plan, n, (*path, ("key", k)), part, _UNKNOWN)] for k, n, part in parts]}
    if kind == "Tuple":
        numbered = enumerate(space.spaces)
        return {"tuple": [_stacked(plan, f"{name}.{i}", (*path, ("key", i)), p, _UNKNOWN) for i, p in numbered]}
    if kind in _BY_SPACE:
        return {"list": _node(plan, name, (*path, _EACH), space, _UNKNOWN)}
    return plan.leaf(name, path, "ragged")


def _graph(plan: Plan, name: str, path: tuple[Step, ...], space: Any, value: Any) -> Any:
    optional = [
        plan.leaf(f"{name}.{part}", (*path, ("attr", part), *([] if part == "nodes" else [_MAYBE])), "ragged")
        for part in _GRAPH
    ]
    return {"graph": optional}


def _one_of(plan: Plan, name: str, path: tuple[Step, ...], space: Any, value: Any) -> Any:
    chosen, part = (None, _UNKNOWN) if value is _UNKNOWN else value
    choice = plan.leaf(f"{name}.choice", (*path, ("choice",)), "array")
    alternatives = [
        _node(plan, f"{name}.{index}", (*path, ("alt", index)), of, part if index == chosen else _UNKNOWN)
        for index, of in enumerate(space.spaces)
    ]
    return {"oneof": [choice, alternatives]}


_BY_SPACE: dict[str, Callable[[Plan, str, tuple[Step, ...], Any, Any], Any]] = {
    "Dict": _dict,
    "Graph": _graph,
    "OneOf": _one_of,
    "Sequence": _sequence,
    "Text": _text,
    "Tuple": _tuple,
}
