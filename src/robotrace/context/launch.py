"""By what this process was started, and what else keeps a record of its run: ids to find one from the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["launch_facts"]

_INTEGERS = {"rank", "local_rank", "world_size", "node_rank", "procid", "restart_count", "array_task_id"}
_BY_VARIABLES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    # Where the first is set, those that are set of the others; their names are those systems' own.
    "slurm": (
        "SLURM_JOB_ID",
        {
            "job_id": "SLURM_JOB_ID",
            "job_name": "SLURM_JOB_NAME",
            "array_job_id": "SLURM_ARRAY_JOB_ID",
            "array_task_id": "SLURM_ARRAY_TASK_ID",
            "procid": "SLURM_PROCID",
            "restart_count": "SLURM_RESTART_COUNT",
        },
    ),
    "distributed": (
        "WORLD_SIZE",
        {
            "rank": "RANK",
            "local_rank": "LOCAL_RANK",
            "node_rank": "GROUP_RANK",
            "world_size": "WORLD_SIZE",
            "torchelastic_run_id": "TORCHELASTIC_RUN_ID",
        },
    ),
    "wandb": (
        "WANDB_RUN_ID",
        {"run_id": "WANDB_RUN_ID", "project": "WANDB_PROJECT", "entity": "WANDB_ENTITY"},
    ),
    "mlflow": ("MLFLOW_RUN_ID", {"run_id": "MLFLOW_RUN_ID"}),
}
_CI: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "github": (
        "GITHUB_RUN_ID",
        {
            "run_id": "GITHUB_RUN_ID",
            "attempt": "GITHUB_RUN_ATTEMPT",
            "repository": "GITHUB_REPOSITORY",
            "ref": "GITHUB_REF",
        },
    ),
    "gitlab": (
        "CI_PIPELINE_ID",
        {
            "run_id": "CI_PIPELINE_ID",
            "job_id": "CI_JOB_ID",
            "repository": "CI_PROJECT_PATH",
            "ref": "CI_COMMIT_REF_NAME",
        },
    ),
    "circleci": ("CIRCLE_WORKFLOW_ID", {"run_id": "CIRCLE_WORKFLOW_ID", "job_id": "CIRCLE_BUILD_NUM"}),
    "buildkite": ("BUILDKITE_BUILD_ID", {"run_id": "BUILDKITE_BUILD_ID", "job_id": "BUILDKITE_JOB_ID"}),
    "bitbucket": ("BITBUCKET_PIPELINE_UUID", {"run_id": "BITBUCKET_PIPELINE_UUID", "ref": "BITBUCKET_BRANCH"}),
    "azure": ("BUILD_BUILDID", {"run_id": "BUILD_BUILDID", "repository": "BUILD_REPOSITORY_NAME"}),
    "jenkins": ("BUILD_TAG", {"run_id": "BUILD_TAG", "ref": "GIT_BRANCH"}),
}
_LONGEST = 200


def launch_facts() -> dict[str, Any]:
    """What is known now, for ``metadata.run``: ``ci``, ``slurm``, ``distributed``, ``wandb``, ``mlflow``.

    On the thread that records, at each recorded episode: a training may begin its W&B run after its first episode.
    Nothing is imported, and no other program is asked.
    """
    found: dict[str, Any] = {}
    for name, (sign, variables) in _BY_VARIABLES.items():
        if sign in os.environ:
            found[name] = _read(variables)
    for provider, (sign, variables) in _CI.items():
        if sign in os.environ:
            found["ci"] = {"provider": provider, **_read(variables)}
            break
    for name, ask in (("wandb", _ask_wandb), ("mlflow", _ask_mlflow)):
        try:
            found[name] = {**found.get(name, {}), **ask()}
        except Exception:  # somebody else's library, in whatever state; an id is not worth an episode
            continue
    return {name: facts for name, facts in found.items() if facts}


def _read(variables: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, variable in variables.items():
        value = os.environ.get(variable, "").strip()[:_LONGEST]
        if value:
            found[name] = int(value) if name in _INTEGERS and value.isdecimal() else value
    return found


def _ask_wandb() -> dict[str, str]:
    run = getattr(sys.modules.get("wandb"), "run", None)
    if run is None:
        return {}
    said = {"run_id": run.id, "project": run.project, "entity": run.entity}
    return {name: str(value) for name, value in said.items() if value}


def _ask_mlflow() -> dict[str, str]:
    # Not through the package itself, which loads its parts when they are asked for.
    fluent = sys.modules.get("mlflow.tracking.fluent")
    run = None if fluent is None else fluent.active_run()
    return {} if run is None else {"run_id": str(run.info.run_id), "experiment_id": str(run.info.experiment_id)}
