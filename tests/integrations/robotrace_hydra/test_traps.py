"""The traps of Hydra, each in apps of their own that know nothing of us."""

from __future__ import annotations

import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra_apps import FORMS, run_app, write_app
from recorded import RecordedEpisode, sealed

import hydra_plugins

SWITCH = "hydra.callbacks.robotrace.enabled=true"


def only(result: Any, **expected: Any) -> RecordedEpisode:
    assert result.returncode == 0, result.stderr
    (episode,) = sealed()
    assert {name: episode.create[name] for name in expected} == expected
    return episode


# --- T48: every spelling, in every form of an app


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spelling", ["enabled", "group", "callbacks", "environment"])
def test_t48_every_spelling_records_an_app_of_every_form(tmp_path: Path, form: str, spelling: str) -> None:
    write_app(tmp_path, form)
    both = "[log,robotrace]" if form == "own callbacks" else "robotrace"
    arguments = {"enabled": SWITCH, "group": "+robotrace=default", "callbacks": f"hydra/callbacks={both}"}.get(spelling)
    more = {} if arguments else {"ROBOTRACE_ENABLED": "1"}
    result = run_app(tmp_path, *filter(None, (arguments,)), **more)
    episode = only(result, seed=3)
    steps = episode.metadata["outcome"]["steps"]
    own = "own callback 3\n" if form == "own callbacks" else ""
    assert result.stdout == f"{own}result {None if form == 'no config' else 3} {steps} \n"
    assert result.stderr == ""
    assert episode.metadata["hydra"]["mode"] == "run"
    assert episode.metadata["hydra"]["job"] == "train"


@pytest.mark.parametrize("form", FORMS)
def test_t48_not_switched_on_an_app_is_as_without_us(tmp_path: Path, form: str) -> None:
    write_app(tmp_path, form)
    with (tmp_path / "train.py").open("a") as script:
        script.write(
            "    import sys\n"
            "    print([name for name in sys.modules if name.split('.')[0] in ('robotrace', 'httpx', 'av')])\n"
        )
    result = run_app(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("\n[]\n")
    assert sealed() == []


def test_t48_a_block_of_the_apps_own_config_switches_it_on_and_off(tmp_path: Path) -> None:
    block = "robotrace:\n  enabled: true\n  policy_version: of the config\n  tags: [a, b]\n  video: false\n"
    write_app(tmp_path, "yaml", config=block)
    episode = only(run_app(tmp_path), policy_version="of the config")
    assert episode.metadata["tags"] == ["a", "b"]
    for off in ("robotrace.enabled=false", "hydra.callbacks.robotrace.enabled=false", "+robotrace@hydra.callbacks=off"):
        assert run_app(tmp_path, off).returncode == 0
    assert len(sealed()) == 1


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("robotrace=on", "To append to your default list use +robotrace=on"),
        ("++robotrace=on", "force-add of config groups is not supported: '++robotrace=on'"),
        ("+hydra/callbacks=robotrace", "override hydra/callbacks: robotrace"),
        ("robotrace.enabled=true", "To append to your config use +robotrace.enabled=true"),
        ("+robotrace=defualt", "Could not find 'robotrace/defualt'"),
    ],
)
def test_t48_what_does_not_work_is_told_by_hydra(tmp_path: Path, spelling: str, message: str) -> None:
    write_app(tmp_path, "yaml")
    result = run_app(tmp_path, spelling)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("group", "kept"),
    [("default", ["ready", "failed"]), ("failures", ["failed"]), ("eval_only", ["ready", "failed"]), ("off", [])],
)
def test_t48_the_groups_say_what_is_kept(tmp_path: Path, group: str, kept: list[str]) -> None:
    write_app(tmp_path, "yaml")
    result = run_app(tmp_path, f"+robotrace={group}", "fail=true", ROBOTRACE_ENABLED="1")
    assert result.returncode == 1
    assert [episode.finalize["status"] for episode in sealed()] == kept


# --- T49, T50


def test_t49_the_yaml_word_on_is_a_flag_wherever_it_is_ours_to_read(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml", config="robotrace:\n  enabled: on\n")
    only(run_app(tmp_path), seed=3)
    run_app(tmp_path, "hydra.callbacks.robotrace.enabled=off")
    assert len(sealed()) == 1
    only(run_app(tmp_path, "hydra.callbacks.robotrace.enabled=perhaps"), seed=3)


def test_t49_a_group_in_the_defaults_list_is_overridden_without_a_plus(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    config = tmp_path / "conf" / "config.yaml"
    config.write_text("defaults:\n  - robotrace: default\n  - _self_\n" + config.read_text())
    only(run_app(tmp_path), seed=3)
    assert run_app(tmp_path, "robotrace=off").returncode == 0
    assert len(sealed()) == 1
    config.write_text(config.read_text().replace("robotrace: default", "robotrace: on"))
    assert run_app(tmp_path).returncode == 1  # to YAML it is true, and no name: Hydra takes it for none of a group


def test_t50_an_unknown_option_and_a_bad_value_are_told_and_the_run_goes_on(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    result = run_app(tmp_path, SWITCH, "hydra.callbacks.robotrace.onyl=failures", "+hydra.callbacks.robotrace.foo=5")
    only(result, seed=3)
    assert "has no option 'onyl', which is overlooked; did you mean 'only'?" in result.stdout
    assert "has no option 'foo'" in result.stdout
    result = run_app(tmp_path, SWITCH, "hydra.callbacks.robotrace.only=failuers")
    assert result.returncode == 0
    assert "nothing is recorded: only is 'failuers'" in result.stdout
    assert len(sealed()) == 1


def test_t50_options_come_from_the_command_line(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml", config="model:\n  name: act\n")
    node = "hydra.callbacks.robotrace"
    result = run_app(
        tmp_path,
        SWITCH,
        f"{node}.policy_version='${{model.name}}-v${{seed}}'",
        *(f"{node}.{option}" for option in ("tags=[a,b]", "metadata={task: pick}", "project=arms", "robot=r")),
        *(f"{node}.{option}" for option in ("video=false", "max_per_minute=none", "infos=[x]", "name=nightly")),
    )
    episode = only(result, policy_version="act-v3", robot="r", name="nightly #0")
    assert episode.metadata["tags"] == ["a", "b"]
    assert episode.metadata["task"] == "pick"
    assert episode.metadata["run"]["project"] == "arms"


def test_t50_keys_name_where_the_config_has_them(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml", config="model: {tag: act-v7, number: 9}\nworld: {version: w2}\n")
    keys = {"policy_key": "model.tag", "env_key": "world.version", "seed_key": "model.number"}
    result = run_app(tmp_path, SWITCH, *(f"hydra.callbacks.robotrace.{name}={key}" for name, key in keys.items()))
    episode = only(result, policy_version="act-v7", env_version="w2")
    assert episode.create["seed"] == 3  # that of the reset


# --- T51: many jobs


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


# --- T52: the callback is in every app


def test_t52_the_callback_takes_anything_and_can_be_pickled() -> None:
    from robotrace_hydra import RoboTraceCallback

    callback = RoboTraceCallback(enabled=object, foo=3, tags="x", _job=4)
    callback.on_run_start(config=None)
    callback.on_job_start(config=None)
    callback.on_job_end(config=None, job_return=None)
    assert isinstance(pickle.loads(pickle.dumps(RoboTraceCallback(only="failures"))), RoboTraceCallback)


def test_t52_the_plugin_imports_hydra_and_nothing_else() -> None:
    import subprocess

    code = (
        "import hydra, hydra.plugins.search_path_plugin, hydra.core.config_store, hydra.experimental.callback, sys\n"
        "import hydra.conf\n"
        "before = set(sys.modules)\n"
        "import hydra_plugins.robotrace_plugin, robotrace_hydra\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith(('hydra_plugins', 'hydra.'))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "['robotrace_hydra', 'robotrace_hydra.callback']\n"


def test_t52_it_can_be_taken_out(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    assert run_app(tmp_path, "~hydra.callbacks.robotrace", ROBOTRACE_ENABLED="1").returncode == 0
    assert sealed() == []


def test_t52_a_fault_of_ours_is_a_line_and_the_job_runs(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    (tmp_path / "robotrace_hydra").mkdir()
    source = Path(__import__("robotrace_hydra").__file__).parent
    for name in ("__init__.py", "callback.py"):
        (tmp_path / "robotrace_hydra" / name).write_text((source / name).read_text())
    (tmp_path / "robotrace_hydra" / "jobs.py").write_text("raise RuntimeError('ours')\n")
    (tmp_path / "robotrace_hydra" / "conf").symlink_to(source / "conf")
    result = run_app(tmp_path, SWITCH)
    assert result.returncode == 0
    assert "nothing is recorded: ours" in result.stdout
    assert "result 3" in result.stdout


def test_t52_where_nothing_may_be_recorded_nothing_is(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    assert run_app(tmp_path, SWITCH, ROBOTRACE_MODE="disabled").returncode == 0
    assert sealed() == []


# --- T53: a job that fails


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


# --- T54: what must not be told


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


# --- T55: an app that has the name for itself


def test_t55_a_group_of_the_apps_own_goes_first_and_the_switch_still_works(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    (tmp_path / "conf" / "robotrace").mkdir()
    (tmp_path / "conf" / "robotrace" / "arm.yaml").write_text("joints: 7\nname: arm\n")
    result = run_app(tmp_path, "+robotrace=arm", SWITCH)
    episode = only(result, seed=3, name="CartPole-v1 #0")
    assert episode.metadata["hydra"]["config"]["robotrace"] == {"joints": 7, "name": "arm"}
    assert "overlooked" not in result.stdout


# --- T56, T61, T62: packages


def test_t56_without_hydra_the_plugin_says_what_it_needs() -> None:
    import subprocess

    code = (
        "import sys; sys.modules['hydra'] = sys.modules['hydra.experimental'] = None\n"
        "try:\n    import robotrace_hydra\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        result.stdout
        == "ConfigurationError robotrace_hydra needs hydra-core; run: pip install 'robotrace-dev[hydra]'\n"
    )


def test_t56_other_plugins_are_found_beside_ours(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    beside = tmp_path / "beside" / "hydra_plugins"
    beside.mkdir(parents=True)
    (beside / "other.py").write_text(
        "from hydra.plugins.search_path_plugin import SearchPathPlugin\n"
        "class Other(SearchPathPlugin):\n    def manipulate_search_path(self, search_path):\n        print('other')\n"
    )
    import os

    path = os.pathsep.join((*sys.path, str(beside.parent)))
    result = run_app(tmp_path, SWITCH, PYTHONPATH=path)
    only(result, seed=3)
    assert result.stdout.startswith("other\n")


def test_t61_the_folder_of_plugins_is_a_namespace() -> None:
    import robotrace_hydra.conf

    assert getattr(hydra_plugins, "__file__", None) is None
    conf = Path(robotrace_hydra.conf.__file__).parent
    assert {path.name for path in (conf / "robotrace").glob("*.yaml")} == {
        *("default.yaml", "eval_only.yaml", "failures.yaml", "off.yaml")
    }


def test_t62_without_any_framework_a_job_runs_and_says_nothing(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml", train="def train(cfg):\n    return 7\n")
    result = run_app(tmp_path, SWITCH)
    assert (result.returncode, result.stdout, result.stderr) == (0, "result 3 7 \n", "")


def test_an_app_below_robotrace_run_is_recorded_once_and_may_say_no(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    below = ("-m", "robotrace", "run", "--tag", "outside", "--", sys.executable)
    episode = only(run_app(tmp_path, python=below), seed=3)
    assert episode.metadata["tags"] == ["outside"]
    assert episode.metadata["hydra"]["job"] == "train"
    assert run_app(tmp_path, "+robotrace=off", python=below).returncode == 0
    assert len(sealed()) == 1
