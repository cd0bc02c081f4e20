"""Where a deployment keeps its things and where it listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from robotrace.errors import ConfigurationError
from robotrace.serve.hosts import checked_public_url, is_loopback
from robotrace.serve.rate_limits import DEFAULT_RATE
from robotrace.serve.trace_links import checked_trace_url

__all__ = ["Settings"]

_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
_MIN_SECRET_LENGTH = 32


@dataclass(frozen=True)
class Settings:
    """The settings of one deployment.

    Args:
        data_dir: Folder of the database, the objects and the secret; made on the first start, with mode 0700.
        host: An address or name to listen on.
        port: The port to listen on; 0 takes any free one.
        render_failed: Render the video of each failed episode that has none and can be run again.
        import_from: Folders of the operator's own environments, for those that run again.
        metrics: Who reads ``/metrics`` without a key: this machine, nobody, everybody.
        reap_after: How long an episode may be "recording" with nothing coming until it is failed; None: for ever.
        grace_s: What requests under way get when the deployment stops, in seconds.
        public_url: Where others reach it, ``https://team.example``; None: under the address it listens on.
        forwarded_allow_ips: Addresses of proxies, with commas, whose ``X-Forwarded-For`` is believed; None: those of
            this machine when there is a ``public_url``, else none.
        rate_limit: Calls a second and key; None: any number.
        audit_days: How long the audit log goes back.
        trace_url: Where a trace is to be seen, ``https://jaeger.example/trace/{trace_id}``; None: nowhere. See
            :mod:`robotrace.serve.trace_links`.
        database: ``postgresql://…``; empty for SQLite in the data folder.
        storage: ``s3://…`` and alike, see :class:`robotrace.serve.bucket.BucketStore`; empty for the data folder.
        secret: What signs object URLs, at least 32 characters; empty for the one in the data folder.

    Raises:
        ConfigurationError: ``public_url`` or ``trace_url`` is none.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8321
    render_failed: bool = False
    import_from: tuple[Path, ...] = ()
    metrics: Literal["local", "key", "public"] = "local"
    reap_after: timedelta | None = timedelta(days=7)
    grace_s: int = 3
    public_url: str | None = None
    forwarded_allow_ips: str | None = None
    rate_limit: float | None = DEFAULT_RATE
    audit_days: int = 400
    trace_url: str | None = None
    database: str = field(default="", repr=False)
    storage: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Refuse a public URL, or one of traces, that is none."""
        if self.public_url is not None:
            object.__setattr__(self, "public_url", checked_public_url(self.public_url))
        if self.trace_url is not None:
            object.__setattr__(self, "trace_url", checked_trace_url(self.trace_url))

    @property
    def asks_for_sign_in(self) -> bool:
        """Whether pages are shown to those who have signed in only.

        Not a question of where a request comes from: behind a proxy all of them come from this machine.
        """
        by_proxy = self.public_url is not None or self.forwarded_allow_ips is not None
        return by_proxy or not is_loopback(self.host)

    @property
    def runs_code(self) -> bool:
        """Whether episodes may be run again here; where others reach it, only when the operator said so."""
        return self.render_failed or bool(self.import_from) or not self.asks_for_sign_in

    @property
    def trusted_proxies(self) -> str | None:
        """The addresses whose ``X-Forwarded-For`` is believed."""
        return self.forwarded_allow_ips or (None if self.public_url is None else "127.0.0.1,::1")

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
    def cameras_dir(self) -> Path:
        """Tracks of videos, copied into files of their own for the browser; they can be made again."""
        return self.data_dir / "cameras"

    @property
    def thumbnails_dir(self) -> Path:
        """Pictures of videos, made again when they are missing."""
        return self.data_dir / "thumbnails"

    @property
    def renders_dir(self) -> Path:
        """What episodes that run again write, and the videos that come of them, before they are kept."""
        return self.data_dir / "renders"

    @property
    def exports_dir(self) -> Path:
        """Files of other tools while they are made for a page; what is in it after a kill is deleted at the start."""
        return self.data_dir / "exports"

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
