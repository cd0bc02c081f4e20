"""Open-loop replay: what a candidate policy does where a recorded one did something else.

::

    run = robotrace.evals.create_run(candidate_policy_version="v8", baseline_episode_ids=[...])
    robotrace.evals.run_against(run, policy_callable=act)
    summary = robotrace.evals.complete_run(run)["summary"]

The policy runs here; only metrics go out. docs/evals.md has the formulas.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from robotrace.client import Client, default_client
from robotrace.episode import close_finished
from robotrace.errors import APIError, ConfigurationError, RobotraceError, ServerError, TransportError
from robotrace.eval_baseline import UnreplayableError, fetched_baseline
from robotrace.eval_metrics import extract_outcome, metric_action_l2_distance, metric_ood_action_share
from robotrace.eval_replay import Action, Observation, PolicyCallable, measured
from robotrace.eval_rows import iter_baseline_steps, materialize_observations, numpy_module
from robotrace.ingest import LONGEST_TEXT, checked_text, checked_version
from robotrace.jsonable import metadata_json

__all__ = [
    "Action",
    "EvalResult",
    "EvalRun",
    "Observation",
    "PolicyCallable",
    "complete_run",
    "create_run",
    "extract_outcome",
    "iter_baseline_steps",
    "materialize_observations",
    "metric_action_l2_distance",
    "metric_ood_action_share",
    "run_against",
]

_log = logging.getLogger("robotrace")

_ROUTE = "/api/ingest/eval-run"
_LONGEST_ERROR = 2000
"""Characters of an exception's text that are stored; the whole of it is in the log."""


@dataclass
class EvalRun:
    """A campaign: one candidate against some baselines.

    Attributes:
        id: The deployment's id.
        candidate_policy_version: What is tried.
        baseline_policy_version: What the baselines were recorded with, where that was said.
        baseline_episode_ids: Each once.
        name: What it is called.
        runner_kind: Where the policy runs.
        status: As the deployment last said.
        episodes_completed: Replays of the last :func:`run_against` that came to an end.
        episodes_failed: Those that did not.
    """

    id: str
    candidate_policy_version: str
    baseline_policy_version: str | None
    baseline_episode_ids: list[str]
    name: str | None
    runner_kind: str = "client"
    status: str = "pending"
    episodes_completed: int = 0
    episodes_failed: int = 0
    _client: Client | None = field(default=None, repr=False, compare=False)
    _unsent: dict[str, EvalResult] = field(default_factory=dict, repr=False, compare=False)
    _unanswered: bool = field(default=False, repr=False, compare=False)


@dataclass
class EvalResult:
    """What became of one baseline.

    Attributes:
        baseline_episode_id: The baseline.
        candidate_episode_id: The episode that stands for the replay; None where none was stored.
        status: ``complete`` or ``failed``.
        metrics: As in docs/evals.md; empty after a failure.
        error: Why it failed.
    """

    baseline_episode_id: str
    candidate_episode_id: str | None
    status: str
    metrics: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


def create_run(
    *,
    candidate_policy_version: str,
    baseline_episode_ids: Sequence[str],
    baseline_policy_version: str | None = None,
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    client: Client | None = None,
) -> EvalRun:
    """Open a campaign on the deployment.

    Args:
        candidate_policy_version: What is tried.
        baseline_episode_ids: At least one; an id given twice counts once, one that leads nowhere will be a failed
            result.
        baseline_policy_version: What the baselines were recorded with.
        name: Up to 200 characters.
        metadata: Anything; values JSON has no word for are converted, never refused.
        client: Else the default one.

    Raises:
        ConfigurationError: An argument does not fit; nothing was sent.
        APIError: The deployment refused it.
        TransportError: It could not be reached.
    """
    checked_version(candidate_policy_version)
    checked_text("baseline_policy_version", baseline_policy_version)
    checked_text("name", name, LONGEST_TEXT["name"])
    if isinstance(baseline_episode_ids, str):
        raise ConfigurationError("baseline_episode_ids is one text; it takes a list of ids")
    ids = [str(item).strip() for item in baseline_episode_ids]
    if not ids or "" in ids:
        raise ConfigurationError("baseline_episode_ids needs at least one id, and none may be empty")
    ids = list(dict.fromkeys(ids))
    client = client or default_client()
    body: dict[str, Any] = {"candidate_policy_version": candidate_policy_version, "baseline_episode_ids": ids}
    given = {
        "baseline_policy_version": baseline_policy_version,
        "name": name,
        "metadata": None if metadata is None else metadata_json(metadata),
    }
    body.update({key: value for key, value in given.items() if value is not None})
    answer = client._transport.call("POST", _ROUTE, body, retry_rate_limit=True)
    if not isinstance(answer.get("eval_run_id"), (str, int)) or answer["eval_run_id"] == "":
        raise APIError("the answer has no eval_run_id", status_code=201, response_body=answer)
    return EvalRun(
        id=str(answer["eval_run_id"]),
        candidate_policy_version=candidate_policy_version,
        baseline_policy_version=baseline_policy_version,
        baseline_episode_ids=ids,
        name=name,
        status=str(answer.get("status", "pending")),
        _client=client,
    )


def run_against(
    run: EvalRun,
    *,
    policy_callable: PolicyCallable,
    on_episode: Callable[[EvalResult], None] | None = None,
    dry_run: bool = False,
) -> list[EvalResult]:
    """Replay every baseline through the policy, and store what comes of it.

    A baseline that cannot be replayed and a policy that raises are a failed result each; the rest goes on. So it does
    when a result cannot be stored: that is tried again for some seconds, and once more by :func:`complete_run`.

    Args:
        run: From :func:`create_run`.
        policy_callable: Gets each recorded row as a dict of arrays of its own, and returns a dict of arrays. Streams
            of different rates are aligned by their clocks: each gives its latest row; one that has none yet is not
            in the dict.
        on_episode: Called after each baseline; what it raises is logged.
        dry_run: Replay, and store nothing.

    Returns:
        A result for each baseline, in their order.

    Raises:
        ConfigurationError: NumPy is not installed, or no deployment is configured.
    """
    np = numpy_module()
    client = run._client or default_client()
    run.episodes_completed = run.episodes_failed = 0
    results = []
    for baseline_id in dict.fromkeys(run.baseline_episode_ids):
        result = _replay(client, baseline_id, policy_callable, np)
        if not dry_run:
            if result.status == "complete":
                result.candidate_episode_id = _store_episode(client, run, result)
            _store_result(client, run, result)
        if result.status == "complete":
            run.episodes_completed += 1
        else:
            run.episodes_failed += 1
        results.append(result)
        if on_episode is not None:
            try:
                on_episode(result)
            except Exception:
                _log.exception("on_episode failed for baseline episode %s", baseline_id)
    return results


def complete_run(
    run: EvalRun,
    *,
    status: str = "completed",
    metadata: Mapping[str, Any] | None = None,
    client: Client | None = None,
) -> dict[str, Any]:
    """End the campaign, and have the deployment sum it up.

    Results that could not be stored before are sent first; one that still cannot is named in a warning and missing
    in the summary.

    Args:
        run: From :func:`create_run`.
        status: ``completed``; the embedded server also takes ``failed`` and ``cancelled``.
        metadata: Merged over the run's.
        client: Only for a run that has none of its own.

    Returns:
        ``eval_run_id``, ``status`` and ``summary``.

    Raises:
        APIError: The deployment refused it.
        TransportError: It could not be reached.
    """
    client = run._client or client or default_client()
    run._unanswered = False
    for result in list(run._unsent.values()):
        if not _store_result(client, run, result):
            break  # the rest would wait as long, and in vain
    if run._unsent:
        _log.warning(
            "eval run %s ends without the results of %d of its baselines: %s",
            run.id,
            len(run._unsent),
            ", ".join(run._unsent),
        )
    body: dict[str, Any] = {"status": status}
    if metadata is not None:
        body["metadata"] = metadata_json(metadata)
    answer = client._transport.call("POST", f"{_ROUTE}/{quote(run.id, safe='')}/finalize", body)
    run.status = str(answer.get("status", status))
    return answer


# --- one baseline


def _replay(client: Client, baseline_id: str, policy: PolicyCallable, np: Any) -> EvalResult:
    result = EvalResult(baseline_id, None, "failed")
    try:
        with fetched_baseline(client._transport, baseline_id, np) as baseline:
            result.metrics = measured(baseline, baseline_id, policy, np)
        result.status = "complete"
    except UnreplayableError as exc:
        result.error = _text(str(exc))
        _log.error(result.error)
    except Exception as exc:
        result.error = _text(_described(exc))
        # Only the traceback of what is no fault of the wire's helps: it leads into the policy.
        trace = not isinstance(exc, RobotraceError)
        _log.error("replaying baseline episode %s failed: %s", baseline_id, result.error, exc_info=trace)
    return result


def _store_episode(client: Client, run: EvalRun, result: EvalResult) -> str | None:
    """The id of a new episode that stands for the replay; None where it cannot be stored: the metrics matter more."""
    suffix = f": {result.baseline_episode_id[:8]}"
    name = (run.name or f"replay of {run.candidate_policy_version}")[: LONGEST_TEXT["name"] - len(suffix)] + suffix
    episode = None
    try:
        episode = client.start_episode(
            name=name,
            source="replay",
            policy_version=run.candidate_policy_version,
            metadata={
                "eval_run_id": run.id,
                "baseline_episode_id": result.baseline_episode_id,
                "metrics": result.metrics,
            },
            artifacts=(),
        )
        close_finished(episode)
    except RobotraceError as exc:
        done = "opened" if episode is None else "finalized"
        _log.warning("the replay of baseline episode %s could not be %s: %s", result.baseline_episode_id, done, exc)
    return None if episode is None else episode.id


def _store_result(client: Client, run: EvalRun, result: EvalResult) -> bool:
    """Store a result or keep it for later; False when the deployment does not answer."""
    body: dict[str, Any] = {
        "baseline_episode_id": result.baseline_episode_id,
        "status": result.status,
        "metrics": result.metrics,
    }
    given = {"candidate_episode_id": result.candidate_episode_id, "error": result.error}
    body.update({key: value for key, value in given.items() if value is not None})
    run._unsent[result.baseline_episode_id] = result
    try:
        answer = client._transport.call(
            "POST",
            f"{_ROUTE}/{quote(run.id, safe='')}/result",
            body,
            retry_rate_limit=True,
            # A deployment that was waited for in vain is asked once a result: 7 s each would add up to hours.
            retry_failures=not run._unanswered,
        )
    except RobotraceError as exc:
        _log.warning("the result of baseline episode %s could not be stored: %s", result.baseline_episode_id, exc)
        run._unanswered = isinstance(exc, (TransportError, ServerError))
        return not run._unanswered
    run._unanswered = False
    del run._unsent[result.baseline_episode_id]
    run.status = str(answer.get("run_status", run.status))
    return True


def _described(exc: Exception) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"
    except Exception:  # its __str__ is the user's, and may fail
        return type(exc).__name__


def _text(text: str) -> str:
    # A lone surrogate (a file name that is not UTF-8) is none that JSON readers have to take.
    shown = text.encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= _LONGEST_ERROR else f"{shown[: _LONGEST_ERROR - 1]}…"
