"""What is said of a job and what becomes of its episodes: sweeps, launchers, failures, secrets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hydra_apps import SWITCH, only, run_app, write_app
from recorded import sealed


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_t51_every_job_of_a_sweep_has_its_own_context(tmp_path: Path, launcher: str) -> None:
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    write_app(tmp_path, "yaml")
    options = {"joblib": ["hydra.launcher.n_jobs=2"], "submitit_local": ["hydra.launcher.timeout_min=2"]}
    arguments = ["-m", "seed=3,4", SWITCH, f"hydra/launcher={launcher}", *options.get(launcher, [])]
    version = "hydra.callbacks.robotrace.policy_version='v${seed}'"
    result = run_app(tmp_path, *arguments, version, python=("-W", "ignore"))
    assert result.returncode == 0, result.stderr
    episodes = sorted(sealed(), key=lambda episode: episode.create["seed"])
    assert [(episode.create["seed"], episode.create["policy_version"]) for episode in episodes] == [
        (3, "v3"),
        (4, "v4"),
    ]
    said = [episode.metadata["hydra"] for episode in episodes]
    assert [one["num"] for one in said] == [0, 1]
    assert [one["config"]["seed"] for one in said] == [3, 4]
    assert len({one["config_hash"] for one in said}) == 2
    assert all("seed=" in one["override_dirname"] and "multirun" in one["sweep_dir"] for one in said)
    assert [Path(one["output_dir"]).name for one in said] == ["0", "1"]
    assert [episode.metadata["episode_index"] for episode in episodes] == [0, 0]


def test_t51_functions_of_the_main_module_reach_a_worker_in_a_pickle(tmp_path: Path) -> None:
    # cloudpickle rebuilds the task function of __main__ with globals of its own, in which make is bound already.
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    write_app(tmp_path, "no config")
    result = run_app(tmp_path, "-m", "+seed=3,4", SWITCH, "hydra/launcher=joblib", python=("-W", "ignore"))
    assert result.returncode == 0, result.stderr
    assert sorted(episode.create["seed"] for episode in sealed()) == [3, 4]


def test_t51_after_a_job_nothing_is_left(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    script = tmp_path / "train.py"
    script.write_text(
        script.read_text()
        + "    import gymnasium, os\n"
        + "    from gymnasium.envs import registration\n"
        + "    assert registration.make.__code__.co_filename == registration.__file__\n"
        + "    env = gymnasium.make('CartPole-v1')\n"
        + "    assert 'step' not in vars(env)\n"
        + "    print('left', [name for name in os.environ if name.startswith('ROBOTRACE_RUN')])\n"
    )
    result = run_app(tmp_path, SWITCH)
    only(result, seed=3)
    assert result.stdout.endswith("left []\n")


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_t53_the_open_episode_of_a_job_that_failed_has_failed(tmp_path: Path, launcher: str) -> None:
    if launcher != "basic":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    write_app(tmp_path, "yaml")
    more = [] if launcher == "basic" else ["-m", f"hydra/launcher={launcher}"]
    result = (
        run_app(tmp_path, "fail=true", SWITCH, *more, python=("-W", "ignore"))
        if not more
        else run_app(tmp_path, *more, "fail=true", SWITCH, python=("-W", "ignore"))
    )
    assert result.returncode == 1
    assert "ValueError: boom" in result.stderr
    ended, failed = sealed()
    assert (ended.finalize["status"], failed.finalize["status"]) == ("ready", "failed")
    assert failed.metadata["failure_reason"] == "ValueError: boom"
    assert failed.metadata["hydra"]["config"]["fail"] is True


def test_t53_a_job_that_is_interrupted_keeps_its_episode(tmp_path: Path) -> None:
    write_app(
        tmp_path,
        "yaml",
        train="""
import gymnasium as gym

def train(cfg):
    env = gym.make("CartPole-v1")
    env.reset(seed=cfg.seed)
    env.step(0)
    raise KeyboardInterrupt
""",
    )
    run_app(tmp_path, SWITCH)
    (episode,) = sealed()
    assert episode.metadata["failure_reason"] == "KeyboardInterrupt"


def test_t54_secrets_stay_out_and_interpolations_stay_as_they_are_written(tmp_path: Path) -> None:
    config = (
        "wandb:\n  api_key: abcd-secret-1\n  team: robots\n"
        "url: ${oc.env:DATABASE_URL}\nbroken: ${nowhere.at.all}\nlater: ???\nmine: xyzzy-secret-2\n"
    )
    write_app(tmp_path, "yaml", config=config)
    arguments = ["+login.password=pqrs-secret-3", "hydra.callbacks.robotrace.redact=[mi*]", SWITCH]
    where = "hydra.run.dir='out/${hydra.job.override_dirname}'"
    result = run_app(tmp_path, *arguments, where, DATABASE_URL="postgres://user:tuvw-secret-4@host")
    episode = only(result, seed=3)
    text = json.dumps(episode.manifest)
    assert re.findall(r"[a-z]{4,5}-secret-\d", text) == []
    told = episode.metadata["hydra"]
    assert told["config"]["wandb"] == {"api_key": "[redacted]", "team": "robots"}
    assert told["config"]["url"] == "${oc.env:DATABASE_URL}"
    assert told["config"]["broken"] == "${nowhere.at.all}"
    assert told["config"]["later"] == "???"
    assert "+login.password=[redacted]" in told["overrides"]
    assert told["targets"] == {"policy": "my.Policy"}


def test_t54_the_config_can_be_left_out(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    episode = only(run_app(tmp_path, SWITCH, "hydra.callbacks.robotrace.log_config=false"), seed=3)
    assert "config" not in episode.metadata["hydra"]
    assert len(episode.metadata["hydra"]["config_hash"]) == 64
