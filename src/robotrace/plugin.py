"""The face for authors of framework plugins; ours use nothing else.

A plugin checks its options, makes one :class:`EpisodeRecorder` per environment, and calls it around ``reset`` and
``step``::

    options = resolve_options(kwargs)                       # unknown names, bad values: an error that names them
    recorder = new_recorder(env, options, adapter="mine", renderer=find_renderer(env))

    recorder.before_reset(seed, options);  result = …reset…;  recorder.after_reset(result)
    if recorder.recording:
        recorder.before_step(action);  result = …step…;  recorder.after_step(result)

An exception of the environment goes to ``recorder.failed(error)`` on its way.

Recording needs NumPy and PyAV: ``pip install 'robotrace-dev[record]'``.
"""

from __future__ import annotations

from typing import Any

from robotrace.errors import ConfigurationError

try:
    from robotrace.capture.options import CaptureOptions, EpisodeEnd, Options, is_enabled, resolve_options
    from robotrace.capture.recorder import EpisodeRecorder
    from robotrace.capture.rendering import Renderer, find_renderer
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
    "Renderer",
    "cubic",
    "every",
    "find_renderer",
    "flush",
    "is_enabled",
    "new_recorder",
    "rate",
    "resolve_options",
]


def new_recorder(env: Any, options: Options, *, adapter: str, renderer: Renderer | None = None) -> EpisodeRecorder:
    """A recorder for one single environment, writing to this process's spool. Opens and starts nothing yet.

    Args:
        env: The environment, with its wrappers.
        options: Checked by :func:`resolve_options`.
        adapter: The plugin's name, kept in the metadata.
        renderer: Gives the current picture; see :func:`find_renderer`.
    """
    return EpisodeRecorder(env, options, recording_process, adapter=adapter, renderer=renderer)
