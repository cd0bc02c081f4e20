"""How a run reaches the processes it starts: in their environment, and with every process of ``multiprocessing``.

A forked worker has it in its memory. One that is started anew reads ``ROBOTRACE_RUN_ID`` and ``ROBOTRACE_RUN_CONTEXT``
(JSON), which are in ``os.environ`` while a run is open, and are what they were before it afterwards. Workers of the
start method ``forkserver`` have the environment of the first of them, maybe that of a run before; so what is said also
travels with the process object, whose configuration ``multiprocessing`` copies to each child.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, cast

from robotrace import faults
from robotrace.config import ENV_RUN_CONTEXT, ENV_RUN_ID
from robotrace.context.plain import is_secret

__all__ = ["inherited", "inherited_id", "publish", "withdraw"]

_LONGEST_TEXT = 32 * 1024
"""Linux starts no process at all with a variable of more than 128 KiB: metadata and tags are left out before that."""
_KEY = "robotrace_run"
_KINDS: Mapping[str, Any] = {
    "policy_version": str,
    "env_version": str,
    "git_sha": str,
    "seed": int,
    "project": str,
    "name": str,
    "tags": list,
    "metadata": dict,
    "traceparent": str,
}

_published: dict[str, str] = {}
_before: dict[str, str | None] = {}
"""What stood there before this process published anything."""


def inherited_id() -> str | None:
    """The id of the run that this process was started in, or that ``ROBOTRACE_RUN_ID`` names."""
    said = _said()
    return (_own_variable(ENV_RUN_ID) or "").strip() or None if said is None else said["id"]


def inherited() -> Mapping[str, Mapping[str, Any]]:
    """What the process that started this one said, by level (``run``, ``job``); empty where it said nothing."""
    said = _said()
    if said is not None:
        return cast(Mapping[str, Mapping[str, Any]], said["levels"])
    text = _own_variable(ENV_RUN_CONTEXT)
    return _levels(text) if text else {}


def publish(run_id: str, levels: Mapping[str, Mapping[str, Any]]) -> None:
    """Tell the processes that are started from now on."""
    text = json.dumps(_without_secrets(levels), separators=(",", ":"))
    if len(text) > _LONGEST_TEXT:
        unbounded = ("metadata", "tags")
        short = {
            level: {name: fact for name, fact in facts.items() if name not in unbounded}
            for level, facts in levels.items()
        }
        text = json.dumps(short, separators=(",", ":"))
    _set_variable(ENV_RUN_ID, run_id)
    _set_variable(ENV_RUN_CONTEXT, text)
    _tell_children(run_id, levels)


def withdraw() -> None:
    """Undo :func:`publish`. What somebody else has set meanwhile stays."""
    for name in (ENV_RUN_ID, ENV_RUN_CONTEXT):
        value, before = _published.pop(name, None), _before.pop(name, None)
        if value is not None and os.environ.get(name) == value:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
    # Not taken away: a fork server that was started meanwhile has the old environment for good.
    _tell_children(inherited_id(), inherited())


def _tell_children(run_id: str | None, levels: Mapping[str, Mapping[str, Any]]) -> None:
    # Not imported for it: whoever starts workers has.
    process = sys.modules.get("multiprocessing.process")
    config = None if process is None else _config_of(process)
    if config is not None:
        present = config.get(_KEY)
        if present is None or present != _published.get(_KEY):
            _before[_KEY] = present
        config[_KEY] = _published[_KEY] = json.dumps({"id": run_id, "levels": levels})


def _set_variable(name: str, value: str) -> None:
    present = os.environ.get(name)
    if present is None or present != _published.get(name):
        _before[name] = present
    os.environ[name] = _published[name] = value


def _own_variable(name: str) -> str | None:
    """The variable as this process was given it, where it has been set by :func:`publish` since."""
    value = os.environ.get(name)
    return _before.get(name) if value is not None and value == _published.get(name) else value


def _config_of(process: Any) -> dict[str, Any] | None:
    config = getattr(process.current_process(), "_config", None)
    return config if isinstance(config, dict) else None


def _said() -> Mapping[str, Any] | None:
    """What the parent has given along with this process; None where it gave nothing."""
    process = sys.modules.get("multiprocessing.process")
    text = None if process is None else (_config_of(process) or {}).get(_KEY)
    if text is not None and text == _published.get(_KEY):
        text = _before.get(_KEY)
    return _whole(text) if isinstance(text, str) else None


@functools.lru_cache(maxsize=4)
def _whole(text: str) -> Mapping[str, Any]:
    whole: Mapping[str, Any] = json.loads(text)
    return whole


@functools.lru_cache(maxsize=4)
def _levels(text: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        levels = json.loads(text)
        return {
            level: {name: value for name, value in levels[level].items() if _fits(name, value)}
            for level in ("run", "job")
            if level in levels
        }
    except (ValueError, TypeError, AttributeError) as exc:
        faults.report(f"{ENV_RUN_CONTEXT} cannot be read", exc)
        return {}


def _fits(name: str, value: Any) -> bool:
    if name == "tags" and isinstance(value, list):
        return all(isinstance(tag, str) for tag in value)
    return name in _KINDS and isinstance(value, _KINDS[name]) and not isinstance(value, bool)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_secrets(item) for name, item in value.items() if not is_secret(str(name))}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value
