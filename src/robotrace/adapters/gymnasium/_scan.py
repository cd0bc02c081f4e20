"""What an environment offers, told without running it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from robotrace.errors import ConfigurationError

__all__ = ["EnvSummary", "scan_env"]

_RENDERS = ("rgb_array", "rgb_array_list")


@dataclass
class EnvSummary:
    """What an environment offers, and whether a rollout of it has video.

    Attributes:
        env_id: The id of its spec, else its class.
        observation_space: As text.
        action_space: As text.
        render_modes: Those it can be made with.
        active_render_mode: The one it was made with.
        can_record_video: Whether that one gives pictures.
    """

    env_id: str
    observation_space: str
    action_space: str
    render_modes: tuple[str, ...] = field(default_factory=tuple)
    active_render_mode: str | None = None
    can_record_video: bool = False

    def report(self) -> str:
        """A few lines for a terminal."""
        video = "yes" if self.can_record_video else "no (make the environment with render_mode='rgb_array')"
        lines = [
            self.env_id,
            f"  observation_space: {self.observation_space}",
            f"  action_space: {self.action_space}",
            f"  render_modes: {', '.join(self.render_modes) or 'none'}",
            f"  active_render_mode: {self.active_render_mode or 'none'}",
            f"  video: {video}",
        ]
        return "\n".join(lines)


def scan_env(env: Any) -> EnvSummary:
    """Describe an environment: nothing is reset, stepped, rendered or sent.

    Args:
        env: A single Gymnasium environment, with or without wrappers.

    Raises:
        ConfigurationError: It is no environment, or many at once.
    """
    if not (callable(getattr(env, "reset", None)) and callable(getattr(env, "step", None))):
        raise ConfigurationError(
            f"a Gymnasium environment has reset() and step(), and this is {type(env).__qualname__}"
        )
    base = getattr(env, "unwrapped", env)
    if getattr(base, "num_envs", None) is not None:
        raise ConfigurationError(f"this is {type(env).__qualname__}, many environments at once; give one of them")
    spec = getattr(env, "spec", None)
    mode = getattr(env, "render_mode", None)
    modes = (getattr(env, "metadata", None) or {}).get("render_modes") or ()
    return EnvSummary(
        env_id=str(getattr(spec, "id", None) or type(base).__qualname__),
        observation_space=_one_line(getattr(env, "observation_space", None)),
        action_space=_one_line(getattr(env, "action_space", None)),
        render_modes=tuple(str(known) for known in modes if known is not None),
        active_render_mode=None if mode is None else str(mode),
        can_record_video=mode in _RENDERS,
    )


def _one_line(space: Any) -> str:
    return " ".join(str(space).split())
