"""A bag becomes an episode of a deployment, once, and evals find what it came to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("av")
pytest.importorskip("fastapi")

import numpy as np
from recorded import sealed
from ros2_bags import write_pick_7

from robotrace import Client, evals
from robotrace.adapters.ros2 import upload_bag
from robotrace.errors import ConfigurationError
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

POLICY = [0.5, -0.5]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(Settings(tmp_path_factory.mktemp("deployment") / "data", port=0)) as running:
        yield running


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    with Client(base_url=deployment.base_url, api_key=deployment.first_key, verbose=False) as made:
        yield made


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    write_pick_7(tmp_path / "pick_7")
    return tmp_path / "pick_7"


def episodes(client: Client, **filters: Any) -> list[dict[str, Any]]:
    return client.list_episodes(**filters)["episodes"]


def test_an_uploaded_bag_is_a_whole_episode_whose_outcome_evals_find(bag: Path, client: Client, tmp_path: Path) -> None:
    told = upload_bag(
        bag,
        client=client,
        robot="arm-2",
        policy_version="act-v7",
        env_version="kitchen",
        git_sha="a" * 40,
        seed=11,
        metadata={"success": True, "reward_total": 3.5, "task": "pick", "bag": "ours"},
    )
    assert told.state == "delivered"
    assert told.id is not None
    episode = client.get_episode(told.id)
    expected = {
        "name": "pick_7",
        "status": "ready",
        "source": "real",
        "robot": "arm-2",
        "policy_version": "act-v7",
        "env_version": "kitchen",
        "git_sha": "a" * 40,
        "seed": 11,
    }
    assert {key: episode[key] for key in expected} == expected
    assert episode["fps"] == pytest.approx(20.0)
    assert episode["duration_s"] == pytest.approx(0.951)
    metadata = episode["metadata"]
    assert (metadata["adapter"], metadata["task"], metadata["bag"]) == ("ros2", "pick", "ours")
    assert metadata["ros2"]["topics"]["/joint_states"]["names"] == ["a", "b"]
    assert metadata["video"]["cameras"][0]["name"] == "/camera"
    for kind in ("video", "sensors", "actions"):
        assert client.download_artifact(told.id, kind, tmp_path / kind) > 0  # type: ignore[arg-type]

    def policy(row: dict[str, Any]) -> dict[str, Any]:
        return {"/arm/command/data": np.array([row["/joint_states/position"][0], 2.0 + POLICY[0]])}

    run = evals.create_run(candidate_policy_version="act-v8", baseline_episode_ids=[told.id], client=client)
    (result,) = evals.run_against(run, policy_callable=policy)
    assert (result.status, result.error) == ("complete", None)
    metrics = result.metrics
    assert (metrics["success_baseline"], metrics["reward_total_baseline"]) == (True, 3.5)
    assert (metrics["step_count"], metrics["action_l2_distance"]) == (20, pytest.approx(0.5))


def test_the_same_bag_is_one_episode_and_another_policy_version_of_it_is_another(
    bag: Path, client: Client, tmp_path: Path
) -> None:
    first = upload_bag(bag, client=client, policy_version="same-v1")
    moved = bag.rename(tmp_path / "moved")
    again = upload_bag(moved, client=client, policy_version="same-v1")
    once_more = upload_bag(moved, client=client, policy_version="same-v3", again=True)
    other = upload_bag(moved, client=client, policy_version="same-v2", status="failed")
    assert (again.id, again.is_new, again.state) == (first.id, False, "delivered")
    assert len({first.id, once_more.id, other.id}) == 3
    assert [episode["episode_id"] for episode in episodes(client, policy_version="same-v1")] == [first.id]
    assert [episode["status"] for episode in episodes(client, policy_version="same-v2")] == ["failed"]


def test_it_goes_through_the_spool_to_the_configured_deployment(
    bag: Path, deployment: Deployment, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = upload_bag(bag, policy_version="spool-v1")
    assert (waiting.state, waiting.id) == ("waiting", None)
    assert "no deployment is configured" in str(waiting.reason)
    (entry,) = sealed()
    assert entry.manifest["uuid"] == waiting.uuid
    assert entry.metadata["adapter"] == "ros2"
    np.testing.assert_array_equal(entry.arrays("sensors")["/joint_states/position"][:, 0], np.arange(20.0))
    monkeypatch.setenv("ROBOTRACE_BASE_URL", deployment.base_url)
    monkeypatch.setenv("ROBOTRACE_API_KEY", deployment.first_key or "")
    delivered = upload_bag(bag, policy_version="spool-v1")
    assert (delivered.state, delivered.uuid, delivered.is_new) == ("delivered", waiting.uuid, False)
    assert [episode["episode_id"] for episode in episodes(client, policy_version="spool-v1")] == [delivered.id]
    assert sealed() == []


def test_the_files_stay_where_one_says(bag: Path, client: Client, tmp_path: Path) -> None:
    upload_bag(bag, client=client, policy_version="kept", output_dir=tmp_path / "kept", canonical_video_topic="/camera")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["actions.npz", "sensors.npz", "video.mp4"]


def test_a_label_that_no_deployment_takes_is_an_error_before_the_bag_is_read(tmp_path: Path) -> None:
    for labels in ({"source": "dream"}, {"status": "odd"}, {"robot": "x" * 121}, {"metadata": [1]}, {"seed": 2**70}):
        with pytest.raises(ConfigurationError, match=next(iter(labels))):
            upload_bag(tmp_path / "nowhere", **labels)  # type: ignore[arg-type]
