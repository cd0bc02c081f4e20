"""Whether there is room for another episode: the spool's own limit, and what stays free on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from robotrace.config import DeliveryLimits
from robotrace.deliver.files import folder_bytes
from robotrace.deliver.spool import Spool

__all__ = ["why_no_room"]

_SPOOL_BYTES = 20 * 1024**3
_SHARE = 0.2


def why_no_room(
    spool: Spool,
    limits: DeliveryLimits,
    *,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> str | None:
    """Why no new episode should be begun, in words; None where there is room.

    Args:
        spool: Walked through: 20,000 episodes take 0.3 s.
        limits: The user's.
        free_bytes: Of the disk that a folder is on.

    Raises:
        OSError: The spool is gone.
    """
    free = free_bytes(spool.root)
    if free < limits.keep_free_bytes:
        return f"{_gb(free)} are left on the disk of {spool.root}, and {_gb(limits.keep_free_bytes)} stay free"
    used = folder_bytes(spool.root)
    # Of what would be free without the spool: a share of a shrinking rest would shrink with every episode.
    allowed = min(_SPOOL_BYTES, int(_SHARE * (free + used))) if limits.spool_bytes is None else limits.spool_bytes
    if used > allowed:
        return f"the spool {spool.root} holds {_gb(used)} of the {_gb(allowed)} it may take"
    return None


def _gb(nbytes: int) -> str:
    return f"{nbytes / 1e9:.3g} GB"
