"""``robotrace verify``: may this candidate ship?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from robotrace.cli.options import (
    CALLABLE,
    EPISODE,
    CommandGroup,
    deployment_options,
    import_callable,
    json_option,
    open_client,
    policy_may_not_exit,
)
from robotrace.cli.output import ABSENT, Column, clean, only_json_on_stdout, print_json, print_table
from robotrace.cli.progress import ReplayProgress

__all__ = ["verify"]

_COLUMNS = (Column("SCENARIO", least=16), Column("SEVERITY"), Column("STATUS"), Column("EPISODE"))
_SEVERITIES = ("critical", "warning", "info")


@click.group(cls=CommandGroup, short_help="Hold a candidate policy against scenarios.")
def verify() -> None:
    """Hold a candidate policy against the scenarios that it must not fail."""


@verify.command()
@click.option("--candidate", "--candidate-version", "candidate", metavar="V", required=True, help="The policy version.")
@click.option("--policy", type=CALLABLE, help="Replay with it the critical scenarios that have not passed.")
@click.option("--dry-run", is_flag=True, help="Replay, and store nothing.")
@deployment_options
@json_option
def check(
    base_url: str | None, profile: str | None, as_json: bool, candidate: str, policy: str | None, dry_run: bool
) -> None:
    """Ask the gate whether a candidate passes every critical scenario.

    Exit code 0: it passes; 1: it is blocked.

    \b
    Example:
      robotrace verify check --candidate act-v8
      robotrace verify check --candidate act-v8 --policy my_policy:act
    """
    if dry_run and policy is None:
        raise click.UsageError("--dry-run goes with --policy")
    from robotrace import verify as gates

    with only_json_on_stdout(as_json), policy_may_not_exit(), open_client(base_url, profile) as client:
        if policy is None:
            gate = gates.check_gate(candidate_policy_version=candidate, client=client)
            code = 0 if gate.get("passed") is True else 1
        else:
            code, gate = gates.run_check(
                candidate_policy_version=candidate,
                policy_callable=import_callable(policy),
                dry_run=dry_run,
                client=client,
                on_episode=ReplayProgress(None, err=True),  # stdout has the gate's table
            )
    if as_json:
        print_json(gate)
    else:
        _print_gate(gate)
    if gate.get("critical_total") == 0:
        click.echo("robotrace: no critical scenario: nothing was checked", err=True)
    elif code and policy is None and gate.get("critical_pending"):
        click.echo("robotrace: --policy MODULE:FN replays the scenarios that have not passed", err=True)
    click.get_current_context().exit(code)


@verify.command()
@click.argument("episode_id", metavar="ID", type=EPISODE)
@click.option(
    "--severity",
    type=click.Choice(_SEVERITIES),
    default="warning",
    show_default=True,
    help="Only a critical scenario blocks.",
)
@click.option("--name", metavar="TEXT", help="What to call it.")
@click.option("--description", metavar="TEXT", help="What must not happen.")
@deployment_options
@json_option
def promote(
    base_url: str | None,
    profile: str | None,
    as_json: bool,
    episode_id: str,
    severity: str,
    name: str | None,
    description: str | None,
) -> None:
    """Make a recorded episode a scenario of the gate.

    \b
    Example:
      robotrace verify promote 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11 --severity critical --name "cup near the edge"
    """
    from robotrace import verify as gates

    with open_client(base_url, profile) as client:
        answer = gates.promote(
            baseline_episode_id=episode_id, name=name, description=description, severity=severity, client=client
        )
    if as_json:
        print_json(answer)
    else:
        click.echo(f"scenario {answer.get('scenario_id')}: {severity}, episode {episode_id}")


def _print_gate(gate: Mapping[str, Any]) -> None:
    scenarios = [item for item in gate.get("scenarios") or () if isinstance(item, dict)]
    if scenarios:
        print_table(_COLUMNS, [_row(item) for item in scenarios])
        click.echo()
    verdict = "passed" if gate.get("passed") is True else "blocked"
    total, passed, failed, pending = (
        gate.get(f"critical_{key}", ABSENT) for key in ("total", "passed", "failed", "pending")
    )
    click.echo(f"{verdict}: {passed} of {total} critical scenarios passed, {failed} failed, {pending} pending")
    for text in gate.get("blockers") or ():
        click.echo(f"- {clean(str(text))}")
    if "dry_run" in gate:
        click.echo("\ndry run: nothing was stored; the replays came to")
        for item in gate["dry_run"]:
            error = f": {item['error']}" if item["error"] else ""
            click.echo(f"- {item['baseline_episode_id']}  {clean(item['status'] + error)}")


def _row(scenario: Mapping[str, Any]) -> list[str]:
    claimed = " (claimed)" if scenario.get("claimed") is True else ""
    return [
        str(scenario.get("name") or scenario.get("scenario_id") or ABSENT),
        str(scenario.get("severity") or ABSENT),
        f"{scenario.get('latest_status') or ABSENT}{claimed}",
        str(scenario.get("baseline_episode_id") or ABSENT),
    ]
