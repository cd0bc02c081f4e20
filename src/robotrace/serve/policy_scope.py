"""Which episodes the pages of policy versions count, as their addresses say it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from robotrace.serve.episodes import EpisodeFilter, episode_filter
from robotrace.serve.portal_tables import read_leniently, typed_fields

__all__ = ["After", "Scope", "lenient_scope"]

_FIELDS = ("env_version", "robot", "source", "created_after", "created_before")


def read_scope(
    env_version: str = "", robot: str = "", source: str = "", created_after: str = "", created_before: str = ""
) -> EpisodeFilter:
    """Which episodes count."""
    return episode_filter(
        env_version=env_version,
        robot=robot,
        source=source,
        created_after=created_after,
        created_before=created_before,
    )


def lenient_scope(request: Request) -> tuple[dict[str, str], EpisodeFilter, dict[str, str], str | None]:
    """The fields of the address that say so, then what :func:`read_leniently` makes of them."""
    typed = typed_fields(request, _FIELDS)
    return (typed, *read_leniently(read_scope, typed))


Scope = Annotated[EpisodeFilter, Depends(read_scope)]
"""Of a twin: 400 for a field that cannot be read."""
After = Annotated[int, Query(ge=0, lt=2**63)]
"""How many rows come before the part that is asked for."""
