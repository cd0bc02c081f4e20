"""What is said of a run: its fields, what fits into them, and what environment variables say of the same."""

from __future__ import annotations

import operator
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robotrace.config import ENV_ENV_VERSION, ENV_GIT_SHA, ENV_POLICY_VERSION, ENV_SEED
from robotrace.errors import ConfigurationError
from robotrace.ingest import checked_text
from robotrace.jsonable import metadata_json

__all__ = [
    "FIELDS",
    "LONGEST_GIT_SHA",
    "Defaults",
    "RunFacts",
    "are_texts",
    "check_seed",
    "checked_facts",
    "environment_seed",
    "said_by_environment",
]

LONGEST_GIT_SHA = 64
"""Characters: of SHA-256, and what our server takes."""
_LONGEST = {"policy_version": 200, "env_version": 200, "git_sha": LONGEST_GIT_SHA, "project": 200, "name": 200}
_INT64 = 2**63

FIELDS = (*_LONGEST, "seed", "tags", "metadata")
"""What may be said of a run."""


@dataclass(frozen=True)
class RunFacts:
    """What is said of the episodes that begin now; None and empty where nobody said anything.

    Attributes:
        id: Of the run, the same in all its processes that :func:`run` or ``ROBOTRACE_RUN_ID`` reaches.
        active: Whether a run or a job was begun, here or in the process that started this one.
        policy_version: What acts.
        env_version: What it acts in.
        git_sha: The code's commit.
        seed: The training's.
        project: What the run belongs to.
        name: The run's.
        tags: Of all levels, each once.
        metadata: Of all levels, merged.
        traceparent: Of the OpenTelemetry span in which the run was begun.
    """

    id: str
    active: bool = False
    policy_version: str | None = None
    env_version: str | None = None
    git_sha: str | None = None
    seed: int | None = None
    project: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str | None = None

    def as_metadata(self, *, tags: Sequence[str] = (), launch: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What an episode's metadata say of the run.

        Args:
            tags: The episode's own, after those of the run.
            launch: What is found out about how it was started, for ``metadata.run``.
        """
        said = {**(launch or {}), "project": self.project, "name": self.name}
        about = {name: value for name, value in said.items() if value is not None}
        all_tags = list(dict.fromkeys((*self.tags, *tags)))
        return {
            "run_id": self.id,
            **({"run": about} if about else {}),
            **({"tags": all_tags} if all_tags else {}),
            **self.metadata,
        }


@dataclass(frozen=True)
class Defaults:
    """What environment variables say of the episodes, where nobody who knows better says anything."""

    policy_version: str | None = None
    env_version: str | None = None
    git_sha: str | None = None
    seed: int | None = None


def said_by_environment() -> Defaults:
    """``ROBOTRACE_POLICY_VERSION``, ``_ENV_VERSION``, ``_GIT_SHA`` and ``_SEED``; a seed that is none is nothing."""
    said = os.environ.get
    try:
        seed = environment_seed()
    except ConfigurationError:  # of a recorder that was made before it was set
        seed = None
    return Defaults(said(ENV_POLICY_VERSION) or None, said(ENV_ENV_VERSION) or None, said(ENV_GIT_SHA) or None, seed)


def environment_seed() -> int | None:
    """``ROBOTRACE_SEED``.

    Raises:
        ConfigurationError: It is no whole number.
    """
    text = os.environ.get(ENV_SEED)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{ENV_SEED} must be a whole number, got {text!r}") from None


def are_texts(value: Any) -> bool:
    """Whether it is a list of texts, or another collection of them."""
    return (
        not isinstance(value, (str, Mapping))
        and isinstance(value, Collection)  # no generator: looking at it would use it up
        and all(isinstance(item, str) for item in value)
    )


def check_seed(seed: Any) -> None:
    """Refuse what is neither None nor a whole number; NumPy's are fine, since a seed often comes out of an array.

    Raises:
        ConfigurationError: Says so.
    """
    if seed is not None and (not hasattr(seed, "__index__") or isinstance(seed, bool)):
        raise ConfigurationError(f"seed must be a whole number, got {seed!r}")


def checked_facts(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as plain values; what is None or empty is left out.

    Raises:
        ConfigurationError: A value does not fit; the message names the field.
    """
    facts: dict[str, Any] = {}
    for name, longest in _LONGEST.items():
        checked_text(name, given.get(name), longest)
        if given.get(name):
            facts[name] = given[name]
    seed = given.get("seed")
    if seed is not None:
        check_seed(seed)
        facts["seed"] = operator.index(seed)
        if not -_INT64 <= facts["seed"] < _INT64:
            raise ConfigurationError(f"seed must fit into 64 bits, got {seed!r}")
    tags = given.get("tags")
    if tags is not None and not are_texts(tags):
        raise ConfigurationError(f"tags must be a list of texts, got {tags!r}")
    if tags:
        facts["tags"] = list(tags)
    metadata = given.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ConfigurationError(f"metadata must be a mapping, got {metadata!r}")
    if metadata:
        # A copy, made here: the episodes that begin later are read by other threads.
        facts["metadata"] = metadata_json(metadata)
    return facts
