"""One running deployment."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import uvicorn

from robotrace.errors import ConfigurationError
from robotrace.reroll.pool import run_job
from robotrace.serve.app import create_app
from robotrace.serve.audit import Actor
from robotrace.serve.connections import MAX_HEAD_BYTES, BoundedProtocol, max_connections
from robotrace.serve.database import Database
from robotrace.serve.janitor import Janitor
from robotrace.serve.keys import create_key, has_keys, replace_internal_key
from robotrace.serve.models import DEFAULT_PROJECT_ID
from robotrace.serve.rate_limits import Limits
from robotrace.serve.renders import Renders, Runner
from robotrace.serve.services import Services
from robotrace.serve.sessions import Cookies
from robotrace.serve.settings import Settings
from robotrace.serve.storage import open_store, require_same_store

__all__ = ["Deployment", "listen"]

_SECRET_BYTES = 32
_BACKLOG = 2048
_START_TIMEOUT_S = 10.0
# After the grace, requests are cut off; what else may take its time does so meanwhile.
_CUT_OFF_S = 1.2
_JANITOR_TIMEOUT_S = 0.3  # it is between two objects, or asleep
_RENDERS_TIMEOUT_S = 0.5  # beside the requests; a worker is killed within 0.1 s

_OPERATOR = Actor(DEFAULT_PROJECT_ID, "command line")


class Deployment:
    """The API, the store and the portal of one data folder, served by a thread of this process.

    Example::

        with Deployment(Settings(Path("~/.robotrace/serve").expanduser())) as deployment:
            print(deployment.base_url, deployment.first_key)
            deployment.wait()

    Args:
        settings: Where it keeps its things and where it listens.
        run: What runs an episode again, to render it.

    Attributes:
        base_url: Where it is reached from this machine, with the real port.
        public_url: Where others reach it.
        first_key: The API key made on the very first start on this folder, else None. Show it: it is not stored.
        internal_key: An API key that works while this deployment runs.
    """

    def __init__(self, settings: Settings, *, run: Runner = run_job) -> None:
        self._settings = settings
        self._run = run
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._database: Database | None = None
        self._renders: Renders | None = None
        self._janitor: Janitor | None = None
        self.base_url = ""
        self.public_url = ""
        self.first_key: str | None = None
        self.internal_key = ""

    def __enter__(self) -> Deployment:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start serving; returns when requests are answered.

        Raises:
            ConfigurationError: The host is none of this machine's, the port is in use, the folder cannot be written or
                already has a deployment, its database is of a newer version, or a folder to import from is none.
        """
        if self._thread is not None:
            raise ConfigurationError("this deployment was started before")
        _require_own_code(self._settings)
        if not 0 <= self._settings.port <= 65535:
            raise ConfigurationError(f"{self._settings.port} is not a port")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop serving, within ``settings.grace_s`` (which requests under way get) and 2 s; 5 s more while an episode
        is being explained. Harmless when stopped.
        """
        with self._lock:
            if self._renders is not None:
                self._renders.cancel_all()
            if self._janitor is not None:
                self._janitor.stop()
            if self._server is not None and self._thread is not None:
                self._server.should_exit = True
                self._thread.join(self._settings.grace_s + _CUT_OFF_S)
            if self._janitor is not None:
                self._janitor.join(_JANITOR_TIMEOUT_S)
            if self._renders is not None:
                self._renders.join(_RENDERS_TIMEOUT_S)
            self._open.close()

    def wait(self) -> None:
        """Block until the deployment is stopped; Ctrl-C raises KeyboardInterrupt here."""
        if self._thread is not None:
            # Not join(): when a signal's exception ends that, Python takes the thread for an ended one, and stop()
            # would not wait for the requests under way; so do all before 3.13.
            self._ended.wait()

    @property
    def asks_for_sign_in(self) -> bool:
        """Whether its pages ask for a key."""
        return self._settings.asks_for_sign_in

    def create_key(self, name: str) -> str:
        """Make an API key of the project "default" and return its text, which cannot be had again.

        Args:
            name: What it is for.

        Raises:
            ConfigurationError: The deployment does not run.
        """
        if self._database is None or self._thread is None or not self._thread.is_alive():
            raise ConfigurationError("the deployment does not run")
        with self._database.write() as session:
            return create_key(session, _OPERATOR, name)

    def _start(self) -> None:
        settings = self._settings
        try:
            secret = self._open_data_dir()
            store = open_store(settings, secret)
            for folder in (settings.renders_dir, settings.exports_dir):
                shutil.rmtree(folder, ignore_errors=True)  # what a killed one left
        except OSError as error:
            raise ConfigurationError(f"the data folder {settings.data_dir} cannot be used: {error.strerror}") from error
        listener = self._open.enter_context(listen(settings.host, settings.port))
        self._database = Database(settings.database_url)
        self._open.callback(self._database.close)
        self._database.migrate()
        require_same_store(settings, self._database, store, secret)
        cookies = Cookies(secret, secure=(settings.public_url or "").startswith("https:"))
        services = Services(settings, self._database, store, cookies, limits=Limits.of(settings.rate_limit))
        self._open.callback(services.later.close)
        self._renders = Renders(services, run=self._run)
        self._janitor = Janitor(services)
        config = uvicorn.Config(
            create_app(services, self._renders, self._janitor),
            access_log=False,  # would write signed URLs
            log_config=None,  # logging belongs to the process we are a guest in
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=settings.grace_s,
            http=BoundedProtocol,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            limit_concurrency=max_connections(),
            proxy_headers=settings.trusted_proxies is not None,
            forwarded_allow_ips=settings.trusted_proxies or "",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._serve, args=(self._server, listener), name="robotrace-serve", daemon=True
        )
        self._thread.start()
        self._wait_until_started(self._server, self._thread)
        with self._database.write() as session:
            self.internal_key = replace_internal_key(session, _secret(settings.instance_path).hex())
            if not has_keys(session):
                self.first_key = create_key(session, _OPERATOR, "first")
        self._renders.start()
        self._janitor.start()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
        name = f"[{host}]" if ":" in host else host
        self.base_url = f"http://{name}:{listener.getsockname()[1]}"
        self.public_url = settings.public_url or self.base_url

    def _open_data_dir(self) -> bytes:
        """Make the folder ours; returns the secret that signs URLs."""
        settings = self._settings
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._open.enter_context(os.fdopen(os.open(settings.lock_path, os.O_RDWR | os.O_CREAT, 0o600), "r+b"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"another deployment runs on {settings.data_dir}; stop it first") from None
        if not settings.database:
            # SQLite gives its journal the mode of the database.
            os.close(os.open(settings.database_path, os.O_RDWR | os.O_CREAT, 0o600))
        return settings.signing_secret or _secret(settings.secret_path)

    def _serve(self, server: uvicorn.Server, listener: socket.socket) -> None:
        try:
            server.run([listener])
        finally:
            self._ended.set()

    @staticmethod
    def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise ConfigurationError("the server did not start; the log says why")
            time.sleep(0.002)


def _require_own_code(settings: Settings) -> None:
    data = settings.data_dir.resolve()
    for folder in (folder.resolve() for folder in settings.import_from):
        if not folder.is_dir():
            raise ConfigurationError(f"--import-from: {folder} is not a folder")
        if folder.is_relative_to(data) or data.is_relative_to(folder):
            raise ConfigurationError(
                f"--import-from: {folder} and the data folder {data} overlap; nothing that was uploaded may run"
            )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigurationError: The port is in use, or cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigurationError(f"{host} is no address of this machine: {error.strerror}") from error
    # With the protocol named: asyncio turns Nagle's algorithm off for such sockets only, and it costs 40 ms an answer.
    listener = socket.socket(family, kind, protocol)
    try:
        # Lets a restart follow at once; on Linux it does not let two listen.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(f"port {port} on {host} is in use; choose another with --port") from error
        raise ConfigurationError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
    return listener


def _secret(path: Path) -> bytes:
    """Read the secret, or make it on the first start."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != _SECRET_BYTES:
            raise ConfigurationError(
                f"{path} does not hold {_SECRET_BYTES} bytes; delete it to get a new one"
            ) from None
        return secret
    with os.fdopen(descriptor, "wb") as file:
        secret = secrets.token_bytes(_SECRET_BYTES)
        file.write(secret)
    return secret
