"""A user's code against the types of the installed package: what mypy infers, and which slips it finds."""

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("mypy", reason="mypy is in the lint environment")

RECORD = """
import gymnasium as gym

from robotrace_gymnasium import RoboTraceRecorder

env = RoboTraceRecorder(gym.make("CartPole-v1"), policy_version="p1", video=False, every_n_episodes=10)
observation, info = env.reset(seed=7)
observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
reveal_type(reward)  # R: typing.SupportsFloat
reveal_type(env.flush(10.0))  # R: bool

RoboTraceRecorder(gym.make("CartPole-v1"), video="deferred")
RoboTraceRecorder(gym.make("CartPole-v1"), polcy_version="p1")  # E: call-arg
RoboTraceRecorder(gym.make("CartPole-v1"), video="never")  # E: arg-type
"""

LOG = """
from pathlib import Path

import robotrace
from robotrace import ArtifactKind, Client, Episode, EpisodeSource

robotrace.init(base_url="http://127.0.0.1:8321", api_key="key", timeout=5.0)
episode = robotrace.log_episode(
    name="pick 7",
    source="sim",
    seed=7,
    video=Path("video.mp4"),
    sensors="sensors.npz",
    metadata={"outcome": robotrace.EpisodeOutcome(success=True), "loss": [0.5]},
    status="failed",
    failure_time_s=1.0,
)
reveal_type(episode)  # R: robotrace.episode.Episode
reveal_type(episode.id)  # R: str
reveal_type(episode.status)  # R: str
reveal_type(episode.upload_urls["video"].public_url)  # R: str | None


def record(client: Client, source: EpisodeSource, slots: tuple[ArtifactKind, ...]) -> Episode:
    with client.start_episode(source=source, artifacts=slots) as opened:
        reveal_type(opened)  # R: robotrace.episode.Episode
        reveal_type(opened.upload("sensors", Path("sensors.npz")))  # R: int
    return opened


with Client() as client:
    reveal_type(client)  # R: robotrace.client.Client
    reveal_type(client.base_url)  # R: str
    record(client, "real", ("sensors",)).finalize(status="ready")
    reveal_type(client.get_episode("id"))  # R: dict[str, Any]
    reveal_type(client.download_artifact("id", "video", Path("video.mp4")))  # R: int

try:
    robotrace.start_episode(artifacts=["video"])
except robotrace.RateLimitError as error:
    reveal_type(error.retry_after)  # R: float | None
except robotrace.APIError as error:
    reveal_type(error.status_code)  # R: int
robotrace.close()

robotrace.log_episode(source="dream")  # E: arg-type
robotrace.log_episode("pick 7")  # E: call-arg
robotrace.log_episode(policy="p1")  # E: call-arg
robotrace.start_episode(seed="7")  # E: arg-type
robotrace.start_episode(artifacts=["lidar"])  # E: list-item
episode.upload("lidar", "lidar.npz")  # E: arg-type
episode.upload("video", b"the bytes themselves")  # E: arg-type
episode.finalize(status="recording")  # E: arg-type
episode.upload_urls["video"].url = "elsewhere"  # E: misc
robotrace.Pose3D(translation=[0.0, 0.0, 0.0])  # E: call-arg
Client("http://127.0.0.1:8321")  # E: call-arg
"""

EVALUATE = """
from collections.abc import Mapping
from typing import Any

from robotrace import Client, evals, verify


def policy(observation: Mapping[str, Any]) -> dict[str, Any]:
    return {"action/value": observation["observation/value"]}


def on_episode(result: evals.EvalResult) -> None:
    reveal_type(result.metrics)  # R: dict[str, Any]


run = evals.create_run(candidate_policy_version="c", baseline_episode_ids=["a", "b"], name="nightly", client=Client())
reveal_type(run)  # R: robotrace.evals.EvalRun
results = evals.run_against(run, policy_callable=policy, on_episode=on_episode, dry_run=True)
reveal_type(results)  # R: list[robotrace.evals.EvalResult]
reveal_type(evals.complete_run(run))  # R: dict[str, Any]
reveal_type(evals.extract_outcome({}))  # R: dict[str, Any]

code, gate = verify.run_check(candidate_policy_version="c", policy_callable=policy)
reveal_type(code)  # R: int
reveal_type(gate)  # R: dict[str, Any]
reveal_type(verify.check_gate(candidate_policy_version="c"))  # R: dict[str, Any]
verify.promote(baseline_episode_id="a", severity="critical")
verify.record_result(scenario_id="s", candidate_policy_version="c", status="pass", metrics={})

evals.create_run(candidate_policy_version="c")  # E: call-arg
evals.run_against(run, policy)  # E: call-arg
evals.run_against(run, policy_callable=None)  # E: arg-type
verify.check_gate("c")  # E: call-arg
"""

EXPECTATION = re.compile(r"# ([RE]): (.+)$")
MESSAGE = re.compile(r'^snippet\.py:(\d+): (?:note: Revealed type is "(?P<type>.+)"|error: .*\[(?P<code>[a-z-]+)\])$')


@pytest.mark.parametrize(
    ("snippet", "needs"),
    [(RECORD, ("gymnasium", "numpy", "av")), (LOG, ()), (EVALUATE, ())],
    ids=["record", "log", "evaluate"],
)
def test_a_users_code_is_checked_as_it_should(tmp_path, snippet, needs):
    for name in needs:
        pytest.importorskip(name)
    (tmp_path / "snippet.py").write_text(snippet)
    expected = {
        (number, *EXPECTATION.search(line).groups())
        for number, line in enumerate(snippet.splitlines(), 1)
        if EXPECTATION.search(line)
    }
    assert expected
    assert mypy(tmp_path) == expected


def mypy(folder):
    """What mypy says of ``snippet.py``: ``(line, "R", type)`` and ``(line, "E", error code)``."""
    # From another folder and without ours: the package is found as a user's mypy finds it, by its py.typed.
    environment = {name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "PYTHONPATH")}
    options = ["--strict", "--config-file=", "--no-error-summary", "--no-pretty", "--hide-error-context"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--cache-dir", str(folder / "cache"), "snippet.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == ""
    said = set()
    for line in done.stdout.splitlines():
        found = MESSAGE.match(line)
        if found:
            kind = "R" if found["type"] else "E"
            said.add((int(found[1]), kind, _plain(found["type"] or found["code"])))
        else:
            assert ": note: " in line, line
    return said


def _plain(text):
    """A type without what mypy's versions write differently."""
    text = text.replace("builtins.", "")
    return re.sub(r"Union\[(\S+), None\]", r"\1 | None", text)
