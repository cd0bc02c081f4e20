"""What came over a wire can choose among this machine's environments, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")
pytest.importorskip("av")

from recorded import RecordedEpisode  # noqa: E402
from reruns import record, rerun  # noqa: E402
from unsteady_envs import ARM  # noqa: E402

from robotrace.reroll.jobs import Verdict  # noqa: E402

pytestmark = pytest.mark.usefixtures("arm")


def attacked(block: dict[str, Any], spec: dict[str, Any], **more: Any) -> Verdict:
    """An episode whose recipe was written by somebody else."""
    (episode,) = record(gym.make(ARM), [{"seed": 1}])
    reproduce = episode.metadata["reproduce"]
    reproduce = {**reproduce, **block, "env_spec": {**reproduce["env_spec"], **spec}}
    finalize = {**episode.finalize, "metadata": {**episode.metadata, "reproduce": reproduce}}
    forged = RecordedEpisode(episode.folder, {**episode.manifest, "finalize": finalize})
    return rerun(forged, **{"trusts_sources": False, **more})


@pytest.mark.parametrize(
    ("point", "kwargs"),
    [
        ("unsteady_envs:os.system", {"command": "touch {}"}),
        ("unsteady_envs:subprocess.Popen", {"args": ["touch", "{}"]}),
        ("unsteady_envs:Path.touch", {}),
        ("numpy:savetxt", {"fname": "{}", "X": ["0"]}),
        ("gymnasium:make", {"id": "CartPole-v1"}),
    ],
)
def test_an_entry_point_that_is_no_environment_is_not_called(point: str, kwargs: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    kwargs = {key: _filled(value, mark) for key, value in kwargs.items()}
    verdict = attacked({}, {"entry_point": point, "kwargs": kwargs})
    assert verdict.verdict == "not_reproducible"
    assert f"comes from {point}, which is no gymnasium Env" in str(verdict.reason)
    assert not mark.exists()
    wrapper = {"name": "W", "entry_point": point, "kwargs": kwargs}
    verdict = attacked({}, {"additional_wrappers": [wrapper]})
    assert f"comes from {point}, which is no gymnasium Wrapper" in str(verdict.reason)
    assert not mark.exists()


@pytest.mark.parametrize(
    "point", ["os:system", "subprocess:Popen", "builtins:exec", "this:s", "robotrace.__main__:main"]
)
def test_a_module_that_can_hold_no_environment_is_not_even_imported(point: str) -> None:
    verdict = attacked({}, {"entry_point": point})
    assert verdict.verdict == "not_reproducible"
    assert f"comes from {point}, where no environment is" in str(verdict.reason)


def _filled(value: Any, mark: Path) -> Any:
    return [_filled(item, mark) for item in value] if isinstance(value, list) else value.format(mark)


@pytest.mark.parametrize("module", ["__main__", "evil_arms"])
def test_a_file_that_the_recording_names_is_not_imported(module: str, tmp_path: Path) -> None:
    folder, mark = tmp_path / "uploads", tmp_path / "mark"
    folder.mkdir()
    file = folder / ("sensors" if module == "__main__" else "evil_arms.py")
    file.write_text(f"open({str(mark)!r}, 'w')\nfrom unsteady_envs import Arm\n")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    source = {"module": module, "file": str(file), "folder": str(folder), "sha256": digest}
    point = {"entry_point": f"{module}:Arm"}
    verdict = attacked({"sources": [source]}, point)
    assert verdict.verdict == "not_reproducible"
    assert "not here" in str(verdict.reason) or "cannot be imported" in str(verdict.reason)
    assert not mark.exists()
    # What makes the difference is who names the folder.
    assert attacked({"sources": [source]}, point, import_from=(str(folder),)).verdict == "reproduced"
    assert mark.exists()


def test_a_wrapper_that_writes_videos_where_it_is_told_to_is_left_out(tmp_path: Path) -> None:
    target = tmp_path / "home"
    wrapper = {
        "name": "RecordVideo",
        "entry_point": "gymnasium.wrappers:RecordVideo",
        "kwargs": {"video_folder": str(target)},
    }
    assert attacked({}, {"additional_wrappers": [wrapper]}).verdict == "reproduced"
    assert not target.exists()


def test_a_worker_has_none_of_our_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from robotrace.reroll.pool import _environment

    monkeypatch.setenv("ROBOTRACE_API_KEY", "rt_secret")
    monkeypatch.setenv("HOME_MADE", "1")
    environment = _environment()
    assert "rt_secret" not in environment.values()
    assert (environment["HOME_MADE"], environment["ROBOTRACE_MODE"]) == ("1", "disabled")
