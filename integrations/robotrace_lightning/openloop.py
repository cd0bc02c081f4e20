"""Validation batches as episodes: what the policy would have done, beside what was done (``val_batches``)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from robotrace.plugin import record
from robotrace_lightning.labels import RunFacts
from robotrace_lightning.settings import Settings

__all__ = ["OpenLoop"]

_log = logging.getLogger("robotrace")

_PREDICTED = ("pred_action", "predicted_action", "action_pred", "prediction", "action")
_THINNING = ("every_n_episodes", "trigger", "max_per_minute", "max_episodes", "policy_version", "metadata", "source")


class OpenLoop:
    """The rows of the first batches of one validation, until it is over.

    Args:
        settings: Of the callback.
        facts: Of the run.
    """

    def __init__(self, settings: Settings, facts: RunFacts) -> None:
        self._settings = settings
        self._facts = facts
        self._rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self._told = False

    def add(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        """A validation step is done.

        Args:
            outputs: What it returned: the predicted actions, or a mapping with them.
            batch: What it was given: a mapping with ``action``, or a pair of observations and actions.
            batch_idx: Its number.
            dataloader_idx: Of which data loader.
        """
        if batch_idx >= self._settings.val_batches:
            return
        found = _columns(outputs, batch)
        if found is None:
            if not self._told:
                self._told = True
                _log.warning(
                    "val_batches: validation_step has to return the predicted actions, alone or as 'pred_action' of a "
                    "mapping, and its batch has to be a mapping with 'action', or (observations, actions)"
                )
            return
        indices = found.get("episode_index")
        for k in range(len(found["predicted"])):
            # Without an index a batch is an episode.
            key = (dataloader_idx, batch_idx if indices is None else int(indices[k]))
            self._rows.setdefault(key, []).append({name: column[k] for name, column in found.items()})

    def end(self) -> None:
        """The validation is over: its rows become episodes."""
        rows, self._rows = self._rows, {}
        for (loader, index), episode in rows.items():
            self._record(loader, index, episode)

    def _record(self, loader: int, index: int, rows: list[dict[str, Any]]) -> None:
        told = self._facts.labels("validate")
        given = self._settings.options.given
        indexed = "episode_index" in rows[0]
        if "frame_index" in rows[0]:
            rows.sort(key=lambda row: int(row["frame_index"]))
        about = {
            "kind": "open_loop",
            "open_loop": {
                **({"episode_index": index} if indexed else {"batch_index": index}),
                "dataloader_index": loader,
                **(
                    {"frame_index": [int(rows[0]["frame_index"]), int(rows[-1]["frame_index"])]}
                    if "frame_index" in rows[0]
                    else {}
                ),
            },
        }
        options: dict[str, Any] = {
            "name": f"open loop {'episode' if indexed else 'batch'} {index}",
            **{key: value for key, value in given.items() if key not in _THINNING},
            "max_per_minute": None,
            "source": "replay",
            "policy_version": given.get("policy_version") or told.get("policy_version"),
            "metadata": {**told["metadata"], **about, **(given.get("metadata") or {})},
        }
        if options.get("seed") is None:
            options["seed"] = told.get("seed")
        if options.get("video") == "deferred":
            options["video"] = False
        with record(**options) as episode:
            for row in rows:
                stamp = row.get("timestamp")
                episode.step(
                    observation=row.get("observation"),
                    action=row["predicted"],
                    sensors={
                        "action_ground_truth": row["truth"],
                        **{name: row[name] for name in ("frame_index",) if name in row},
                    },
                    t=None if stamp is None else float(stamp),
                )
            episode.outcome(action_error=_error(rows))


def _error(rows: list[dict[str, Any]]) -> float:
    """The mean distance of a predicted number from the recorded one."""
    distances = [np.abs(np.float64(row["predicted"]) - np.float64(row["truth"])).mean() for row in rows]
    return float(np.mean(distances))


def _columns(outputs: Any, batch: Any) -> dict[str, Any] | None:
    """The columns of a batch by name, a row each; None where it is of another form."""
    found: dict[str, Any] = {}
    if isinstance(batch, Mapping):
        truth = batch.get("action")
        states = {
            key.removeprefix("observation.").removeprefix("observation") or "state": value
            for key, value in batch.items()
            if isinstance(key, str) and key.startswith("observation")
        }
        columns = {key: column for key, value in states.items() if (column := _vectors(value)) is not None}
        if columns:
            found["observation"] = _rows_of(columns)
        for name in ("episode_index", "frame_index", "timestamp"):
            if isinstance(batch.get(name), torch.Tensor):
                found[name] = batch[name].detach().cpu().reshape(-1).numpy()
    elif isinstance(batch, (tuple, list)) and len(batch) == 2:
        observations, truth = batch
        column = _vectors(observations)
        if column is not None:
            found["observation"] = column
    else:
        return None
    predicted = outputs
    if isinstance(outputs, Mapping):
        predicted = next((outputs[name] for name in _PREDICTED if name in outputs), None)
    if not isinstance(truth, torch.Tensor) or not isinstance(predicted, torch.Tensor):
        return None
    if not truth.ndim or predicted.shape[:1] != truth.shape[:1]:
        return None
    found |= {"predicted": _host(predicted), "truth": _host(truth)}
    count = len(found["predicted"])
    return {name: column for name, column in found.items() if len(column) == count}


def _rows_of(columns: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]


def _vectors(value: Any) -> Any:
    """Rows of numbers; None of images, which an open loop does not need, and of what is no tensor."""
    return _host(value) if isinstance(value, torch.Tensor) and value.ndim in (1, 2) else None


def _host(value: torch.Tensor) -> Any:
    value = value.detach().cpu()
    return (value.float() if value.dtype is torch.bfloat16 else value).numpy()
