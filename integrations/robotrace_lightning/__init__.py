"""RoboTrace for Lightning: ``Trainer(callbacks=[RoboTraceCallback()])``.

Every ``Trainer()`` of a process in which this is installed asks :mod:`robotrace_lightning.factory` for callbacks, so
that importing this package imports nothing else: neither Lightning nor what recording needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robotrace_lightning.factory import instrument, uninstrument

if TYPE_CHECKING:
    from robotrace_lightning.callback import RoboTraceCallback

__all__ = ["RoboTraceCallback", "instrument", "uninstrument"]


def __getattr__(name: str) -> Any:
    if name != "RoboTraceCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from robotrace_lightning.callback import RoboTraceCallback

    return RoboTraceCallback
