"""The wheel that ``pip install .`` builds, in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import one_line
from readme import ROOT

CHECK = """
import importlib.metadata, robotrace, sys, threading
assert robotrace.__version__ == importlib.metadata.version("robotrace-dev")
assert threading.active_count() == 1
assert not {"numpy", "av", "gymnasium", "fastapi", "sqlalchemy"} & set(sys.modules)
print(robotrace.__file__)
try:
    import robotrace_gymnasium
except robotrace.ConfigurationError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode != 0 and "No matching distribution found for hatchling" in result.stderr:
        pytest.skip("no package index can be reached")
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_t61_it_carries_everything_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "robotrace/py.typed",
        "robotrace/serve/templates/episode.html",
        "robotrace/serve/static/player.js",
        "robotrace/serve/migrations/env.py",
        "robotrace/auto/startup/sitecustomize.py",
        "hydra_plugins/robotrace_plugin/__init__.py",
        "robotrace_gymnasium/py.typed",
        "robotrace_hydra/py.typed",
        "robotrace_hydra/conf/robotrace/default.yaml",
        "robotrace_hydra/conf/hydra/callbacks/robotrace.yaml",
        "robotrace_lightning/py.typed",
        "robotrace_sb3/py.typed",
    ):
        assert needed in names, needed
    # With one, the plugins of others in that folder would not be found any more.
    assert "hydra_plugins/__init__.py" not in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "hydra_plugins",
        "robotrace",
        "robotrace_gymnasium",
        "robotrace_hydra",
        "robotrace_lightning",
        "robotrace_sb3",
    }


def test_it_installs_into_an_empty_environment_and_imports(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, timeout=300)
    result = subprocess.run([python, "-c", CHECK], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    location, error = result.stdout.splitlines()
    assert location.startswith(str(tmp_path))
    assert "pip install 'robotrace-dev[record]'" in error
    command = tmp_path / "venv" / "bin" / "robotrace"
    version = subprocess.run([command, "version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == "0.4.0.dev0"
    result = subprocess.run([command, "serve"], capture_output=True, text=True, check=False)
    assert "pip install 'robotrace-dev[server]'" in one_line(result)
