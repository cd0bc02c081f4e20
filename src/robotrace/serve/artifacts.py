"""The slots of an episode: what goes into them, under which key, and how it comes out again."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from robotrace.serve.models import Artifact
from robotrace.serve.schemas import KINDS, ArtifactKind, UploadUrl, is_kind
from robotrace.serve.store import ObjectStore

__all__ = [
    "MAX_SIZE",
    "UPLOAD_LIFETIME",
    "absolute_url",
    "artifact_key",
    "content_type",
    "episode_folder",
    "episodes_folder",
    "file_name",
    "is_video",
    "signed_download",
    "signed_upload",
    "slot_order",
    "split_artifact_key",
]

UPLOAD_LIFETIME = timedelta(hours=1)
"""Of a signed URL that takes a file."""
_DOWNLOAD_LIFETIME = timedelta(hours=6)  # a page stays open while someone works with it
MAX_SIZE = 50 * 1024**3
"""Of a file, in bytes."""
# The wire does not tell a file's name; its first bytes do.
_SUFFIXES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK", "npz"),
    (0, b"\x93NUMPY", "npy"),
    (0, b"\x89HDF", "h5"),
    (0, b"PAR1", "parquet"),
    (0, b"ARROW1", "arrow"),
    (0, b"FEA1", "feather"),
    (0, b"\x89MCAP", "mcap"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1a\x45\xdf\xa3", "webm"),
)


def episodes_folder() -> str:
    """Where the keys of every episode are."""
    return "episodes"


def episode_folder(episode_id: str) -> str:
    """Where the keys of an episode's slots are."""
    return f"{episodes_folder()}/{episode_id}"


def artifact_key(episode_id: str, kind: ArtifactKind) -> str:
    """The key of a slot; in a bucket each file of it gets one of its own below that."""
    return f"{episode_folder(episode_id)}/{kind}"


def split_artifact_key(key: str) -> tuple[str, ArtifactKind] | None:
    """The episode id and slot of a key, None when it is of something else."""
    match key.split("/"):
        case ["episodes", episode_id, name]:
            return (episode_id, name) if is_kind(name) else None
        case _:
            return None


def slot_order(kind: ArtifactKind) -> tuple[int, str]:
    """What slots are sorted by: the video, those of further cameras by name, sensors, actions."""
    return KINDS.index(kind.partition(".")[0]), kind


def file_name(kind: str, head: bytes) -> str:
    """What to call a file when it is saved.

    Args:
        kind: Its slot.
        head: Its first 16 bytes.
    """
    for offset, magic, suffix in _SUFFIXES:
        if head[offset:].startswith(magic):
            return f"{kind}.{suffix}"
    return f"{kind}.bin"


def is_video(kind: ArtifactKind) -> bool:
    """Whether a slot is a camera's."""
    return kind.partition(".")[0] == "video"


def content_type(kind: ArtifactKind) -> str:
    """What a file in a slot is sent and read as."""
    return "video/mp4" if is_video(kind) else "application/octet-stream"


def signed_upload(store: ObjectStore, base_url: str, episode_id: str, kind: ArtifactKind) -> UploadUrl:
    """Where to PUT the file of a slot.

    Args:
        store: The store that takes it.
        base_url: The deployment as the client reaches it, without a trailing ``/``.
        episode_id: The episode.
        kind: The slot.
    """
    expires = datetime.now(timezone.utc).replace(microsecond=0) + UPLOAD_LIFETIME
    url = store.signed_put(
        artifact_key(episode_id, kind),
        expires=int(expires.timestamp()),
        max_size=MAX_SIZE,
        content_type=content_type(kind),
    )
    return UploadUrl(kind=kind, url=absolute_url(base_url, url), expires_at=expires, public_url=None)


def absolute_url(base_url: str, url: str) -> str:
    """What a store signed, as a client can use it."""
    return base_url + url if url.startswith("/") else url


def signed_download(store: ObjectStore, artifact: Artifact) -> str:
    """A URL that reads an artifact, as the store signs it; what is not video comes as an attachment."""
    expires = datetime.now(timezone.utc) + _DOWNLOAD_LIFETIME
    return store.signed_get(
        artifact.object_key,
        expires=int(expires.timestamp()),
        content_type=artifact.content_type,
        file_name="" if is_video(artifact.kind) else artifact.file_name,
    )
