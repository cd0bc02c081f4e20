"""A script of Lightning that knows nothing of us, by either of its packages: its episodes are recorded, once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hydra_apps import FORMS, LIGHTNING, SWITCH, run_app, write_app
from recorded import sealed

PACKAGES = [name for name in ("lightning.pytorch", "pytorch_lightning") if importlib.util.find_spec(name.split(".")[0])]


def source(package: str) -> str:
    return LIGHTNING.replace("{package}", package)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bare")
    (folder / "train.py").write_text(source(PACKAGES[0]) + "\nprint(train({}))\n")
    result = run_app(folder, python=("-W", "ignore"))
    assert result.returncode == 0, result.stderr
    return result.stdout


def check(result: object, weights: str) -> None:
    assert getattr(result, "returncode") == 0, getattr(result, "stderr")  # noqa: B009
    assert weights.strip() in getattr(result, "stdout")  # noqa: B009
    # The module resets twice, and every tenth of a training's episodes is recorded.
    (episode,) = sealed()
    assert (episode.create["seed"], episode.metadata["phase"]) == (5, "train")
    assert episode.create["policy_version"].startswith("Policy@")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_plain_script_is_recorded_as_with_a_callback_and_learns_the_same(
    tmp_path: Path, bare: str, package: str
) -> None:
    (tmp_path / "train.py").write_text(source(package) + "\nprint(train({}))\n")
    run = ("-m", "robotrace", "run", "--", sys.executable, "-W", "ignore")
    result = run_app(tmp_path, python=run)
    assert result.stdout == bare
    check(result, bare)


def test_of_phases_that_are_not_asked_for_nothing_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(source(PACKAGES[-1]) + "\nprint(train({}))\n")
    run = ("-m", "robotrace", "run", "--phase", "eval", "--", sys.executable, "-W", "ignore")
    assert run_app(tmp_path, python=run).returncode == 0
    assert sealed() == []


@pytest.mark.parametrize(
    ("form", "spelling"), list(zip(FORMS, ("enabled", "group", "environment", "callbacks"), strict=True))
)
def test_t48_a_hydra_app_is_recorded_and_learns_the_same(tmp_path: Path, bare: str, form: str, spelling: str) -> None:
    pytest.importorskip("hydra")
    write_app(tmp_path, form, source(PACKAGES[FORMS.index(form) % len(PACKAGES)]))
    arguments = {"enabled": [SWITCH], "group": ["+robotrace=default"], "callbacks": ["hydra/callbacks=[log,robotrace]"]}
    more = {} if spelling in arguments else {"ROBOTRACE_ENABLED": "1"}
    result = run_app(tmp_path, *arguments.get(spelling, []), python=("-W", "ignore"), **more)
    check(result, bare)
    assert sealed()[0].metadata["hydra"]["job"] == "train"


def test_t48_switched_off_by_name_the_environment_does_not_switch_it_on(tmp_path: Path) -> None:
    pytest.importorskip("hydra")
    write_app(tmp_path, "yaml", source(PACKAGES[0]))
    assert run_app(tmp_path, "+robotrace=off", python=("-W", "ignore"), ROBOTRACE_ENABLED="1").returncode == 0
    assert sealed() == []


def test_t51_a_sweep_in_worker_processes_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    write_app(tmp_path, "yaml", source(PACKAGES[0]))
    arguments = ("-m", "hydra/launcher=joblib", SWITCH, "seed=3,4")
    result = run_app(tmp_path, *arguments, python=("-W", "ignore"))
    assert result.returncode == 0, result.stderr
    assert sorted(episode.metadata["hydra"]["num"] for episode in sealed()) == [0, 1]
