"""A dataset that LeRobot itself has written, in an environment where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lerobot")

import numpy as np
from numbered import arrays, picture, tracks

from robotrace.adapters.lerobot import encode_episode, scan_dataset
from robotrace.evals import extract_outcome

pytestmark = pytest.mark.filterwarnings("default")
_LENGTHS = (10, 15, 20)
_CAMERAS = ("observation.images.top", "observation.images.wrist")


def row(episode: int, step: int, length: int) -> dict[str, Any]:
    rng = np.random.default_rng(100 * episode + step)
    last = step == length - 1
    shown = {camera: picture(50 * episode + step + 100 * k) for k, camera in enumerate(_CAMERAS)}
    return {
        "observation.state": rng.normal(size=3).astype(np.float32),
        "observation.grid": rng.normal(size=(2, 3)).astype(np.float32),
        "action": rng.normal(size=2).astype(np.float32),
        "next.reward": np.array([0.5], np.float32),
        "next.success": np.array([last and episode != 1]),
        "next.done": np.array([last]),
        "count": np.array([2**53 + 1 + step]),
        **shown,
        "observation.images.still": picture(step),
    }


@pytest.fixture(scope="module", params=["libsvtav1", "h264"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path_factory.mktemp("lerobot") / "picks"
    first = row(0, 0, 2)
    pictures = dict.fromkeys(_CAMERAS, "video") | {"observation.images.still": "image"}
    features = {
        name: {"dtype": pictures.get(name, value.dtype.name), "shape": value.shape, "names": None}
        for name, value in first.items()
    }
    for name in pictures:
        features[name]["names"] = ["height", "width", "channels"]
    dataset = LeRobotDataset.create(
        "me/picks", fps=30, root=root, features=features, robot_type="so100", vcodec=request.param
    )
    for episode, length in enumerate(_LENGTHS):
        for step in range(length):
            dataset.add_frame({**row(episode, step, length), "task": f"task {episode % 2}"})
        dataset.save_episode()
    dataset.finalize()
    return root


def test_what_lerobot_wrote_comes_out_as_it_went_in(written: Path, tmp_path: Path) -> None:
    summary = scan_dataset(written)
    assert summary.episode_lengths == dict(enumerate(_LENGTHS))
    for episode, length in enumerate(_LENGTHS):
        encoded = encode_episode(written, episode, tmp_path, summary=summary)
        assert encoded.sensors is not None
        assert encoded.actions is not None
        assert encoded.video is not None
        found = {**arrays(encoded.sensors.path), **arrays(encoded.actions.path)}
        rows = [row(episode, step, length) for step in range(length)]
        for name in ("observation.state", "observation.grid", "action", "next.reward", "next.success", "count"):
            expected = np.stack([item[name] for item in rows])
            value = found[f"{name}/value"]
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value, expected.reshape(value.shape))
            assert found[f"{name}/_t_ns"].tolist() == [round(step * 1e9 / 30) for step in range(length)]
        shown = tracks(encoded.video.path)
        for k, camera in enumerate(_CAMERAS):
            assert shown[camera] == [(round(n * 1e6 / 30), 50 * episode + n + 100 * k) for n in range(length)]
        assert [number for _, number in shown["observation.images.still"]] == list(range(length))
        copied = {camera["name"]: camera.get("copied", False) for camera in encoded.metadata["video"]["cameras"]}
        assert copied == {**dict.fromkeys(_CAMERAS, True), "observation.images.still": False}
        assert extract_outcome(encoded.metadata) == {"success": episode != 1, "reward_total": length / 2}
        assert encoded.metadata["task"] == f"task {episode % 2}"
