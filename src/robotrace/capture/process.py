"""What one recording process owns: its folder in the spool, its block file, the writer thread, the encoder.

The training thread hands blocks over; the writer thread appends them, waits for the encoder, and seals. At an
episode's end the training thread itself appends what is not yet written, into the page cache: a process that is
killed right after ``env.step`` returned has lost nothing then. It never syncs or closes a file, and opens none but
the first: the folder and the block file are made with the process's first recorded episode.
"""

from __future__ import annotations

import collections
import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robotrace import faults
from robotrace.capture.cameras import Cameras, merge_result
from robotrace.capture.ring import VideoSettings
from robotrace.capture.streams import Rows
from robotrace.capture.video import EncoderProcess, VideoResult, VideoStream, open_video
from robotrace.context.process import begin_looking, complete
from robotrace.deliver.blocks import END, RESUME, START, STEPS, BlockFile, encode_json, encode_steps
from robotrace.deliver.files import write_json
from robotrace.deliver.guards import unforked
from robotrace.deliver.sealing import VIDEO_FILE, EpisodeParts, complete_episode
from robotrace.deliver.spool import MAX_GROUP, SealedEpisode, Spool, WholeEpisode

__all__ = ["EpisodeFile", "RecordingProcess"]

_log = logging.getLogger("robotrace")

_MAX_PENDING_BYTES = 256 * 1024 * 1024
_YIELD_BYTES = 8 * 1024 * 1024
_YIELD_S = 0.002
"""An env that steps in under 3 µs starves the writer of the interpreter lock: it waits 5 ms for it at every turn, and a
block comes every 6 ms. Above 8 MiB the training thread steps aside for 2 ms a block (0.5 µs a step), and no more where
the disk is what is slow."""
_MANY_UNSEALED = 1000
"""Episodes, of 11 KB each. 20 steps of an env of 1 µs are made in 0.4 ms and sealed in more, and a loop that never lets
go of the interpreter lock starves whoever seals: above this many it steps aside at each episode's end."""
_FEW_UNSEALED = 8
"""Where more wait to be sealed they share one sync of the disk: 16 ms at the median and 0.8 s at p99 on a busy one."""
_GROUP_S = 1.0
"""No episode waits longer for others to be sealed with."""
_ROTATE_BYTES = 64 * 1024 * 1024
_ENCODER_TIMEOUT_S = 60.0
_MAX_ENCODER_STARTS = 2


class _Pending:
    """A record that is not known to be in the file yet."""

    __slots__ = ("content", "kind", "nbytes", "sequence", "t_ns", "written")

    def __init__(self, kind: int, sequence: int, content: Any, nbytes: int, t_ns: int = 0) -> None:
        self.kind = kind
        self.sequence = sequence
        self.content = content
        self.nbytes = nbytes
        self.t_ns = t_ns
        self.written = False


class _Window:
    """Of an episode of which only the last seconds are kept: from where on its blocks are needed.

    Attributes:
        path: The block file from which on it can be read, as far as is known.
    """

    def __init__(self, window_ns: int) -> None:
        self.path: Path | None = None
        self._window_ns = window_ns
        self._t_ns = 0
        self._starts: collections.deque[tuple[int, int, Path]] = collections.deque()

    def written(self, path: Path, t_ns: int) -> None:
        """A record is in a file, up to this time on the episode's clock."""
        self.path = self.path or path
        self._t_ns = max(self._t_ns, t_ns)

    def resume(self, sequence: int, path: Path) -> None:
        """Blocks from this number on can be read without those before; they are in this file and the following."""
        self._starts.append((self._t_ns, sequence, path))
        self.path = path

    def slide(self) -> tuple[int, Path] | None:
        """The latest such place that still has the whole window after it; None where that is no news."""
        found = None
        while self._starts and self._starts[0][0] < self._t_ns - self._window_ns:
            found = self._starts.popleft()[1:]
        return found


class EpisodeFile:
    """One episode's way to the disk. Methods are the training thread's where they do not say otherwise."""

    def __init__(self, process: RecordingProcess, start: Mapping[str, Any]) -> None:
        self.uuid: str = start["uuid"]
        process.begin(self.uuid)
        self.folder = process.folder / self.uuid
        self.parts = EpisodeParts(self.uuid)
        self.cameras: Cameras | None = None
        self.overloaded = False
        self._video: VideoResult | None = None
        self._process = process
        self._sequence = 0
        self._pending: collections.deque[_Pending] = collections.deque()
        self._lock = threading.Lock()  # around two list operations, never around I/O
        self._window = _Window(start["window_ns"]) if "window_ns" in start else None
        self._push(_Pending(START, 0, dict(start), 0))

    def open_cameras(self, settings: VideoSettings, *, realtime: bool) -> Cameras:
        """The episode's cameras; the encoder is asked for with their first frame."""
        path = self.folder / VIDEO_FILE
        self.cameras = Cameras(lambda: self._process.open_video(path, settings), realtime=realtime)
        return self.cameras

    def append(self, rows: list[Rows], nbytes: int, t_ns: int) -> None:
        """Hand over a block.

        Args:
            rows: Of all streams.
            nbytes: Their size; beyond 256 MiB that wait for the disk the block is dropped.
            t_ns: When it ends, on the episode's clock.
        """
        if self._process.pending_bytes > _YIELD_BYTES:
            time.sleep(_YIELD_S)
        if self._process.pending_bytes > _MAX_PENDING_BYTES and not self.overloaded:
            self.overloaded = True
            self._process.truncated += 1
        if self.overloaded:
            return
        self._push(_Pending(STEPS, self._sequence, rows, nbytes, t_ns))
        self._sequence += 1

    def end(self, content: Mapping[str, Any], *, cut_ns: int | None = None) -> None:
        """The last record; when this returns everything is in the page cache.

        Args:
            content: Of the record.
            cut_ns: Of an episode's last seconds: what is before this time is left out of the video.
        """
        self._end(content, cut_ns)
        if self._process.unsealed > _MANY_UNSEALED:
            time.sleep(_YIELD_S)

    def _end(self, content: Mapping[str, Any], cut_ns: int | None) -> None:
        self._pending.append(_Pending(END, 0, dict(content), 0))
        if self.cameras is not None:
            self.cameras.close(cut_ns)
        try:
            self.write_pending()
        except OSError as exc:  # a full disk: the writer thread tries again at the seal
            self._process.failed(exc)
            faults.report("an episode's last steps could not be written at once", exc)
        self._process.ended()
        self._process.enqueue(self.seal)

    def end_later(self, content: Mapping[str, Any]) -> None:
        """:meth:`end` on the writer thread. The garbage collector may call this at any point, inside our locks too."""
        self._process.defer(lambda: self._end(content, None))

    def write_pending(self) -> None:
        """On any thread: append what is not in the file yet; two at once repeat a record, which is harmless."""
        while True:
            with self._lock:
                item = self._pending[0] if self._pending else None
            if item is None:
                return
            if not item.written:
                record = self._process.append(item.kind, self.uuid, item.sequence, self._encode(item))
                self.parts.feed(record)
                item.written = True
                if self._window is not None:
                    self._window.written(record.path, item.t_ns)
            with self._lock:
                if self._pending and self._pending[0] is item:
                    self._pending.popleft()
                    self._process.add_pending(-item.nbytes)

    @staticmethod
    def _encode(item: _Pending) -> bytes:
        if item.kind == STEPS:
            return encode_steps([column for rows in item.content for column in rows.columns()])
        return encode_json(item.content)

    def seal(self) -> None:
        """On the writer thread: the last bytes, the video, the files; the folder is sealed along with others."""
        whole = None
        try:
            self.write_pending()
            self._take_video()
            self._take_facts()
            whole = complete_episode(self.folder, self.parts)
            if whole is None:
                if self.folder.exists():
                    self._process.spool.discard(self.folder)
                self._process.forget(self.uuid)
        except OSError:
            self._process.keep_for_later(self)
            raise
        finally:
            if whole is not None:
                self._process.seal_soon(self, whole)
            else:  # one that cannot be sealed (a full disk) waits for room, and nobody waits for it any more
                self._process.settled()

    def sealed(self, result: SealedEpisode | Exception) -> None:
        """On the writer thread: what became of it."""
        self._process.settled()
        if isinstance(result, Exception):
            if isinstance(result, OSError):
                self._process.keep_for_later(self)
            raise result
        self._process.forget(self.uuid)
        self._process.on_sealed(result)

    def write_intent(self) -> None:
        """On the writer thread: the folder, and who this is, for a reader of the spool."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.parts.start is not None:
            write_json(self.folder / "intent.json", self.parts.start, durable=False)

    def _push(self, item: _Pending) -> None:
        self._process.add_pending(item.nbytes)
        self._pending.append(item)
        self._process.enqueue(self._write_start if item.kind == START else self._write)

    def _write_start(self) -> None:
        self._write()
        if not self.parts.end:
            self.write_intent()

    def _write(self) -> None:
        """On the writer thread."""
        self.write_pending()
        if self._window is not None and self.parts.start is not None and self.parts.end is None:
            self._slide(self._window)

    def _slide(self, window: _Window) -> None:
        """Of the last seconds: go on in another file when this one is large, and let go of those before the window."""
        path = self._process.rotate()
        if window.path != path:
            sequence, columns = self.parts.resume()
            self._process.append(START, self.uuid, 0, encode_json(self.parts.start or {}))
            self.parts.feed(self._process.append(RESUME, self.uuid, sequence, encode_steps(columns)))
            window.resume(sequence, path)
        found = window.slide()
        if found is not None:
            sequence, path = found
            self.parts.release(sequence)
            self._process.release(self.uuid, path)

    def _take_facts(self) -> None:
        start, end = self.parts.start, self.parts.end
        if start is not None and end is not None and not end.get("discard"):
            complete(start["create"])

    def _take_video(self) -> None:
        if self.cameras is not None and self._video is None:  # an encoder answers once, and a seal may be repeated
            self._video = self.cameras.result(_ENCODER_TIMEOUT_S)
        result = self._video
        end = self.parts.end
        if self.cameras is None or result is None or end is None or end.get("discard"):
            return
        file = self.folder / VIDEO_FILE
        counted: list[int] = []
        if result.cameras is None and file.exists():
            # Here, not above: PyAV takes 90 ms and 20 MB that the training process has no other use for.
            with unforked():
                from robotrace.capture.mp4 import count_frames

            counted = count_frames(file)
        metadata = end["finalize"].setdefault("metadata", {})
        metadata["video"], missing = merge_result(self.cameras.metadata() or {}, result, counted)
        if missing:
            metadata["incomplete"] = {**metadata.get("incomplete", {}), **missing}
            _log.warning("the video of episode %s is incomplete: %s", self.uuid, "; ".join(missing.values()))
        if metadata["video"]["frames"] == 0:
            file.unlink(missing_ok=True)


class RecordingProcess:
    """The recording half of a process, made with its first recorded episode.

    Args:
        spool: Where the episodes go.
        on_sealed: Called on the writer thread with each sealed episode.
        on_error: Called, mostly on the writer thread, with what kept something from being written.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(
        self,
        spool: Spool,
        on_sealed: Callable[[SealedEpisode], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.spool = spool
        self.on_sealed = on_sealed
        self.recorded = 0
        self.truncated = 0
        """Episodes of which a part was dropped, since the disk could not keep up."""
        self._on_error = on_error
        self._unsealable: list[EpisodeFile] = []
        self._group: list[tuple[EpisodeFile, WholeEpisode]] = []  # the writer thread's own
        self._group_until = 0.0
        self.pending_bytes = 0
        self.unsealed = 0
        """Episodes that have ended and wait; not the open ones, of which a large vector has thousands."""
        owned = spool.new_recording_folder()
        self.folder = owned.path
        self._lock = owned.lock
        self._files_made = 1
        self._file = BlockFile(self._block_path())
        self._old_files: list[BlockFile] = []
        self._users: dict[Path, set[str]] = collections.defaultdict(set)
        self._unsealed: set[str] = set()
        self._counting = threading.Lock()  # around counters and sets, never around I/O
        self._encoder: EncoderProcess | None = None
        self._encoder_starts = 0
        self._filming = threading.Lock()  # two threads may film their first episodes at the same time
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ended(self) -> None:
        """An episode waits to be sealed from here until :meth:`settled`."""
        with self._counting:
            self.unsealed += 1

    def settled(self) -> None:
        """It was sealed, or could not be."""
        with self._counting:
            self.unsealed -= 1

    def begin(self, uuid: str) -> None:
        """An episode exists from here until :meth:`forget`."""
        with self._counting:
            self.recorded += 1
            self._unsealed.add(uuid)

    def add_pending(self, nbytes: int) -> None:
        """Count bytes that wait for the disk."""
        with self._counting:
            self.pending_bytes += nbytes

    def enqueue(self, job: Callable[[], None]) -> None:
        """Run ``job`` on the writer thread, which starts with the first one."""
        self._jobs.put(job)
        if self._thread is not None:
            return
        with self._counting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="robotrace-writer", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is ending (Python 3.12): drain() runs the jobs itself
                    return
                self._thread = thread

    def defer(self, job: Callable[[], None]) -> None:
        """Queue ``job`` and no more: takes no lock and starts no thread (``SimpleQueue.put`` is reentrant)."""
        self._jobs.put(job)

    def append(self, kind: int, uuid: str, sequence: int, payload: bytes) -> Any:
        """Append one record to the current block file."""
        with self._counting:
            file = self._file
            self._users[file.path].add(uuid)
        return file.append(kind, uuid, sequence, payload)

    def open_video(self, path: Path, settings: VideoSettings) -> VideoStream:
        """Begin a video: in the encoder process, or on a thread where none can run."""
        with self._filming:
            if self._encoder is not None and not self._encoder.alive:
                self._encoder.close(0)
                self._encoder = None
            if self._encoder is None and self._encoder_starts < _MAX_ENCODER_STARTS:
                self._encoder_starts += 1
                try:
                    self._encoder = EncoderProcess(keep_open=(self._lock,))
                except OSError as exc:
                    _log.warning("no process can be started for the video encoder (%s); a thread does it", exc)
            encoder = self._encoder
        return open_video(encoder, path, settings)

    def rotate(self) -> Path:
        """On the writer thread: begin another block file when the present one is large; returns the one that is it."""
        if self._file.size > _ROTATE_BYTES:
            self._files_made += 1
            following = BlockFile(self._block_path())
            with self._counting:
                self._old_files.append(self._file)
                self._file = following
        return self._file.path

    def forget(self, uuid: str) -> None:
        """On the writer thread: an episode needs its blocks no more; old block files nobody needs are deleted."""
        self.rotate()
        with self._counting:
            self._unsealed.discard(uuid)
        self.release(uuid, None)

    def release(self, uuid: str, path: Path | None) -> None:
        """On the writer thread: an episode needs no block before those in ``path``; None: none at all."""
        with self._counting:
            for file in (*self._old_files, self._file):
                if file.path == path:
                    break
                self._users[file.path].discard(uuid)
            unused = [file for file in self._old_files if not self._users[file.path]]
            for file in unused:
                self._old_files.remove(file)
                del self._users[file.path]
        for file in unused:
            file.close()
            file.path.unlink(missing_ok=True)

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything handed over so far is sealed; False when the time ran out first."""
        done = threading.Event()

        def seal_and_say() -> None:
            try:
                self._seal_group()
            finally:
                done.set()

        if self._thread is None:
            self._jobs.put(seal_and_say)
            while not self._jobs.empty():
                self._run_job(self._jobs.get())
            return True
        self.enqueue(seal_and_say)
        return done.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Seal what is ended, end the encoder, remove the folder; False when the time ran out first.

        What is left then, and what could not be sealed (a full disk), is salvaged by the next uploader.
        """
        drained = self.drain(timeout_s)
        if self._encoder is not None:
            self._encoder.close(timeout_s if drained else 0)
            self._encoder = None
        if not drained:
            return False
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout_s)
        for file in (self._file, *self._old_files):
            file.close()
        if not self._unsealed:
            self.spool.discard(self.folder)
        self._unlock()
        return not self._unsealed

    def abandon(self) -> None:
        """In a forked child: let go of all that is the parent's, without touching it."""
        if self._encoder is not None:
            self._encoder.abandon()
        for file in (self._file, *self._old_files):
            file.abandon()
        # Closing a duplicate of the descriptor leaves the parent's lock as it is; unlocking would not.
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _block_path(self) -> Path:
        return self.folder / f"blocks-{self._files_made:04d}.rtb"

    def _run(self) -> None:
        begin_looking()
        while (job := self._next_job()) is not None:
            self._run_job(job)

    def _next_job(self) -> Callable[[], None] | None:
        if not self._group:
            return self._jobs.get()
        try:
            return self._jobs.get(timeout=max(0.0, self._group_until - time.monotonic()))
        except queue.Empty:
            return self._seal_group

    def seal_soon(self, episode: EpisodeFile, whole: WholeEpisode) -> None:
        """On the writer thread: seal an episode; along with the others, where more than a few wait."""
        if not self._group:
            self._group_until = time.monotonic() + _GROUP_S
        self._group.append((episode, whole))

    def _seal_group_when_due(self) -> None:
        group = len(self._group)
        if (
            group >= min(self.unsealed, MAX_GROUP)  # all that wait are in it
            or self.unsealed <= _FEW_UNSEALED
            or not self.spool.durable
            or time.monotonic() >= self._group_until
        ):
            self._seal_group()

    def _seal_group(self) -> None:
        group, self._group = self._group, []
        if not group:
            return
        results: Sequence[SealedEpisode | Exception]
        try:
            results = self.spool.seal([whole for _, whole in group])
        except Exception as exc:  # the spool is gone
            results = [exc] * len(group)
        for (episode, _), result in zip(group, results, strict=True):
            self._run_guarded(functools.partial(episode.sealed, result))

    def keep_for_later(self, episode: EpisodeFile) -> None:
        """On the writer thread: an episode that could not be sealed, for :meth:`seal_again`."""
        self._unsealable.append(episode)

    def seal_again(self) -> None:
        """Have the writer thread seal what it could not before: there is room on the disk again."""

        def seal_all() -> None:
            waiting, self._unsealable = self._unsealable, []
            for _ in waiting:
                self.ended()
            for episode in waiting:
                self._run_job(episode.seal)

        if self._unsealable:
            self.enqueue(seal_all)

    def failed(self, exc: Exception) -> None:
        """Something could not be written."""
        if self._on_error is not None:
            self._on_error(exc)

    def _run_job(self, job: Callable[[], None] | None) -> None:
        if job is not None:
            self._run_guarded(job)
        if self._group:
            self._run_guarded(self._seal_group_when_due)

    def _run_guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as exc:
            try:
                self.failed(exc)
                faults.report("an episode could not be written", exc)
            except Exception:
                _log.exception("the writer thread failed")
