"""The face for authors of framework plugins; ours use nothing else.

A plugin checks its options, makes one :class:`EpisodeRecorder` per environment, and calls it around ``reset`` and
``step``::

    options = resolve_options(kwargs)                       # unknown names, bad values: an error that names them
    recorder = new_recorder(env, options, adapter="mine", render=env.render)

    recorder.before_reset(seed, options);  result = …reset…;  recorder.after_reset(result)
    if recorder.recording:
        recorder.before_step(action);  result = …step…;  recorder.after_step(result)

Recording needs NumPy and PyAV: ``pip install 'robotrace-dev[record]'``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robotrace.errors import ConfigurationError

try:
    from robotrace.capture.options import CaptureOptions, EpisodeEnd, Options, is_enabled, resolve_options
    from robotrace.capture.recorder import EpisodeRecorder
    from robotrace.capture.triggers import EpisodeStart, cubic, every, rate
    from robotrace.session import flush, recording_process
except ModuleNotFoundError as exc:
    raise ConfigurationError(f"recording needs {exc.name}; run: pip install 'robotrace-dev[record]'") from exc

__all__ = [
    "CaptureOptions",
    "EpisodeEnd",
    "EpisodeRecorder",
    "EpisodeStart",
    "Options",
    "cubic",
    "every",
    "flush",
    "is_enabled",
    "new_recorder",
    "rate",
    "resolve_options",
]


def new_recorder(
    env: Any, options: Options, *, adapter: str, render: Callable[[], Any] | None = None
) -> EpisodeRecorder:
    """A recorder for one single environment, writing to this process's spool. Opens and starts nothing yet.

    Args:
        env: The environment, with its wrappers.
        options: Checked by :func:`resolve_options`.
        adapter: The plugin's name, kept in the metadata.
        render: Gives the current picture, (H, W, 3) uint8 or what :func:`robotrace.capture.frames.as_rgb` takes.
    """
    return EpisodeRecorder(env, options, recording_process, adapter=adapter, render=render)
