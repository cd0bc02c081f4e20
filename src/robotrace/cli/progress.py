"""A line for each replay, shared by ``robotrace replay run`` and ``robotrace verify check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from robotrace.cli.output import clean, number, yes_no

if TYPE_CHECKING:
    from robotrace.evals import EvalResult

__all__ = ["ReplayProgress"]


class ReplayProgress:
    """A line for each replay that has ended, as ``on_episode`` of a run.

    Args:
        total: How many there will be; None where that is not known before.
        err: Whether the lines go to stderr.
    """

    def __init__(self, total: int | None, *, err: bool = False) -> None:
        self._total = total
        self._err = err
        self._done = 0

    def __call__(self, result: EvalResult) -> None:
        """Print the line."""
        self._done += 1
        count = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        click.echo(f"[{count}] {result.baseline_episode_id}  {clean(_outline(result))}", err=self._err)


def _outline(result: EvalResult) -> str:
    if result.status != "complete":
        return f"{result.status}: {result.error or 'no reason was given'}"
    metrics = result.metrics
    claimed = " (claimed)" if metrics.get("outcome_candidate") == "claimed" else ""
    return (
        f"{result.status}  success {yes_no(metrics.get('success_candidate'))}{claimed}"
        f"  action distance {number(metrics.get('action_l2_distance'))}"
        f"  out of distribution {number(metrics.get('ood_action_share'))}"
        f"  steps {number(metrics.get('step_count'))}"
    )
