"""What ``import robotrace`` offers, and what it costs."""

import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest

import robotrace
from robotrace import Client, Episode, UploadUrl

SOURCE = Path(robotrace.__file__).parents[1]
MODULES = [
    "client",
    "config",
    "context.git",
    "context.host",
    "context.trace",
    "credentials",
    "episode",
    "errors",
    "eval_baseline",
    "eval_metrics",
    "eval_replay",
    "eval_rows",
    "evals",
    "faults",
    "ingest",
    "jsonable",
    "loops",
    "reading",
    "secret_logs",
    "transport",
    "types",
    "verify",
]
REQUIRED = inspect.Parameter.empty

START_EPISODE = {
    "name": None,
    "source": "real",
    "robot": None,
    "policy_version": None,
    "env_version": None,
    "git_sha": None,
    "seed": None,
    "fps": None,
    "metadata": None,
    "artifacts": ("video", "sensors", "actions"),
}
LOG_EPISODE = {
    "name": None,
    "source": "real",
    "robot": None,
    "policy_version": None,
    "env_version": None,
    "git_sha": None,
    "seed": None,
    "video": None,
    "sensors": None,
    "actions": None,
    "duration_s": None,
    "fps": None,
    "metadata": None,
    "status": "ready",
    "failure_time_s": None,
}
FINALIZE = {
    "status": "ready",
    "duration_s": None,
    "fps": None,
    "bytes_total": None,
    "failure_time_s": None,
    "metadata": None,
}
API_ERROR = {"status_code": REQUIRED, "response_body": None}


def surface(function):
    """Positional parameters in their order, and keyword-only ones with their defaults."""
    positional, keyword_only = [], {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            keyword_only[name] = parameter.default
        else:
            positional.append(name)
    return positional, keyword_only


# --- names


def test_all_agrees_with_what_is_there():
    public = {
        name
        for name, value in vars(robotrace).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert sorted(robotrace.__all__) == sorted(public | {"__version__", "evals", "types", "verify"})
    assert len(set(robotrace.__all__)) == len(robotrace.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_all_of_a_module_agrees_with_what_it_defines(name):
    module = importlib.import_module(f"robotrace.{name}")
    assert [missing for missing in module.__all__ if not hasattr(module, missing)] == []
    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    assert defined - set(module.__all__) == set()


def test_all_of_the_plugin_face_is_there():
    pytest.importorskip("numpy")
    pytest.importorskip("av")
    module = importlib.import_module("robotrace.plugin")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_module_of_the_package_is_typed_and_says_so():
    assert (SOURCE / "robotrace" / "py.typed").is_file()
    names = [module.name for module in pkgutil.iter_modules(robotrace.__path__)]
    assert {"client", "episode", "errors", "types"} <= set(names)


def test_the_names_of_the_contract_are_there():
    assert set(robotrace.__all__) >= {
        "APIError",
        "ArtifactKind",
        "AuthError",
        "Client",
        "ConfigurationError",
        "ConflictError",
        "ENV_API_KEY",
        "ENV_BASE_URL",
        "Episode",
        "EpisodeFinalStatus",
        "EpisodeSource",
        "NotFoundError",
        "RateLimitError",
        "RobotraceError",
        "ServerError",
        "TransportError",
        "UploadUrl",
        "ValidationError",
        "__version__",
        "close",
        "evals",
        "init",
        "log_episode",
        "start_episode",
        "types",
        "verify",
    }
    assert (robotrace.ENV_API_KEY, robotrace.ENV_BASE_URL) == ("ROBOTRACE_API_KEY", "ROBOTRACE_BASE_URL")
    assert typing.get_args(robotrace.ArtifactKind) == ("video", "sensors", "actions")
    assert typing.get_args(robotrace.EpisodeSource) == ("real", "sim", "replay")
    assert typing.get_args(robotrace.EpisodeFinalStatus) == ("ready", "failed")


# --- signatures


@pytest.mark.parametrize(
    ("function", "positional", "keyword_only"),
    [
        (robotrace.init, [], {"api_key": None, "base_url": None, "timeout": None}),
        (robotrace.close, [], {}),
        (robotrace.start_episode, [], START_EPISODE),
        (robotrace.log_episode, [], LOG_EPISODE),
        (Client, [], {"api_key": None, "base_url": None, "timeout": None, "verbose": None, "transport": None}),
        (Client.start_episode, ["self"], START_EPISODE),
        (Client.log_episode, ["self"], LOG_EPISODE),
        (Client.close, ["self"], {}),
        (Episode.upload, ["self", "kind", "path"], {}),
        (Episode.upload_video, ["self", "path"], {}),
        (Episode.upload_sensors, ["self", "path"], {}),
        (Episode.upload_actions, ["self", "path"], {}),
        (Episode.finalize, ["self"], FINALIZE),
        (UploadUrl, ["kind", "url", "expires_at", "public_url"], {}),
        (robotrace.APIError, ["message"], API_ERROR),
        (robotrace.RateLimitError, ["message"], {**API_ERROR, "retry_after": None}),
        (robotrace.JointState, ["positions", "velocities", "efforts", "names"], {}),
        (robotrace.Pose3D, ["translation", "rotation"], {}),
        (robotrace.Twist, ["linear", "angular"], {}),
        (robotrace.Imu, ["linear_acceleration", "angular_velocity", "orientation"], {}),
        (robotrace.Battery, ["percent", "voltage_v", "current_a", "charging"], {}),
        (robotrace.EpisodeOutcome, ["success", "reward_total", "collision_count", "time_to_goal_s"], {}),
        (importlib.import_module("robotrace.types").encode, ["value"], {}),
    ],
)
def test_signatures_are_those_of_the_contract(function, positional, keyword_only):
    # Further keyword arguments are welcome; what is here never goes.
    names, given = surface(function)
    assert names == positional
    assert {name: given.get(name, "missing") for name in keyword_only} == keyword_only
    assert all(given[name] is not REQUIRED for name in given.keys() - keyword_only.keys())


def test_the_attributes_of_an_episode_are_those_of_the_contract():
    episode = Episode(id="1", status="recording", storage="r2")
    assert (episode.id, episode.status, episode.storage, episode.upload_urls) == ("1", "recording", "r2", {})
    assert isinstance(vars(Client)["base_url"], property)


# --- what the import costs

# Ahead of every other finder: whatever is neither the standard library, nor us, nor what httpx and click need, is
# not there.
BLOCKER = """
import importlib.abc, sys

ALLOWED = {"robotrace", "httpx", "httpcore", "h11", "anyio", "sniffio", "idna", "certifi", "exceptiongroup", "click",
           "tomli", "tomli_w", "typing_extensions", *sys.stdlib_module_names}

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in ALLOWED or root.startswith(("_sysconfigdata", "__editable__")):
            return None
        raise ModuleNotFoundError(f"No module named {name!r}", name=root)

sys.meta_path.insert(0, Refuse())
"""


def run(script):
    """What the script prints as JSON, run by a Python that has the standard library, httpx and click alone."""
    path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", BLOCKER + script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_import_needs_no_framework_starts_no_thread_and_opens_no_file():
    seen = run("""
import json, threading, _thread
opened, started, spawned = [], [], []
CODE = (".py", ".pyc", ".so", ".pyd", ".zip")

def watch(event, arguments):
    if event == "open" and not str(arguments[0]).endswith(CODE):
        opened.append(str(arguments[0]))
    elif event in ("socket.connect", "socket.bind", "subprocess.Popen", "os.fork", "os.posix_spawn"):
        spawned.append(event)

start = threading.Thread.start
threading.Thread.start = lambda thread: (started.append(thread.name), start(thread))
sys.addaudithook(watch)
before = set(sys.modules)
import robotrace
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
third = sorted(roots - set(sys.stdlib_module_names))
alive = _thread._count()
print(json.dumps([opened, started, spawned, alive, third]))
""")
    opened, started, spawned, alive, third = seen
    assert (opened, started, spawned, alive) == ([], [], [], 0)
    assert set(third) <= {"robotrace", "tomli"}, "httpx costs 70 ms, and the encoder worker imports robotrace too"


def test_the_whole_sdk_works_without_any_framework(tmp_path):
    (tmp_path / "actions.npz").write_bytes(b"x")
    seen = run(f"""
import json, httpx, robotrace
seen = []
def answer(request):
    seen.append([request.method, str(request.url)])
    url = {{"kind": "actions", "url": "http://store.invalid/x", "expires_at": "later", "public_url": None}}
    return httpx.Response(200, json={{"episode_id": "7", "status": "ready", "storage": "r2", "upload_urls": [url]}})
transport = httpx.MockTransport(answer)
with robotrace.Client(base_url="http://deployment.invalid", api_key="k", transport=transport) as client:
    client.log_episode(actions={str(tmp_path / "actions.npz")!r}, metadata={{"outcome": robotrace.EpisodeOutcome()}})
print(json.dumps(seen))
""")
    assert seen == [
        ["POST", "http://deployment.invalid/api/ingest/episode"],
        ["PUT", "http://store.invalid/x"],
        ["POST", "http://deployment.invalid/api/ingest/episode/7/finalize"],
    ]


def test_recording_without_its_extra_names_the_extra():
    text = run("""
import json
try:
    import robotrace.plugin
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
""")
    assert text[0] == "ConfigurationError"
    assert text[1].startswith("recording needs numpy; run: pip install 'robotrace-dev[record]'")
