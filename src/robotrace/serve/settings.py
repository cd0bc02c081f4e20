"""Where a deployment keeps its things and where it listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from robotrace.errors import ConfigurationError

__all__ = ["Settings"]

_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
_MIN_SECRET_LENGTH = 32


@dataclass(frozen=True)
class Settings:
    """The settings of one deployment.

    Args:
        data_dir: Folder of the database, the objects and the secret; made on the first start, with mode 0700.
        host: A loopback address or name to listen on.
        port: The port to listen on; 0 takes any free one.
        render_failed: Render the video of each failed episode that has none and can be run again.
        import_from: Folders of the operator's own environments, for those that run again.
        database: ``postgresql://…``; empty for SQLite in the data folder.
        storage: ``s3://…`` and alike, see :class:`robotrace.serve.bucket.BucketStore`; empty for the data folder.
        secret: What signs object URLs, at least 32 characters; empty for the one in the data folder.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8321
    render_failed: bool = False
    import_from: tuple[Path, ...] = ()
    database: str = field(default="", repr=False)
    storage: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "robotrace.db"

    @property
    def database_url(self) -> URL:
        """The database; an object, since a path may hold what a URL string would have to quote.

        Raises:
            ConfigurationError: ``database`` is no URL of PostgreSQL.
        """
        if not self.database:
            return URL.create("sqlite", database=str(self.database_path.absolute()))
        try:
            url = make_url(self.database)
        except (ArgumentError, ValueError):  # neither is quoted: what is no URL may be a password
            raise ConfigurationError("--database is no URL; it takes postgresql://USER@HOST/NAME") from None
        if url.drivername not in _POSTGRES:
            raise ConfigurationError(f"--database takes postgresql://USER@HOST/NAME, not {url.drivername}")
        return url.set(drivername="postgresql+psycopg")

    @property
    def signing_secret(self) -> bytes | None:
        """What signs object URLs where the settings say so, else None.

        Raises:
            ConfigurationError: It is too short to be one.
        """
        if not self.secret:
            return None
        if len(self.secret) < _MIN_SECRET_LENGTH:
            raise ConfigurationError(f"the secret that signs URLs has fewer than {_MIN_SECRET_LENGTH} characters")
        return self.secret.encode(errors="surrogateescape")

    @property
    def objects_dir(self) -> Path:
        """The root of the local object store."""
        return self.data_dir / "objects"

    @property
    def bucket_dir(self) -> Path:
        """Files of a bucket that are kept on this machine for a while."""
        return self.data_dir / "bucket"

    @property
    def renders_dir(self) -> Path:
        """What episodes that run again write, and the videos that come of them, before they are kept."""
        return self.data_dir / "renders"

    @property
    def secret_path(self) -> Path:
        """The 32 random bytes that sign object URLs."""
        return self.data_dir / "secret"

    @property
    def instance_path(self) -> Path:
        """32 random bytes that tell this folder's deployment from other replicas."""
        return self.data_dir / "instance"

    @property
    def lock_path(self) -> Path:
        """Locked by the one deployment that runs on this folder."""
        return self.data_dir / "serve.lock"
