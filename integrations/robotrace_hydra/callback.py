"""The callback that Hydra makes in every app; what it does for a recorded job is in :mod:`robotrace_hydra.jobs`."""

from __future__ import annotations

import logging
import os
from typing import Any

try:
    from hydra.experimental.callback import Callback
    from omegaconf import DictConfig, OmegaConf
except ModuleNotFoundError as exc:
    from robotrace.errors import ConfigurationError

    raise ConfigurationError("robotrace_hydra needs hydra-core; run: pip install 'robotrace-dev[hydra]'") from exc

__all__ = ["RoboTraceCallback"]

_log = logging.getLogger("robotrace")

# As robotrace.config has them, which would import httpx into every app: 60 ms.
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_OURS = "hydra.callbacks.robotrace"


class RoboTraceCallback(Callback):
    """Records the jobs of a Hydra app, where it is switched on: ``hydra.callbacks.robotrace.enabled=true``.

    It never raises, and is switched off unless the command line, the app's config or ``ROBOTRACE_ENABLED`` says
    otherwise. With launchers that have processes of their own it goes there in a pickle.

    Args:
        **settings: ``enabled``; the arguments of :func:`robotrace.run`, or where the config has them: ``policy_key``,
            ``env_key``, ``seed_key``; those of :class:`robotrace.plugin.Options`, ``phases`` and ``frameworks``;
            ``log_config`` (True), ``redact`` (patterns) and ``flush_timeout_s`` (30, in the processes of a launcher).
            What is unknown is told when a job is recorded.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._job: Any = None

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """In the process of the job, right before the task function."""
        try:
            settings = self._of_job(config)
            enabled = _resolve_enabled(settings)
            if enabled:
                from robotrace_hydra.jobs import Job

                self._job = Job(config, settings, kwargs.get("task_function"))
            elif enabled is False and _is_on_by_itself():
                from robotrace_hydra.jobs import Unrecorded

                self._job = Unrecorded()
        except Exception as exc:
            _log.warning("nothing is recorded: %s", exc)

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """After the task function, failed or not; not after Ctrl-C."""
        job, self._job = self._job, None
        if job is not None:
            try:
                job.end(job_return)
            except Exception as exc:
                _log.warning("the recording of a job could not be ended: %s", exc)

    def __getstate__(self) -> dict[str, Any]:
        """Without a job: that is of one process."""
        return {**self.__dict__, "_job": None}

    def _of_job(self, config: DictConfig) -> dict[str, Any]:
        """The settings as the job's config has them, and under them what the app's own block says."""
        settings = self._settings
        try:
            ours = OmegaConf.select(config, _OURS)
            if ours is not None:
                settings = {name: value for name, value in _plain(ours).items() if not name.startswith("_")}
        except Exception:  # an interpolation of another job's: as it was at the start, then
            pass
        block = OmegaConf.select(config, "robotrace")
        if not isinstance(block, DictConfig) or "enabled" not in block:  # else it is the app's own affair
            return settings
        told = _plain(block)
        merged = {**settings, **{name: value for name, value in told.items() if settings.get(name) is None}}
        # The block's `enabled` is the weakest of those that say anything.
        return {**merged, "enabled": settings.get("enabled"), "app_enabled": told["enabled"]}


def _plain(node: DictConfig) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(node, resolve=True)
    return {str(name): value for name, value in values.items()}


def _resolve_enabled(settings: dict[str, Any]) -> bool | None:
    """Whether the job is recorded; None where nobody has said anything, or nothing may be recorded at all."""
    if os.environ.get("ROBOTRACE_MODE", "").strip().lower() == "disabled":
        return None
    for name in ("enabled", "switch", "app_enabled"):
        value = settings.get(name)
        if value is not None:
            return _as_flag(value)
    return True if _environment_says_so() else None


def _is_on_by_itself() -> bool:
    """Whether something is recorded here without us: below ``robotrace run``, or where the environment says so."""
    return "ROBOTRACE_INSTRUMENT" in os.environ or _environment_says_so()


def _environment_says_so() -> bool:
    return os.environ.get("ROBOTRACE_ENABLED", "").strip().lower() in _TRUE


def _as_flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in (*_TRUE, *_FALSE):
        _log.warning("%s.enabled is %r; it takes true or false, and nothing is recorded", _OURS, value)
    return text in _TRUE
