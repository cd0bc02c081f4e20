"""What running an episode again would take, read off its metadata alone: nothing is imported, nothing runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from robotrace.reroll.jobs import Code

__all__ = ["Plan", "read_plan"]

_FRAMEWORK = "gymnasium"


class Plan:
    """What running an episode again takes.

    Args:
        metadata: The episode's.

    Attributes:
        reason: Why it cannot be done anywhere; None where nothing recorded stands in the way.
        code: What is imported and called, the env first.
        local: Modules among them that no installed package brought, ``__main__`` for the script that was run.
        scripts: The file names of those modules, by module.
        deferred: Whether a video was left for later when it was recorded.
        every_n_steps: The frames such a video should have.
        max_edge: The pixels of its longer edge at the most; None: as rendered.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        block = metadata.get("reproduce")
        block = block if isinstance(block, Mapping) else {}
        self.reason = _reason(metadata, block)
        self.code = _code(block)
        sources = [source for source in _list(block.get("sources")) if isinstance(source, Mapping)]
        self.local = tuple(str(source.get("module")) for source in sources)
        self.scripts = {str(source.get("module")): PurePath(str(source.get("file"))).name for source in sources}
        video = metadata.get("video")
        video = video if isinstance(video, Mapping) else {}
        self.deferred = video.get("deferred") is True
        self.every_n_steps = _count(video.get("every_n_steps")) or 1
        self.max_edge = _count(video.get("max_edge"))


def read_plan(metadata: Mapping[str, Any]) -> Plan:
    """Look at an episode's metadata."""
    return Plan(metadata)


def _reason(metadata: Mapping[str, Any], block: Mapping[str, Any]) -> str | None:
    if not block:
        return "it was recorded without what is needed to make it happen again (metadata.reproduce)"
    if block.get("reproducible") is not True:
        return str(block.get("reason") or "the recording says that it is not reproducible")
    if not isinstance(block.get("env_spec"), Mapping):
        return "its environment is not known"
    window = metadata.get("last_seconds")
    if isinstance(window, Mapping) and window.get("dropped_steps"):
        return f"only its last seconds were kept: the first {window['dropped_steps']} actions are missing"
    incomplete = metadata.get("incomplete")
    if isinstance(incomplete, Mapping):
        for key in incomplete:
            if key == "*" or key.partition(".")[0] == "action":
                return f"the recording is incomplete: {incomplete[key]}"
    return None


def _code(block: Mapping[str, Any]) -> tuple[Code, ...]:
    spec = block.get("env_spec")
    if not isinstance(spec, Mapping):
        return ()
    versions = block.get("versions")
    versions = versions if isinstance(versions, Mapping) else {}
    wrappers = [item for item in _list(spec.get("additional_wrappers")) if isinstance(item, Mapping)]
    parts = [
        (spec.get("entry_point"), spec.get("id")),
        *((item.get("entry_point"), item.get("name")) for item in wrappers),
    ]
    found = []
    for point, what in parts:
        package = str(point).partition(":")[0].partition(".")[0]
        version = versions.get(package)
        found.append(Code(str(point), str(what), package, None if version is None else str(version)))
    return tuple(found)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
