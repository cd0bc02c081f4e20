"""Verdicts on episodes that happen again, and on some that do not."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")
pytest.importorskip("av")

import numpy as np  # noqa: E402
from recorded import RecordedEpisode, sealed  # noqa: E402
from reruns import record, rerun  # noqa: E402
from unsteady_envs import ARM  # noqa: E402

from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402

pytestmark = pytest.mark.usefixtures("arm")


def arms(resets: int = 1, **options: Any) -> list[RecordedEpisode]:
    capture = {name: options.pop(name) for name in ("last_seconds", "images", "infos") if name in options}
    return record(gym.make(ARM, **options), [{"seed": 5}, {}, {}][:resets], **capture)


def rewritten(episode: RecordedEpisode, **changes: Any) -> RecordedEpisode:
    """The same with other metadata."""
    finalize = {**episode.finalize, "metadata": {**episode.metadata, **changes}}
    return RecordedEpisode(episode.folder, {**episode.manifest, "finalize": finalize})


def with_block(episode: RecordedEpisode, **changes: Any) -> RecordedEpisode:
    return rewritten(episode, reproduce={**episode.metadata["reproduce"], **changes})


def test_what_happens_again_is_compared_to_its_last_step() -> None:
    for episode in arms(3):
        verdict = rerun(episode)
        assert (verdict.verdict, verdict.steps, verdict.total_steps) == ("reproduced", 12, 12)
        assert verdict.compared == ("observation", "reward", "terminated", "truncated")
        assert (verdict.differences, verdict.divergence, verdict.reason) == ((), None, None)
        assert verdict.code[0].entry_point == "unsteady_envs:Arm"


def test_an_environment_that_is_not_deterministic_is_told_from_one_that_changed() -> None:
    (episode,) = arms(mood="random", at=7)
    verdict = rerun(episode)
    assert verdict.verdict == "not_reproducible"
    assert "not deterministic: two executions here differ at step 7 (observation.pose)" in str(verdict.reason)
    assert verdict.divergence is not None
    assert (verdict.divergence.step, verdict.divergence.stream, verdict.steps) == (7, "observation.pose", 6)


def test_a_changed_physics_constant_is_caught_at_its_step(tmp_path: Path) -> None:
    gain = tmp_path / "gain"
    gain.write_text("1.0")
    (episode,) = arms(mood="physics", at=9, gain_file=str(gain))
    assert rerun(episode).verdict == "reproduced"
    gain.write_text("1.001")
    verdict = rerun(episode)
    assert (verdict.verdict, verdict.reason, verdict.steps) == ("diverged", None, 8)
    found = verdict.divergence
    assert found is not None
    assert (found.step, found.stream) == (9, "observation.pose")
    assert found.t_s == pytest.approx(9 / 20)
    actions = episode.arrays("actions")["action/value"]
    assert found.distance == pytest.approx(0.001 * np.abs(actions[8]).max())


@pytest.mark.parametrize(
    ("key", "row", "step", "stream", "distance"),
    [
        ("observation.pose/value", 0, 0, "observation.pose", None),
        ("observation.step/value", 12, 12, "observation.step", 1.0),
        ("reward/value", 3, 4, "reward", 1.0),
        ("terminated/value", 11, 12, "terminated", 1.0),
        ("truncated/value", 0, 1, "truncated", 1.0),
    ],
)
def test_every_stream_is_compared_in_its_every_row(
    key: str, row: int, step: int, stream: str, distance: float | None, tmp_path: Path
) -> None:
    (episode,) = arms()
    with np.load(episode.folder / "sensors.npz") as file:
        arrays, comment = dict(file), file.zip.comment
    values = arrays[key]
    values[row] = ~values[row] if values.dtype == bool else values[row] + 1
    changed = tmp_path / "sensors.npz"
    np.savez(changed, **arrays)
    _comment(changed, comment)
    verdict = rerun(episode, sensors=str(changed))
    assert verdict.verdict == "diverged"
    assert verdict.divergence is not None
    assert (verdict.divergence.step, verdict.divergence.stream) == (step, stream)
    assert distance is None or verdict.divergence.distance == pytest.approx(distance)  # a rounded sum
    assert verdict.steps == max(step - 1, 0)


def _comment(path: Path, comment: bytes) -> None:
    import zipfile

    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment


def failing(**options: Any) -> RecordedEpisode:
    recorder = RoboTraceRecorder(gym.make(ARM, mood="raises", at=4, **options), video=False)
    recorder.reset(seed=1)
    for _ in range(3):
        recorder.step(np.ones(3))
    with pytest.raises(RuntimeError, match="gripper"):
        recorder.step(np.ones(3))
    recorder.close()
    recorder.flush()
    return sealed()[0]


def test_an_exception_of_the_environment_happens_again_too() -> None:
    verdict = rerun(failing())
    assert (verdict.verdict, verdict.steps, verdict.raised) == ("reproduced", 3, "RuntimeError: the gripper is on fire")


def test_an_exception_that_does_not_come_or_comes_unexpectedly_is_a_divergence() -> None:
    episode = failing()
    spec = episode.metadata["reproduce"]["env_spec"]
    calm = with_block(episode, env_spec={**spec, "kwargs": {**spec["kwargs"], "mood": "steady"}})
    verdict = rerun(calm)
    assert verdict.divergence is not None
    assert (verdict.verdict, verdict.divergence.step, verdict.divergence.stream) == ("diverged", 4, "exception")
    assert (verdict.divergence.recorded, verdict.divergence.here) == ("RuntimeError", "none")
    earlier = with_block(episode, env_spec={**spec, "kwargs": {**spec["kwargs"], "at": 2}})
    verdict = rerun(earlier)
    assert verdict.divergence is not None
    assert (verdict.divergence.step, verdict.divergence.here) == (2, "RuntimeError: the gripper is on fire")


def test_what_an_exit_or_a_hostile_close_raises_is_a_reason() -> None:
    (episode,) = arms(mood="exits", at=3)
    verdict = rerun(episode)
    assert verdict.verdict == "not_reproducible"
    assert "SystemExit: 3" in str(verdict.reason)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"env_spec": None}, "its environment is not known"),
        ({"reproducible": False, "reason": "no seed"}, "no seed"),
        ({"generator_state": {"bit_generator": "SFMT"}}, "'SFMT'"),
        ({"generator_state": {"bit_generator": "PCG64", "state": 1}}, "its reset raised"),
    ],
)
def test_what_the_block_lacks_is_the_reason(changes: dict[str, Any], why: str) -> None:
    (episode,) = arms()
    verdict = rerun(with_block(episode, **changes))
    assert verdict.verdict == "not_reproducible"
    assert why in str(verdict.reason)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"entry_point": "nowhere_at_all:Arm"}, "cannot be imported here: ModuleNotFoundError"),
        ({"entry_point": "unsteady_envs:Leg"}, "cannot be imported here: AttributeError"),
        ({"entry_point": "unsteady_envs"}, "which is none"),
        ({"entry_point": None}, "which is none"),
        ({"kwargs": {"legs": 4}}, "cannot be built here: TypeError"),
        ({"additional_wrappers": [{"name": "W", "entry_point": "nowhere:W", "kwargs": {}}]}, "W comes from nowhere:W"),
        ({"additional_wrappers": 7}, "spec cannot be read"),
    ],
)
def test_an_environment_or_wrapper_that_cannot_be_built_is_named(spec: dict[str, Any], why: str) -> None:
    (episode,) = arms()
    verdict = rerun(with_block(episode, env_spec={**episode.metadata["reproduce"]["env_spec"], **spec}))
    assert verdict.verdict == "not_reproducible"
    assert why in str(verdict.reason)


def test_versions_that_differ_are_told_with_every_verdict() -> None:
    (episode,) = arms()
    versions = {**episode.metadata["reproduce"]["versions"], "numpy": "1.0.0", "physics-engine": "9"}
    verdict = rerun(with_block(episode, versions=versions))
    assert verdict.verdict == "reproduced"
    assert {(item.name, item.recorded) for item in verdict.differences} == {("numpy", "1.0.0"), ("physics-engine", "9")}
    assert {item.name: item.here for item in verdict.differences}["physics-engine"] is None
    gone = {**episode.metadata["reproduce"]["env_spec"], "entry_point": "nowhere_at_all:Arm"}
    verdict = rerun(with_block(episode, versions=versions, env_spec=gone))
    assert verdict.verdict == "not_reproducible"
    assert {item.name for item in verdict.differences} >= {"numpy", "physics-engine"}


def test_the_last_seconds_alone_are_not_run_again() -> None:
    (episode,) = arms(last_seconds=0.2)
    verdict = rerun(episode)
    assert verdict.verdict == "not_reproducible"
    assert "last seconds" in str(verdict.reason)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"sensors": None}, "no observation, reward or flag to compare with"),
        ({"sensors": "broken.npz"}, "its sensors cannot be read"),
        ({"actions": "broken.npz"}, "its actions cannot be read"),
        ({"actions": "missing.npz"}, "its actions cannot be read"),
    ],
)
def test_files_that_are_missing_or_broken_are_the_reason(files: dict[str, Any], why: str, tmp_path: Path) -> None:
    (episode,) = arms()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 half a file")
    verdict = rerun(episode, **{name: path and str(tmp_path / path) for name, path in files.items()})
    assert verdict.verdict == "not_reproducible"
    assert why in str(verdict.reason)


class Pictured(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """Adds a camera's view to the observation."""

    def __init__(self, env: Any) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        camera = gym.spaces.Box(0, 255, (96, 128, 3), np.uint8)
        self.observation_space = gym.spaces.Dict({**env.observation_space.spaces, "camera": camera})

    def observation(self, observation: Any) -> Any:
        return {**observation, "camera": np.full((96, 128, 3), observation["step"], np.uint8)}


@pytest.mark.parametrize(("images", "why"), [("video", "lossy"), ("drop", "not recorded"), ("arrays", None)])
def test_what_is_in_no_array_is_named_as_not_compared(images: str, why: str | None) -> None:
    (episode,) = record(Pictured(gym.make(ARM)), [{"seed": 1}], images=images)
    verdict = rerun(episode)
    assert verdict.verdict == "reproduced"
    assert ("observation.camera" in verdict.not_compared) is (why is not None)
    assert why is None or why in verdict.not_compared["observation.camera"]


def test_a_script_of_this_machine_is_found_where_it_was_and_a_changed_one_is_named(tmp_path: Path) -> None:
    import subprocess
    import sys

    from command_line import child_environment

    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import gymnasium as gym
            import unsteady_envs
            from robotrace_gymnasium import RoboTraceRecorder

            class Leg(unsteady_envs.Arm):
                bonus = 0.0

                def step(self, action):
                    observation, reward, *rest = super().step(action)
                    return observation, reward + self.bonus, *rest

            gym.register("Leg-v0", entry_point=Leg)

            if __name__ == "__main__":
                env = RoboTraceRecorder(gym.make("Leg-v0"))
                env.reset(seed=4)
                while not any(env.step(env.action_space.sample())[2:4]):
                    pass
                env.flush()
            """
        )
    )
    subprocess.run([sys.executable, str(script)], timeout=120, check=True, env=child_environment({}))
    (episode,) = sealed()
    assert rerun(episode).verdict == "reproduced"
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    script.rename(moved / "train.py")
    verdict = rerun(episode)
    assert "the script train.py, which is not here" in str(verdict.reason)
    assert rerun(episode, import_from=(str(moved),)).verdict == "reproduced"
    assert list(moved.iterdir()) == [moved / "train.py"]
    unchanged = (moved / "train.py").stat()
    (moved / "train.py").write_text((moved / "train.py").read_text().replace("bonus = 0.0", "bonus = 1.0"))
    os.utime(moved / "train.py", ns=(unchanged.st_atime_ns, unchanged.st_mtime_ns))  # as of a change in the same second
    verdict = rerun(episode, import_from=(str(moved),))
    assert verdict.verdict == "diverged"
    assert verdict.divergence is not None
    assert (verdict.divergence.step, verdict.divergence.stream) == (1, "reward")
    assert verdict.divergence.distance == pytest.approx(1.0)  # of a sum that was rounded
    assert [item.name for item in verdict.differences] == ["train.py"]


def test_the_verdict_is_json() -> None:
    (episode,) = arms(mood="random")
    verdict = rerun(episode)
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["verdict"] == verdict.verdict
