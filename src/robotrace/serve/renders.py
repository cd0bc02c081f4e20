"""Making the video of an episode later, when somebody asks for it, or for each one that failed.

The episode is run again in a worker process, one at a time and never in a request. Its video is kept only when every
compared value came out as it was recorded: a picture of something else is no picture of this episode.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import Request
from pydantic import ValidationError
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from robotrace.errors import ConfigurationError
from robotrace.reroll.jobs import Job, Verdict, VideoRequest
from robotrace.reroll.plan import read_plan
from robotrace.reroll.pool import Cancelled, Limits, run_job
from robotrace.serve.arrivals import keep_artifact, with_space
from robotrace.serve.artifacts import MAX_SIZE, content_type
from robotrace.serve.episodes import HAS_VIDEO
from robotrace.serve.frame_times import FrameTimes, VideoError, read_frame_times
from robotrace.serve.may_run import may_run
from robotrace.serve.models import DEFAULT_PROJECT_ID, Episode, Reproduction
from robotrace.serve.reproductions import set_video, store_report
from robotrace.serve.schemas_reroll import RenderState, RenderView, Report
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError
from robotrace.serve.video_index import ensure_video_index

__all__ = ["RenderRefused", "Renders", "Runner", "get_renders"]

_logger = logging.getLogger(__name__)

Runner = Callable[..., Verdict]
"""Called as :func:`robotrace.reroll.pool.run_job` is."""

# An episode of 10,000 steps renders in about a minute; the machine belongs to others first.
_LIMITS = Limits(time_s=600.0, memory_bytes=4 * 1024**3, nice=10)
_MAX_ASKED = 100
_MAX_FOUND = 10_000
_MAX_EARLIER = 1000
"""Failed episodes from before the start, the newest; further ones can be asked for on their page."""
_MAX_REMEMBERED = 500
_BLOCK = 1024 * 1024
_UNDER_WAY: tuple[RenderState, ...] = ("queued", "running")


class RenderRefused(Exception):
    """A render that is not begun.

    Args:
        status_code: The HTTP status that says so.
        message: Why.
    """

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


@dataclass(eq=False)
class _Render:
    """One render, from the moment it was wanted until it is forgotten."""

    episode_id: str
    state: RenderState = "queued"
    done: int = 0
    total: int | None = None
    reason: str | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class _Failed(Exception):
    """No video; the text says why."""


class Renders:
    """The renders of one deployment; a thread is started with the first one.

    Args:
        services: The deployment's parts.
        run: Runs an episode again.
        limits: What each of them may take.
    """

    def __init__(self, services: Services, *, run: Runner = run_job, limits: Limits = _LIMITS) -> None:
        self._services = services
        self._run = run
        self._limits = limits
        self._import_from = tuple(folder.resolve() for folder in services.settings.import_from)
        self._changed = threading.Condition()
        self._renders: dict[str, _Render] = {}
        # Those that somebody waits for come first.
        self._asked: deque[_Render] = deque()
        self._found: deque[_Render] = deque()
        self._ended: deque[_Render] = deque()
        self._running: _Render | None = None
        self._look_for_earlier = services.settings.render_failed
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with the failed episodes from before, where the settings say so; else wait for the first to come."""
        if self._look_for_earlier:
            with self._changed:
                self._begin()

    def ask(self, episode_id: str, project_id: int) -> bool:
        """Want the video of an episode of a project; nothing changes when it is wanted already, or there.

        Returns:
            Whether anything changes.

        Raises:
            RenderRefused: 404 when there is no such episode, 409 when it may not run here, 429 when too many wait.
        """
        with self._services.database.read() as session:
            episode = session.get(Episode, episode_id)
            if episode is None or episode.project_id != project_id:
                raise RenderRefused(404, "there is no such episode")
            if _has_video(session, episode_id):
                return False
            reason = self.why_not(episode)
        if reason is not None:
            raise RenderRefused(409, reason)
        with self._changed:
            if self._stopping:
                raise RenderRefused(503, "the deployment is being stopped")
            render = self._renders.get(episode_id)
            if render is None or render.state not in _UNDER_WAY:
                render = _Render(episode_id)
            elif render not in self._found:
                return False
            if len(self._asked) >= _MAX_ASKED:
                raise RenderRefused(429, f"{_MAX_ASKED} videos wait to be rendered; try again later")
            if render in self._found:
                self._found.remove(render)
            self._renders[episode_id] = render
            self._asked.append(render)
            self._begin()
            return True

    def consider(self, episode_id: str) -> None:
        """An episode has ended: render it where the settings want that, and it failed without a video."""
        if self._services.settings.render_failed:
            self._add(episode_id, newest=True)

    def cancel(self, episode_id: str) -> None:
        """Want it no more; harmless when it has ended, or never was wanted."""
        with self._changed:
            render = self._renders.get(episode_id)
            if render is None or render.state not in _UNDER_WAY:
                return
            render.cancelled.set()
            for waiting in (self._asked, self._found):
                if render in waiting:
                    waiting.remove(render)
                    self._end(render, "cancelled")

    def why_not(self, episode: Episode) -> str | None:
        """Why an episode is not run again here; None when it may be."""
        settings = self._services.settings
        if not settings.runs_code:
            return "this deployment runs no episodes again, unless it is started with --import-from or --render-failed"
        # What runs has the rights of the deployment, and whoever holds a key chooses it among what is installed.
        if settings.asks_for_sign_in and episode.project_id != DEFAULT_PROJECT_ID:
            return "this deployment runs again only the episodes of its project default"
        if episode.status not in ("ready", "failed"):
            return f"the episode is {episode.status}"
        return may_run(episode.meta, self._import_from)

    def view(self, episode_id: str) -> RenderView | None:
        """How the render of an episode stands; None when none was wanted since the deployment started."""
        with self._changed:
            render = self._renders.get(episode_id)
            if render is None:
                return None
            ahead = 0
            if render.state == "queued":
                ahead = [*self._asked, *self._found].index(render) + (self._running is not None)
            return RenderView(
                state=render.state, done=render.done, total=render.total, ahead=ahead, reason=render.reason
            )

    def counts(self) -> list[tuple[str, float]]:
        """How many wait and run, by state."""
        with self._changed:
            return [("queued", len(self._asked) + len(self._found)), ("running", self._running is not None)]

    def cancel_all(self) -> None:
        """The deployment stops: end what runs, begin nothing more."""
        with self._changed:
            self._stopping = True
            for render in self._renders.values():
                render.cancelled.set()
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread after :meth:`cancel_all`."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="robotrace-renders", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        if self._look_for_earlier:
            try:
                self._find_earlier()
            except Exception:
                _logger.exception("the failed episodes from before are not rendered")
        while True:
            with self._changed:
                while not (self._stopping or self._asked or self._found):
                    self._changed.wait()
                if self._stopping:
                    return
                render = self._running = (self._asked or self._found).popleft()
                render.state = "running"
            state, reason = self._outcome(render)
            with self._changed:
                self._running = None
                self._end(render, state, reason)

    def _end(self, render: _Render, state: RenderState, reason: str | None = None) -> None:
        render.state, render.reason = state, reason
        self._ended.append(render)
        if len(self._ended) > _MAX_REMEMBERED:
            forgotten = self._ended.popleft()
            if self._renders.get(forgotten.episode_id) is forgotten:
                del self._renders[forgotten.episode_id]

    def _find_earlier(self) -> None:
        with self._services.database.read() as session:
            query = (
                select(Episode.id)
                .where(Episode.status == "failed", ~HAS_VIDEO, ~_IS_CHECKED)
                .order_by(Episode.created_at.desc(), Episode.id.desc())
                .limit(_MAX_EARLIER)
            )
            found = list(session.scalars(query))
        for episode_id in found:
            if self._stopping:
                return
            self._add(episode_id, newest=False)

    def _add(self, episode_id: str, *, newest: bool) -> None:
        with self._services.database.read() as session:
            episode = session.get(Episode, episode_id)
            if episode is None or not self._is_wanted(session, episode):
                return
        with self._changed:
            if self._stopping or episode_id in self._renders:
                return
            render = self._renders[episode_id] = _Render(episode_id)
            if newest:
                self._found.appendleft(render)
            else:
                self._found.append(render)
            if len(self._found) > _MAX_FOUND:
                del self._renders[self._found.pop().episode_id]
            self._begin()

    def _is_wanted(self, session: Session, episode: Episode) -> bool:
        return (
            episode.status == "failed"
            and not _has_video(session, episode.id)
            and session.get(Reproduction, episode.id) is None
            and self.why_not(episode) is None
        )

    def _outcome(self, render: _Render) -> tuple[RenderState, str | None]:
        try:
            self._render(render)
        except Cancelled:
            return "cancelled", None
        except (_Failed, StoreError, ConfigurationError) as error:
            return "failed", str(error)
        except Exception:
            _logger.exception("rendering episode %s failed", render.episode_id)
            return "failed", "internal error; the log of the deployment says more"
        return "done", None

    def _render(self, render: _Render) -> None:
        folder = self._services.settings.renders_dir
        folder.mkdir(mode=0o700, exist_ok=True)
        with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as name:
            path, working = Path(name, "video.mp4"), Path(name, "working")
            working.mkdir()

            def on_progress(done: int, total: int) -> None:
                render.done, render.total = done, total

            with ExitStack() as files:
                verdict = self._run(
                    self._job(render.episode_id, path, files),
                    limits=self._limits,
                    on_progress=on_progress,
                    cancelled=render.cancelled,
                    folder=working,
                )
            report = _report(verdict)
            if verdict.verdict == "reproduced" and verdict.video is not None:
                self._keep(render, path, report)
                return
        self._store(render.episode_id, report)
        if verdict.verdict == "reproduced":
            raise _Failed(
                f"the episode happened again, but without a picture: {verdict.video_fault or 'none was made'}"
            )
        raise _Failed(verdict.in_short)

    def _job(self, episode_id: str, path: Path, opened: ExitStack) -> Job:
        with self._services.database.read() as session:
            episode = session.get(Episode, episode_id)
            reason = "the episode is gone" if episode is None else self.why_not(episode)
            if episode is None or reason is not None:
                raise _Failed(reason)
            keys = {artifact.kind: artifact.object_key for artifact in episode.artifacts}
            metadata, fps = episode.meta, episode.fps
        if "video" in keys:
            raise _Failed("its video has arrived by itself")
        files = {
            kind: str(opened.enter_context(self._services.store.local_file(keys[kind])))
            for kind in ("sensors", "actions")
            if kind in keys
        }
        plan = read_plan(metadata)
        return Job(
            episode_id=episode_id,
            metadata=metadata,
            sensors=files.get("sensors"),
            actions=files.get("actions"),
            fps=fps,
            import_from=tuple(str(folder) for folder in self._import_from),
            trusts_sources=False,  # it came over the wire, and so did the files
            video=VideoRequest(str(path), max_edge=plan.max_edge, every_n_steps=plan.every_n_steps),
        )

    def _keep(self, render: _Render, path: Path, report: Report) -> None:
        """Move the video into its slot; the verdict and the metadata change with it."""
        try:
            times = read_frame_times(path)
        except VideoError as error:
            raise _Failed(f"the video that was made cannot be read: {error}") from error
        writer = with_space(lambda: self._services.store.writer(MAX_SIZE))
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    if render.cancelled.is_set():
                        raise Cancelled
                    with_space(lambda: writer.write(block))
            keep_artifact(
                self._services,
                render.episode_id,
                "video",
                writer,
                content_type=content_type("video"),
                also=lambda session, episode: _describe(session, episode, report, times, writer.size),
            )
        finally:
            writer.discard()
        ensure_video_index(self._services, render.episode_id)

    def _store(self, episode_id: str, report: Report) -> None:
        with self._services.database.write() as session:
            if session.get(Episode, episode_id) is None:
                return
            store_report(session, episode_id, report)


_IS_CHECKED = exists().where(Reproduction.episode_id == Episode.id)


def get_renders(request: Request) -> Renders:
    """The renders of the deployment that serves this request."""
    renders = request.app.state.renders
    assert isinstance(renders, Renders)
    return renders


def _has_video(session: Session, episode_id: str) -> bool:
    return bool(session.scalar(select(HAS_VIDEO).where(Episode.id == episode_id)))


def _report(verdict: Verdict) -> Report:
    try:
        return Report.model_validate(verdict.to_dict())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _Failed(f"what came of it cannot be stored: {where}: {first['msg']}") from error


def _describe(session: Session, episode: Episode, report: Report, times: FrameTimes, size: int) -> None:
    assert report.video is not None
    store_report(session, episode.id, report)
    set_video(
        episode,
        frames=len(times.times_ms) - 1,
        width=times.width,
        height=times.height,
        preset=report.video.preset,
        size=size,
    )
