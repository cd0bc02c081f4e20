"""The gate: recorded episodes that every candidate policy has to pass before it ships.

::

    robotrace.verify.promote(baseline_episode_id=episode_id, severity="critical")
    code, gate = robotrace.verify.run_check(candidate_policy_version="v8", policy_callable=act)

A replay without an outcome of its own passes nothing: the gate calls it unknown, and stays shut.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

from robotrace import evals
from robotrace.client import Client, default_client
from robotrace.errors import APIError, ConfigurationError, RobotraceError
from robotrace.ingest import LONGEST_TEXT, checked_choice, checked_text, checked_version
from robotrace.jsonable import metadata_json

__all__ = ["check_gate", "promote", "record_result", "run_check"]

_log = logging.getLogger("robotrace")

_RESULT = "/api/verify/result"
_Severity = Literal["critical", "warning", "info"]
_ResultStatus = Literal["pass", "fail", "error"]


def check_gate(*, candidate_policy_version: str, client: Client | None = None) -> dict[str, Any]:
    """Ask whether a candidate may pass.

    Args:
        candidate_policy_version: The candidate.
        client: Else the default one.

    Returns:
        ``passed``, ``critical_total``, ``critical_passed``, ``critical_failed``, ``critical_pending``, ``scenarios``
        (``scenario_id``, ``baseline_episode_id``, ``severity``, ``latest_status`` and more) and ``blockers`` (texts);
        the same whether it passed or not.

    Raises:
        ConfigurationError: The version is empty; nothing was sent.
        APIError: The deployment refused the question.
        TransportError: It could not be reached.
    """
    body = {"candidate_policy_version": _version(candidate_policy_version)}
    try:
        answer = (client or default_client())._transport.call("POST", "/api/verify/check", body)
    except APIError as exc:
        blocked = exc.response_body
        if exc.status_code == 422 and isinstance(blocked, dict) and "passed" in blocked:
            return {**blocked, "passed": False}
        raise
    if not isinstance(answer.get("passed"), bool):
        raise APIError("the answer of the gate does not say whether it passed", status_code=200, response_body=answer)
    return answer


def promote(
    *,
    baseline_episode_id: str,
    name: str | None = None,
    description: str | None = None,
    severity: str = "warning",
    client: Client | None = None,
) -> dict[str, Any]:
    """Make an episode a scenario of the gate; of one that is one already, change what is given.

    Args:
        baseline_episode_id: The episode.
        name: Up to 200 characters.
        description: What must not happen.
        severity: ``critical``, ``warning`` or ``info``; only a critical one blocks. It is always sent: a repeat that
            does not name it makes a critical scenario a warning.
        client: Else the default one.

    Returns:
        ``scenario_id`` and ``promoted``.

    Raises:
        ConfigurationError: An argument does not fit; nothing was sent.
        NotFoundError: There is no such episode.
        APIError: The deployment refused it.
        TransportError: It could not be reached.
    """
    checked_choice("severity", severity, _Severity)
    checked_text("name", name, LONGEST_TEXT["name"])
    checked_text("description", description)
    body = {"baseline_episode_id": baseline_episode_id, "severity": severity}
    body.update(_given(name=name, description=description))
    return (client or default_client())._transport.call("POST", "/api/verify/promote", body, retry_rate_limit=True)


def record_result(
    *,
    scenario_id: str,
    candidate_policy_version: str,
    status: str | None = None,
    candidate_episode_id: str | None = None,
    eval_run_id: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    error: str | None = None,
    client: Client | None = None,
) -> dict[str, Any]:
    """Store how a candidate did on a scenario.

    Args:
        scenario_id: The scenario.
        candidate_policy_version: The candidate.
        status: ``pass``, ``fail`` or ``error``; None lets the deployment derive it from ``success_candidate`` of the
            metrics.
        candidate_episode_id: The episode that stands for the replay.
        eval_run_id: The campaign it belongs to.
        metrics: Of the replay; values JSON has no word for are converted, never refused.
        error: Why it failed.
        client: Else the default one.

    Returns:
        The result as it is stored.

    Raises:
        ConfigurationError: An argument does not fit; nothing was sent.
        APIError: The deployment refused it.
        TransportError: It could not be reached.
    """
    body = _result_body(
        scenario_id,
        _version(candidate_policy_version),
        metrics or {},
        status=status,
        candidate_episode_id=candidate_episode_id,
        eval_run_id=eval_run_id,
        error=error,
    )
    return (client or default_client())._transport.call("POST", _RESULT, body, retry_rate_limit=True)


def run_check(
    *,
    candidate_policy_version: str,
    policy_callable: evals.PolicyCallable | None = None,
    dry_run: bool = False,
    client: Client | None = None,
    on_episode: Callable[[evals.EvalResult], None] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Replay every critical scenario that the candidate has not passed, store the results, and ask the gate again.

    A result that cannot be stored is named in a warning; its scenario goes on blocking.

    Args:
        candidate_policy_version: The candidate.
        policy_callable: As in :func:`robotrace.evals.run_against`; needed when there is something to replay.
        dry_run: Replay, and store nothing, so that the gate stays as it is; what the replays came to is in
            ``dry_run`` of the answer.
        client: Else the default one.
        on_episode: Called after each scenario's replay, as in :func:`robotrace.evals.run_against`.

    Returns:
        0 when the candidate passes, else 1; and the gate, as in :func:`check_gate`.

    Raises:
        ConfigurationError: There are scenarios to replay and no policy, or NumPy is not installed.
        APIError: The deployment refused something.
        TransportError: It could not be reached.
    """
    version = _version(candidate_policy_version)
    client = client or default_client()
    gate = check_gate(candidate_policy_version=version, client=client)
    scenarios = {
        str(scenario["baseline_episode_id"]): str(scenario["scenario_id"])
        for scenario in gate.get("scenarios") or ()
        if scenario.get("severity") == "critical" and scenario.get("latest_status") != "pass"
    }
    if gate["passed"] or not scenarios:
        return int(not gate["passed"]), gate
    if policy_callable is None:
        raise ConfigurationError(
            f"{len(scenarios)} critical scenarios are still to be replayed with {version}; "
            "pass policy_callable= (or --policy MODULE:FN)"
        )
    if dry_run:
        run = evals.EvalRun("dry-run", version, None, list(scenarios), None, _client=client)
        results = evals.run_against(run, policy_callable=policy_callable, on_episode=on_episode, dry_run=True)
        replays = [{"scenario_id": scenarios[result.baseline_episode_id], **_shown(result)} for result in results]
        return 1, {**gate, "dry_run": replays}
    run = evals.create_run(
        candidate_policy_version=version,
        baseline_episode_ids=list(scenarios),
        name=f"verify {version}"[: LONGEST_TEXT["name"]],
        metadata={"verification_check": True},
        client=client,
    )

    def record(result: evals.EvalResult) -> None:
        # As they come: what a later interrupt cuts off is the rest.
        scenario_id = scenarios[result.baseline_episode_id]
        body = _result_body(
            scenario_id,
            version,
            result.metrics,
            status=_status(result),
            candidate_episode_id=result.candidate_episode_id,
            eval_run_id=run.id,
            error=result.error,
        )
        try:
            client._transport.call("POST", _RESULT, body, retry_rate_limit=True, retry_failures=True)
        except RobotraceError as exc:
            _log.warning("the result of scenario %s could not be stored: %s", scenario_id, exc)
        if on_episode is not None:
            on_episode(result)

    try:
        evals.run_against(run, policy_callable=policy_callable, on_episode=record)
    except BaseException:  # Ctrl-C; nobody would end the run otherwise
        with contextlib.suppress(RobotraceError):
            evals.complete_run(run, status="cancelled")
        raise
    try:
        evals.complete_run(run)
    except RobotraceError as exc:  # the gate does not ask for it
        _log.warning("eval run %s could not be ended: %s", run.id, exc)
    gate = check_gate(candidate_policy_version=version, client=client)
    return int(not gate["passed"]), gate


def _result_body(
    scenario_id: str, version: str, metrics: Mapping[str, Any], *, status: str | None, **fields: str | None
) -> dict[str, Any]:
    if status is not None:
        checked_choice("status", status, _ResultStatus)
    body = {"scenario_id": scenario_id, "candidate_policy_version": version, "metrics": metadata_json(metrics)}
    return {**body, **_given(status=status, **fields)}


def _version(version: str) -> str:
    checked_version(version)
    return version.strip()


def _status(result: evals.EvalResult) -> _ResultStatus | None:
    """What a replay says by itself; None when the policy did not say how it ended."""
    if result.status == "failed":
        return "error"
    success = result.metrics.get("success_candidate")
    if not isinstance(success, bool):
        return None
    return "pass" if success else "fail"


def _shown(result: evals.EvalResult) -> dict[str, Any]:
    return {
        "baseline_episode_id": result.baseline_episode_id,
        "status": _status(result) or "unknown",
        "metrics": result.metrics,
        "error": result.error,
    }


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}
