"""One job that is recorded: from right before its task function until right after it, in its process."""

from __future__ import annotations

import difflib
import inspect
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus
from omegaconf import DictConfig

from robotrace import auto, config
from robotrace.plugin import CaptureOptions, enter_job, read_git_sha
from robotrace_hydra.facts import describe_job, find_seed, text_at

__all__ = ["Job", "Unrecorded"]

_log = logging.getLogger("robotrace")

_OF_THE_JOB = ("policy_key", "env_key", "seed_key", "log_config", "redact", "flush_timeout_s", "frameworks", "phases")
_FLUSH_TIMEOUT_S = 30.0
_SWITCHES = ("enabled", "switch", "app_enabled")
_KNOWN = frozenset((*CaptureOptions.__annotations__, *auto.RUN_FIELDS, *_OF_THE_JOB, *_SWITCHES))


class Job:
    """Begins with the object.

    Args:
        cfg: The job's, Hydra's own node included.
        settings: Of the callback.
        task_function: The app's, where Hydra says it.

    Raises:
        TypeError: A setting cannot be taken.
        ConfigurationError: A value does not fit, or recording is not installed.
    """

    def __init__(self, cfg: DictConfig, settings: dict[str, Any], task_function: Any) -> None:
        said = auto.given_options(_known(settings))
        self._timeout_s = float(said.pop("flush_timeout_s", _FLUSH_TIMEOUT_S))
        facts = {name: said.pop(name) for name in auto.RUN_FIELDS if name in said}
        for field, key in (("policy_version", "policy_key"), ("env_version", "env_key")):
            place = said.pop(key, None)
            if place and field not in facts:
                facts[field] = text_at(cfg, place)
        place = said.pop("seed_key", None)
        facts.setdefault("seed", find_seed(cfg, place))
        if not os.environ.get(config.ENV_GIT_SHA):
            facts.setdefault("git_sha", _git_sha(cfg, task_function))
        described = describe_job(
            cfg, log_config=bool(said.pop("log_config", True)), redact=said.pop("redact", None) or ()
        )
        facts["metadata"] = {"hydra": described, **(facts.get("metadata") or {})}
        # Below `robotrace run` its options hold, where the job's own say nothing.
        self._undo = auto.instrument(**{**auto.inherited_options(), **said, "enabled": True})
        try:
            self._leave = enter_job(**facts)
        except Exception:
            self._undo()
            raise

    def end(self, job_return: Any) -> None:
        """The task function has returned, or raised."""
        try:
            if job_return.status == JobStatus.FAILED:
                auto.fail_open_episodes(job_return._return_value)
            self._undo()
            auto.seal_episodes(self._timeout_s)
        finally:
            self._leave()


class Unrecorded:
    """A job that says that it is not recorded, in a program that is."""

    def __init__(self) -> None:
        self._undo: Callable[[], None] = auto.instrument(enabled=False)

    def end(self, job_return: Any) -> None:
        """The task function has returned, or raised."""
        self._undo()


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            _log.warning("hydra.callbacks.robotrace has no option %r, which is overlooked%s", name, hint)
    return {name: value for name, value in settings.items() if name in _KNOWN and name not in _SWITCHES}


def _git_sha(cfg: DictConfig, task_function: Any) -> str | None:
    """Of the app: in a launcher's worker ``__main__`` is the launcher's, and Hydra may have changed the folder."""
    code = getattr(inspect.unwrap(task_function), "__code__", None) if callable(task_function) else None
    places = (None if code is None else str(Path(code.co_filename).parent), text_at(cfg, "hydra.runtime.cwd"))
    return next((sha for place in places if place and (sha := read_git_sha(Path(place))) is not None), None)
