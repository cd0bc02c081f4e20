"""Finding the episode that is to be run again, and storing what came of it.

A folder, an entry of this machine's spool, or an id on a deployment. Only what lies in the spool was recorded here by
this user for certain; everything else may have come over a wire.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotrace.deliver.files import read_json, write_json
from robotrace.deliver.spool import VERDICT_FILE, Spool
from robotrace.errors import ConfigurationError, ConflictError, NotFoundError, RobotraceError
from robotrace.ingest import CONTENT_TYPES, is_camera_kind, push_verdict, sign_uploads
from robotrace.reroll.jobs import Job, Verdict, VideoRequest

if TYPE_CHECKING:
    from robotrace.client import Client

__all__ = ["FoundEpisode", "delivered_id", "fetch_episode", "find_local", "store_verdict", "upload_video"]

_NEEDED: tuple[str, ...] = ("sensors", "actions")
_SHORTEST_PREFIX = 8


@dataclass(frozen=True)
class FoundEpisode:
    """An episode whose files are on this machine.

    Attributes:
        label: What to call it: its id, else its folder.
        name: Its name.
        metadata: Its metadata.
        fps: Steps a second; None where nobody knows.
        files: Where its artifacts are, by slot; of one on a deployment without the videos, unless they were asked for.
        slots: Which slots it has.
        folder: Where its verdict is kept; None for one on a deployment.
        episode_id: Its id on a deployment; None for one that is in a folder.
        own: It was recorded on this machine by this user.
        described: Its fields as they were sent or answered: ``status``, ``source``, ``duration_s``, …
    """

    label: str
    name: str | None
    metadata: Mapping[str, Any]
    fps: float | None
    files: Mapping[str, Path]
    slots: frozenset[str]
    folder: Path | None = None
    episode_id: str | None = None
    own: bool = field(default=False)
    described: Mapping[str, Any] = field(default_factory=dict)

    def job(self, *, import_from: tuple[str, ...] = (), video: VideoRequest | None = None) -> Job:
        """What a worker is asked."""
        paths = {kind: str(self.files[kind]) for kind in _NEEDED if kind in self.files}
        return Job(
            episode_id=self.label,
            metadata=self.metadata,
            sensors=paths.get("sensors"),
            actions=paths.get("actions"),
            fps=self.fps,
            import_from=import_from,
            trusts_sources=self.own,
            video=video,
        )


def find_local(text: str, spool: Spool) -> FoundEpisode | None:
    """An episode in a folder, or in the spool by its uuid or the beginning of it; None where there is none.

    Raises:
        ConfigurationError: The folder holds no episode, or the beginning is that of several.
    """
    path = Path(text)
    if path.is_dir():
        return _in_folder(path, spool)
    if len(text) < _SHORTEST_PREFIX:
        return None
    folders = {entry.uuid: entry.folder for entry in spool.sealed_episodes()}
    folders |= {folder.name: folder for folder in spool.failed_folders()}
    found = [folder for uuid, folder in folders.items() if uuid.startswith(text)]
    if len(found) > 1:
        raise ConfigurationError(f"{text!r} is the beginning of {len(found)} episodes in the spool")
    return _in_folder(found[0], spool) if found else None


def delivered_id(text: str, spool: Spool) -> str | None:
    """The id that a deployment gave to an episode of this spool, by its uuid; None where nobody knows."""
    if "/" in text or text in ("", ".", ".."):
        return None
    receipt = read_json(spool.done / f"{text}.json") or {}
    found = receipt.get("episode_id")
    return found if isinstance(found, str) else None


def fetch_episode(
    client: Client,
    episode_id: str,
    folder: Path,
    *,
    videos: bool = False,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> FoundEpisode:
    """Download what running an episode again takes.

    Args:
        client: Of the deployment.
        episode_id: The episode.
        folder: Where its files go.
        videos: The videos, too.
        progress: Called with the slot, the bytes so far, and the size or None.

    Raises:
        RobotraceError: There is no such episode, or the deployment refused it or could not be reached.
        OSError: There is no room on the disk.
    """
    try:
        episode = client.get_episode(episode_id)
    except NotFoundError as exc:
        raise RobotraceError(f"{client.base_url} has no episode {episode_id}") from exc
    listed = episode.get("artifacts")
    hashes = {
        item["kind"]: item.get("sha256")
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict) and "kind" in item
    }
    files: dict[str, Path] = {}
    folder.mkdir(parents=True, exist_ok=True)
    cameras = ["video", *(kind for kind in hashes if is_camera_kind(kind))] if videos else []
    for kind in (*_NEEDED, *cameras):
        if listed is not None and kind not in hashes:
            continue
        path = folder / f"{kind}.{'npz' if kind in _NEEDED else 'mp4'}"

        def report(done: int, total: int | None, kind: str = kind) -> None:
            if progress is not None:
                progress(kind, done, total)

        with contextlib.suppress(NotFoundError):  # a deployment that does not say which slots are filled
            client.download_artifact(episode_id, kind, path, sha256=hashes.get(kind), progress=report)
            files[kind] = path
    metadata = episode.get("metadata")
    return FoundEpisode(
        label=episode_id,
        name=_text(episode.get("name")),
        metadata=metadata if isinstance(metadata, dict) else {},
        fps=_number(episode.get("fps")),
        files=files,
        slots=frozenset(hashes) if listed is not None else frozenset(files),
        episode_id=episode_id,
        described=episode,
    )


def store_verdict(episode: FoundEpisode, verdict: Verdict, client: Client | None) -> str | None:
    """Store a verdict with its episode.

    Args:
        episode: Where it is.
        verdict: On it.
        client: Of its deployment; None for one in a folder.

    Returns:
        Why it is stored nowhere; None where it is.

    Raises:
        RobotraceError: The deployment refused it or could not be reached.
    """
    if episode.folder is not None:
        try:
            write_json(episode.folder / VERDICT_FILE, verdict.to_dict())
        except OSError as exc:
            return f"it cannot be kept in {episode.folder}: {exc.strerror}"
        return None
    assert client is not None
    assert episode.episode_id is not None
    try:
        push_verdict(client._transport, episode.episode_id, verdict.to_dict(), retry_rate_limit=True)
    except NotFoundError:
        return f"{client.base_url} keeps no verdicts"
    return None


def upload_video(
    client: Client, episode_id: str, path: Path, *, progress: Callable[[int, int | None], None] | None = None
) -> None:
    """Upload a video into the empty slot of an episode.

    Raises:
        RobotraceError: The slot is not empty, the deployment takes no file afterwards, or it refused this one.
        OSError: The file cannot be read.
    """
    try:
        url = sign_uploads(client._transport, episode_id, ["video"], retry_rate_limit=True).get("video")
    except NotFoundError as exc:
        raise RobotraceError(f"{client.base_url} takes no video of an episode that is finished") from exc
    except ConflictError as exc:
        raise RobotraceError(f"episode {episode_id}: {exc}") from exc
    if not isinstance(url, str):
        raise RobotraceError(f"{client.base_url} gave no address for the video of episode {episode_id}")
    client._transport.put_file(url, path, CONTENT_TYPES["video"], retry_rate_limit=True, progress=progress)


def _in_folder(folder: Path, spool: Spool) -> FoundEpisode:
    own = folder.resolve().is_relative_to(spool.root.resolve())
    manifest = read_json(folder / "manifest.json")
    if manifest is not None:
        create, finalize = (manifest.get(part) or {} for part in ("create", "finalize"))
        files = {item["kind"]: folder / item["file"] for item in manifest.get("artifacts", ())}
        return FoundEpisode(
            label=str(manifest.get("uuid") or folder),
            name=_text(create.get("name")),
            metadata={**(create.get("metadata") or {}), **(finalize.get("metadata") or {})},
            fps=_number(finalize.get("fps")) or _number(create.get("fps")),
            files=files,
            slots=frozenset(files),
            folder=folder,
            own=own,
            described={**create, **finalize},
        )
    # The second: from the ZIP file that a page offers.
    about = read_json(folder / "metadata.json") or read_json(folder / "episode.json")
    if about is None:
        raise ConfigurationError(
            f"{folder} holds no episode: neither a manifest.json, as in the spool, nor a metadata.json, "
            "as from `robotrace episodes download`"
        )
    files = {
        path.stem: path for path in sorted(folder.iterdir()) if path.stem in CONTENT_TYPES or is_camera_kind(path.stem)
    }
    metadata = about.get("metadata")
    return FoundEpisode(
        label=str(about.get("episode_id") or folder),
        name=_text(about.get("name")),
        metadata=metadata if isinstance(metadata, dict) else {},
        fps=_number(about.get("fps")),
        files=files,
        slots=frozenset(files),
        folder=folder,
        described=about,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else None
