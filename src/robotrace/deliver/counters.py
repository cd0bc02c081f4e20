"""What a process has recorded and delivered so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Status"]


@dataclass(frozen=True)
class Status:
    """What :func:`robotrace.status` says of this process; counts since it began.

    Attributes:
        mode: ``online``, ``offline`` or ``disabled``.
        spool: This host's folder of the spool; None where this process has not recorded yet.
        recorded: Episodes begun.
        sealed: Episodes complete and on the disk.
        waiting: Of those, the ones not yet delivered; None where none is to be (offline).
        uploaded: Episodes this process delivered, those of other processes too.
        uploaded_bytes: In their files.
        retried: Attempts that did not succeed and are repeated.
        salvaged: Episodes of killed processes that were brought back.
        failed: Episodes the deployment refused for good.
        dropped: By cause: episodes that were not begun, or of which a part is missing.
        faults: Our own, by cause, each of which was one warning.
    """

    mode: str
    spool: Path | None = None
    recorded: int = 0
    sealed: int = 0
    waiting: int | None = None
    uploaded: int = 0
    uploaded_bytes: int = 0
    retried: int = 0
    salvaged: int = 0
    failed: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
