"""Message definitions: a type, and the types its fields are of."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.typesys.store import Typestore

__all__ = ["reason", "typestore_for", "typestore_of"]


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


def typestore_for(connection: Connection, fallback: Callable[[], tuple[str, Typestore]]) -> Typestore:
    """What decodes the messages of a connection.

    Args:
        connection: Of a bag, with the definition that the bag has, or none.
        fallback: The name of the bag's distribution and its types, for what the bag does not define.

    Raises:
        ValueError: The definition cannot be read, or nobody has one; the text says so.
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    text, form = connection.msgdef.data, connection.msgdef.format
    known: dict[str, Any] = {}
    try:
        if not text.strip():
            pass  # the recorder had none, or the type is empty: then the distribution's says the same
        elif form == MessageDefinitionFormat.MSG:
            known.update(get_types_from_msg(text, connection.msgtype))
        elif form == MessageDefinitionFormat.IDL:
            line = "=" * 80 + "\n"
            for part in text.split(line)[1:] if text.startswith(f"{line}IDL: ") else [f"\n{text}"]:
                known.update(get_types_from_idl(part.partition("\n")[2]))
    except Exception as exc:  # a parser of foreign text
        raise ValueError(f"its definition in the bag cannot be read: {reason(exc)}") from exc

    def definition(name: str) -> Any:
        if name in known:
            return known[name]
        distro, store = fallback()
        if name not in store.fielddefs:
            raise ValueError(f"neither the bag nor ROS {distro} has a definition of {name}")
        return store.fielddefs[name]

    return typestore_of([connection.msgtype], definition)


def _parts(described: Any) -> Iterator[str]:
    """The message types in the description of a field."""
    from rosbags.interfaces import Nodetype

    kind, content = described
    if kind == Nodetype.NAME:
        yield content
    elif kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        yield from _parts(content[0])


def reason(exc: BaseException) -> str:
    """What is wrong with somebody's bytes, in one line."""
    text = " ".join(str(exc).split())
    if isinstance(exc, (EOFError, struct.error)) or not text:
        return f"it is damaged or cut off ({type(exc).__name__}{': ' if text else ''}{text})"
    return text
