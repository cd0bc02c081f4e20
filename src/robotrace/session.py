"""Recording and delivery of this process, tied together: made with the first recorded episode, ended at exit.

One session a process: a forked child starts without one, and makes its own when it records.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time

# httpx brings it in with the first connection. In a script that ends with a KeyboardInterrupt that may be at exit, and
# the dataclasses in it (an exec of text, in which CPython forgets the interrupt) made its exit code 1 instead of 130.
import httpcore  # noqa: F401

from robotrace import faults
from robotrace.capture.process import RecordingProcess
from robotrace.capture.recorder import open_recorders
from robotrace.config import DeliveryLimits, delivery_limits, find_target, mode
from robotrace.deliver.counters import Status
from robotrace.deliver.files import is_disk_full, try_lock
from robotrace.deliver.guards import is_child_of_multiprocessing, on_exit, on_exit_after_children, on_fork_in_child
from robotrace.deliver.pace import Pace
from robotrace.deliver.room import Room
from robotrace.deliver.spool import SealedEpisode, Spool, open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.errors import ConfigurationError

__all__ = ["flush", "recording_process", "reset", "status"]

_log = logging.getLogger("robotrace")

_MAX_REMEMBERED = 256
"""Own episodes that may be on their way; more, and those that have arrived are forgotten: a run may make millions."""
_SILENT_S = 1.0
"""A wait at exit that is longer is announced."""
_UNUSABLE_S = 60.0
"""A spool that cannot be written is tried again so often."""


class _Session:
    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.limits = self._find_limits()
        self.room = Room(spool, self.limits)
        self.process = RecordingProcess(spool, self._on_sealed, self._on_error)
        self.lost = False
        """Someone deleted the folder this process records into."""
        self.sealed = 0
        self._told = False
        self.online = self._find_out()
        self._sealed: set[str] = set()
        self._uploader: Uploader | None = None
        if self.online:
            # Here, and not with the first sealed episode: at exit, where that may be, Python 3.12 starts no thread.
            self._uploader = Uploader(spool, find_target, pace=Pace(self.limits.upload_bytes_per_s))
            self._uploader.start()

    def begin_episode(self) -> RecordingProcess | None:
        """The recording half, where there is room for another episode; on the training thread, without I/O."""
        if self.room.is_due():
            self.process.enqueue(self._look)
        if self.room.why is None:
            return self.process
        self.room.refused += 1
        return None

    def flush(self, timeout_s: float, *, give_up: bool = False) -> bool:
        """Seal what has ended, and deliver it when there is somewhere to deliver it to."""
        deadline = time.monotonic() + timeout_s
        self.process.seal_again()
        if not self.process.drain(timeout_s):
            return False
        if self._uploader is None:
            return True
        self._uploader.pace.lift()
        try:
            remaining = max(0.0, deadline - time.monotonic())
            return self._uploader.wait_until_delivered(set(self._sealed), remaining, give_up=give_up)
        finally:
            self._uploader.pace.restore()

    def close(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        if is_child_of_multiprocessing():
            # Its parent waits for it, often with a deadline, and uploads; it has to be on the disk, no more.
            self.process.drain(timeout_s)
        else:
            self._deliver_the_last(timeout_s, deadline)
        if self._uploader is not None:
            self._uploader.stop(max(0.1, deadline - time.monotonic()))
        self.process.close(max(0.1, deadline - time.monotonic()))

    def _deliver_the_last(self, timeout_s: float, deadline: float) -> None:
        if self._uploader is not None and "multiprocessing" in sys.modules:
            self._uploader.recover_now(min(_SILENT_S, timeout_s))  # its children have just ended, or were killed
        if self.flush(min(_SILENT_S, timeout_s), give_up=True):
            return
        remaining = deadline - time.monotonic()
        if remaining <= 0 or (self._uploader is not None and not self._uploader.tries_within(remaining)):
            return
        print(
            f"robotrace: saving and uploading the last episodes, at most {timeout_s:.0f} s "
            "(Ctrl-C leaves now; what is left goes on in the next run)",
            file=sys.stderr,
        )
        self.flush(remaining, give_up=True)

    def abandon(self) -> None:
        self.process.abandon()
        if self._uploader is not None:
            self._uploader.abandon()

    def retire(self) -> None:
        """Another session takes over; what this one still has open fails by itself."""
        if self._uploader is not None:
            self._uploader.stop(0.0)

    def status(self) -> Status:
        counts = None if self._uploader is None else self._uploader.counts
        waiting = None
        if self.online:
            waiting = len(set(self._sealed) & {entry.uuid for entry in self.spool.sealed_episodes()})
        dropped = {"there was no room": self.room.refused, "the disk was too slow": self.process.truncated}
        return Status(
            mode=mode(),
            spool=self.spool.root,
            recorded=self.process.recorded,
            sealed=self.sealed,
            waiting=waiting,
            uploaded=0 if counts is None else counts.uploaded,
            uploaded_bytes=0 if counts is None else counts.bytes,
            retried=0 if counts is None else counts.retried,
            salvaged=0 if counts is None else counts.salvaged,
            failed=0 if counts is None else counts.failed,
            dropped={cause: count for cause, count in dropped.items() if count},
            faults=faults.fault_counts(),
        )

    def _look(self) -> None:
        if self.room.look():
            self.process.seal_again()

    def _on_sealed(self, entry: SealedEpisode) -> None:
        # On the writer thread, so that neither a lock nor a lookup is on the training thread.
        self.sealed += 1
        if self._uploader is not None:
            if len(self._sealed) >= _MAX_REMEMBERED:
                self._sealed &= {waiting.uuid for waiting in self.spool.sealed_episodes()}
            self._sealed.add(entry.uuid)
            self._uploader.wake()
        elif not self._told:
            self._told = True
            self._tell_offline()

    def _on_error(self, exc: Exception) -> None:
        if is_disk_full(exc):
            self.room.disk_is_full()
        elif isinstance(exc, OSError) and not self.process.folder.exists():
            self.lost = True

    def _find_limits(self) -> DeliveryLimits:
        try:
            return delivery_limits()
        except ConfigurationError as exc:
            _log.warning("%s; the defaults are taken", exc)
            return DeliveryLimits()

    def _find_out(self) -> bool:
        try:
            return find_target() is not None
        except ConfigurationError as exc:
            _log.warning("episodes stay in the spool: %s", exc)
            self._told = True
            return False

    def _tell_offline(self) -> None:
        if mode() == "offline":  # that is what was asked for
            return
        lock = try_lock(self.spool.uploader_lock)
        if lock is None:  # `robotrace serve` is running here and takes them
            return
        os.close(lock)
        _log.warning(
            "no deployment is configured: episodes stay in %s until `robotrace serve` (or an uploader) takes them",
            self.spool.root,
        )


_current: _Session | None = None
_lost: list[_Session] = []
_unusable_until: float | None = None
_told_unusable = False
_making = threading.Lock()


def recording_process() -> RecordingProcess | None:
    """This process's recording half; None, after one warning, where no episode can be begun now."""
    session = _current
    if session is None or session.lost:
        session = _new_session(session)
    return None if session is None else session.begin_episode()


def _new_session(before: _Session | None) -> _Session | None:
    global _current, _unusable_until, _told_unusable
    if _unusable_until is not None and time.monotonic() < _unusable_until:
        return None
    with _making:
        if _current is before:
            try:
                _current = _Session(open_spool())
            except (ConfigurationError, OSError) as exc:
                _unusable_until = time.monotonic() + _UNUSABLE_S
                if not _told_unusable:
                    _told_unusable = True
                    _log.warning("nothing is recorded: %s", exc)
                return None
            if before is None:
                on_exit_after_children(_at_exit)
            else:
                _lost.append(before)  # its episodes that are still open refer to it
                before.retire()
                _log.warning(
                    "the recording folder %s was deleted; recording goes on in a new one", before.process.folder
                )
        return _current


def flush(timeout_s: float = 60.0, *, give_up: bool = False) -> bool:
    """Wait until every episode that has ended is sealed, and uploaded where a deployment is configured.

    Args:
        timeout_s: Give up after this many seconds.
        give_up: Or as soon as nothing is going to be tried in that time: an outage, a refused key.

    Returns:
        Whether that is so; False when the time ran out. Nothing is lost then: what is left goes on in the
        background, or in the next run.
    """
    return True if _current is None else _current.flush(timeout_s, give_up=give_up)


def status() -> Status:
    """What this process has recorded and delivered so far."""
    return Status(mode=mode(), faults=faults.fault_counts()) if _current is None else _current.status()


def reset() -> None:
    """End this process's session, if there is one, as at exit; the next episode makes a new one."""
    global _unusable_until, _told_unusable
    _at_exit()
    _unusable_until, _told_unusable = None, False


def _at_exit() -> None:
    global _current
    session = _current
    if session is None:
        return
    # Set by the interpreter when an exception ended the script; in an interactive session it may be hours old.
    error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
    for recorder in open_recorders():
        recorder.interrupt(error)
    try:
        session.close(session.limits.exit_timeout_s)
    except KeyboardInterrupt:  # Ctrl-C in the wait leaves at once; the next run goes on from here
        pass
    except Exception as exc:
        with contextlib.suppress(Exception):
            faults.report("the session could not be closed", exc)
    finally:
        _current = None


def _after_fork_in_child() -> None:
    global _current, _making
    _making = threading.Lock()
    for recorder in open_recorders():
        recorder.abandon()
    sessions, _current = [*_lost, _current], None
    _lost.clear()
    for session in sessions:
        if session is not None:
            with contextlib.suppress(OSError):
                session.abandon()


on_exit(_at_exit)
on_fork_in_child(_after_fork_in_child)
