"""Every test runs in an environment of its own; a scriptable deployment on loopback for those that speak the wire."""

import os
import signal
import warnings
from multiprocessing import process
from pathlib import Path

import pytest
from wire_server import API_KEY, WireServer, script_deployment

from robotrace import client as default_client
from robotrace import faults
from robotrace.client import Client
from robotrace.context import handover, launch
from robotrace.context import run as run_context

_STARTED_BY = {
    variable
    for _, variables in (*launch._BY_VARIABLES.values(), *launch._CI.values())
    for variable in variables.values()
}

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has started these tests in its background, and what they start would inherit it: deaf to every Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _isolate(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in tuple(os.environ):
        ours = name.startswith("ROBOTRACE_") or name in _STARTED_BY or name in ("TRACEPARENT", "TRACESTATE")
        if ours or name.lower().endswith("_proxy"):
            patch.delenv(name)
    patch.setenv("HOME", str(home))
    patch.setenv("ROBOTRACE_HOME", str(home / ".robotrace"))
    patch.setenv("ROBOTRACE_SPOOL_DIR", str(home / "spool"))
    patch.setenv("ROBOTRACE_RAISE_INTERNAL_ERRORS", "1")


@pytest.fixture(autouse=True, scope="session")
def _isolated_session(tmp_path_factory):
    """For the fixtures of modules and packages, which are made before those of a test."""
    with pytest.MonkeyPatch.context() as patch:
        _isolate(patch, tmp_path_factory.mktemp("home"))
        yield


@pytest.fixture(autouse=True)
def _isolated_test(tmp_path_factory, monkeypatch):
    """No settings and credentials but the test's own, and no client and no run left over."""
    _isolate(monkeypatch, tmp_path_factory.mktemp("home"))
    faults._counts.clear()  # a cause is named once a process, and each test is one
    yield
    default_client.close()
    default_client._default_options.clear()
    run_context._layers.clear()
    handover.withdraw()
    handover._published.clear()
    process.current_process()._config.pop(handover._KEY, None)


@pytest.fixture
def robotrace_home():
    """``$ROBOTRACE_HOME`` of this test, made."""
    home = Path(os.environ["ROBOTRACE_HOME"])
    home.mkdir(mode=0o700)
    return home


@pytest.fixture
def server():
    with WireServer() as running:
        yield running


@pytest.fixture
def deployment(server):
    """The server, scripted to take one episode as the wire contract has it; a test scripts over what it needs."""
    script_deployment(server)
    return server


@pytest.fixture
def client(deployment):
    """A client of the deployment; what it would have slept is in ``client.slept``."""
    with Client(base_url=deployment.url, api_key=API_KEY) as made:
        made.slept = []
        made._transport._sleep = made.slept.append
        yield made


@pytest.fixture
def files(tmp_path):
    """One small file for each slot."""
    paths = {"video": "video.mp4", "sensors": "sensors.npz", "actions": "actions.npz"}
    for kind, name in paths.items():
        (tmp_path / name).write_bytes(f"bytes of {kind}".encode())
    return {kind: tmp_path / name for kind, name in paths.items()}


@pytest.fixture
def arm(tmp_path, monkeypatch):
    """``RoboTraceArm-v0`` can be recorded, and made again in workers."""
    gym = pytest.importorskip("gymnasium")
    pytest.importorskip("av")
    from unsteady_envs import ARM

    from robotrace import session

    session.reset()  # each test records as a process of its own would
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gym.register(ARM, entry_point="unsteady_envs:Arm")
    yield
    gym.registry.pop(ARM)
    session.reset()
