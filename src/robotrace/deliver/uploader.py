"""The background uploader: one thread, one per host, elected by ``flock``.

It never touches what a recording process is writing; it salvages what a dead one left, and delivers what is sealed.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from robotrace.config import Target
from robotrace.deliver.delivery import deliver
from robotrace.deliver.files import try_lock
from robotrace.deliver.retry import Action, backoff_s
from robotrace.deliver.salvage import salvage_dead_recordings
from robotrace.deliver.spool import Spool
from robotrace.errors import APIError, ConfigurationError
from robotrace.transport import Transport

__all__ = ["Uploader", "UploaderCounts"]

_log = logging.getLogger("robotrace")

_IDLE_S = 0.5
"""Episodes of other processes are found by looking; listing an empty folder takes 5 µs."""
_ELECTION_S = 2.0
_RECOVERY_S = 60.0
_PAUSE_S = 600.0
_PAUSE_LOOK_S = 5.0


@dataclass
class UploaderCounts:
    """What this uploader did since it was made."""

    uploaded: int = 0
    bytes: int = 0
    retried: int = 0
    failed: int = 0
    salvaged: int = 0


class Uploader:
    """Delivers sealed episodes from a thread of its own.

    Args:
        spool: Where the episodes are.
        find_target: Asked at the start, and again while paused; None means nothing is configured.
        clock: Monotonic seconds.
        rng: For the jitter; private, so that the user's seeded streams stay as they are.
    """

    def __init__(
        self,
        spool: Spool,
        find_target: Callable[[], Target | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._spool = spool
        self._find_target = find_target
        self._clock = clock
        self._rng = rng or random.Random()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._lock: int | None = None
        self._target: Target | None = None
        self._transport: Transport | None = None
        self._failures = 0
        self._not_before = 0.0
        self._paused_until: float | None = None
        self._next_recovery = 0.0
        self.counts = UploaderCounts()

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="robotrace-uploader", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending (Python 3.12): whoever waits does the rounds
                return
            self._thread = thread

    def wake(self) -> None:
        """Look now: something was sealed."""
        self._wake.set()

    def stop(self, timeout_s: float) -> None:
        """End the thread after the request it is in; gives up waiting after ``timeout_s`` seconds."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        else:
            self._close()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's lock (closing a duplicate leaves the parent's as it is)."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def wait_until_delivered(self, uuids: Collection[str], timeout_s: float) -> bool:
        """Wait until none of the episodes is in ``sealed`` any more, by whichever process.

        Returns:
            False when the time ran out first.
        """
        deadline = self._clock() + timeout_s
        waiting = set(uuids)
        while waiting:
            waiting &= {entry.uuid for entry in self._spool.sealed_episodes()}
            if not waiting:
                break
            if self._clock() >= deadline:
                return False
            if self._thread is None:
                self.run_once()
            self.wake()
            time.sleep(0.02)
        return True

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    delay = self.run_once()
                except Exception as exc:  # a bug or a vanished folder; the thread goes on, the run never notices
                    _log.warning("the uploader stumbled and goes on in a minute: %s: %s", type(exc).__name__, exc)
                    delay = _RECOVERY_S
                if not self._stopping:
                    self._wake.wait(delay)
                self._wake.clear()
        finally:
            self._close()

    def run_once(self) -> float:
        """One round over the spool; returns the seconds until the next one is due."""
        if not self._elected():
            return _ELECTION_S
        now = self._clock()
        if now >= self._next_recovery:
            self._next_recovery = now + _RECOVERY_S
            self._recover()
        if now < self._not_before:
            return self._not_before - now
        if not self._connect():
            return _PAUSE_LOOK_S
        for entry in self._spool.sealed_episodes():
            if self._stopping or self._transport is None:
                break
            attempt = deliver(self._spool, entry, self._transport)
            if attempt.action is None:
                self.counts.uploaded += 1
                self.counts.bytes += attempt.bytes_sent
                self._succeeded()
            elif attempt.action is Action.FAIL:
                self.counts.failed += 1
                _log.warning("episode %s was refused for good; see %s", entry.uuid, self._spool.failed / entry.uuid)
            elif attempt.action is Action.PAUSE:
                self._pause(attempt.error)
                return _PAUSE_LOOK_S
            else:
                self.counts.retried += 1
                return self._back_off(attempt.error)
        return _IDLE_S

    def _elected(self) -> bool:
        if self._lock is None:
            self._lock = try_lock(self._spool.uploader_lock)
        return self._lock is not None

    def _recover(self) -> None:
        salvaged = salvage_dead_recordings(self._spool)
        if salvaged:
            self.counts.salvaged += len(salvaged)
            _log.warning("found %d episode(s) of a process that was killed; they are uploaded now", len(salvaged))

    def _connect(self) -> bool:
        if self._paused_until is not None:
            if self._clock() < self._paused_until and self._resolve() == self._target:
                return False
            self._paused_until = None
            self._disconnect()
        if self._transport is None:
            self._target = self._resolve()
            if self._target is None:
                return False
            self._transport = Transport(self._target)
        return True

    def _resolve(self) -> Target | None:
        try:
            return self._find_target()
        except ConfigurationError as exc:
            if self._failures == 0:
                _log.warning("episodes stay in the spool: %s", exc)
            self._failures += 1
            return None

    def _succeeded(self) -> None:
        if self._failures:
            _log.info("the deployment answers again")
        self._failures = 0
        self._not_before = 0.0

    def _back_off(self, error: Exception | None) -> float:
        self._failures += 1
        if self._failures == 1:
            _log.warning(
                "uploads to %s wait: %s. Episodes are safe in %s and will be sent when it is back",
                self._target.base_url if self._target else "the deployment",
                error,
                self._spool.root,
            )
        delay = backoff_s(self._failures, error, self._rng)  # type: ignore[arg-type]
        self._not_before = self._clock() + delay
        return delay

    def _pause(self, error: Exception | None) -> None:
        self._paused_until = self._clock() + _PAUSE_S
        refused = isinstance(error, APIError) and error.status_code in (401, 403)
        what = "the deployment refused the API key" if refused else "what answers is no RoboTrace deployment"
        _log.warning("uploads pause: %s (%s); episodes stay in the spool", what, error)

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _close(self) -> None:
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
