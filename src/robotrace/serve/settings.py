"""Where a deployment keeps its things and where it listens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The settings of one deployment.

    Args:
        data_dir: Folder of the database, the objects and the secret; made on the first start, with mode 0700.
        host: A loopback address or name to listen on.
        port: The port to listen on; 0 takes any free one.
        render_failed: Render the video of each failed episode that has none and can be run again.
        import_from: Folders of the operator's own environments, for those that run again.
        metrics: Who reads ``/metrics`` without a key: this machine, nobody, everybody.
        reap_after: How long an episode may be "recording" with nothing coming until it is failed; None: for ever.
        grace_s: What requests under way get when the deployment stops, in seconds.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8321
    render_failed: bool = False
    import_from: tuple[Path, ...] = ()
    metrics: Literal["local", "key", "public"] = "local"
    reap_after: timedelta | None = timedelta(days=7)
    grace_s: int = 3

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "robotrace.db"

    @property
    def database_url(self) -> URL:
        """The database; an object, since a path may hold what a URL string would have to quote."""
        return URL.create("sqlite", database=str(self.database_path.absolute()))

    @property
    def objects_dir(self) -> Path:
        """The root of the local object store."""
        return self.data_dir / "objects"

    @property
    def renders_dir(self) -> Path:
        """What episodes that run again write, and the videos that come of them, before they are kept."""
        return self.data_dir / "renders"

    @property
    def secret_path(self) -> Path:
        """The 32 random bytes that sign object URLs."""
        return self.data_dir / "secret"

    @property
    def lock_path(self) -> Path:
        """Locked by the one deployment that runs on this folder."""
        return self.data_dir / "serve.lock"
