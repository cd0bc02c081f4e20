"""The filters of the list of episodes as the address has them: read, written back, and named for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from urllib.parse import urlencode

from robotrace.serve.episodes import EpisodeFilter, episode_filter
from robotrace.serve.portal_tables import read_leniently

__all__ = ["EPISODES", "SINCE", "Chip", "chips", "list_url", "query_of", "read_filters", "typed_filters"]

EPISODES = "/portal/episodes"
SINCE = {"1h": "last hour", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days"}
"""Times that stay relative in the address: a link to the last hour is one tomorrow, too."""

_LABELS = {
    "status": "status",
    "policy_version": "policy",
    "env_version": "env",
    "git_sha": "git",
    "seed": "seed",
    "robot": "robot",
    "source": "source",
    "name": "name has",
    "has_video": "video",
    "success": "outcome",
    "created_after": "since",
    "created_before": "before",
    "failure_reason": "reason has",
    "finding": "finding",
}
_NAMES = tuple(field.name for field in fields(EpisodeFilter))
_VALUES = {
    "has_video": {"true": "yes", "false": "no"},
    "success": {"true": "success", "false": "failure"},
    "created_after": SINCE,
}


@dataclass(frozen=True)
class Chip:
    """A filter that is on.

    Args:
        name: The parameter.
        label: What it filters by.
        value: What for.
        without_url: The list without it.
    """

    name: str
    label: str
    value: str
    without_url: str


def typed_filters(params: Mapping[str, str]) -> dict[str, str]:
    """The filters among the parameters of an address; a form sends the fields left empty, too."""
    return {name: text for name in _NAMES if (text := params.get(name, "").strip())}


def read_filters(typed: Mapping[str, str]) -> tuple[EpisodeFilter, dict[str, str], str | None]:
    """The filters, those of ``typed`` that are any, and what is wrong with the others, which filter nothing."""
    return read_leniently(episode_filter, typed)


def query_of(typed: Mapping[str, str]) -> str:
    """The filters as the query of an address, always in the same order."""
    return urlencode({name: typed[name] for name in _NAMES if name in typed})


def list_url(typed: Mapping[str, str], **more: str) -> str:
    """The address of the list with these filters, and with further parameters."""
    query = "&".join(part for part in (query_of(typed), urlencode(more)) if part)
    return f"{EPISODES}?{query}" if query else EPISODES


def chips(typed: Mapping[str, str]) -> list[Chip]:
    """Each filter that is on, and the way to be rid of it."""
    return [
        Chip(
            name,
            _LABELS[name],
            _VALUES.get(name, {}).get(text, text),
            list_url({other: value for other, value in typed.items() if other != name}),
        )
        for name, text in typed.items()
    ]
