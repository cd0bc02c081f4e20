"""The face for authors of framework plugins; ours use nothing else.

A plugin checks its options, makes one :class:`EpisodeRecorder` per environment, and calls it around ``reset`` and
``step``::

    options = resolve_options(kwargs)                       # unknown names, bad values: an error that names them
    recorder = new_recorder(env, options, adapter="mine", renderer=find_renderer(env))

    recorder.before_reset(seed, options);  result = …reset…;  recorder.after_reset(result)
    if recorder.recording:
        recorder.before_step(action);  result = …step…;  recorder.after_step(result)

An exception of the environment goes to ``recorder.failed(error)`` on its way.

A plugin that meets environments inside a framework does not wrap them: :func:`attach_recorder` puts the recorder before
their own methods. What the framework knows of the policy goes through :class:`Labels`, asked once an episode that is
recorded (``recorder.ask(labels)``), and one :class:`Series` is for the limits of all environments of a training.

Recording needs NumPy and PyAV: ``pip install 'robotrace-dev[record]'``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from robotrace.errors import ConfigurationError

try:
    from robotrace.capture.attached import Attached, detach_recorder
    from robotrace.capture.attributes import layers, own_attribute
    from robotrace.capture.autoreset import single_recorder
    from robotrace.capture.calls import raised_in
    from robotrace.capture.clock import read_attribute
    from robotrace.capture.decisions import Labels, Sampling, Series
    from robotrace.capture.manual import LoopEpisode
    from robotrace.capture.options import CaptureOptions, EpisodeEnd, Options, is_enabled, resolve_options
    from robotrace.capture.phases import PhaseOptions, check_phases, resolve_phases
    from robotrace.capture.recorder import EpisodeRecorder
    from robotrace.capture.rendering import Renderer, find_renderer
    from robotrace.capture.rows import Graph, read_arrays, read_rows
    from robotrace.capture.tap import attached_recorder, call_own, check_attachable, install, uninstall
    from robotrace.capture.triggers import EpisodeStart, cubic, every, rate
    from robotrace.capture.vector import VectorRecorder
    from robotrace.context.git import read_checkout
    from robotrace.context.plain import is_secret, plain_values
    from robotrace.context.run import RunFacts, enter_job, run_facts
    from robotrace.faults import report as report_fault
    from robotrace.session import flush, recording_process
except ModuleNotFoundError as exc:
    raise ConfigurationError(f"recording needs {exc.name}; run: pip install 'robotrace-dev[record]'") from exc

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "Attached",
    "CaptureOptions",
    "EpisodeEnd",
    "EpisodeRecorder",
    "EpisodeStart",
    "Graph",
    "Labels",
    "LoopEpisode",
    "Options",
    "PhaseOptions",
    "Renderer",
    "RunFacts",
    "Sampling",
    "Series",
    "VectorRecorder",
    "attach",
    "attach_recorder",
    "check_phases",
    "cubic",
    "detach",
    "enter_job",
    "every",
    "find_recorder",
    "find_recorders",
    "find_renderer",
    "flush",
    "is_enabled",
    "is_secret",
    "is_vector",
    "layers",
    "new_recorder",
    "new_vector_recorder",
    "observe",
    "own_attribute",
    "plain_values",
    "raised_in",
    "rate",
    "read_arrays",
    "read_git_sha",
    "read_rows",
    "record",
    "report_fault",
    "resolve_options",
    "resolve_phases",
    "run_facts",
    "run_id",
]

_E = TypeVar("_E")


def new_recorder(
    env: Any,
    options: Options,
    *,
    adapter: str,
    renderer: Renderer | None = None,
    series: Series | None = None,
    vector: Mapping[str, Any] | None = None,
    beside: Callable[[], Mapping[str, Any]] | None = None,
) -> EpisodeRecorder:
    """A recorder for one single environment, writing to this process's spool. Opens and starts nothing yet.

    It records nothing where recording is switched off: a recorder may come out of a checkpoint of another machine.

    Args:
        env: The environment, with its wrappers.
        options: Checked by :func:`resolve_options`.
        adapter: The plugin's name, kept in the metadata.
        renderer: Gives the current picture; see :func:`find_renderer`.
        series: Numbers and limits its episodes with those of other recorders.
        vector: Where the environment is one of several: its ``index`` among them, and what else ``metadata.vector``
            says.
        beside: Asked before each action of a recorded episode for further streams, by name; a row for each action.
    """
    process = recording_process if is_enabled(options) else _no_process
    return single_recorder(
        env, options, process, adapter=adapter, renderer=renderer, series=series, vector=vector, beside=beside
    )


def is_vector(env: Any) -> bool:
    """Whether an environment is many at once: Gymnasium's vector environments, and batched simulators."""
    # Of the unwrapped one: a Gymnasium 0.29 wrapper warns of every attribute it forwards.
    base = read_attribute(env, "unwrapped")
    return read_attribute(env if base is None else base, "num_envs") is not None


def new_vector_recorder(
    env: Any,
    options: Options,
    *,
    adapter: str,
    series: Series | None = None,
    env_id: str | None = None,
    beside: Callable[[], Mapping[str, Any]] | None = None,
) -> VectorRecorder:
    """A recorder for all environments of a vector; otherwise as :func:`new_recorder`, with the same calls.

    Args:
        env: The vector environment, with its wrappers.
        options: Checked by :func:`resolve_options`.
        adapter: The plugin's name, kept in the metadata.
        series: Numbers and limits its episodes with those of other recorders.
        env_id: Of its environments, where they are in other processes and the plugin has asked them.
        beside: As :func:`new_recorder`'s, a batch of rows each.

    Raises:
        ConfigurationError: ``video=True``, and its environments, in this process, were not made to be rendered.
    """
    base = read_attribute(env, "unwrapped")
    inside = read_attribute(env if base is None else base, "envs")
    if options.video is True and isinstance(inside, (list, tuple)) and inside and find_renderer(inside[0]) is None:
        mode = read_attribute(inside[0], "render_mode")
        raise ConfigurationError(
            f"video=True needs environments made with render_mode='rgb_array'; these have {mode!r}"
        )
    process = recording_process if is_enabled(options) else _no_process
    return VectorRecorder(env, options, process, adapter=adapter, series=series, env_id=env_id, beside=beside)


def _no_process() -> None:
    return None


def attach(env: _E, **options: Unpack[CaptureOptions]) -> _E:
    """Record an environment without wrapping it: the object stays what it is, under all its names.

    An environment that is recorded already is only labelled anew (``policy_version``, ``name``, ``metadata``), so that
    there is one record per episode, whoever asks. With ``enabled=False`` it comes back untouched.

    Args:
        env: An environment or a vector of them: any object with ``reset`` and ``step``.
        **options: See :class:`Options`.

    Returns:
        The same object.

    Raises:
        TypeError: An option is unknown, or the object cannot be attached to.
        ConfigurationError: An option's value does not fit the environment.
    """
    checked = resolve_options(options)
    if not is_enabled(checked):
        return env
    check_attachable(env)
    present = _recorder_of(env)
    if present is not None and not present.automatic:
        present.set(
            policy_version=options.get("policy_version"), name=options.get("name"), metadata=options.get("metadata")
        )
        return env
    attach_recorder(env, checked, adapter="attach")
    return env


def attach_recorder(
    env: Any,
    options: Options,
    *,
    adapter: str,
    series: Series | None = None,
    vector: Mapping[str, Any] | None = None,
    env_id: str | None = None,
    beside: Callable[[], Mapping[str, Any]] | None = None,
    automatic: bool = False,
) -> EpisodeRecorder | VectorRecorder:
    """A new recorder before an environment's own methods, which :func:`detach` takes away again.

    Ask :func:`find_recorder` first: two recorders before one environment make one record, the outer one's.

    Args:
        env: An environment or a vector of them; it stays the object it is.
        options: Checked by :func:`resolve_options`.
        adapter: As :func:`new_recorder`'s, like ``series``, ``vector`` and ``beside``.
        series: For its limits.
        vector: Where it is one of several; from its ``index`` on, ``video_envs`` says whether it has video.
        env_id: As :func:`new_vector_recorder`'s.
        beside: For further streams.
        automatic: Nobody has asked for this recorder: :func:`find_recorder` overlooks it, and whoever attaches another
            one, or wraps the environment, has the episodes for as long as that is there.

    Raises:
        TypeError: Nothing can be attached to the object.
        ConfigurationError: An option's value does not fit the environment.
    """
    check_attachable(env)
    if is_vector(env):
        many = new_vector_recorder(env, options, adapter=adapter, series=series, env_id=env_id, beside=beside)
        many.automatic = automatic
        install(env, many, vector=True)
        return many
    alive = weakref.ref(env)  # the recorder is the env's: it must not keep it alive
    renderer = find_renderer(env, lambda: call_own(alive(), "render"))
    if options.video is True and renderer is None:
        mode = read_attribute(env, "render_mode")
        raise ConfigurationError(
            f"video=True needs an environment made with render_mode='rgb_array'; this one has {mode!r}"
        )
    collects = renderer is not None and renderer.collects
    if vector is not None and vector["index"] >= options.video_envs and not collects:
        renderer = None
    recorder = new_recorder(
        env, options, adapter=adapter, renderer=renderer, series=series, vector=vector, beside=beside
    )
    recorder.automatic = automatic
    install(env, recorder, renders=collects)
    return recorder


def observe(env: Any, seen: Callable[[Any], None]) -> Callable[[], None]:
    """Be told of every observation that a vector environment returns, of resets and of steps; nothing is recorded.

    Args:
        env: The vector environment, a wrapper of one for example.
        seen: Called with each batch of observations, which is not copied. It may not raise.

    Returns:
        Ends it.
    """
    observer = _Observer(seen)
    install(env, observer, vector=True, names=("reset", "reset_wait", "step", "step_wait"))
    alive = weakref.ref(env)

    def stop() -> None:
        if attached_recorder(alive()) is observer:
            uninstall(alive())

    return stop


class _Observer:
    recording = True

    def __init__(self, seen: Callable[[Any], None]) -> None:
        self.before_step: Callable[[Any], None] = lambda _: None
        self.after_step: Callable[[Any], None] = lambda result: seen(result[0])
        self._seen = seen

    def before_reset(self, seed: Any, options: Mapping[str, Any] | None) -> None:
        """Not of interest."""

    def after_reset(self, result: tuple[Any, Any]) -> None:
        """The first observations."""
        self._seen(result[0])

    def failed(self, error: BaseException) -> None:
        """Not of interest."""

    def close(self, error: BaseException | None = None) -> None:
        """Not of interest."""


def read_git_sha(start: Path) -> str | None:
    """The commit that is checked out around a folder; None where there is none."""
    checkout = read_checkout(start)
    return None if checkout is None else checkout.sha


def run_id() -> str:
    """The id of the run that this process is in."""
    return run_facts().id


def find_recorder(env: Any, *, automatic: bool = False) -> EpisodeRecorder | VectorRecorder | None:
    """The recorder that an environment or one inside it has, attached or as a wrapper; None where nobody records it.

    Args:
        env: The environment.
        automatic: Whether one counts that nobody has asked for (:func:`attach_recorder`).
    """
    found = (_recorder_of(layer) for layer in layers(env))
    return next((one for one in found if one is not None and (automatic or not one.automatic)), None)


def find_recorders(env: Any, *, automatic: bool = False) -> list[tuple[Any, EpisodeRecorder | VectorRecorder]]:
    """The recorders that somebody has put there already: theirs is the record.

    Args:
        env: An environment or a vector of them, Stable-Baselines3's too.
        automatic: As :func:`find_recorder`'s.

    Returns:
        Each with what it is attached to: the first one from the outside in, or else those of the environments that a
        vector has in this process. None: nobody records it.
    """
    while True:
        found = find_recorder(env, automatic=automatic)
        if found is not None:
            return [(env, found)]
        inner = own_attribute(env, "venv")
        if inner is None:
            break
        env = inner
    *_, base = layers(env)
    inside = own_attribute(base, "envs")
    if not isinstance(inside, (list, tuple)) or not is_vector(base):
        return []
    recorded = [(one, find_recorder(one, automatic=automatic)) for one in inside]
    return [(one, found) for one, found in recorded if found is not None]


def _recorder_of(env: Any) -> EpisodeRecorder | VectorRecorder | None:
    # Of the class: a Gymnasium 0.29 wrapper warns of every attribute it forwards.
    found = attached_recorder(env) or (hasattr(type(env), "recorder") and read_attribute(env, "recorder"))
    return found if isinstance(found, (EpisodeRecorder, VectorRecorder)) else None


def detach(env: _E, recorder: EpisodeRecorder | VectorRecorder | None = None) -> _E:
    """Undo :func:`attach`: an episode still open ends as one that is closed in the middle.

    Args:
        env: The environment.
        recorder: From :func:`attach_recorder`, where others may have been attached since; None for the last one.

    Returns:
        The same object, with the methods it had before; untouched where nothing is attached.
    """
    detach_recorder(env, recorder)
    return env


def record(**options: Unpack[CaptureOptions]) -> LoopEpisode:
    """Record one episode of a loop without an environment; see :func:`robotrace.record`.

    Args:
        **options: See :class:`Options`; ``source`` is ``real`` unless it is given.

    Raises:
        TypeError: An option is unknown.
        ConfigurationError: An option's value does not fit.
    """
    if options.get("video") == "deferred":
        raise ConfigurationError(
            "video='deferred' makes the video by running the environment again, and robotrace.record() has none; "
            "give the pictures instead: episode.step(frames=...)"
        )
    checked = resolve_options({"source": "real", **options})
    return LoopEpisode(checked, recording_process if is_enabled(checked) else None)
