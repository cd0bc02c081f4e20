"""What every ``Trainer()`` asks for callbacks, and what switches it on; see the entry points in pyproject.toml.

Lightning lets an exception of this module out of ``Trainer()``, for users who have never heard of RoboTrace too. So
nothing is imported before it is known that somebody wants it.
"""

from __future__ import annotations

import itertools
import logging
import os
from importlib.metadata import entry_points
from typing import Any

__all__ = ["callbacks", "instrument", "uninstrument"]

_log = logging.getLogger("robotrace")

_GROUPS = ("lightning.pytorch.callbacks_factory", "pytorch_lightning.callbacks_factory")

_PHASES = {"eval": ("validate", "test")}
"""Of what is said to all frameworks at once."""
_ENABLED = "ROBOTRACE_ENABLED"
"""``robotrace.config.ENV_ENABLED``, before ``import robotrace``, which brings in httpx."""

_automatic: dict[str, Any] | None = None


def instrument(**arguments: Any) -> None:
    """Record every ``Trainer()`` of this process that is made from here on, as if it were given a callback.

    A trainer that is given a :class:`~robotrace_lightning.RoboTraceCallback` of its own goes by that one.

    Args:
        **arguments: As the callback's. Of ``phases``, ``eval`` stands for ``validate`` and ``test``.

    Raises:
        TypeError: One is unknown.
        ConfigurationError: A value does not fit, or Lightning could not find this package.
    """
    global _automatic
    from robotrace.errors import ConfigurationError
    from robotrace_lightning.callback import RoboTraceCallback

    if "phases" in arguments:
        phases = (_PHASES.get(phase, (phase,)) for phase in arguments["phases"])
        arguments["phases"] = tuple(itertools.chain.from_iterable(phases))
    RoboTraceCallback(**arguments)
    if not all(any(one.value.startswith(f"{__name__}:") for one in entry_points(group=group)) for group in _GROUPS):
        raise ConfigurationError(
            "robotrace-dev is not installed as a package, or was before it had Lightning's entry points; install it "
            "again, or give each Trainer a RoboTraceCallback"
        )
    _automatic = dict(arguments)


def uninstrument() -> None:
    """Undo :func:`instrument` for the trainers to come."""
    global _automatic
    _automatic = None


def callbacks() -> list[Any]:
    """The callbacks for a trainer that is being made: none, unless somebody has switched them on. Never raises."""
    try:
        enabled = os.environ.get(_ENABLED)
        if _automatic is None and not enabled:
            return []
        from robotrace.config import is_true

        if _automatic is None and not is_true(enabled):
            return []
        from robotrace_lightning.callback import RoboTraceCallback

        callback = RoboTraceCallback(**(_automatic or {}))
        callback.automatic = True
        return [callback]
    except Exception as exc:
        _log.warning("this trainer is not recorded: %s: %s", type(exc).__name__, exc)
        return []
