"""Recording from a script of one's own: an environment without a wrapper, or a loop without an environment.

Thin on purpose: ``import robotrace`` needs none of what recording needs, which each of these brings in when it is
called: ``pip install 'robotrace-dev[record]'``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from robotrace import faults
from robotrace.config import mode
from robotrace.deliver.counters import Status

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from robotrace.capture.manual import LoopEpisode
    from robotrace.capture.options import CaptureOptions

__all__ = ["attach", "detach", "flush", "record", "status"]

_E = TypeVar("_E")


def attach(env: _E, **options: Unpack[CaptureOptions]) -> _E:
    """Record every episode of an environment without wrapping it: the object stays what it is, under all its names.

    An environment that is recorded already is only labelled anew (``policy_version``, ``name``, ``metadata``): there
    is one record per episode, whoever asks. With ``enabled=False`` it comes back untouched.

    Args:
        env: Any object with ``reset`` and ``step`` as Gymnasium's.
        **options: See :class:`robotrace.plugin.Options`; everything is inferred that is not given.

    Returns:
        The same object.

    Raises:
        TypeError: An option is unknown, or nothing can be attached to the object.
        ConfigurationError: An option's value does not fit, or recording is not installed.
    """
    from robotrace import plugin

    return plugin.attach(env, **options)


def detach(env: _E) -> _E:
    """Undo :func:`attach`: the environment has its own methods again; an episode still open was closed in the middle.

    Returns:
        The same object.
    """
    from robotrace import plugin

    return plugin.detach(env)


def record(**options: Unpack[CaptureOptions]) -> LoopEpisode:
    """Record one episode of a loop without an environment: a real robot, or a simulator of one's own.

    Args:
        **options: See :class:`robotrace.plugin.Options`; ``source`` is ``real`` unless it is given. Episodes are
            numbered, sampled and limited over all calls of this process.

    Returns:
        A context manager. An exception in it ends the episode as failed and passes.

    Raises:
        TypeError: An option is unknown.
        ConfigurationError: An option's value does not fit, or recording is not installed.

    Example:
        >>> import robotrace
        >>> with robotrace.record(policy_version="act-v7", robot="arm-2", enabled=False) as episode:
        ...     for k in range(3):
        ...         episode.step(observation=[0.1 * k], action=[0.0], sensors={"battery": 24.1}, t=0.02 * k)
        ...     episode.outcome(success=True)
    """
    from robotrace import plugin

    return plugin.record(**options)


def flush(timeout_s: float = 60.0) -> bool:
    """Wait until every episode that has ended is sealed, and uploaded where a deployment is configured.

    Args:
        timeout_s: Give up after this many seconds; nothing is lost then.

    Returns:
        Whether that is so.
    """
    from robotrace import plugin

    return plugin.flush(timeout_s)


def status() -> Status:
    """What this process has recorded and delivered so far, from its own counters; asks nobody.

    Returns:
        Counts since the process began, and what was dropped and why. ``robotrace status`` shows the whole machine's
        spool.

    Example:
        >>> import robotrace
        >>> robotrace.status().recorded >= 0
        True
    """
    session = sys.modules.get("robotrace.session")  # nothing was recorded where nobody has brought it in
    if session is None:
        return Status(mode=mode(), faults=faults.fault_counts())
    found: Status = session.status()
    return found
