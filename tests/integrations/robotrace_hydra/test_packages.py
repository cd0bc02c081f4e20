"""The plugin is in every app of an environment: it is small, never raises, and stands beside others."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from hydra_apps import SWITCH, only, run_app, write_app
from recorded import sealed

import hydra_plugins


def test_t52_the_callback_takes_anything_and_can_be_pickled() -> None:
    from robotrace_hydra import RoboTraceCallback

    callback = RoboTraceCallback(enabled=object, foo=3, tags="x", _job=4)
    callback.on_run_start(config=None)
    callback.on_job_start(config=None)
    callback.on_job_end(config=None, job_return=None)
    assert isinstance(pickle.loads(pickle.dumps(RoboTraceCallback(only="failures"))), RoboTraceCallback)


def test_t52_the_plugin_imports_hydra_and_nothing_else() -> None:
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


def test_t55_a_group_of_the_apps_own_goes_first_and_the_switch_still_works(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    (tmp_path / "conf" / "robotrace").mkdir()
    (tmp_path / "conf" / "robotrace" / "arm.yaml").write_text("joints: 7\nname: arm\n")
    result = run_app(tmp_path, "+robotrace=arm", SWITCH)
    episode = only(result, seed=3, name="CartPole-v1 #0")
    assert episode.metadata["hydra"]["config"]["robotrace"] == {"joints": 7, "name": "arm"}
    assert "overlooked" not in result.stdout


def test_t56_without_hydra_the_plugin_says_what_it_needs() -> None:
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
    options = ("-m", "robotrace", "run", "--only", "failures", "--", sys.executable)
    assert run_app(tmp_path, "fail=true", python=options).returncode == 1
    assert [episode.finalize["status"] for episode in sealed()] == ["ready", "failed"]
