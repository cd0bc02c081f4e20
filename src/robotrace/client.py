"""The synchronous client: a call sends exactly its own requests, and nothing in the background."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from robotrace.config import is_quiet, resolve_target
from robotrace.context.run import run_facts
from robotrace.context.trace import current_trace
from robotrace.episode import Episode, UploadUrl, checked_artifact, close_anyway, close_finished
from robotrace.errors import ConfigurationError
from robotrace.ingest import (
    LONGEST_TEXT,
    ArtifactKind,
    EpisodeFinalStatus,
    EpisodeSource,
    camera_kind,
    checked_choice,
    checked_text,
    create_episode,
    create_payload,
    finalize_payload,
    read_features,
)
from robotrace.reading import download_artifact, get_episode, list_episodes

if TYPE_CHECKING:
    import httpx

    from robotrace.transport import Progress

__all__ = ["Client", "close", "default_client", "init", "log_episode", "start_episode"]


class Client:
    """A connection to a deployment.

    Args:
        api_key: Else ``ROBOTRACE_API_KEY``, else the credentials file.
        base_url: Else ``ROBOTRACE_BASE_URL``, else the credentials file.
        timeout: Seconds (or an ``httpx.Timeout``) for JSON calls; None is connect 10, read 30, write 30, pool 10.
        verbose: Whether opening an episode prints its portal URL; None: when stdout is a terminal and
            ``ROBOTRACE_QUIET`` is not set.
        transport: Replaces the network, for tests.
        profile: Where to look in the credentials file; else ``ROBOTRACE_PROFILE``, else ``default``.

    Raises:
        ConfigurationError: No API key or no base URL was found, or there is no profile of that name.

    Example:
        >>> with Client(base_url="http://127.0.0.1:8321", api_key=key) as client:     # doctest: +SKIP
        ...     with client.start_episode(name="pick 7", artifacts=["sensors"]) as episode:
        ...         episode.upload("sensors", "sensors.npz")
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float | httpx.Timeout | None = None,
        verbose: bool | None = None,
        transport: httpx.BaseTransport | None = None,
        profile: str | None = None,
    ) -> None:
        # Here, not above: httpx takes 70 ms to import, and the encoder worker imports robotrace too.
        from robotrace.transport import Transport

        target = resolve_target(api_key=api_key, base_url=base_url, profile=profile)
        self._verbose = verbose
        self._transport = Transport(target, timeout=timeout, transport=transport)

    @property
    def base_url(self) -> str:
        """The deployment's address, without a trailing ``/``."""
        return self._transport.base_url

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client(base_url={self.base_url!r})"

    def start_episode(
        self,
        *,
        name: str | None = None,
        source: EpisodeSource = "real",
        robot: str | None = None,
        policy_version: str | None = None,
        env_version: str | None = None,
        git_sha: str | None = None,
        seed: int | None = None,
        fps: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        artifacts: Sequence[ArtifactKind] = ("video", "sensors", "actions"),
        cameras: Sequence[str] = (),
    ) -> Episode:
        """Open an episode on the deployment.

        Args:
            name: Up to 200 characters.
            source: ``real``, ``sim`` or ``replay``.
            robot: Up to 120 characters.
            policy_version: What acted.
            env_version: What it acted in.
            git_sha: The code's commit.
            seed: The seed of the episode's reset.
            fps: Frames (or steps) a second.
            metadata: Anything; values JSON has no word for are converted, never refused.
            artifacts: The slots that will be uploaded; ``()`` for metadata only.
            cameras: Names of further cameras, each with a video of its own in slot ``video.<camera>``; only where
                ``GET /api/features`` of the deployment has ``camera_slots``.

        Raises:
            ConfigurationError: An argument does not fit, or the deployment has no slots for ``cameras``; no episode
                was opened.
            APIError: The deployment refused it.
            TransportError: It could not be reached.
        """
        checked_choice("source", source, EpisodeSource)
        texts = {"name": name, "robot": robot, "policy_version": policy_version}
        for text, value in {**texts, "env_version": env_version, "git_sha": git_sha}.items():
            checked_text(text, value, LONGEST_TEXT.get(text))
        for kind in artifacts:
            checked_choice("artifacts", kind, ArtifactKind)
        slots = [*artifacts, *(camera_kind(camera) for camera in cameras)]
        run = run_facts()
        given = {} if metadata is None else metadata
        if run.active and isinstance(given, Mapping):
            given = {**run.as_metadata(), **given}
        if cameras and "camera_slots" not in read_features(self._transport):
            raise ConfigurationError(f"{self.base_url} has no slots for further cameras; one video file may hold all")
        key = str(uuid.uuid4())
        payload = create_payload(
            source=source,
            request_uploads=slots,
            client_episode_id=key,
            name=name,
            robot=robot,
            policy_version=run.policy_version if policy_version is None else policy_version,
            env_version=run.env_version if env_version is None else env_version,
            git_sha=run.git_sha if git_sha is None else git_sha,
            seed=run.seed if seed is None else seed,
            fps=fps,
            otel=current_trace(),
            metadata=given,
        )
        answer = create_episode(self._transport, payload, idempotency_key=key, retry_rate_limit=True)
        episode = _episode_from(answer, self)
        self._announce(episode)
        return episode

    def log_episode(
        self,
        *,
        name: str | None = None,
        source: EpisodeSource = "real",
        robot: str | None = None,
        policy_version: str | None = None,
        env_version: str | None = None,
        git_sha: str | None = None,
        seed: int | None = None,
        video: str | os.PathLike[str] | None = None,
        sensors: str | os.PathLike[str] | None = None,
        actions: str | os.PathLike[str] | None = None,
        duration_s: float | None = None,
        fps: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        status: EpisodeFinalStatus = "ready",
        failure_time_s: float | None = None,
        cameras: Mapping[str, str | os.PathLike[str]] | None = None,
        progress: Callable[[ArtifactKind, int, int | None], None] | None = None,
    ) -> Episode:
        """Log a finished episode in one call: open it, upload the files given, finalize it.

        Every file is looked at before anything is opened. When an upload fails the episode is finalized as failed
        (``failure_reason`` "upload error: …") and the error goes on; so does an interrupt (Ctrl-C, ``sys.exit`` in a
        signal handler), with "upload interrupted: …". A second interrupt ends that too.

        Args:
            name: As in :meth:`start_episode`, like every argument not listed here.
            source: As above.
            robot: As above.
            policy_version: As above.
            env_version: As above.
            git_sha: As above.
            seed: As above.
            video: Path of an ``.mp4`` (or .webm .mov .m4v .mkv).
            sensors: Path of an ``.npz`` (or another array format).
            actions: Path of an ``.npz`` (or another array format).
            duration_s: Seconds from start to end.
            fps: Frames (or steps) a second.
            metadata: As above.
            status: ``ready`` or ``failed``.
            failure_time_s: Seconds from the start; only with ``failed``.
            cameras: Videos of further cameras by their names, as in :meth:`start_episode`.
            progress: Called while files go up, with the slot, the bytes sent so far and the size.

        Raises:
            ConfigurationError: A file is missing or an argument does not fit; nothing was sent.
            APIError: The deployment refused something.
            TransportError: It could not be reached.
        """
        checked_choice("status", status, EpisodeFinalStatus)
        if failure_time_s is not None and status != "failed":
            raise ConfigurationError("failure_time_s goes with status='failed' only")
        closing: dict[str, Any] = {"duration_s": duration_s, "fps": fps, "failure_time_s": failure_time_s}
        finalize_payload(status=status, metadata=metadata, **closing)  # refuses what does not fit before a row is open
        slots: dict[ArtifactKind, str | os.PathLike[str] | None]
        slots = {"video": video, "sensors": sensors, "actions": actions}
        files: dict[str, Path] = {
            kind: checked_artifact(kind, path) for kind, path in slots.items() if path is not None
        }
        artifacts = cast("tuple[ArtifactKind, ...]", tuple(files))
        for camera, path in (cameras or {}).items():
            files[camera_kind(camera)] = checked_artifact(camera_kind(camera), path)
        episode = self.start_episode(
            name=name,
            source=source,
            robot=robot,
            policy_version=policy_version,
            env_version=env_version,
            git_sha=git_sha,
            seed=seed,
            fps=fps,
            metadata=metadata,
            artifacts=artifacts,
            cameras=tuple(cameras or ()),
        )
        try:
            for kind, path in files.items():
                shown = None if progress is None else partial(progress, cast("ArtifactKind", kind))
                episode.upload(cast("ArtifactKind", kind), path, progress=shown)
        except BaseException as exc:
            what = f"upload error: {exc}" if isinstance(exc, Exception) else f"upload interrupted: {type(exc).__name__}"
            reason = {**(metadata or {}), "failure_reason": what}
            close_anyway(episode, exc, status="failed", metadata=reason, **closing)
            raise
        close_finished(episode, status=status, metadata=metadata, **closing)
        return episode

    def list_episodes(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        status: str | None = None,
        policy_version: str | None = None,
        env_version: str | None = None,
        git_sha: str | None = None,
        seed: int | None = None,
        robot: str | None = None,
        source: str | None = None,
        name: str | None = None,
        has_video: bool | None = None,
        success: bool | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        failure_reason: str | None = None,
    ) -> dict[str, Any]:
        """A page of the deployment's episodes, newest first.

        Args:
            limit: The most episodes to answer, 1 to 200.
            cursor: The ``next`` of the page before; None for the newest.
            status: ``recording``, ``ready``, ``failed`` or ``archived``; None, here and below, lets every value pass,
                here but for ``archived``.
            policy_version: What acted.
            env_version: What it acted in.
            git_sha: The beginning of the code's commit.
            seed: The seed of the reset.
            robot: The robot.
            source: ``real``, ``sim`` or ``replay``.
            name: A part of the name, in any case; this and what follows is an addition of newer deployments, which
                older ones pass over.
            has_video: Whether there is a video.
            success: The outcome.
            created_after: Not older than this (ISO 8601 where it is text).
            created_before: Older than this.
            failure_reason: A part of the reason, in any case.

        Returns:
            ``episodes``, each a dict with ``episode_id``, and ``next``, the cursor of the page after it or None.

        Raises:
            NotFoundError: The deployment does not list episodes; only ours does.
            APIError: The deployment refused it.
            TransportError: It could not be reached.
        """
        return list_episodes(
            self._transport,
            limit=limit,
            cursor=cursor,
            status=status,
            policy_version=policy_version,
            env_version=env_version,
            git_sha=git_sha,
            seed=seed,
            robot=robot,
            source=source,
            name=name,
            has_video=has_video,
            success=success,
            created_after=created_after,
            created_before=created_before,
            failure_reason=failure_reason,
        )

    def get_episode(self, episode_id: str) -> dict[str, Any]:
        """An episode as the deployment has it, its ``metadata`` and, on ours, its ``artifacts`` included.

        Raises:
            ConfigurationError: The id cannot be one; nothing was sent.
            NotFoundError: There is no such episode.
            APIError: The deployment refused it.
            TransportError: It could not be reached.
        """
        return get_episode(self._transport, episode_id)

    def download_artifact(
        self,
        episode_id: str,
        kind: ArtifactKind | str,
        path: str | os.PathLike[str],
        *,
        sha256: str | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Stream the file in a slot of an episode to disk; returns its size in bytes.

        Args:
            episode_id: The episode.
            kind: The slot.
            path: Where it goes: first to ``<path>.part``, so that ``path`` is there whole or not at all. A file of
                that name is replaced.
            sha256: What the bytes must hash to, as :meth:`get_episode` tells it for each of ``artifacts``.
            progress: Called with the bytes so far and the size, None where it is not known.

        Raises:
            ConfigurationError: The kind is unknown or the id cannot be one; nothing was sent.
            NotFoundError: The slot is empty, or there is no such episode.
            APIError: The deployment refused it.
            TransportError: It could not be reached, or the bytes arrived damaged.
            OSError: The file cannot be written.
        """
        return download_artifact(self._transport, episode_id, kind, path, sha256=sha256, progress=progress)

    def _announce(self, episode: Episode) -> None:
        verbose = self._verbose
        if verbose is None:
            verbose = not is_quiet() and sys.stdout is not None and sys.stdout.isatty()
        if verbose:
            try:
                print(f"robotrace: {self.base_url}/portal/episodes/{episode.id}")
            except (OSError, ValueError):  # a closed terminal; the episode is open, and the caller has to get it
                pass


# By process, so that a forked child makes its own: a connection shared with the parent would mix their answers, and
# closing it there could wait for a lock that no thread of the child holds. `setdefault` is atomic: no lock of ours.
_defaults: dict[int, Client] = {}
_default_options: dict[str, Any] = {}


def init(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    timeout: float | None = None,
    profile: str | None = None,
) -> None:
    """Configure the client that :func:`start_episode` and :func:`log_episode` use.

    Raises:
        ConfigurationError: No API key or no base URL was found, or there is no profile of that name.
    """
    options = {"api_key": api_key, "base_url": base_url, "timeout": timeout, "profile": profile}
    made = Client(**options)  # type: ignore[arg-type]  # mypy sees one type for all values
    close()
    _default_options.update(options)
    _defaults[os.getpid()] = made


def close() -> None:
    """Close the default client; the next call makes a new one."""
    client = _defaults.pop(os.getpid(), None)
    if client is not None:
        client.close()


def default_client() -> Client:
    """The client of the calls that are given none, made when it is first asked for.

    Raises:
        ConfigurationError: No API key or no base URL was found.
    """
    client = _defaults.get(os.getpid())
    if client is None:
        made = Client(**_default_options)
        client = _defaults.setdefault(os.getpid(), made)
        if client is not made:  # another thread was quicker
            made.close()
    return client


def start_episode(
    *,
    name: str | None = None,
    source: EpisodeSource = "real",
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    fps: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    artifacts: Sequence[ArtifactKind] = ("video", "sensors", "actions"),
    cameras: Sequence[str] = (),
) -> Episode:
    """:meth:`Client.start_episode` on the default client."""
    given = locals()
    return default_client().start_episode(**given)


def log_episode(
    *,
    name: str | None = None,
    source: EpisodeSource = "real",
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    video: str | os.PathLike[str] | None = None,
    sensors: str | os.PathLike[str] | None = None,
    actions: str | os.PathLike[str] | None = None,
    duration_s: float | None = None,
    fps: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    status: EpisodeFinalStatus = "ready",
    failure_time_s: float | None = None,
    cameras: Mapping[str, str | os.PathLike[str]] | None = None,
) -> Episode:
    """:meth:`Client.log_episode` on the default client."""
    given = locals()
    return default_client().log_episode(**given)


def _episode_from(answer: Mapping[str, Any], client: Client) -> Episode:
    urls = [
        UploadUrl(item["kind"], item["url"], str(item.get("expires_at", "")), item.get("public_url"))
        for item in answer["upload_urls"]
    ]
    return Episode(
        id=answer["episode_id"],
        status=str(answer.get("status", "recording")),
        storage=cast("Any", answer.get("storage", "r2")),
        upload_urls={item.kind: item for item in urls},
        _client=client,
    )
