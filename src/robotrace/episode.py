"""An episode on a deployment, while the caller fills it."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

from robotrace.errors import ConfigurationError, TransportError
from robotrace.ingest import (
    ArtifactKind,
    EpisodeFinalStatus,
    camera_kind,
    checked_choice,
    checked_kind,
    content_type_of,
    finalize_episode,
    finalize_payload,
)

if TYPE_CHECKING:
    from robotrace.client import Client
    from robotrace.transport import Progress, Transport

__all__ = ["Episode", "UploadUrl", "checked_artifact", "close_anyway", "close_finished"]

_log = logging.getLogger("robotrace")

_VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".mov", ".m4v", ".mkv"})
_ARRAY_SUFFIXES = frozenset({".npz", ".npy", ".h5", ".hdf5", ".bin", ".parquet", ".arrow", ".feather", ".mcap", ".csv"})


@dataclass(frozen=True)
class UploadUrl:
    """Where one artifact goes: a signed URL, good until ``expires_at`` (ISO 8601)."""

    kind: ArtifactKind
    url: str = field(repr=False)
    expires_at: str
    public_url: str | None


def checked_artifact(kind: str, path: str | os.PathLike[str]) -> Path:
    """The path of an artifact, after it was looked at.

    Raises:
        ConfigurationError: The kind is unknown, the file is missing, no file or not readable, or its extension does
            not fit.
    """
    checked_kind("kind", kind)
    file = Path(path)
    try:
        found, readable = file.is_file(), os.access(file, os.R_OK)
    except (OSError, ValueError):  # a folder that may not be looked into; a NUL in the name
        found = readable = False
    if not found:
        raise ConfigurationError(f"{kind}: there is no file {file}")
    if not readable:
        raise ConfigurationError(f"{kind}: {file} may not be read")
    suffixes = _VIDEO_SUFFIXES if kind.partition(".")[0] == "video" else _ARRAY_SUFFIXES
    if file.suffix.lower() not in suffixes:
        known = " ".join(sorted(suffixes))
        raise ConfigurationError(f"{kind}: {file.name} has extension {file.suffix!r}; it takes {known}")
    return file


@dataclass
class Episode:
    """One episode on the deployment.

    Use it as a context manager: a clean exit finalizes it as ``ready``, an exception as ``failed`` with the
    exception in ``metadata.failure_reason``; the exception goes on.

    Attributes:
        id: The deployment's id.
        status: ``recording`` until it is finalized.
        storage: ``unconfigured`` where the deployment stores no artifacts.
        upload_urls: A signed URL for each requested artifact.
    """

    id: str
    status: str
    storage: Literal["r2", "unconfigured"]
    upload_urls: dict[ArtifactKind, UploadUrl] = field(default_factory=dict)
    _client: Client | None = field(default=None, repr=False, compare=False)
    _finalized: bool = field(default=False, repr=False, compare=False)
    _uploaded: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def upload(self, kind: ArtifactKind, path: str | os.PathLike[str], *, progress: Progress | None = None) -> int:
        """Stream a file into a slot; returns its size in bytes.

        Args:
            kind: The slot.
            path: The file.
            progress: Called with the bytes sent so far and the size; a further try begins at 0 again.

        Raises:
            ConfigurationError: The file, its extension or the slot is wrong; nothing was sent.
            APIError: The store refused it.
            TransportError: It could not be sent.
        """
        file = checked_artifact(kind, path)
        if self.storage == "unconfigured":
            raise ConfigurationError("this deployment has no storage configured; only metadata can be logged")
        slot = self.upload_urls.get(kind)
        if slot is None:
            raise ConfigurationError(f"slot {kind!r} was not requested; name it in start_episode(artifacts=…)")
        sent = self._transport().put_file(
            slot.url, file, content_type_of(kind), retry_rate_limit=True, progress=progress
        )
        self._uploaded[kind] = sent  # a second upload replaces the first
        return sent

    def upload_camera(self, camera: str, path: str | os.PathLike[str], *, progress: Progress | None = None) -> int:
        """As :meth:`upload`, for the video of a further camera that the episode was opened with."""
        return self.upload(cast("ArtifactKind", camera_kind(camera)), path, progress=progress)

    def upload_video(self, path: str | os.PathLike[str]) -> int:
        """Deprecated: ``upload("video", path)``."""
        return self._deprecated_upload("video", path)

    def upload_sensors(self, path: str | os.PathLike[str]) -> int:
        """Deprecated: ``upload("sensors", path)``."""
        return self._deprecated_upload("sensors", path)

    def upload_actions(self, path: str | os.PathLike[str]) -> int:
        """Deprecated: ``upload("actions", path)``."""
        return self._deprecated_upload("actions", path)

    def finalize(
        self,
        *,
        status: EpisodeFinalStatus = "ready",
        duration_s: float | None = None,
        fps: float | None = None,
        bytes_total: int | None = None,
        failure_time_s: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Close the episode; a second call does nothing, one after a failure tries again.

        A connection that breaks before the answer is tried once more, since repeating is harmless here: most often
        the deployment had just closed the one that was kept open from an earlier call.

        Args:
            status: ``ready`` or ``failed``.
            duration_s: Seconds from its start to its end.
            fps: Frames (or steps) a second.
            bytes_total: Size of all artifacts; what was uploaded unless given.
            failure_time_s: When it failed, in seconds from its start; only with ``failed``.
            metadata: Merged over what was given at the start.

        Raises:
            ConfigurationError: An argument does not fit; nothing was sent.
            APIError: The deployment refused it.
            TransportError: It could not be sent.
        """
        checked_choice("status", status, EpisodeFinalStatus)
        if failure_time_s is not None and status != "failed":
            raise ConfigurationError("failure_time_s goes with status='failed' only")
        if self._finalized:
            return
        if bytes_total is None and self._uploaded:
            bytes_total = sum(self._uploaded.values())
        payload = finalize_payload(
            status=status,
            duration_s=duration_s,
            fps=fps,
            bytes_total=bytes_total,
            failure_time_s=failure_time_s,
            metadata=metadata,
        )
        try:
            answer = finalize_episode(self._transport(), self.id, payload)
        except TransportError as exc:
            if not _broke(exc):
                raise
            answer = finalize_episode(self._transport(), self.id, payload)
        self._finalized = True
        self.status = str(answer.get("status", status))

    def __enter__(self) -> Episode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            close_finished(self)
            return
        try:
            reason = f"{type(error).__name__}: {error}"
        except Exception:  # its __str__ is the user's, and may fail
            reason = type(error).__name__
        close_anyway(self, error, status="failed", metadata={"failure_reason": reason})

    def _deprecated_upload(self, kind: ArtifactKind, path: str | os.PathLike[str]) -> int:
        warnings.warn(
            f"upload_{kind}(path) is deprecated; use upload({kind!r}, path)", DeprecationWarning, stacklevel=3
        )
        return self.upload(kind, path)

    def _transport(self) -> Transport:
        if self._client is None:
            raise ConfigurationError("this Episode belongs to no Client")
        return self._client._transport


def close_finished(episode: Episode, **closing: Any) -> None:
    """Finalize an episode whose files have all arrived; an interrupt of that (Ctrl-C) does not leave it open."""
    try:
        episode.finalize(**closing)
    except Exception:
        raise
    except BaseException as exc:  # nobody knows whether the request had gone out; repeating it is harmless
        close_anyway(episode, exc, **closing)
        raise


def close_anyway(
    episode: Episode, error: BaseException, *, status: EpisodeFinalStatus = "ready", **closing: Any
) -> None:
    """Finalize an episode while ``error`` is on its way up; the caller goes on raising it.

    When that fails as well, a warning says so, and ``error`` carries it as a note (Python 3.11 and later): the
    caller's error matters more than ours. An interrupt meanwhile wins.
    """
    try:
        episode.finalize(status=status, **closing)
    except Exception as exc:
        text = f"episode {episode.id} could not be finalized as {status}: {exc}"
        _log.warning(text)
        if sys.version_info >= (3, 11):
            error.add_note(f"robotrace: {text}")


def _broke(error: TransportError) -> bool:
    """Whether a connection that stood broke before the answer; not: none could be opened, or nobody answered."""
    import httpx  # 70 ms, which whoever has a connection has paid already

    return isinstance(error.__cause__, (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError))
