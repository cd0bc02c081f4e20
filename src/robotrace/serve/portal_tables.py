"""What the portal's tables share: the order and the part of the rows that an address asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import HTTPException, Request

__all__ = ["Column", "address", "columns_of", "in_order", "read_leniently", "read_sort", "typed_fields"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Column:
    """The head of a column one can sort by.

    Args:
        url: Where its link leads.
        sorted: "ascending", "descending" or "none", as ``aria-sort`` has it.
    """

    url: str
    sorted: str


def typed_fields(request: Request, names: Iterable[str]) -> dict[str, str]:
    """The fields of the address that have one of these names and are not empty."""
    return {name: text for name in names if (text := request.query_params.get(name, "").strip())}


def read_leniently(read: Callable[..., _T], typed: Mapping[str, str]) -> tuple[_T, dict[str, str], str | None]:
    """What an address asks for, which of its fields that are, and what is wrong with the others, which ask nothing.

    Args:
        read: Takes the fields by name; raises HTTPException with ``<field>: <why>`` for one that it cannot read.
        typed: The fields that are not empty.
    """
    kept, wrong = dict(typed), list[str]()
    while True:
        try:
            return read(**kept), kept, f"{'; '.join(wrong)}. It was left out." if wrong else None
        except HTTPException as error:
            wrong.append(str(error.detail))
            del kept[str(error.detail).partition(":")[0]]


def read_sort(text: str, keys: Mapping[str, Any], default: str) -> str:
    """``name`` or, falling, ``-name`` of one of the keys; the default for anything else."""
    return text if text.removeprefix("-") in keys else default


def in_order(rows: Sequence[_T], sort: str, keys: Mapping[str, Callable[[_T], Any]]) -> list[_T]:
    """The rows sorted; those without a value (None) come last either way, and equal ones stay in their order.

    Args:
        rows: The rows.
        sort: As :func:`read_sort` returns it.
        keys: The value of a row by the name of its column.
    """
    key = keys[sort.removeprefix("-")]
    known = [row for row in rows if key(row) is not None]
    known.sort(key=key, reverse=sort.startswith("-"))
    return known + [row for row in rows if key(row) is None]


def address(path: str, query: Mapping[str, str]) -> str:
    """A path with the fields of a query that are not empty."""
    given = {name: text for name, text in query.items() if text}
    return f"{path}?{urlencode(given)}" if given else path


def columns_of(path: str, query: Mapping[str, str], sort: str, firsts: Mapping[str, str]) -> dict[str, Column]:
    """The heads of the columns: a link sorts by its column, that of the sorted one turns the order round.

    Args:
        path: Of the page.
        query: The other fields of its address.
        sort: The order of now.
        firsts: The order that the first click gives, by name: ``name`` or ``-name``.
    """
    columns = {}
    for name, first in firsts.items():
        current = sort.removeprefix("-") == name
        turned = name if sort.startswith("-") else f"-{name}"
        state = ("descending" if sort.startswith("-") else "ascending") if current else "none"
        columns[name] = Column(address(path, {**query, "sort": turned if current else first}), state)
    return columns
