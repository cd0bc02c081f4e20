"""What two episodes were made from, and came to, that is not the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from robotrace.serve.portal_data import SummaryWithMetadata
from robotrace.serve.portal_format import length_s, number

__all__ = ["RECIPE", "FactDifference", "what_differs"]

RECIPE = ("policy_version", "env_version", "git_sha", "seed")
"""What an episode is made again from."""

_SETUP = ("versions", "env", "git", "reproduce", "host")
"""Parts of the metadata that say what it ran on."""
# Another in every episode, or shown from a field of its own.
_NEVER = (
    "client_episode_id",
    "episode_index",
    "run_id",
    "host.pid",
    "video",
    "outcome",
    "final_info",
    "failure_reason",
    "git.sha",
    "reproduce.seed",
    "reproduce.stream_seed",
    "reproduce.resets_since_seed",
)
_MAX_FACTS = 200
_MAX_TEXT = 400

Group = Literal["recipe", "setup", "outcome", "other"]


class FactDifference(BaseModel):
    """Something that the two say differently; None where one of them says nothing."""

    group: Group
    name: str
    a: str | None
    b: str | None


def what_differs(a: SummaryWithMetadata, b: SummaryWithMetadata) -> list[FactDifference]:
    """The facts that differ: what it takes to make them again first, then what they ran on, then what they came to."""
    facts: list[tuple[Group, str, Any, Any]] = [
        *(("recipe", name, getattr(a, name), getattr(b, name)) for name in RECIPE),
        *(("setup", name, getattr(a, name), getattr(b, name)) for name in ("robot", "source", "fps")),
        *_metadata(a.metadata, b.metadata, setup=True),
        *_outcome(a, b),
        *_metadata(a.metadata, b.metadata, setup=False),
    ]
    differing = [
        FactDifference(group=group, name=name, a=_text(one), b=_text(other))
        for group, name, one, other in facts
        if one != other
    ]
    return differing[:_MAX_FACTS]


def _outcome(a: SummaryWithMetadata, b: SummaryWithMetadata) -> Iterator[tuple[Group, str, Any, Any]]:
    def formatted(episode: SummaryWithMetadata) -> dict[str, str | None]:
        lengths = {"length": episode.duration_s, "failure at": episode.failure_time_s}
        return {
            "status": episode.status,
            "outcome": None if episode.success is None else "success" if episode.success else "failure",
            "return": None if episode.reward_total is None else number(episode.reward_total),
            "steps": None if episode.steps is None else str(episode.steps),
            **{name: None if seconds is None else length_s(seconds) for name, seconds in lengths.items()},
            "failure reason": episode.failure_reason,
        }

    told_a, told_b = formatted(a), formatted(b)
    yield from (("outcome", name, told_a[name], told_b[name]) for name in told_a)


def _metadata(a: Mapping[str, Any], b: Mapping[str, Any], *, setup: bool) -> Iterator[tuple[Group, str, Any, Any]]:
    leaves_a, leaves_b = dict(_leaves(a, "")), dict(_leaves(b, ""))
    for name in {**leaves_a, **leaves_b}:
        part, _, rest = name.partition(".")
        if (part in _SETUP) != setup or any(name == never or name.startswith(f"{never}.") for never in _NEVER):
            continue
        # The recorder notes the versions that a rerun needs once more beside the recipe.
        if name.startswith("reproduce.versions.") and rest in {**leaves_a, **leaves_b}:
            continue
        yield "setup" if setup else "other", name, leaves_a.get(name), leaves_b.get(name)


def _leaves(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
