"""The background uploader: one per host, elected by ``flock``; a thread, and a second one where two can be at work.

It never touches what a recording process is writing; it salvages what a dead one left, and delivers what is sealed.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

from robotrace.config import Target
from robotrace.deliver.breaker import Breaker
from robotrace.deliver.delivery import Attempt, deliver
from robotrace.deliver.files import try_lock, write_json
from robotrace.deliver.guards import unforked
from robotrace.deliver.pace import Pace
from robotrace.deliver.retry import Action, backoff_s, is_the_hosts
from robotrace.deliver.salvage import salvage_dead_recordings
from robotrace.deliver.spool import SealedEpisode, Spool
from robotrace.errors import APIError, ConfigurationError
from robotrace.transport import Transport, host_of

__all__ = ["Uploader", "UploaderCounts"]

_log = logging.getLogger("robotrace")

_IDLE_S = 0.5
"""Episodes of other processes are found by looking; listing an empty folder takes 5 µs."""
_ELECTION_S = 2.0
_RECOVERY_S = 60.0
_PAUSE_S = 600.0
_PAUSE_LOOK_S = 5.0
_STATUS_S = 10.0
_WARNING_S = 60.0
"""No cause is named more often."""
_LARGE_BYTES = 256 * 1024 * 1024
"""One of the two connections carries larger files, so that a short episode never waits for hours behind two of them."""


@dataclass
class UploaderCounts:
    """What this uploader did since it was made."""

    uploaded: int = 0
    bytes: int = 0
    retried: int = 0
    failed: int = 0
    salvaged: int = 0


class Uploader:
    """Delivers sealed episodes from threads of its own.

    Args:
        spool: Where the episodes are.
        find_target: Asked at the start, and again while paused; None means nothing is configured.
        pace: How fast files go out; None: as fast as it goes.
        clock: Monotonic seconds.
        rng: For the jitter; private, so that the user's seeded streams stay as they are.
        on_settled: Called with an episode's uuid when it has left ``sealed``, from the thread that delivered it.
    """

    def __init__(
        self,
        spool: Spool,
        find_target: Callable[[], Target | None],
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        on_settled: Callable[[str, Attempt], None] | None = None,
    ) -> None:
        self._spool = spool
        self._find_target = find_target
        self._clock = clock
        self._rng = rng or random.Random()
        self._on_settled = on_settled
        self.pace = pace or Pace(None)
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._lock: int | None = None
        self._target: Target | None = None
        self._transport: Transport | None = None
        self._api = ""
        self._store: str | None = None
        self._paused_until: float | None = None
        self._next_recovery = 0.0
        self._recovered = threading.Event()
        self._state = threading.Condition()  # around what the two connections share, never around I/O
        self._queue: collections.deque[SealedEpisode] = collections.deque()
        self._carried: dict[str, bool] = {}
        self._waits: dict[str, tuple[int, float]] = {}
        self._breakers: dict[str, Breaker] = {}
        self._warned: dict[str, float] = {}
        self._outage = False
        self._next_status = 0.0
        self._told: dict[str, Any] = {}
        self.counts = UploaderCounts()
        self.is_second: bool | None = None
        """Whether another process is the one that uploads; None: not known yet."""

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
        self.pace.lift()
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

    def recover_now(self, timeout_s: float) -> None:
        """Salvage at once what a child process left that ended just now; waits for that so long."""
        deadline = self._clock() + timeout_s
        self._recovered.clear()
        self._next_recovery, self.is_second = 0.0, None
        if self._thread is None:
            self.run_once()
        while not self._recovered.is_set() and not self.is_second and self._clock() < deadline:
            self._wake.set()
            self._recovered.wait(0.02)

    def wait_until_delivered(self, uuids: Collection[str], timeout_s: float, *, give_up: bool = False) -> bool:
        """Wait until none of the episodes is in ``sealed`` any more, by whichever process.

        Args:
            uuids: The episodes.
            timeout_s: The longest wait.
            give_up: Do not wait where nothing will be tried in that time: no deployment, a refused key, an outage.

        Returns:
            False when the time ran out first.
        """
        deadline = self._clock() + timeout_s
        waiting = set(uuids)
        while waiting:
            with self._state:
                carried = set(self._carried)  # before looking: its folder goes first, then it is counted
            waiting &= {entry.uuid for entry in self._spool.sealed_episodes()} | carried
            if not waiting:
                break
            now = self._clock()
            if now >= deadline or (give_up and self._next_try(now) > deadline):
                return False
            if self._thread is None:
                self.run_once()
            self.wake()
            time.sleep(0.02)
        return True

    def run_once(self) -> float:
        """One round over the spool; returns the seconds until the next one is due."""
        self.is_second = not self._elected()
        if self.is_second:
            return _ELECTION_S
        self._recover_when_due()
        self._write_status()
        if not self._connect():
            return _PAUSE_LOOK_S
        now = self._clock()
        blocked = self._blocked_until(now)
        if blocked > now:
            return max(0.0, min(blocked, self._next_recovery) - now)
        self._refill()
        helper = self._helper() if len(self._queue) > 1 and self._thread is not None else None
        try:
            self._work()
        finally:
            if helper is not None:
                helper.join()
        if self._paused_until is not None:
            return _PAUSE_LOOK_S
        self._write_status()
        now = self._clock()
        return max(0.01, min([_IDLE_S, *(until - now for until in self._pending(now))]))

    def _pending(self, now: float) -> list[float]:
        blocked = self._blocked_until(now)
        with self._state:
            return [max(blocked, until) for _, until in self._waits.values()]

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    delay = self.run_once()
                except Exception as exc:  # a bug or a vanished folder; the thread goes on, the run never notices
                    self._warn("stumbled", "the uploader stumbled and goes on: %s: %s", type(exc).__name__, exc)
                    delay = _ELECTION_S
                if not self._stopping:
                    self._wake.wait(delay)
                self._wake.clear()
        finally:
            self._close()

    def _elected(self) -> bool:
        if self._lock is not None and not self._spool.holds(self._lock):
            os.close(self._lock)  # someone deleted the spool, and another process may have made it anew
            self._lock = None
        if self._lock is None:
            try:
                self._lock = try_lock(self._spool.uploader_lock)
            except FileNotFoundError:
                return False
        return self._lock is not None

    def _recover_when_due(self) -> None:
        now = self._clock()
        if now < self._next_recovery:
            return
        self._next_recovery = now + _RECOVERY_S
        try:
            salvaged = salvage_dead_recordings(self._spool)
            self._spool.tidy()
            self._spool.keep_ballast()
        finally:
            self._recovered.set()
        if salvaged:
            self.counts.salvaged += len(salvaged)
            _log.warning("found %d episode(s) of a process that was killed; they are uploaded now", len(salvaged))

    def _helper(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._help, name="robotrace-uploader-2", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, or there are too many threads: one connection does
            return None
        return thread

    def _help(self) -> None:
        try:
            self._work()
        except Exception as exc:
            self._warn("stumbled", "the uploader stumbled and goes on: %s: %s", type(exc).__name__, exc)

    def _work(self) -> None:
        """On both connections: one episode after the other, until there is none that may go out now."""
        while not self._stopping:
            entry = self._take()
            if entry is not None:
                self._carry(entry)
                continue
            with self._state:
                if not self._carried or self._paused_until is not None:
                    return
                self._state.wait(_IDLE_S)  # the other one may be at it for long: look for what was sealed meanwhile
            if self._blocked_until(self._clock()) > self._clock():
                continue
            self._refill()

    def _refill(self) -> None:
        entries = self._spool.sealed_episodes()
        with self._state:
            there = {entry.uuid for entry in entries}
            for uuid in self._waits.keys() - there:
                del self._waits[uuid]
            self._queue = collections.deque(entries)

    def _take(self) -> SealedEpisode | None:
        now = self._clock()
        while True:
            with self._state:
                if self._paused_until is not None or self._transport is None or not self._queue:
                    return None
                breakers = self._asked()
                if not all(breaker.lets_through(now) for breaker in breakers):
                    return None
                entry = self._queue.popleft()
                if entry.uuid in self._carried or self._waits.get(entry.uuid, (0, 0.0))[1] > now:
                    continue
                self._carried[entry.uuid] = False
                for breaker in breakers:
                    breaker.sent()
            large = _is_large(entry)
            with self._state:
                if large and any(self._carried.values()):
                    self._let_go(entry)
                    continue
                self._carried[entry.uuid] = large
            return entry

    def _carry(self, entry: SealedEpisode) -> None:
        transport = self._transport
        assert transport is not None
        done = 0

        def progress(sent: int, _: int | None) -> None:
            nonlocal done
            self.pace.spend(max(0, sent - done))
            done = sent

        try:
            attempt = deliver(self._spool, entry, transport, progress=progress)
        except BaseException:
            with self._state:
                self._let_go(entry)
                self._waits[entry.uuid] = (1, self._clock() + _PAUSE_LOOK_S)
            raise
        self._settle(entry, attempt)
        if self._on_settled is not None and not entry.folder.exists():
            self._on_settled(entry.uuid, attempt)

    def _let_go(self, entry: SealedEpisode) -> None:
        self._carried.pop(entry.uuid, None)
        for breaker in self._asked():
            breaker.given_up()
        self._state.notify_all()

    def _settle(self, entry: SealedEpisode, attempt: Attempt) -> None:
        now = self._clock()
        with self._state:
            self._let_go(entry)
            self._store = attempt.store or self._store
            self.counts.bytes += attempt.bytes_sent
            self._learn(now, attempt)
            if attempt.action is None:
                self.counts.uploaded += 1
                self._waits.pop(entry.uuid, None)
            elif attempt.action is Action.FAIL:
                self.counts.failed += 1
                self._waits.pop(entry.uuid, None)
            elif attempt.action is Action.PAUSE:
                self._paused_until = now + _PAUSE_S
            else:
                self.counts.retried += 1
                failures = self._waits.get(entry.uuid, (0, 0.0))[0] + 1
                self._waits[entry.uuid] = (failures, now + backoff_s(failures, None, self._rng))
        if attempt.action is Action.FAIL:
            _log.warning("episode %s was refused for good; see %s", entry.uuid, self._spool.failed / entry.uuid)
        elif attempt.action is Action.PAUSE:
            self._say_pause(attempt.error)
        elif attempt.action is Action.RETRY:
            self._say_waiting(attempt.error)

    def _learn(self, now: float, attempt: Attempt) -> None:
        """What an attempt says about the hosts it asked."""
        store = attempt.store
        failed = None
        if attempt.action is not None and is_the_hosts(attempt.error):
            failed = store if attempt.step == "put" else self._api
        answered = {self._api}
        if store is not None:
            answered.add(store)
        for host in answered - {failed}:
            if self._breaker(host).is_open:
                self._waits.clear()  # it was the host's fault, and the host is back
                self._outage = False
                _log.info("%s answers again", host)
            self._breaker(host).succeeded()
        if failed is not None:
            self._breaker(failed).failed(now, attempt.error)

    def _asked(self) -> list[Breaker]:
        return [self._breaker(host) for host in dict.fromkeys((self._api, self._store)) if host]

    def _breaker(self, host: str) -> Breaker:
        return self._breakers.setdefault(host, Breaker(self._rng))

    def _blocked_until(self, now: float) -> float:
        with self._state:
            return max([now, *(breaker.not_before for breaker in self._asked())])

    @property
    def is_blocked(self) -> bool:
        """Whether the deployment, or its store, has failed three times in a row, or has refused the key."""
        with self._state:
            return self._paused_until is not None or any(breaker.is_open for breaker in self._asked())

    def tries_within(self, seconds: float) -> bool:
        """Whether something will be tried in that time, as far as is known."""
        now = self._clock()
        return self._next_try(now) <= now + seconds

    def _next_try(self, now: float) -> float:
        """When something will be tried again, as far as is known."""
        if self._paused_until is not None:
            return math.inf  # somebody has to log in first
        return self._blocked_until(now)

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
            with unforked():
                self._transport = Transport(self._target)
            self._api, self._store = host_of(self._target.base_url), None
        return True

    def _resolve(self) -> Target | None:
        try:
            return self._find_target()
        except ConfigurationError as exc:
            self._warn("configuration", "episodes stay in the spool: %s", exc)
            return None

    def _say_waiting(self, error: Exception | None) -> None:
        with self._state:
            news = not self._outage and any(breaker.is_open for breaker in self._asked())
            self._outage = self._outage or news
        if news:
            self._warn(
                "waiting",
                "uploads to %s wait: %s. Episodes are safe in %s and will be sent when it is back",
                self._target.base_url if self._target else "the deployment",
                error,
                self._spool.root,
            )

    def _say_pause(self, error: Exception | None) -> None:
        refused = isinstance(error, APIError) and error.status_code in (401, 403)
        what = "the deployment refused the API key" if refused else "what answers is no RoboTrace deployment"
        advice = "; log in again" if refused else ""
        self._warn("pause", "uploads pause: %s (%s)%s; episodes stay in the spool", what, error, advice)

    def _warn(self, cause: str, text: str, *arguments: object) -> None:
        now = self._clock()
        if now - self._warned.get(cause, -_WARNING_S) >= _WARNING_S:
            self._warned[cause] = now
            _log.warning(text, *arguments)

    def _write_status(self) -> None:
        now = self._clock()
        if now < self._next_status:
            return
        with self._state:
            waits = {host: round(max(0.0, b.not_before - now), 1) for host, b in self._breakers.items() if b.failures}
        told = {
            "pid": os.getpid(),
            "paused": self._paused_until is not None,
            "waits_s": waits,
            **asdict(self.counts),
        }
        if told == self._told:
            return
        self._told, self._next_status = told, now + _STATUS_S
        with contextlib.suppress(OSError):
            write_json(self._spool.uploader_file, told, durable=False)

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _close(self) -> None:
        self._next_status = 0.0
        if self._lock is not None:
            self._write_status()
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _is_large(entry: SealedEpisode) -> bool:
    manifest = entry.manifest() or {}
    return any(artifact["size"] > _LARGE_BYTES for artifact in manifest.get("artifacts", ()))
