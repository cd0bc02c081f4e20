"""A spool of one's own for a test, and what was recorded into it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotrace.config import ENV_API_KEY, ENV_BASE_URL, ENV_HOME, ENV_MODE, ENV_PROFILE, ENV_SPOOL_DIR
from robotrace.deliver.spool import SealedEpisode, Spool, find_spool, open_spool
from robotrace.testing.episodes import seal_one

__all__ = ["RecordedEpisode", "SpoolFixture", "temporary_spool"]


@dataclass(frozen=True)
class RecordedEpisode:
    """A sealed episode.

    Attributes:
        uuid: Made by the recording process; the idempotency key of its upload.
        create: The payload of its create.
        finalize: The payload of its finalize, with ``status``.
        metadata: Of both.
        files: The path of each file by kind (``video``, ``sensors``, ``actions``).
    """

    uuid: str
    create: dict[str, Any]
    finalize: dict[str, Any]
    metadata: dict[str, Any]
    files: dict[str, Path]


class SpoolFixture:
    """This process's spool for the time of a test.

    Args:
        root: Its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def spool(self) -> Spool:
        """The folders themselves."""
        return find_spool(self.root)

    def episodes(self, timeout_s: float = 60.0) -> list[RecordedEpisode]:
        """What has been recorded and waits, failed episodes first; sealed before it is looked at.

        Raises:
            TimeoutError: The episodes that have ended could not be sealed in time.
        """
        self.flush(timeout_s)
        return [_recorded(entry) for entry in self.spool.sealed_episodes()]

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until what has ended is sealed, and delivered where a deployment is configured.

        Raises:
            TimeoutError: It took longer.
        """
        if "robotrace.session" in sys.modules and not sys.modules["robotrace.session"].flush(timeout_s):
            raise TimeoutError(f"the recorded episodes were not sealed and delivered within {timeout_s:g} s")

    def add_episode(self, *, status: str = "ready", video: bytes | None = None) -> RecordedEpisode:
        """Put a small sealed episode there, as a recording process would."""
        return _recorded(seal_one(open_spool(self.root), status=status, video=video))


@contextlib.contextmanager
def temporary_spool(*, base_url: str | None = None, api_key: str = "rt_test") -> Iterator[SpoolFixture]:
    """A spool that nobody else sees, deleted in the end; without a deployment unless one is given.

    Sets the environment variables of this process, and ends its recording session before and after.

    Args:
        base_url: A deployment to deliver to, a :class:`robotrace.testing.FaultServer`'s ``url`` for one.
        api_key: For it.

    Example::

        with temporary_spool() as spool:
            train()
            (episode,) = spool.episodes()
            assert episode.finalize["status"] == "ready"
    """
    with tempfile.TemporaryDirectory(prefix="robotrace-test-", ignore_cleanup_errors=True) as folder:
        variables: dict[str, str | None] = {
            ENV_HOME: folder,
            ENV_SPOOL_DIR: f"{folder}/spool",
            ENV_BASE_URL: base_url,
            ENV_API_KEY: None if base_url is None else api_key,
            ENV_PROFILE: None,
            ENV_MODE: None,
        }
        before = {name: os.environ.get(name) for name in variables}
        _reset()
        _set(variables)
        try:
            yield SpoolFixture(Path(folder) / "spool")
        finally:
            _reset()
            _set(before)


def _reset() -> None:
    if "robotrace.session" in sys.modules:
        sys.modules["robotrace.session"].reset()


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _recorded(entry: SealedEpisode) -> RecordedEpisode:
    manifest = entry.manifest() or {}
    create, finalize = manifest.get("create", {}), manifest.get("finalize", {})
    return RecordedEpisode(
        uuid=entry.uuid,
        create=create,
        finalize=finalize,
        metadata={**create.get("metadata", {}), **finalize.get("metadata", {})},
        files={item["kind"]: entry.folder / item["file"] for item in manifest.get("artifacts", ())},
    )
