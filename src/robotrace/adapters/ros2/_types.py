"""Message definitions: a type, and the types its fields are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

__all__ = ["typestore_of"]


def typestore_of(msgtypes: Iterable[str], definition: Callable[[str], Any]) -> Typestore:
    """What serializes some types, and nothing else: two bags may define the same type in two ways.

    Args:
        msgtypes: ``package/msg/Name``.
        definition: Of a type, as rosbags parses it.

    Raises:
        ValueError: From ``definition``: nobody knows a type.
    """
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.EMPTY)
    needed: dict[str, Any] = {}
    wanted = list(msgtypes)
    while wanted:
        name = wanted.pop()
        if name not in needed and name not in store.fielddefs:
            needed[name] = definition(name)
            wanted += [each for _, described in needed[name][1] for each in _parts(described)]
    store.register(needed)
    return store


def _parts(described: Any) -> Iterator[str]:
    """The message types in the description of a field."""
    from rosbags.interfaces import Nodetype

    kind, content = described
    if kind == Nodetype.NAME:
        yield content
    elif kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        yield from _parts(content[0])
