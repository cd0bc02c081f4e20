"""The embedded deployment with an uploader that drains this machine's spool into it, over ordinary HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from robotrace.config import ENV_BASE_URL, Target, find_target, home_dir
from robotrace.deliver.spool import Spool, open_spool
from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from robotrace.deliver.uploader import Uploader
    from robotrace.serve.server import Deployment

__all__ = ["DEFAULT_PORT", "EmbeddedDeployment", "default_data_dir", "needs_server"]

DEFAULT_PORT = 8321


def default_data_dir() -> Path:
    """Where the deployment keeps its database and artifacts unless told otherwise."""
    return home_dir() / "deployment"


@contextmanager
def needs_server() -> Iterator[None]:
    """Around imports of the deployment.

    Raises:
        ConfigurationError: The ``server`` extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        raise ConfigurationError(f"the deployment needs {exc.name}; run: pip install 'robotrace-dev[server]'") from exc


class EmbeddedDeployment:
    """A running deployment; with ``drain`` the spool's episodes arrive in it by themselves.

    Args:
        data_dir: Its database and artifacts.
        host: An address of this machine.
        port: 0 takes any free one.
        drain: None: yes, unless another deployment is configured for this machine's episodes.
        render_failed: Render the video of each failed episode that has none.
        import_from: Folders of the operator's own environments, for that.
        more: Further fields of :class:`robotrace.serve.settings.Settings`.

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
        **more: Any,
    ) -> None:
        with needs_server():
            from robotrace.serve.server import Deployment
            from robotrace.serve.settings import Settings
        settings = Settings(
            data_dir=data_dir, host=host, port=port, render_failed=render_failed, import_from=import_from, **more
        )
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
        own = (self.deployment.base_url, self.deployment.public_url)
        return None if target is None or target.base_url in own else target.base_url
