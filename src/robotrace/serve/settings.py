"""Where a deployment keeps its things and where it listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The settings of one deployment.

    Args:
        data_dir: Folder of the database, the objects and the secret; made on the first start, with mode 0700.
        host: A loopback address or name to listen on.
        port: The port to listen on; 0 takes any free one.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8321

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
    def secret_path(self) -> Path:
        """The 32 random bytes that sign object URLs."""
        return self.data_dir / "secret"

    @property
    def lock_path(self) -> Path:
        """Locked by the one deployment that runs on this folder."""
        return self.data_dir / "serve.lock"
