"""The reading calls of the wire: a list, one episode, the file in a slot."""

from __future__ import annotations

import contextlib
import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urlencode

from robotrace.errors import ConfigurationError, TransportError
from robotrace.ingest import checked_kind

if TYPE_CHECKING:
    from robotrace.transport import Progress, Transport

__all__ = ["download_artifact", "file_sha256", "get_episode", "list_episodes"]

_CHUNK_BYTES = 1024 * 1024


def list_episodes(transport: Transport, *, limit: int, cursor: str | None, **filters: Any) -> dict[str, Any]:
    """``GET /api/episodes``; ours, a deployment of another make answers 404.

    Args:
        transport: The deployment.
        limit: The most episodes to answer, 1 to 200.
        cursor: The ``next`` of the page before; None for the newest.
        **filters: ``status``, ``policy_version``, ``env_version``, ``git_sha``, ``seed``, ``robot``, ``source``; None
            lets every value pass.

    Returns:
        ``episodes``, newest first, and ``next``, the cursor of the page after it or None.

    Raises:
        APIError: A refusal.
        TransportError: No answer.
    """
    query = {"limit": limit, "cursor": cursor, **filters}
    given = {name: _in_query(value) for name, value in query.items() if value is not None}
    # An argument of the command line that was not UTF-8 is nothing that an episode can have.
    return transport.call("GET", f"/api/episodes?{urlencode(given, errors='backslashreplace')}")


def _in_query(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else value


def get_episode(transport: Transport, episode_id: str) -> dict[str, Any]:
    """``GET /api/episodes/{id}``.

    Returns:
        The episode, ``metadata`` included.

    Raises:
        ConfigurationError: The id cannot be one.
        NotFoundError: There is no such episode, or no such route.
        APIError: A refusal.
        TransportError: No answer.
    """
    return transport.call("GET", _path(episode_id))


def download_artifact(
    transport: Transport,
    episode_id: str,
    kind: str,
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> int:
    """``GET /api/episodes/{id}/artifact/{kind}`` into a file, which is there whole or not at all.

    Args:
        transport: The deployment.
        episode_id: The episode.
        kind: The slot.
        path: Written as ``<path>.part``, then renamed; a file of that name is replaced.
        sha256: What the bytes must hash to, in hexadecimal.
        progress: Called with the bytes so far and the size, None where the answer does not tell it.

    Returns:
        The size in bytes.

    Raises:
        ConfigurationError: The kind is unknown or the id cannot be one; nothing was sent.
        NotFoundError: The slot is empty, or there is no such episode.
        APIError: A refusal.
        TransportError: No answer, an answer cut short, or bytes of another hash.
        OSError: The file cannot be written.
    """
    checked_kind("kind", kind)
    url = f"{_path(episode_id)}/artifact/{kind}"
    target = Path(path)
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("w+b") as file:
            size = transport.get_file(url, file, progress=progress)
            if sha256 is not None:
                # From the file and not on the way: what counts is what lies on the disk.
                file.seek(0)
                if file_sha256(file) != sha256.lower():
                    raise TransportError(f"the {kind} of episode {episode_id} arrived damaged: its SHA-256 is another")
        part.replace(target)
    except BaseException:  # Ctrl-C as well
        part.unlink(missing_ok=True)
        raise
    return size


def file_sha256(file: BinaryIO) -> str:
    """The hash of what is left of a file, in hexadecimal."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _path(episode_id: str) -> str:
    # A dot segment would be another route.
    if isinstance(episode_id, str) and episode_id.strip(".") != "":
        with contextlib.suppress(UnicodeEncodeError):  # an argument of the command line that was not UTF-8
            return f"/api/episodes/{quote(episode_id, safe='')}"
    raise ConfigurationError(f"{episode_id!r} cannot be the id of an episode")
