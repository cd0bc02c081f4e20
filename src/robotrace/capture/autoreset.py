"""Environments that reset themselves: Gymnasium's ``Autoreset`` (from 1.0 on) and ``AutoResetWrapper`` (before).

Nobody calls ``reset`` after the first time, so that the recorder has to follow every step, of episodes that are not
recorded too. Known by the names of the wrappers: no framework is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from robotrace.capture.attributes import layers
from robotrace.capture.options import Options
from robotrace.capture.process import RecordingProcess
from robotrace.capture.recorder import EpisodeRecorder

__all__ = ["AutoresetRecorder", "find_autoreset", "single_recorder"]

AutoresetMode = Literal["next_step", "same_step"]

_MODES: dict[str, AutoresetMode] = {"Autoreset": "next_step", "AutoResetWrapper": "same_step"}
_GENERATOR = "generator_state"


def find_autoreset(env: Any) -> AutoresetMode | None:
    """When an environment resets itself after an episode's last step; None where it does not.

    Returns:
        ``next_step``: the next step ignores its action and returns the new episode's first observation. ``same_step``:
        the last step returns it already, and its own last observation and info in ``info["final_observation"]`` and
        ``info["final_info"]`` (where the environment reuses its buffer, that observation is gone by then).
    """
    for layer in layers(env):
        mode = _MODES.get(type(layer).__name__)
        if mode is not None and type(layer).__module__.partition(".")[0] == "gymnasium":
            return mode
    return None


def single_recorder(
    env: Any,
    options: Options,
    process: Callable[[], RecordingProcess | None],
    **others: Any,
) -> EpisodeRecorder:
    """The recorder for a single environment, of the kind that it needs; arguments as :class:`EpisodeRecorder`'s."""
    mode = find_autoreset(env)
    if mode is None:
        return EpisodeRecorder(env, options, process, **others)
    return AutoresetRecorder(env, options, process, mode=mode, **others)


class AutoresetRecorder(EpisodeRecorder):
    """The recorder of a single environment that resets itself; called like any other.

    Args:
        *args: As :class:`EpisodeRecorder`'s.
        mode: From :func:`find_autoreset`.
        **kwargs: As :class:`EpisodeRecorder`'s.
    """

    def __init__(self, *args: Any, mode: AutoresetMode, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._same_step = mode == "same_step"

    def after_reset(self, result: tuple[Any, Any]) -> None:
        """As :class:`EpisodeRecorder`'s; and see where the episode ends, recorded or not."""
        super().after_reset(result)
        if not self.silent:
            self._follow()

    def _ended(self, terminated: bool, truncated: bool, info: Mapping[str, Any]) -> None:
        super()._ended(terminated, truncated, info)
        if not self._same_step:
            self._expect_reset()

    def _give_up(self, exc: Exception) -> None:
        try:
            super()._give_up(exc)
        finally:
            self._follow()

    def _follow(self) -> None:
        recorded = self.after_step
        if self._same_step:
            self.after_step = lambda result: self._after_same_step(result, recorded)
        elif self._current is None:
            self.after_step = self._after_unrecorded
        self.recording = True

    def _after_unrecorded(self, result: Any) -> None:
        if _is_done(result):
            self._expect_reset()

    def _expect_reset(self) -> None:
        self.before_step, self.after_step = self._before_own_reset, _nothing
        self.recording = True

    def _before_own_reset(self, _: Any) -> None:
        self.before_reset(None, None)
        self.after_step = self._after_own_reset
        self.recording = True

    def _after_own_reset(self, result: Any) -> None:
        self.after_reset((result[0], result[4]))

    def _after_same_step(self, result: Any, recorded: Any) -> None:
        info = result[4] if _is_done(result) else {}
        if "final_observation" not in info:
            recorded(result)
            return
        # What env.render() shows by now is the next episode.
        self.picture_is_stale = True
        recorded((info["final_observation"], *result[1:4], info.get("final_info", {})))
        self.picture_is_stale = False
        self.before_reset(None, None)
        # The state before the reset was not seen; this one is from after it.
        self._before_reset.pop(_GENERATOR, None)
        first = {key: value for key, value in info.items() if key not in ("final_observation", "final_info")}
        self.after_reset((result[0], first))


def _nothing(_: Any) -> None:
    """The next step begins the next episode."""


def _is_done(result: Any) -> bool:
    return isinstance(result, tuple) and len(result) == 5 and bool(result[2] or result[3])
