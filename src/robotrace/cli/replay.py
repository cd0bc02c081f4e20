"""``robotrace replay``: a candidate policy on recorded observations."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from robotrace.cli.options import (
    CALLABLE,
    CommandGroup,
    ManyValues,
    ManyValuesCommand,
    deployment_options,
    episode_ids,
    import_callable,
    json_option,
    open_client,
    page_url,
    policy_may_not_exit,
)
from robotrace.cli.output import ABSENT, Column, clean, number, only_json_on_stdout, print_json, print_table
from robotrace.cli.progress import ReplayProgress
from robotrace.errors import RobotraceError

if TYPE_CHECKING:
    from robotrace.evals import EvalResult

__all__ = ["replay"]

_METRICS = ("success_rate", "reward_mean", "collision_rate", "time_to_goal_s", "ood_action_share")
_COLUMNS = (
    Column("METRIC"),
    Column("BASELINE", right=True),
    Column("CANDIDATE", right=True),
    Column("DELTA", right=True),
    Column("IS"),
    Column("PAIRS", right=True),
)


@click.group(cls=CommandGroup)
def replay() -> None:
    """Try a candidate policy on recorded episodes."""


@replay.command(cls=ManyValuesCommand)
@click.option("--policy", type=CALLABLE, required=True, help="What maps an observation to an action.")
@click.option("--candidate-version", metavar="V", required=True, help="The policy version that this is.")
@click.option(
    "--baseline-episodes",
    cls=ManyValues,
    metavar="ID…|@FILE",
    required=True,
    callback=episode_ids,
    help="The episodes to replay: ids or addresses of their pages, or @FILE with one a line and # comments "
    "(@- is standard input).  [repeatable]",
)
@click.option("--baseline-version", metavar="V", help="The policy version they were recorded with.")
@click.option("--name", metavar="TEXT", help="What to call the eval run.")
@click.option("--dry-run", is_flag=True, help="Replay, and store nothing.")
@deployment_options
@json_option
def run(
    base_url: str | None,
    profile: str | None,
    as_json: bool,
    policy: str,
    candidate_version: str,
    baseline_episodes: list[str],
    baseline_version: str | None,
    name: str | None,
    dry_run: bool,
) -> None:
    """Replay recorded observations through a policy, and compare what it does with what was done.

    MODULE:FN is called with the observation of each step, a dict of arrays, and returns a dict of arrays. The working
    directory is importable. Exit code 1: a replay failed or could not be stored, or the deployment recommends to hold
    the candidate.

    \b
    Example:
      robotrace replay run --policy my_policy:act --candidate-version act-v8 --baseline-episodes ID1 ID2
      robotrace replay run --policy my_policy:act --candidate-version act-v8 --baseline-episodes @golden.txt --json
    """
    from robotrace import evals

    with only_json_on_stdout(as_json), policy_may_not_exit():
        act = import_callable(policy)
        with open_client(base_url, profile) as client:
            if dry_run:
                campaign = evals.EvalRun(
                    id="dry-run",
                    candidate_policy_version=candidate_version,
                    baseline_policy_version=baseline_version,
                    baseline_episode_ids=baseline_episodes,
                    name=name,
                    _client=client,
                )
            else:
                campaign = evals.create_run(
                    candidate_policy_version=candidate_version,
                    baseline_episode_ids=baseline_episodes,
                    baseline_policy_version=baseline_version,
                    name=name,
                    client=client,
                )
            progress = ReplayProgress(len(baseline_episodes))
            try:
                results = evals.run_against(campaign, policy_callable=act, on_episode=progress, dry_run=dry_run)
            except BaseException:  # Ctrl-C, mostly; nobody would end the run otherwise
                if not dry_run:
                    with contextlib.suppress(RobotraceError):  # what stopped it matters more
                        evals.complete_run(campaign, status="cancelled")
                raise
            answer = {} if dry_run else evals.complete_run(campaign)
            url = None if dry_run else page_url(client, "evals", campaign.id)
    summary = answer.get("summary")
    summary = summary if isinstance(summary, dict) else None
    if as_json:
        print_json(
            {
                "eval_run_id": None if dry_run else campaign.id,
                "status": campaign.status,
                "candidate_policy_version": candidate_version,
                "baseline_policy_version": baseline_version,
                "results": [asdict(result) for result in results],
                "summary": summary,
                "url": url,
            }
        )
    else:
        _print_summary(summary, results, url)
    held = not dry_run and (summary or {}).get("recommend") != "ship"
    # What a deployment never got is not in what it recommends.
    if held or campaign._unsent or any(result.status != "complete" for result in results):
        click.get_current_context().exit(1)


def _print_summary(summary: Mapping[str, Any] | None, results: Sequence[EvalResult], url: str | None) -> None:
    failed = sum(result.status != "complete" for result in results)
    click.echo(f"\n{len(results) - failed} of {len(results)} replays complete, {failed} failed")
    if url is None:
        click.echo("dry run: nothing was stored")
        return
    if summary is None:
        click.echo("the deployment gave no summary")
    else:
        click.echo()
        print_table(_COLUMNS, [_row(name, summary[name]) for name in _METRICS if isinstance(summary.get(name), dict)])
        click.echo()
        if summary.get("claimed"):
            click.echo(f"outcomes of the candidate that are the policy's own claim: {summary['claimed']}")
        click.echo(f"recommendation: {clean(str(summary.get('recommend') or ABSENT))}")
        for reason in summary.get("reasons") or ():
            click.echo(f"- {clean(str(reason))}")
    click.echo(url)


def _row(name: str, metric: Mapping[str, Any]) -> list[str]:
    better, delta = metric.get("delta_is_better"), metric.get("delta")
    verdict = ("better" if better else "worse") if isinstance(better, bool) else ABSENT if delta is None else "equal"
    return [
        name,
        *(number(metric.get(key)) for key in ("baseline", "candidate", "delta")),
        verdict,
        number(metric.get("pairs")),
    ]
