"""Which rows of a vector environment belong to which episode: a state machine over the done flags, for every autoreset.

After a vector step each environment is at one of four places:

=============  ======================================================================================================
a step         its row is the next step of its running episode
a beginning    its observation is the first of an episode; in ``NEXT_STEP`` the action of that call was ignored, and
               reward and flags mean nothing; in ``SAME_STEP`` the same row is the last step of the episode before
waiting        its episode has ended and no other has begun (``DISABLED``): nothing of the row means anything
before         it was never reset
=============  ======================================================================================================

Pure, and pessimistic: an environment that sends done flags while it waits is still waiting.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robotrace.capture.clock import read_attribute

__all__ = ["Autoreset", "Changes", "Segmentation", "reset_mask", "vector_autoreset"]


_BASES = ("Env", "VectorEnv")
"""Of Gymnasium's, what everybody's environments are made from: they say nothing of how these reset."""
_MAKERS = ("gymnasium.vector.", "gymnasium.envs.")
"""Where its own are; in ``gymnasium.utils`` are mix-ins for all."""


class Autoreset(enum.Enum):
    """When a vector environment resets one whose episode is over: Gymnasium's three modes, by Gymnasium's names."""

    NEXT_STEP = "NextStep"
    SAME_STEP = "SameStep"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Changes:
    """What a call did to the episodes, by index of the environment, ascending.

    Attributes:
        ended: Whose row is the last step of its episode.
        begun: Whose observation is the first of an episode.
        cut: Whose running episode a reset broke off.
        idle: Whose row is no step of any episode; those of ``begun`` are among them, except in ``SAME_STEP``.
    """

    ended: tuple[int, ...] = ()
    begun: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    idle: tuple[int, ...] = ()


class Segmentation:
    """The episodes of ``count`` environments.

    Args:
        count: How many.
        mode: When they are reset.

    Attributes:
        steady: Every environment is in the middle of an episode: a step without done flags changes nothing then, and
            :meth:`step` need not be called for it.
    """

    def __init__(self, count: int, mode: Autoreset) -> None:
        self.steady = False
        self._mode = mode
        self._running = [False] * count
        self._ended = [False] * count

    def reset(self, mask: Sequence[Any] | None = None) -> Changes:
        """The environments were reset.

        Args:
            mask: Which of them; None for all.
        """
        chosen = [i for i in range(len(self._running)) if mask is None or mask[i]]
        cut = tuple(i for i in chosen if self._running[i])
        for i in chosen:
            self._running[i], self._ended[i] = True, False
        self.steady = all(self._running)
        others = () if mask is None else tuple(i for i in range(len(self._running)) if not mask[i])
        return Changes(begun=tuple(chosen), cut=cut, idle=tuple(sorted((*chosen, *others))))

    def step(self, done: Sequence[Any]) -> Changes:
        """The environments made a step.

        Args:
            done: Terminated or truncated, one flag an environment.
        """
        ended: list[int] = []
        begun: list[int] = []
        idle: list[int] = []
        for i, running in enumerate(self._running):
            if running:
                if not done[i]:
                    continue
                ended.append(i)
                if self._mode is Autoreset.SAME_STEP:
                    begun.append(i)
                else:
                    self._running[i], self._ended[i] = False, True
            elif self._ended[i] and self._mode is Autoreset.NEXT_STEP:
                self._running[i], self._ended[i] = True, False
                begun.append(i)
                idle.append(i)
            else:
                idle.append(i)
        self.steady = all(self._running)
        return Changes(tuple(ended), tuple(begun), (), tuple(idle))


def vector_autoreset(env: Any) -> Autoreset:
    """The mode of a vector environment; nothing is imported and nothing sent to another process.

    First what it says of itself, since in Gymnasium 1.1 to 1.3 ``metadata`` is one dict for all environments of a
    class, which the one made last has written.
    """
    base = read_attribute(env, "unwrapped")
    metadata = read_attribute(env, "metadata")
    for said in (
        read_attribute(env, "autoreset_mode"),
        read_attribute(base, "autoreset_mode"),
        metadata.get("autoreset_mode") if isinstance(metadata, Mapping) else None,
    ):
        mode = _named(said)
        if mode is not None:
            return mode
    return _by_version(type(env if base is None else base))


def reset_mask(options: Any, count: int) -> list[bool] | None:
    """Which environments a call of ``reset`` is for, from its ``options``; None for all of them.

    Gymnasium has ``reset_mask``, one flag an environment, and takes it out of the caller's dict; ManiSkill has
    ``env_idx``, the indices. So ask before the call: the answer is a copy.
    """
    if not isinstance(options, Mapping):
        return None
    mask, indices = options.get("reset_mask"), options.get("env_idx")
    if mask is not None:
        return [bool(flag) for flag in _plain(mask)]
    if indices is not None:
        chosen = {int(index) for index in _plain(indices)}
        return [i in chosen for i in range(count)]
    return None


def _plain(value: Any) -> Iterable[Any]:
    if hasattr(value, "tolist"):  # NumPy; torch, on whatever device; JAX
        value = value.tolist()
    return value if isinstance(value, Iterable) else [value]


def _named(said: Any) -> Autoreset | None:
    text = getattr(said, "value", said)
    if not isinstance(text, str):
        return None
    plain = text.rpartition(".")[2].replace("_", "").lower()
    return next((mode for mode in Autoreset if mode.value.lower() == plain), None)


def _by_version(kind: type) -> Autoreset:
    """Of an environment that does not say it: Gymnasium's own go by its version, others reset in the same step."""
    gymnasium = sys.modules.get("gymnasium")
    ours = any(base.__module__.startswith(_MAKERS) and base.__name__ not in _BASES for base in kind.__mro__)
    version = str(getattr(gymnasium, "__version__", "0"))
    return Autoreset.NEXT_STEP if ours and not version.startswith("0.") else Autoreset.SAME_STEP
