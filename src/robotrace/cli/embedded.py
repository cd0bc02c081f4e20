"""The embedded deployment with an uploader that drains this machine's spool into it, over ordinary HTTP."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from robotrace.config import ENV_BASE_URL, Target, find_target, home_dir
from robotrace.deliver.spool import Spool, open_spool
from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from robotrace.deliver.uploader import Uploader
    from robotrace.serve.server import Deployment
    from robotrace.serve.settings import Settings

__all__ = ["DEFAULT_PORT", "EmbeddedDeployment", "default_data_dir", "serve_settings"]

DEFAULT_PORT = 8321


def default_data_dir() -> Path:
    """Where the deployment keeps its database and artifacts unless told otherwise."""
    return home_dir() / "deployment"


def serve_settings(**settings: Any) -> Settings:
    """The settings of a deployment.

    Args:
        settings: See :class:`robotrace.serve.settings.Settings`.

    Raises:
        ConfigurationError: The ``server`` extra is missing.
    """
    try:
        importlib.import_module("robotrace.serve.server")
        from robotrace.serve.settings import Settings
    except ModuleNotFoundError as exc:
        raise ConfigurationError(f"the deployment needs {exc.name}; run: pip install 'robotrace-dev[server]'") from exc
    return Settings(**settings)


class EmbeddedDeployment:
    """A running deployment; with ``drain`` the spool's episodes arrive in it by themselves.

    Args:
        data_dir: Its database and artifacts.
        host: A loopback address.
        port: 0 takes any free one.
        drain: None: yes, unless another deployment is configured for this machine's episodes.
        render_failed: Render the video of each failed episode that has none.
        import_from: Folders of the operator's own environments, for that.
        database: Of PostgreSQL; empty for SQLite in ``data_dir``.
        storage: A bucket's URL; empty for ``data_dir``.
        secret: What signs object URLs; empty for the one in ``data_dir``.

    Raises:
        ConfigurationError: The ``server`` extra is missing, the port is in use, or a folder cannot be written.
    """

    def __init__(
        self,
        data_dir: Path,
        host: str,
        port: int,
        *,
        drain: bool | None = None,
        render_failed: bool = False,
        import_from: tuple[Path, ...] = (),
        database: str = "",
        storage: str = "",
        secret: str = "",
    ) -> None:
        settings = serve_settings(
            data_dir=data_dir,
            host=host,
            port=port,
            render_failed=render_failed,
            import_from=import_from,
            database=database,
            storage=storage,
            secret=secret,
        )
        from robotrace.serve.server import Deployment

        self.deployment: Deployment = Deployment(settings)
        self.spool: Spool | None = None
        self.elsewhere: str | None = None
        self.uploader: Uploader | None = None
        self._drain = drain

    def __enter__(self) -> EmbeddedDeployment:
        spool = None if self._drain is False else open_spool()
        self.deployment.start()
        self.elsewhere = self._configured_elsewhere()
        if spool is not None and (self._drain or self.elsewhere is None):
            from robotrace.deliver.uploader import Uploader

            # Direct: a proxy for the outside knows no way to this machine's loopback.
            target = Target(self.deployment.base_url, self.deployment.internal_key, direct=True)
            self.spool = spool
            self.uploader = Uploader(spool, lambda: target)
            self.uploader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.uploader is not None:
            self.uploader.stop(5.0)
        self.deployment.stop()

    def _configured_elsewhere(self) -> str | None:
        """The URL this machine's episodes go to by configuration, when it is another one."""
        try:
            target = find_target()
        except ConfigurationError:  # half configured: an URL without a key names a deployment all the same
            return os.environ.get(ENV_BASE_URL)
        return None if target is None or target.base_url == self.deployment.base_url else target.base_url
