"""The recorders of environments that a plugin has met inside a framework: asked, set aside and taken away together."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robotrace.capture.calls import raised_in
from robotrace.capture.decisions import Labels, Sampling
from robotrace.capture.recorder import EpisodeRecorder
from robotrace.capture.tap import attached_recorder, uninstall
from robotrace.capture.vector import VectorRecorder

__all__ = ["Attached", "detach_recorder"]


@dataclass
class _One:
    env: weakref.ref[Any]
    recorder: EpisodeRecorder | VectorRecorder
    ours: bool


class Attached:
    """The recorders of one environment: its own, or those of the environments in it.

    The environments are kept weakly.
    """

    def __init__(self) -> None:
        self._ones: list[_One] = []

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._ones)

    @property
    def recorders(self) -> list[EpisodeRecorder | VectorRecorder]:
        """All of them."""
        return [one.recorder for one in self._ones]

    def add(self, env: Any, recorder: EpisodeRecorder | VectorRecorder, *, ours: bool) -> None:
        """One more.

        Args:
            env: What the recorder is attached to.
            recorder: Its.
            ours: Whether the plugin has attached it, and takes it away again.
        """
        self._ones.append(_One(weakref.ref(env), recorder, ours))

    def ask(self, labels: Labels | None) -> None:
        """Who is asked about the episodes to come."""
        for one in self._ones:
            one.recorder.ask(labels)

    def sample_by(self, sampling: Callable[[], Sampling | None]) -> None:
        """Who is asked which of our episodes are recorded; see :meth:`EpisodeRecorder.sample_by`."""
        for one in self._ones:
            if one.ours:
                one.recorder.sample_by(sampling)

    def suspend(self) -> None:
        """Nobody trains: whoever steps the environments now does it for himself."""
        for one in self._ones:
            if one.ours:
                one.recorder.suspend()

    def resume(self) -> None:
        """Undo :meth:`suspend`."""
        for one in self._ones:
            one.recorder.resume()

    def raised(self, error: BaseException) -> bool:
        """Whether an exception came out of one of the environments."""
        return any(raised_in(one.env(), error) for one in self._ones)

    def failed(self, error: BaseException) -> None:
        """An exception is on its way: the open episodes have failed, or the one of the environment that raised."""
        guilty = [raised_in(one.env(), error) for one in self._ones]
        for one, own in zip(self._ones, guilty, strict=True):
            if isinstance(one.recorder, VectorRecorder) or own or not any(guilty):
                one.recorder.failed(error)
            else:
                one.recorder.close()

    def close(self) -> None:
        """What is open was left in the middle."""
        for one in self._ones:
            one.recorder.close()

    def detach(self) -> None:
        """Leave the environments as they were; what is still open was left in the middle."""
        self.ask(None)
        for one in self._ones:
            env = one.env()
            if one.ours and env is not None:
                detach_recorder(env, one.recorder)
        self._ones = []


def detach_recorder(env: Any, recorder: EpisodeRecorder | VectorRecorder | None = None) -> None:
    """Take away what is attached to an environment: an episode still open ends as one that is closed in the middle.

    Args:
        env: The environment.
        recorder: Whose, where others may have been attached since; None for the last one.
    """
    recorder = recorder or attached_recorder(env)
    if recorder is not None:
        uninstall(env, recorder)
        recorder.close()
