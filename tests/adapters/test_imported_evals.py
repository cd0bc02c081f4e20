"""Imported episodes on a real deployment: a candidate is run against them, and their outcomes are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("h5py")
pytest.importorskip("pyarrow")
pytest.importorskip("huggingface_hub")

import h5py
import numpy as np
from lerobot_datasets import write_dataset

from robotrace import Client, evals
from robotrace.adapters import hdf5, lerobot
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    settings = Settings(tmp_path_factory.mktemp("deployment") / "data", port=0)
    with Deployment(settings) as running:
        with Client(base_url=running.base_url, api_key=running.first_key, verbose=False) as made:
            yield made


def run(client: Client, episode_id: str, policy: Any) -> dict[str, Any]:
    started = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=[episode_id], client=client)
    (result,) = evals.run_against(started, policy_callable=policy)
    assert result.error is None
    return dict(result.metrics)


def test_a_lerobot_episode_is_replayed(client: Client, tmp_path: Path) -> None:
    done = lerobot.upload_dataset(write_dataset(tmp_path / "picks"), client=client, episode_indices=[0, 1])
    seen: list[Any] = []

    def policy(row: dict[str, Any]) -> dict[str, Any]:
        seen.append(row["observation.state/value"])
        return {"action/value": np.zeros(2, np.float32)}

    metrics = [run(client, str(episode.id), policy) for episode in done.episodes]
    assert [item["success_baseline"] for item in metrics] == [True, False]
    assert [item["reward_total_baseline"] for item in metrics] == [1.75, 2.25]
    assert [item["step_count"] for item in metrics] == [5, 7]
    assert {row.shape for row in seen} == {(3,)}


def test_an_hdf5_episode_is_replayed(client: Client, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "lift.hdf5", "w") as file:
        demo = file.create_group("data/demo_0")
        demo["obs/joints"] = np.linspace(0, 1, 12).reshape(6, 2)
        demo["actions"] = np.linspace(0, 2, 12).reshape(6, 2)
        demo["rewards"] = np.array([0, 0, 0, 0, 0, 1.0])
    done = hdf5.upload_episode(tmp_path / "lift.hdf5", client=client)
    metrics = run(client, str(done.id), lambda row: {"actions/value": 2 * row["obs/joints/value"]})
    assert (metrics["success_baseline"], metrics["reward_total_baseline"]) == (True, 1.0)
    assert metrics["action_l2_distance"] == pytest.approx(0.0, abs=1e-12)
