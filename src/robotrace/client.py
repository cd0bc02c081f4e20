"""The synchronous client: a call sends exactly its own requests, and nothing in the background."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from robotrace.config import is_quiet, resolve_target
from robotrace.context.trace import current_trace
from robotrace.episode import Episode, UploadUrl, checked_artifact
from robotrace.errors import ConfigurationError
from robotrace.ingest import (
    ArtifactKind,
    EpisodeFinalStatus,
    EpisodeSource,
    checked_choice,
    create_episode,
    create_payload,
    finalize_payload,
)

if TYPE_CHECKING:
    import httpx

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

    Raises:
        ConfigurationError: No API key or no base URL was found.

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
    ) -> None:
        # Here, not above: httpx takes 70 ms to import, and the encoder worker imports robotrace too.
        from robotrace.transport import Transport

        target = resolve_target(api_key=api_key, base_url=base_url)
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

        Raises:
            ConfigurationError: An argument does not fit; nothing was sent.
            APIError: The deployment refused it.
            TransportError: It could not be reached.
        """
        checked_choice("source", source, EpisodeSource)
        for kind in artifacts:
            checked_choice("artifacts", kind, ArtifactKind)
        key = str(uuid.uuid4())
        payload = create_payload(
            source=source,
            request_uploads=artifacts,
            client_episode_id=key,
            name=name,
            robot=robot,
            policy_version=policy_version,
            env_version=env_version,
            git_sha=git_sha,
            seed=seed,
            fps=fps,
            otel=current_trace(),
            metadata=metadata or {},
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
    ) -> Episode:
        """Log a finished episode in one call: open it, upload the files given, finalize it.

        Every file is looked at before anything is opened. When an upload fails the episode is finalized as failed
        (``failure_reason`` "upload error: …") and the error goes on.

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
        files = {kind: checked_artifact(kind, path) for kind, path in slots.items() if path is not None}
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
            artifacts=tuple(files),
        )
        try:
            for kind, path in files.items():
                episode.upload(kind, path)
        except Exception as exc:
            reason = {**(metadata or {}), "failure_reason": f"upload error: {exc}"}
            try:
                episode.finalize(status="failed", metadata=reason, **closing)
            except Exception as second:
                raise exc from second
            raise
        episode.finalize(status=status, metadata=metadata, **closing)
        return episode

    def _announce(self, episode: Episode) -> None:
        verbose = self._verbose
        if verbose is None:
            verbose = not is_quiet() and sys.stdout is not None and sys.stdout.isatty()
        if verbose:
            print(f"robotrace: {self.base_url}/portal/episodes/{episode.id}")


_default: Client | None = None
_default_options: dict[str, Any] = {}


def init(*, api_key: str | None = None, base_url: str | None = None, timeout: float | None = None) -> None:
    """Configure the client that :func:`start_episode` and :func:`log_episode` use.

    Raises:
        ConfigurationError: No API key or no base URL was found.
    """
    global _default
    close()
    _default_options.update(api_key=api_key, base_url=base_url, timeout=timeout)
    _default = Client(**_default_options)


def close() -> None:
    """Close the default client; the next call makes a new one."""
    global _default
    if _default is not None:
        _default.close()
        _default = None


def default_client() -> Client:
    """The client of the calls that are given none, made when it is first asked for.

    Raises:
        ConfigurationError: No API key or no base URL was found.
    """
    global _default
    if _default is None:
        _default = Client(**_default_options)
    return _default


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
