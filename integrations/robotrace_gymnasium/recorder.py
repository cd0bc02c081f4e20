"""The wrapper for environments; for a vector of them it makes the one in :mod:`robotrace_gymnasium.vector`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat

from robotrace.errors import ConfigurationError
from robotrace.plugin import (
    CaptureOptions,
    EpisodeRecorder,
    VectorRecorder,
    find_renderer,
    flush,
    is_enabled,
    is_vector,
    new_recorder,
    new_vector_recorder,
    resolve_options,
)

try:
    import gymnasium as gym
except ModuleNotFoundError as exc:
    raise ConfigurationError(
        "robotrace_gymnasium needs gymnasium; run: pip install 'robotrace-dev[gymnasium]'"
    ) from exc

from robotrace_gymnasium.automatic import note_recorder
from robotrace_gymnasium.vector import VectorRoboTraceRecorder

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["RoboTraceRecorder"]


class RoboTraceRecorder(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Records every episode of an environment: observations, actions, rewards, flags and video on one clock.

    Given a vector environment it makes a vector wrapper, which records the episodes of each environment in it.

    The loop behaves as without it: same observations, rewards, random streams and exceptions. Finished episodes are
    sealed in the spool by a thread and uploaded by another. With ``enabled=False`` (or ``ROBOTRACE_MODE=disabled``)
    the environment comes back untouched.

    Args:
        env: An environment or a vector environment.
        **options: See :class:`robotrace.plugin.Options`; everything is inferred that is not given.

    Raises:
        TypeError: An option is unknown, or ``env`` is no environment.
        ConfigurationError: An option's value does not fit the environment.

    Example:
        >>> import gymnasium as gym
        >>> from robotrace_gymnasium import RoboTraceRecorder
        >>> env = RoboTraceRecorder(gym.make("CartPole-v1"), policy_version="random-v0")
        >>> observation, info = env.reset(seed=7)
        >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        >>> env.close()

    Change log: v0.4.0 - added.
    """

    def __new__(cls, env: Any = None, **options: Unpack[CaptureOptions]) -> Any:
        """The environment itself where recording is switched off; a vector wrapper for a vector environment.

        ``env`` may be missing for unpickling.
        """
        if env is not None and not is_enabled(resolve_options(options)):
            return env
        if isinstance(env, gym.vector.VectorEnv):
            return VectorRoboTraceRecorder(env, **options)
        return super().__new__(cls)

    def __init__(self, env: gym.Env[Any, Any], **options: Unpack[CaptureOptions]) -> None:
        checked = resolve_options(options)
        if env is self:  # switched off, __new__ has given back an env that is recorded already
            return
        if not isinstance(env, gym.Env):
            raise TypeError(
                f"RoboTraceRecorder records environments of Gymnasium, and this is {type(env).__qualname__}; "
                "robotrace.attach takes anything with reset and step"
            )
        if checked.video is True and not is_vector(env) and find_renderer(env) is None:
            raise ConfigurationError(
                f"video=True needs an environment made with render_mode='rgb_array'; this one has {env.render_mode!r}"
            )
        # The spec goes into checkpoints and is copied deeply: what is no JSON (callables, live objects) is left out.
        plain: dict[str, Any] = {key: value for key, value in options.items() if _is_json(value)}
        gym.utils.RecordConstructorArgs.__init__(self, **plain)
        gym.Wrapper.__init__(self, env)
        self._options = checked
        self._recorder = self._new_recorder()
        note_recorder()

    @property
    def recorder(self) -> EpisodeRecorder | VectorRecorder:
        """The recorder; ``env.recorder.set(policy_version="ppo@20000")`` labels the episodes to come."""
        return self._recorder

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's; begins an episode."""
        recorder = self._recorder
        recorder.before_reset(seed, options)
        try:
            result = self.env.reset(seed=seed, options=options)
        except BaseException as error:
            recorder.failed(error)
            raise
        recorder.after_reset(result)
        return result

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """As the environment's; one more step of the episode."""
        recorder = self._recorder
        if not recorder.recording:
            return self.env.step(action)
        recorder.before_step(action)
        try:
            result = self.env.step(action)
        except BaseException as error:
            recorder.failed(error)
            raise
        recorder.after_step(result)
        return result

    def close(self) -> None:
        """As the environment's; an unfinished episode ends, as failed when an exception is under way."""
        self._recorder.close(sys.exc_info()[1])
        self.env.close()

    def render(self) -> Any:
        """As the environment's; with ``rgb_array_list`` every frame comes, those in the video too."""
        renderer = self._recorder.renderer
        return self.env.render() if renderer is None or not renderer.collects else renderer.render()

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until every finished episode is sealed (and uploaded, where a deployment is configured).

        Args:
            timeout_s: Give up after so many seconds.
        """
        return flush(timeout_s)

    def __getattr__(self, name: str) -> Any:
        # Gymnasium 1.0 stopped forwarding attributes; a training script that reads env.my_attribute must not notice
        # the wrapper. Underscored names and "env" itself are never forwarded: half-built objects have neither.
        if name.startswith("_") or name == "env":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.env, name)

    def __getstate__(self) -> dict[str, Any]:
        """Without the recorder: a copy records its own episodes."""
        return {key: value for key, value in self.__dict__.items() if key != "_recorder"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._recorder = self._new_recorder()

    def _new_recorder(self) -> EpisodeRecorder | VectorRecorder:
        if is_vector(self.env):  # a batched simulator, such as ManiSkill's and Isaac Lab's, is an Env
            return new_vector_recorder(self.env, self._options, adapter="gymnasium")
        return new_recorder(self.env, self._options, adapter="gymnasium", renderer=find_renderer(self.env))


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
