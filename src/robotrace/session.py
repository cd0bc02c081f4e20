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

from robotrace import faults
from robotrace.capture.process import RecordingProcess
from robotrace.capture.recorder import open_recorders
from robotrace.config import find_target
from robotrace.deliver.files import try_lock
from robotrace.deliver.guards import on_exit, on_fork_in_child
from robotrace.deliver.spool import SealedEpisode, Spool, open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.errors import ConfigurationError

__all__ = ["flush", "recording_process", "reset"]

_log = logging.getLogger("robotrace")

_EXIT_TIMEOUT_S = 10.0
_MAX_REMEMBERED = 256
"""Own episodes that may be on their way; more, and those that have arrived are forgotten: a run may make millions."""
_SILENT_S = 1.0
"""A wait at exit that is longer is announced."""


class _Session:
    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.process = RecordingProcess(spool, self._on_sealed)
        self._told = False
        self.online = self._find_out()
        self._uploader: Uploader | None = None
        self._sealed: set[str] = set()

    def flush(self, timeout_s: float) -> bool:
        """Seal what has ended, and deliver it when there is somewhere to deliver it to."""
        deadline = time.monotonic() + timeout_s
        if not self.process.drain(timeout_s):
            return False
        if not self.online or self._uploader is None:
            return True
        return self._uploader.wait_until_delivered(self._sealed, max(0.0, deadline - time.monotonic()))

    def close(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        if not self.flush(min(_SILENT_S, timeout_s)):
            print(
                f"robotrace: saving and uploading the last episodes, at most {timeout_s:.0f} s "
                "(Ctrl-C leaves now; what is left goes on in the next run)",
                file=sys.stderr,
            )
            self.flush(max(0.0, deadline - time.monotonic()))
        if self._uploader is not None:
            self._uploader.stop(max(0.1, deadline - time.monotonic()))
        self.process.close(max(0.1, deadline - time.monotonic()))

    def abandon(self) -> None:
        self.process.abandon()
        if self._uploader is not None:
            self._uploader.abandon()

    def _on_sealed(self, entry: SealedEpisode) -> None:
        # On the writer thread, so that neither a lock nor a lookup is on the training thread.
        if self.online:
            if len(self._sealed) >= _MAX_REMEMBERED:
                self._sealed &= {waiting.uuid for waiting in self.spool.sealed_episodes()}
            self._sealed.add(entry.uuid)
            if self._uploader is None:
                self._uploader = Uploader(self.spool, find_target)
                self._uploader.start()
            self._uploader.wake()
        elif not self._told:
            self._told = True
            self._tell_offline()

    def _find_out(self) -> bool:
        try:
            return find_target() is not None
        except ConfigurationError as exc:
            _log.warning("episodes stay in the spool: %s", exc)
            self._told = True
            return False

    def _tell_offline(self) -> None:
        lock = try_lock(self.spool.uploader_lock)
        if lock is None:  # `robotrace serve` is running here and takes them
            return
        os.close(lock)
        _log.warning(
            "no deployment is configured: episodes stay in %s until `robotrace serve` (or an uploader) takes them",
            self.spool.root,
        )


_current: _Session | None = None
_unusable = False
_making = threading.Lock()


def recording_process() -> RecordingProcess | None:
    """This process's recording half; None, after one warning, where the spool cannot be used."""
    global _current, _unusable
    session = _current
    if session is not None:
        return session.process
    if _unusable:
        return None
    with _making:
        if _current is None:
            try:
                _current = _Session(open_spool())
            except (ConfigurationError, OSError) as exc:
                _unusable = True
                _log.warning("nothing is recorded: %s", exc)
                return None
        return _current.process


def flush(timeout_s: float = 60.0) -> bool:
    """Wait until every episode that has ended is sealed, and uploaded where a deployment is configured.

    Args:
        timeout_s: Give up after this many seconds.

    Returns:
        Whether that is so; False when the time ran out. Nothing is lost then: what is left goes on in the
        background, or in the next run.
    """
    return True if _current is None else _current.flush(timeout_s)


def reset() -> None:
    """End this process's session, if there is one, as at exit; the next episode makes a new one."""
    global _unusable
    _at_exit()
    _unusable = False


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
        session.close(_EXIT_TIMEOUT_S)
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
    session, _current = _current, None
    if session is not None:
        with contextlib.suppress(OSError):
            session.abandon()


on_exit(_at_exit)
on_fork_in_child(_after_fork_in_child)
