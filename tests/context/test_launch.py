"""Ids of schedulers, CI systems and trackers."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from robotrace.context.launch import launch_facts


def test_nothing_is_said_where_nothing_is_set() -> None:
    assert launch_facts() == {}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"SLURM_JOB_ID": "4711", "SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": "3", "SLURM_PROCID": "0"},
            {"slurm": {"job_id": "4711", "array_job_id": "4700", "array_task_id": 3, "procid": 0}},
        ),
        (
            {"RANK": "5", "LOCAL_RANK": "1", "GROUP_RANK": "2", "WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": "t"},
            {
                "distributed": {
                    "rank": 5,
                    "local_rank": 1,
                    "node_rank": 2,
                    "world_size": 8,
                    "torchelastic_run_id": "t",
                }
            },
        ),
        ({"RANK": "dark"}, {}),
        ({"WORLD_SIZE": "many"}, {"distributed": {"world_size": "many"}}),
        ({"WANDB_RUN_ID": "w", "WANDB_API_KEY": "hunter2"}, {"wandb": {"run_id": "w"}}),
        ({"MLFLOW_RUN_ID": "m", "MLFLOW_TRACKING_URI": "https://u:hunter2@h"}, {"mlflow": {"run_id": "m"}}),
        (
            {"GITHUB_RUN_ID": "1", "GITHUB_REPOSITORY": "org/repo", "GITHUB_TOKEN": "hunter2"},
            {"ci": {"provider": "github", "run_id": "1", "repository": "org/repo"}},
        ),
        (
            {"CI_PIPELINE_ID": "2", "CI_JOB_ID": "3", "CI_COMMIT_REF_NAME": "main", "CI_JOB_TOKEN": "hunter2"},
            {"ci": {"provider": "gitlab", "run_id": "2", "job_id": "3", "ref": "main"}},
        ),
        ({"SLURM_JOB_ID": " ", "BUILD_TAG": "jenkins-1"}, {"ci": {"provider": "jenkins", "run_id": "jenkins-1"}}),
        ({"SLURM_JOB_ID": "x" * 1000}, {"slurm": {"job_id": "x" * 200}}),
    ],
)
def test_what_is_set_is_said_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: dict[str, Any]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch_facts() == said


def test_a_library_in_whatever_state_costs_its_id_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "w")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(run=types.SimpleNamespace()))

    def broken() -> Any:
        raise OSError("no server")

    monkeypatch.setitem(sys.modules, "mlflow.tracking.fluent", types.SimpleNamespace(active_run=broken))
    assert launch_facts() == {"slurm": {"job_id": "1"}, "wandb": {"run_id": "w"}}


def test_the_run_of_wandb_that_is_open_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert launch_facts() == {}
    run = wandb.init(mode="offline", project="arm", dir=str(tmp_path))
    try:
        said = launch_facts()
        assert said == {"wandb": {"run_id": run.id, "project": "arm"}}
        assert json.loads(json.dumps(said)) == said
    finally:
        run.finish()
    assert launch_facts() == {}


@pytest.mark.filterwarnings("ignore")  # of its own database
def test_the_run_of_mlflow_that_is_open_is_said(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    assert launch_facts() == {}
    with mlflow.start_run() as run:
        assert launch_facts() == {"mlflow": {"run_id": run.info.run_id, "experiment_id": run.info.experiment_id}}
    assert launch_facts() == {}
