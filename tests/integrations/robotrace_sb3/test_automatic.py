"""A script of Stable-Baselines3 that knows nothing of us: each training and each evaluation is recorded, once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra_apps import FORMS, SB3, run_app, write_app
from recorded import sealed

from robotrace import auto

PLAIN = SB3 + "\nprint('result', train({}))\n"
MANUAL = SB3.replace(
    "    return evaluate_policy(model, model.get_env(), n_eval_episodes=1)[0]\n",
    "    env = model.get_env()\n"
    "    observation, done = env.reset(), False\n"
    "    while not done:\n"
    "        observation, _, (done,), _ = env.step(model.predict(observation)[0])\n"
    "    env.close()\n",
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What it says without us."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "train.py").write_text(PLAIN)
    result = run_app(folder, python=("-W", "ignore"))
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


def by_phase() -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = {}
    for episode in sealed():
        found.setdefault(episode.metadata.get("phase"), []).append(str(episode.create.get("policy_version")))
    return found


RUN = ("-W", "ignore", "-m", "robotrace", "run")
PYTHON = ("--", sys.executable, "-W", "ignore")


@pytest.mark.parametrize(
    ("options", "phases"), [((), {"train", "eval"}), (("--phase", "eval"), {"eval"}), (("--phase", "train"), {"train"})]
)
def test_a_plain_script_is_recorded_as_with_a_callback_and_learns_the_same(
    tmp_path: Path, bare: tuple[str, str], options: tuple[str, ...], phases: set[str]
) -> None:
    (tmp_path / "train.py").write_text(PLAIN)
    result = run_app(tmp_path, python=(*RUN, *options, *PYTHON))
    assert (result.returncode, result.stdout, result.stderr) == (0, *bare)
    found = by_phase()
    assert found.keys() == phases
    assert set(found.get("train", ["PPO@0"])) == {"PPO@0"}
    assert found.get("eval", ["PPO@64"]) == ["PPO@64"]


def test_a_loop_by_hand_after_the_training_is_recorded_too(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(MANUAL + "\ntrain({})\n")
    result = run_app(tmp_path, python=(*RUN, *PYTHON))
    assert result.returncode == 0, result.stderr
    assert by_phase() == {"train": ["PPO@0"], None: ["None"]}


@pytest.mark.parametrize(
    ("form", "spelling"), list(zip(FORMS, ("enabled", "group", "environment", "callbacks"), strict=True))
)
def test_t48_a_hydra_app_is_recorded_and_learns_the_same(
    tmp_path: Path, bare: tuple[str, str], form: str, spelling: str
) -> None:
    pytest.importorskip("hydra")
    write_app(tmp_path, form, SB3)
    argument = {
        "enabled": "hydra.callbacks.robotrace.enabled=true",
        "group": "+robotrace=default",
        "callbacks": "hydra/callbacks=[log,robotrace]",
    }.get(spelling)
    more = {} if argument else {"ROBOTRACE_ENABLED": "1"}
    result = run_app(tmp_path, *filter(None, (argument,)), python=("-W", "ignore"), **more)
    assert (result.returncode, result.stderr) == (0, bare[1])
    assert bare[0].split()[-1] in result.stdout
    assert by_phase() == {"train": ["PPO@0"], "eval": ["PPO@64"]}
    assert {episode.metadata["hydra"]["job"] for episode in sealed()} == {"train"}


def test_t51_a_sweep_in_worker_processes_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    write_app(tmp_path, "yaml", SB3)
    arguments = ("-m", "hydra/launcher=joblib", "hydra.callbacks.robotrace.enabled=true", "seed=3,4")
    result = run_app(tmp_path, *arguments, python=("-W", "ignore"))
    assert result.returncode == 0, result.stderr
    told = [(e.metadata["hydra"]["num"], e.create["seed"], e.metadata.get("phase")) for e in sealed()]
    assert {(num, phase) for num, _, phase in told} == {(num, phase) for num in (0, 1) for phase in ("train", "eval")}


def test_undone_no_model_is_recorded_any_more() -> None:
    from stable_baselines3 import PPO

    from robotrace_sb3.training import training_of

    undo = auto.instrument(video=False)
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, n_epochs=1, device="cpu")
    model.learn(16)
    assert training_of(model) is not None
    assert model.env is not None
    env = model.env.envs[0]  # type: ignore[attr-defined]
    assert "step" in vars(env)
    undo()
    assert training_of(model) is None
    assert "step" not in vars(env)
    assert "step" not in vars(env.env)
    model.learn(16)
    assert training_of(model) is None


def test_a_callback_of_the_scripts_own_goes_first() -> None:
    from stable_baselines3 import PPO

    import robotrace
    from robotrace_sb3 import RoboTraceCallback

    undo = auto.instrument(video=False, tags=["automatic"])
    try:
        model = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, n_epochs=1, device="cpu")
        model.learn(64, callback=RoboTraceCallback(tags=["asked for"], video=False))
    finally:
        undo()
    assert robotrace.flush()
    assert {tuple(episode.metadata["tags"]) for episode in sealed()} == {("asked for",)}
