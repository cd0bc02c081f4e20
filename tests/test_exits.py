"""How a training ends: its exit code, traceback, output and random streams are the user's own, and nothing hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("numpy")
pytest.importorskip("av")

from polling import eventually
from recorded import sealed
from trainings import PREAMBLE, environment, run, salvaged

from robotrace.deliver.spool import open_spool
from robotrace.testing import Fault, FaultServer

SHORT = {"ROBOTRACE_EXIT_TIMEOUT_S": "1.2"}
"""Above the second after which a wait is announced, and below the minutes that a request may take; a test that hangs is
ended after two of them."""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def variables(server: FaultServer) -> dict[str, str]:
    return {"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": "rt_key", **SHORT}


ENDS = {
    "the end of the script": ("", 0, ""),
    "sys.exit": ("sys.exit(7)", 7, ""),
    "sys.exit with a text": ("sys.exit('no more')", 1, "no more\n"),
    "an exception": ("raise ValueError('diverged')", 1, "ValueError: diverged\n"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt\n"),
    "SystemExit in a thread": ("import threading; t = threading.Thread(target=sys.exit); t.start(); t.join()", 0, ""),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
    "os._exit": ("os._exit(3)", 3, ""),
}


KILLED = ("SIGTERM", "os._exit")
"""Nothing of ours runs at these, and no deployment is asked."""


@pytest.mark.parametrize(
    ("name", "outage"),
    [*((name, False) for name in ENDS), *((name, True) for name in ENDS if name not in KILLED)],
    ids=lambda value: value if isinstance(value, str) else ("deployment silent" if value else "deployment up"),
)
def test_exit_code_and_stderr_are_those_of_the_script(server: FaultServer, name: str, outage: bool) -> None:
    ending, code, text = ENDS[name]
    if outage:
        server.fault = lambda method, path: Fault(kind="silent")
    result = run(f"env = make(video=False); rollout(env); rollout(env, 6, steps=9)\n{ending}", **variables(server))
    bare = subprocess.run([sys.executable, "-c", f"import os, signal, sys\n{ending}"], capture_output=True, check=False)
    assert result.returncode == bare.returncode == code, result.stderr
    assert result.stdout == ""
    ours = [line for line in result.stderr.splitlines() if line.startswith("robotrace: saving and uploading")]
    assert len(ours) <= 1
    assert result.stderr.replace(f"{ours[0]}\n" if ours else "", "").endswith(text)
    spool = open_spool()
    there = [stored.create["seed"] for stored in server.episodes.values()]
    waiting = [episode.create["seed"] for episode in (salvaged() if spool.recording_folders() else sealed())]
    assert 5 in {*there, *waiting}
    if name not in KILLED:
        assert sorted({*there, *waiting}) == [5, 6]
        assert spool.recording_folders() == []


def test_ctrl_c_in_the_wait_leaves_at_once_and_the_next_run_delivers(server: FaultServer) -> None:
    server.fault = lambda method, path: Fault(kind="silent")
    body = PREAMBLE + "rollout(make(video=False)); import threading; print('ended', flush=True)"
    training = subprocess.Popen(
        [sys.executable, "-c", body],
        env=environment({**variables(server), "ROBOTRACE_EXIT_TIMEOUT_S": "600"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert training.stderr is not None
        assert "Ctrl-C leaves now" in training.stderr.readline()
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=60)
    finally:
        training.kill()
    assert (training.returncode, out, err) == (0, "ended\n", "")
    server.fault = lambda method, path: None
    result = run("rollout(make(video=False), 6)", **variables(server))
    assert result.returncode == 0
    assert sorted(stored.create["seed"] for stored in server.episodes.values()) == [5, 6]


def test_where_the_key_is_refused_an_exit_waits_for_nothing(server: FaultServer) -> None:
    server.fault = lambda method, path: Fault(401, {"error": "unknown API key"})
    body = "rollout(make(video=False)); import robotrace; robotrace.flush(0.5)"
    result = run(body, **{**variables(server), "ROBOTRACE_EXIT_TIMEOUT_S": "600"})
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert "log in again" in line
    assert "rt_key" not in result.stderr
    assert len(sealed()) == 1


RANDOM = """
import random
import robotrace.session
random.seed(1); np.random.seed(2); generator = np.random.default_rng(3)
env = {make}
for seed in range(4):
    rollout(env, seed)
    if {recorded}:
        __import__("robotrace").flush(0.5)  # long enough for a try, its failure and the jitter after it
state = [random.random(), float(np.random.random()), float(generator.random()), random.getstate()[1][-1]]
try:
    import torch
    torch.manual_seed(4)
    rollout(env, 9)
    state.append(float(torch.rand(1)))
except ImportError:
    pass
print(state)
"""


def test_the_random_streams_are_those_without_a_recorder_even_while_uploads_fail(server: FaultServer) -> None:
    server.fault = lambda method, path: Fault(503)
    recorded = run(RANDOM.format(make="make(video=False)", recorded=True), **variables(server))
    bare = run(RANDOM.format(make="LoggingEnv(length=30)", recorded=False))
    assert (recorded.returncode, bare.returncode) == (0, 0), recorded.stderr
    assert recorded.stdout == bare.stdout != ""


def test_an_open_episode_killed_at_a_random_step_comes_back_up_to_its_last_second_and_plays() -> None:
    import random

    from gymnasium_envs import read_barcode

    steps = random.Random(os.getpid()).randrange(60, 160)
    body = (
        PREAMBLE
        + """
import time
env = RoboTraceRecorder(LoggingEnv(length=10**6), video_trigger=1, max_per_minute=None)
env.reset(seed=5)
for step in range(10**6):
    env.step(np.zeros(2))
    time.sleep(0.02)
    print(step + 1, flush=True)
"""
    )
    training = subprocess.Popen([sys.executable, "-c", body], env=environment({}), stdout=subprocess.PIPE, text=True)
    try:
        assert training.stdout is not None
        done = 0
        while done < steps:
            done = int(training.stdout.readline())
    finally:
        training.kill()
        rest, _ = training.communicate()
    done = int(rest.split()[-1]) if rest.split() else done
    (episode,) = salvaged()
    assert episode.finalize["status"] == "failed"
    assert episode.metadata["salvaged"] is True
    kept = len(episode.arrays("actions")["action/value"])
    # A block a second, of at most 50 steps; one more was under way.
    assert done - 52 <= kept <= done + 1
    frames, _ = episode.frames()
    numbers = [read_barcode(frame) for frame in frames]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= done - 1


def test_a_slow_server_at_exit_gets_all_of_it_as_fast_as_it_goes(server: FaultServer) -> None:
    result = run(
        "env = make(video=True)\nfor seed in range(3): rollout(env, seed)",
        **{**variables(server), "ROBOTRACE_UPLOAD_LIMIT_MB_S": "0.000001", "ROBOTRACE_EXIT_TIMEOUT_S": "60"},
    )
    assert result.returncode == 0
    eventually(lambda: len(server.episodes) == 3)
    assert all(stored.finalize is not None for stored in server.episodes.values())
