"""The wrapper for vector environments; ``RoboTraceRecorder`` makes one of these when it is given a vector."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from robotrace.plugin import CaptureOptions, VectorRecorder, flush, new_vector_recorder, resolve_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["VectorRoboTraceRecorder"]

_Wrapper: Any = getattr(gym.vector, "VectorWrapper", None) or gym.vector.VectorEnvWrapper  # type: ignore[attr-defined]
"""The second in Gymnasium 0.29."""


class VectorRoboTraceRecorder(_Wrapper):  # type: ignore[misc]
    """Records every episode of each environment of a vector.

    Observations, rewards, flags, infos, autoreset and random streams are as without it.

    Args:
        env: A vector environment.
        **options: See :class:`robotrace.plugin.Options`.

    Raises:
        TypeError: An option is unknown.
        ConfigurationError: An option's value does not fit the environment.

    Change log: v0.4.0 - added.
    """

    def __init__(self, env: Any, **options: Unpack[CaptureOptions]) -> None:
        checked = resolve_options(options)
        recorder = new_vector_recorder(env, checked, adapter="gymnasium")
        super().__init__(env)
        self._options = checked
        self._recorder = recorder

    @property
    def recorder(self) -> VectorRecorder:
        """The recorder; ``envs.recorder.set(policy_version="ppo@20000")`` labels the episodes to come."""
        return self._recorder

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's; begins an episode of each environment, or of those its options name."""
        recorder = self._recorder
        recorder.before_reset(seed, options)
        try:
            result: tuple[Any, dict[str, Any]] = self.env.reset(seed=seed, options=options)
        except BaseException as error:
            recorder.failed(error)
            raise
        recorder.after_reset(result)
        return result

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the environment's; one more step of each running episode."""
        recorder = self._recorder
        recorder.before_step(actions)
        try:
            result: tuple[Any, Any, Any, Any, dict[str, Any]] = self.env.step(actions)
        except BaseException as error:
            recorder.failed(error)
            raise
        recorder.after_step(result)
        return result

    def reset_async(self, *args: Any, **kwargs: Any) -> Any:
        """As the environment's."""
        given = dict(zip(("seed", "options"), args, strict=False)) | kwargs
        self._recorder.before_reset(given.get("seed"), given.get("options"))
        return self._guarded("reset_async", *args, **kwargs)

    def reset_wait(self, *args: Any, **kwargs: Any) -> Any:
        """As the environment's."""
        result = self._guarded("reset_wait", *args, **kwargs)
        self._recorder.after_reset(result)
        return result

    def step_async(self, actions: Any) -> Any:
        """As the environment's."""
        self._recorder.before_step(actions)
        return self._guarded("step_async", actions)

    def step_wait(self, *args: Any, **kwargs: Any) -> Any:
        """As the environment's."""
        result = self._guarded("step_wait", *args, **kwargs)
        self._recorder.after_step(result)
        return result

    def close(self, **kwargs: Any) -> None:
        """As the environment's; unfinished episodes end, as failed when an exception is under way."""
        self._recorder.close(sys.exc_info()[1])
        self.env.close(**kwargs)

    def __del__(self) -> None:
        # Gymnasium before 1.4 closes the environment with its wrapper, whoever else may hold it, and trips over one
        # that was refused. The environment does it by itself when nobody holds it any more.
        pass

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until every finished episode is sealed (and uploaded, where a deployment is configured).

        Args:
            timeout_s: Give up after so many seconds.
        """
        return flush(timeout_s)

    def __getattr__(self, name: str) -> Any:
        # Gymnasium's VectorWrapper forwards neither call, get_attr, set_attr nor envs, and scripts use all of them.
        if name.startswith("_") or name == "env":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.env, name)

    def __getstate__(self) -> dict[str, Any]:
        """Without the recorder: a copy records its own episodes."""
        return {key: value for key, value in self.__dict__.items() if key != "_recorder"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._recorder = new_vector_recorder(self.env, self._options, adapter="gymnasium")

    def _guarded(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self.env, name)(*args, **kwargs)
        except BaseException as error:
            self._recorder.failed(error)
            raise
