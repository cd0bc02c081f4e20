"""``robotrace run``: the program is what it is without it, and its episodes are recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("av")

from command_line import child_environment, robotrace
from polling import eventually
from recorded import sealed

LOOP = """
import random, sys, time
import numpy as np
from gymnasium import make

random.seed(1), np.random.seed(1)
env = make("CartPole-v1")
observation, info = env.reset(seed=7)
env.action_space.seed(7)
done, total = False, 0.0
while not done:
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    done, total = terminated or truncated, total + reward
print(total, observation.tolist(), random.random(), np.random.random())
print(__name__, sys.argv[1:], sys.path[0] == %r, sys.flags.optimize, [p for p in sys.path if "startup" in p])
print("to stderr", file=sys.stderr)
if "raise" in sys.argv:
    env.reset()
    env.step(0)
    raise ValueError("boom")
if "wait" in sys.argv:
    env.reset()
    env.step(0)
    print("waiting", flush=True)
    while True:  # a pause() waits for ever where the signal has come right before it
        time.sleep(0.01)
sys.exit(3)
"""
WORKERS = """
import multiprocessing, sys
import gymnasium as gym

def make():
    return gym.make("CartPole-v1")

def train(seed):
    env = make()
    env.reset(seed=seed)
    while not any(env.step(0)[2:4]):
        pass

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    worker = context.Process(target=train, args=(100,))
    worker.start()
    worker.join()
    envs = gym.vector.AsyncVectorEnv([make, make], context=sys.argv[1])
    envs.reset(seed=1)
    for _ in range(12):
        envs.step([0, 0])
    envs.close()
"""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_MODE", "offline")


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(LOOP % str(tmp_path))
    return path


def bare(*command: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=child_environment(environment), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("how", "arguments"),
    [(("train.py",), ("--lr", "3e-4", "--help")), (("-O", "-m", "train"), ("x",)), (("train.py",), ("raise",))],
    ids=["script", "module", "exception"],
)
def test_output_exit_code_arguments_and_tracebacks_are_the_programs(
    loop: Path, how: tuple[str, ...], arguments: tuple[str, ...]
) -> None:
    command = (sys.executable, *how, *arguments)
    expected = bare(*command, cwd=loop.parent)
    result = robotrace("run", "--policy-version", "v1", "--", *command, cwd=loop.parent)
    assert (result.stdout, result.stderr) == (expected.stdout, expected.stderr)
    assert result.returncode == expected.returncode == (1 if "raise" in arguments else 3)
    episodes = sealed()
    assert [episode.create["seed"] for episode in episodes[:1]] == [7]
    assert [episode.create["policy_version"] for episode in episodes] == ["v1"] * len(episodes)
    assert [episode.finalize["status"] for episode in episodes] == ["ready", "failed"][: len(episodes)]
    assert len(episodes) == 1 + ("raise" in arguments)


def test_ctrl_c_is_the_programs(loop: Path) -> None:
    command = [sys.executable, "-m", "robotrace", "run", "--", sys.executable, str(loop), "wait"]
    process = subprocess.Popen(
        command, env=child_environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        while process.stdout.readline() != "waiting\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)  # to the process that was started: it has become the program
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert error.rstrip().endswith("KeyboardInterrupt")
    eventually(lambda: len(sealed()) == 2)
    assert sealed()[1].metadata["failure_reason"] == "KeyboardInterrupt"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_are_recorded_and_workers_of_a_vector_are_not_recorded_twice(tmp_path: Path, method: str) -> None:
    (tmp_path / "train.py").write_text(WORKERS)
    result = robotrace("run", "--", sys.executable, "-W", "ignore", "train.py", method, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    episodes = sealed()
    alone = [episode for episode in episodes if "vector" not in episode.metadata]
    assert [episode.create["seed"] for episode in alone] == [100]
    assert sorted(episode.create["seed"] for episode in episodes if episode not in alone) == [1, 2]


def test_a_shell_script_that_runs_python_is_recorded(loop: Path) -> None:
    result = robotrace("run", "--tag", "night", "--", "sh", "-c", f"{sys.executable} train.py; exit 5", cwd=loop.parent)
    assert (result.returncode, result.stderr) == (5, "to stderr\n")
    assert [episode.metadata["tags"] for episode in sealed()] == [["night"]]


def test_the_users_own_sitecustomize_still_runs(loop: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text(
        "import sys\n"
        "if sys.orig_argv[-1] == 'train.py' and 'run' not in sys.orig_argv:\n"
        "    print('mine', __file__, [p for p in sys.path if 'startup' in p])\n"
    )
    path = os.pathsep.join((str(own), *sys.path))
    expected = bare(sys.executable, "train.py", cwd=loop.parent, PYTHONPATH=path)
    result = robotrace("run", "--", sys.executable, "train.py", cwd=loop.parent, PYTHONPATH=path)
    assert result.stdout == expected.stdout
    assert result.stdout.count("mine") == 1
    assert len(sealed()) == 1


def test_a_python_without_us_says_so_once_and_runs(loop: Path, tmp_path: Path) -> None:
    (tmp_path / "gymnasium.py").write_text("print('another gymnasium')")
    (tmp_path / "other.py").write_text("import gymnasium, json; print('done')")
    # -P is 3.11's: the folder of the script has to go first, and ours not at all.
    without = "import sys; sys.modules['robotrace'] = None; import runpy; runpy.run_path('other.py')"
    result = robotrace("run", "--", sys.executable, "-c", without, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "another gymnasium\ndone\n")
    (line,) = result.stderr.splitlines()
    assert line.startswith("robotrace: nothing is recorded: robotrace-dev is not installed for ")


def test_a_program_that_imports_no_framework_has_nothing_of_ours(tmp_path: Path) -> None:
    code = "import sys; print([name for name in sys.modules if name.startswith(('robotrace', 'httpx', 'numpy'))])"
    result = robotrace("run", "--", sys.executable, "-c", code)
    assert (result.stdout, result.stderr, result.returncode) == ("[]\n", "", 0)


def test_every_option_reaches_the_recording(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text("def fell(end):\n    return end.steps < 1000\n")
    (tmp_path / "train.py").write_text(
        "import gymnasium as gym\n"
        "env = gym.make('CartPole-v1', render_mode='rgb_array')\n"
        "for _ in range(3):\n"
        "    env.reset()\n"
        "    while not any(env.step(0)[2:4]):\n"
        "        pass\n"
    )
    result = robotrace(
        "run",
        *("--policy-version", "p", "--env-version", "e", "--git-sha", "a" * 40, "--seed", "5", "--project", "arms"),
        *("--name", "nightly", "--tag", "a", "--tag", "b", "--metadata", "task=pick", "--metadata", "n=2"),
        *("--every-n-episodes", "2", "--max-per-minute", "none", "--only", "failures", "--failure", "rules:fell"),
        *("--keep-partial", "never", "--video", "off", "--infos", "on", "--robot", "r", "--source", "sim"),
        *("--fps", "10", "--images", "drop", "--framework", "gymnasium", "--phase", "eval", "--success-key", "won"),
        *("--", sys.executable, "train.py"),
        cwd=tmp_path,
    )
    assert (result.returncode, result.stderr) == (0, "")
    episodes = sealed()
    assert [episode.metadata["episode_index"] for episode in episodes] == [0, 2]
    create, metadata = episodes[0].create, episodes[0].metadata
    assert [create[name] for name in ("policy_version", "env_version", "git_sha", "seed", "robot")] == [
        *("p", "e", "a" * 40, 5, "r")
    ]
    assert (metadata["tags"], metadata["task"], metadata["n"]) == (["a", "b"], "pick", 2)
    assert metadata["run"]["project"] == "arms"
    assert metadata["run"]["name"] == "nightly"
    assert metadata["failure_reason"].startswith("failure() said so")
    assert not (episodes[0].folder / "video.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Error: Missing command: robotrace run [OPTIONS] -- python train.py"),
        (("--only", "x", "--", "python"), 2, "Error: Invalid value for '--only': 'x' is not one of"),
        (("--metadata", "x", "--", "python"), 2, "Error: Invalid value for '--metadata': 'x' is not of the form"),
        (("--max-per-minute", "x", "--", "python"), 2, "'x' is neither a number nor none"),
        (("--trigger", "x", "--", "python"), 1, "robotrace: trigger: 'x' is no trigger"),
        (("--seed", str(2**70), "--", "python"), 1, "robotrace: seed must fit into 64 bits"),
        (("--framework", "jax", "--", "python"), 1, "robotrace: there is no framework 'jax'; there are gymnasium, "),
        (("--", "no-such-program"), 127, "robotrace: no-such-program is no program that can be run"),
        (("--", "./train.py"), 127, "is it robotrace run -- python ./train.py?"),
        (("--", "python3", "-Iu", "train.py"), 1, "robotrace: python -I runs isolated, and nothing could be recorded"),
    ],
)
def test_what_cannot_be_run_is_one_clear_error(loop: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = robotrace("run", *arguments, cwd=loop.parent)
    assert (result.returncode, result.stdout) == (code, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("name", "value"), [("ROBOTRACE_ENABLED", "0"), ("ROBOTRACE_MODE", "disabled")])
def test_switched_off_by_the_environment_nothing_is_recorded(loop: Path, name: str, value: str) -> None:
    result = robotrace("run", "--", sys.executable, "train.py", cwd=loop.parent, **{name: value})
    assert (result.returncode, result.stderr) == (3, "to stderr\n")
    assert sealed() == []


def test_what_the_program_says_itself_goes_first(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import gymnasium as gym, robotrace\n"
        "with robotrace.run(policy_version='of the script'):\n"
        "    env = gym.make('CartPole-v1')\n"
        "    env.reset(seed=1)\n"
        "    while not any(env.step(0)[2:4]):\n"
        "        pass\n"
    )
    result = robotrace("run", "--policy-version", "of the command", "--", sys.executable, "train.py", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert [episode.create["policy_version"] for episode in sealed()] == ["of the script"]
