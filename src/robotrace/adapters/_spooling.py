"""Episodes of other people's recordings into the spool, each once, and from there to the deployment.

An episode's uuid is made of what it was made from, so an import that was interrupted goes on where it stopped, and one
that is repeated doubles nothing: neither here nor on a deployment, where the uuid is the idempotency key. The spool
forgets what it has delivered after a month; ``imported.jsonl`` in it does not.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import uuid as uuids
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from robotrace.config import Target, delivery_limits, find_target
from robotrace.deliver.delivery import deliver
from robotrace.deliver.files import read_json, try_lock
from robotrace.deliver.quota import why_no_room
from robotrace.deliver.sealing import whole_episode
from robotrace.deliver.spool import LANE_BULK, RecordingFolder, SealedEpisode, Spool, open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.errors import ConfigurationError, RobotraceError
from robotrace.ingest import (
    LONGEST_TEXT,
    EpisodeFinalStatus,
    EpisodeSource,
    checked_choice,
    checked_text,
    create_payload,
    finalize_payload,
)

if TYPE_CHECKING:
    from robotrace.adapters._episode import EncodedEpisode
    from robotrace.client import Client

__all__ = ["EpisodeFacts", "ImportedEpisode", "Importer", "NoRoomError", "delivering_to", "episode_uuid"]

_log = logging.getLogger("robotrace")

_NAMESPACE = uuids.UUID("3f0d6a52-7c1e-5b8e-9d43-6a1c0b9f2e77")
"""Of the uuids; never to be changed, or every import would be a new one."""
_JOURNAL = "imported.jsonl"
_NOT_IDENTITY = ("name", "metadata")
_ROUND_S = 10.0
"""Nobody waits for a deployment that is not going to be asked in that time."""
_ROOM_LOOK_S = 2.0
_STOP_S = 5.0


_given_target: contextvars.ContextVar[Target | None] = contextvars.ContextVar("robotrace_import_target", default=None)


@contextlib.contextmanager
def delivering_to(target: Target | None) -> Iterator[None]:
    """For the command line: imports go to this deployment meanwhile; None: to the one that is configured."""
    token = _given_target.set(target)
    try:
        yield
    finally:
        _given_target.reset(token)


class NoRoomError(RobotraceError):
    """The spool, or its disk, is full: no further episode will do better."""


@dataclass(frozen=True)
class EpisodeFacts:
    """What the caller says of an episode; what is None stays empty.

    Attributes:
        name: At most 200 characters.
        source: ``real``, ``sim`` or ``replay``; None is ``real``, where the recording does not say.
        robot: At most 120 characters.
        policy_version: What acted.
        env_version: What it acted in.
        git_sha: The commit of the code that acted.
        seed: 64 bits.
        metadata: Goes over what the recording says.
        status: ``ready`` or ``failed``.
    """

    name: str | None = None
    source: EpisodeSource | None = None
    robot: str | None = None
    policy_version: str | None = None
    env_version: str | None = None
    git_sha: str | None = None
    seed: int | None = None
    metadata: Mapping[str, Any] | None = None
    status: EpisodeFinalStatus = "ready"

    def check(self) -> None:
        """Refuse what no deployment would take, before anything is read.

        Raises:
            ConfigurationError: Names the argument.
        """
        checked_choice("source", self.source or "real", EpisodeSource)
        checked_choice("status", self.status, EpisodeFinalStatus)
        for field in ("name", "robot", "policy_version", "env_version", "git_sha"):
            checked_text(field, getattr(self, field), LONGEST_TEXT.get(field))
        self.create("", {}, None)

    def create(self, uuid: str, metadata: Mapping[str, Any], fps: float | None) -> dict[str, Any]:
        """The payload of the episode's create."""
        return create_payload(
            source=self.source or "real",
            request_uploads=(),
            client_episode_id=uuid,
            metadata={**metadata, **self._metadata()},
            name=self.name,
            robot=self.robot,
            policy_version=self.policy_version,
            env_version=self.env_version,
            git_sha=self.git_sha,
            seed=self.seed,
            fps=fps,
        )

    def finalize(self, episode: EncodedEpisode) -> dict[str, Any]:
        """The payload of the episode's finalize."""
        return finalize_payload(
            status=self.status,
            metadata={**episode.metadata, **self._metadata()},
            duration_s=episode.duration_s,
            fps=episode.fps,
            failure_time_s=episode.failure_time_s,
        )

    def _metadata(self) -> Mapping[str, Any]:
        if self.metadata is not None and not isinstance(self.metadata, Mapping):
            raise ConfigurationError(f"metadata must be a mapping, got {type(self.metadata).__name__}")
        return self.metadata or {}


@dataclass(frozen=True)
class ImportedEpisode:
    """What became of an episode.

    Attributes:
        uuid: Made here, of what the episode was made from; the idempotency key of its upload.
        name: Its name.
        state: ``delivered``; ``waiting``: in the spool, for a deployment; ``refused``: by the deployment, for good.
        id: The deployment's id of it; None unless it is delivered, or where that was so long ago that only the
            deployment knows.
        status: ``ready`` or ``failed``, as the deployment has it.
        reason: Why it waits, or was refused.
        is_new: Whether this call brought it; False: an earlier one did.
    """

    uuid: str
    name: str | None
    state: Literal["delivered", "waiting", "refused"]
    id: str | None = None
    status: str | None = None
    reason: str | None = None
    is_new: bool = True


def episode_uuid(kind: str, *identity: Any, facts: EpisodeFacts, options: Mapping[str, Any]) -> str:
    """The uuid of an episode: the same for the same recording, brought in the same way.

    Args:
        kind: The adapter.
        *identity: What names the recording and the episode in it: JSON values.
        facts: What it is labelled with: under another policy version it is another episode; under another name not.
        options: What its files depend on.
    """
    labels = {name: value for name, value in vars(facts).items() if value is not None and name not in _NOT_IDENTITY}
    parts = [kind, *identity, labels, dict(options)]
    return str(uuids.uuid5(_NAMESPACE, json.dumps(parts, sort_keys=True, default=str)))


class Importer(contextlib.AbstractContextManager["Importer"]):
    """Seals encoded episodes, and delivers them meanwhile where there is a deployment.

    Args:
        client: Deliver through this one at once, past the spool; None: through the spool's uploader to the deployment
            that is configured, and where there is none the episodes stay in the spool.
        again: Import what was imported before once more, as new episodes.

    Raises:
        ConfigurationError: The spool cannot be written, or the configuration is broken.
    """

    def __init__(self, *, client: Client | None = None, again: bool = False) -> None:
        self._client = client
        self._salt = str(uuids.uuid4()) if again else ""
        self._spool = open_spool()
        self._limits = delivery_limits()
        self._target = None if client is not None else _given_target.get() or find_target()
        self._journal = _Journal(self._spool.root / _JOURNAL)
        self._known = self._spool.known_uuids()
        # Once: 10,000 episodes that were imported before would list 10,000 folders each.
        self._sealed_before = self._sealed()
        self._deployment = "" if client is None else _hashed(client.base_url)
        self._recording: RecordingFolder | None = None
        self._uploader: Uploader | None = None
        self._taken: list[ImportedEpisode] = []
        self._looked_at = 0.0

    def __exit__(self, *exc: object) -> None:
        if self._uploader is not None:
            self._uploader.stop(_STOP_S)
        if self._recording is not None:
            self._spool.discard(self._recording.path)
            os.close(self._recording.lock)
            self._recording = None

    def known(self, uuid: str, name: str | None) -> ImportedEpisode | None:
        """What was imported before; None: nothing was, or ``again`` asks for it once more."""
        if self._salt:
            return None
        if self._client is None and uuid in self._known:
            return self._look(ImportedEpisode(uuid, name, "waiting", is_new=False), self._sealed_before)
        told = self._journal.find(uuid, self._deployment)
        return None if told is None else ImportedEpisode(uuid, name, "delivered", id=told or None, is_new=False)

    @contextlib.contextmanager
    def folder(self, output_dir: str | Path | None = None, *, keep: bool = False) -> Iterator[Path]:
        """A folder to encode an episode into; a private one, on the disk of the spool, is deleted afterwards.

        Args:
            output_dir: The caller's own instead, whose files stay.
            keep: Without one: a temporary folder that stays; the log names it.

        Raises:
            NoRoomError: There is no room for another episode in the spool.
        """
        if self._client is None:
            self._wait_for_room()
        if output_dir is None and keep:
            output_dir = tempfile.mkdtemp(prefix="robotrace-")
            _log.info("the episode's files stay in %s", output_dir)
        if output_dir is not None:
            yield Path(output_dir)
            return
        path = Path(tempfile.mkdtemp(prefix="episode-", dir=self._folder()))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def take(self, uuid: str, episode: EncodedEpisode, facts: EpisodeFacts) -> ImportedEpisode:
        """Seal an episode; with ``client`` deliver it.

        Args:
            uuid: From :func:`episode_uuid`.
            episode: Its files; those in a folder from :meth:`folder` are moved, others copied.
            facts: Its labels.

        Returns:
            ``waiting`` where it is in the spool: :meth:`settle` waits.

        Raises:
            ConfigurationError: A label does not fit.
            RobotraceError: With ``client``, the deployment refused something or could not be reached.
            OSError: A file cannot be read or written.
        """
        if self._salt:
            uuid = str(uuids.uuid5(uuids.UUID(uuid), self._salt))
        imported = ImportedEpisode(uuid, facts.name, "waiting")
        if self._client is not None:
            imported = self._deliver(self._client, imported, episode, facts)
        else:
            self._seal(self._spool, imported, episode, facts)
            self._known.add(uuid)
            self._wake()
        self._taken.append(imported)
        return imported

    def settle(self, episodes: Sequence[ImportedEpisode]) -> list[ImportedEpisode]:
        """Wait until they are delivered, as long as the deployment answers; as they are by then.

        Args:
            episodes: From :meth:`take` or :meth:`known`.

        Returns:
            One each; those that wait are in the spool, and say why.
        """
        waiting = {episode.uuid for episode in episodes if episode.state == "waiting"}
        if waiting and self._target is not None:
            self._wake()
            assert self._uploader is not None
            while not self._uploader.wait_until_delivered(waiting, _ROUND_S, give_up=True):
                if not self._uploader.tries_within(_ROUND_S):
                    break
        sealed = self._sealed()
        settled = [self._look(episode, sealed) for episode in episodes]
        left = sum(episode.state == "waiting" for episode in settled)
        if left:
            _log.warning("%d imported episode(s) stay in %s: %s", left, self._spool.root, self._why_waiting())
        return settled

    def _sealed(self) -> dict[str, SealedEpisode]:
        return {entry.uuid: entry for entry in self._spool.sealed_episodes()}

    def _look(self, episode: ImportedEpisode, sealed: Mapping[str, SealedEpisode]) -> ImportedEpisode:
        """The episode as the spool has it now; ``sealed`` was listed before."""
        if episode.state != "waiting":
            return episode
        receipt = read_json(self._spool.done / f"{episode.uuid}.json")
        if receipt is not None:
            delivered = _delivered(episode, receipt)
            self._journal.add(delivered, self._deployment)
            return delivered
        refused = self._spool.failed / episode.uuid
        if refused.exists():
            with contextlib.suppress(OSError):
                reason = (refused / "reason.txt").read_text(encoding="utf-8").strip()
                return replace(episode, state="refused", reason=reason)
            return replace(episode, state="refused", reason="it was refused")
        entry = sealed.get(episode.uuid)
        if entry is not None:
            return replace(episode, reason=entry.upload_state().get("last_error") or self._why_waiting())
        return replace(episode, reason="it is no longer in the spool: somebody has deleted it there")

    def _why_waiting(self) -> str:
        lock = try_lock(self._spool.uploader_lock)
        if lock is None and self._uploader is None:
            return "another process of this machine uploads it"
        if lock is not None:
            os.close(lock)
        if self._target is None:
            return "no deployment is configured; `robotrace serve`, or `robotrace login` and `robotrace sync`, delivers"
        return "the deployment does not answer; `robotrace sync` tries again"

    def _folder(self) -> Path | None:
        if self._client is not None:
            return None
        if self._recording is None:
            self._recording = self._spool.new_recording_folder()
        return self._recording.path

    def _wake(self) -> None:
        if self._target is None:
            return
        if self._uploader is None:
            target = self._target
            self._uploader = Uploader(self._spool, lambda: target)
            self._uploader.start()
        self._uploader.wake()

    def _wait_for_room(self) -> None:
        now = time.monotonic()
        if self._looked_at and now - self._looked_at < _ROOM_LOOK_S:
            return
        why = why_no_room(self._spool, self._limits)
        if why is not None and self._target is not None:
            self.settle(self._taken)
            why = why_no_room(self._spool, self._limits)
        if why is not None:
            raise NoRoomError(f"there is no room for another episode: {why}")
        self._looked_at = time.monotonic()

    def _seal(
        self, spool: Spool, imported: ImportedEpisode, episode: EncodedEpisode, facts: EpisodeFacts
    ) -> SealedEpisode:
        create = facts.create(imported.uuid, episode.metadata, episode.fps)
        finalize = facts.finalize(episode)
        recording = spool.new_recording_folder() if spool is not self._spool else None
        parent = recording.path if recording is not None else self._folder()
        assert parent is not None
        folder = parent / imported.uuid
        try:
            folder.mkdir(mode=0o700)
            files = {}
            for kind, path in episode.files.items():
                files[kind] = folder / path.name
                if path.parent.parent == self._folder():
                    path.replace(files[kind])
                else:
                    shutil.copyfile(path, files[kind])
            unix_ms = int(time.time() * 1000) if episode.recorded_ns is None else episode.recorded_ns // 1_000_000
            whole = whole_episode(folder, imported.uuid, files, create, finalize, unix_ms, lane=LANE_BULK)
            (sealed,) = spool.seal([whole])
            if isinstance(sealed, Exception):
                raise sealed
            return sealed
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # of a seal that failed; else it is no longer there
            if recording is not None:
                spool.discard(recording.path)
                os.close(recording.lock)

    def _deliver(
        self, client: Client, imported: ImportedEpisode, episode: EncodedEpisode, facts: EpisodeFacts
    ) -> ImportedEpisode:
        # In a spool of its own: an uploader of this machine would bring it to the deployment that it is for.
        with tempfile.TemporaryDirectory(prefix="robotrace-import-") as name:
            spool = open_spool(Path(name))
            sealed = self._seal(spool, imported, episode, facts)
            attempt = deliver(spool, sealed, client._transport)
            receipt = read_json(spool.done / f"{imported.uuid}.json") or {}
        if attempt.action is not None:
            raise attempt.error or RobotraceError("the episode could not be delivered")
        delivered = _delivered(imported, receipt)
        self._journal.add(delivered, self._deployment)
        return delivered


class _Journal:
    """Imported episodes that were delivered, for ever.

    A line of JSON each: ``{"uuid", "id", "deployment", "name", "unix_s"}``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[tuple[str, str], str | None] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # half a line of a killed process
                    told = json.loads(line)
                    self._ids[told["uuid"], told["deployment"]] = told.get("id") or ""

    def find(self, uuid: str, deployment: str) -> str | None:
        """The deployment's id of an episode, empty where it told none; None: it is not known to be delivered."""
        return self._ids.get((uuid, deployment))

    def add(self, episode: ImportedEpisode, deployment: str) -> None:
        """Remember it."""
        if (episode.uuid, deployment) in self._ids:
            return
        self._ids[episode.uuid, deployment] = episode.id or ""
        told = {"uuid": episode.uuid, "id": episode.id, "deployment": deployment, "name": episode.name}
        line = json.dumps({**told, "unix_s": int(time.time())}).encode()
        # One write, so that two imports at the same time do not mix; before it a newline, after half a line of before.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"\n" + line)
        finally:
            os.close(descriptor)


def _delivered(episode: ImportedEpisode, receipt: Mapping[str, Any]) -> ImportedEpisode:
    told = receipt.get("episode_id"), receipt.get("status")
    return replace(episode, state="delivered", id=told[0], status=told[1], reason=None)


def _hashed(base_url: str) -> str:
    # The URL itself stays out of files, as in upload.json.
    return hashlib.sha256(base_url.encode()).hexdigest()[:16]
