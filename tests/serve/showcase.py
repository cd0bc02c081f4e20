"""A deployment full of believable episodes, for tests that walk over all pages, for pictures, and to look at.

``python -m tests.serve.showcase [FOLDER]`` serves one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select, update

from robotrace.serve.database import Database
from robotrace.serve.models import (
    DEFAULT_PROJECT_ID,
    ApiKey,
    AuditEntry,
    Episode,
    EvalRun,
    Project,
    Scenario,
    ScenarioResult,
    utc_now,
)
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .showcase_plan import PICKS

__all__ = ["Showcase", "fill_showcase"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_LONG = "a name of the length that nobody would choose and some program makes/" * 4
_DEADLINE_S = 120.0


@dataclass
class Showcase:
    """What is in it.

    Attributes:
        by_fault: An episode of the arm for each fault, the newest of it; ``None`` is one that went well.
        episodes: All of them by name.
        listed: What the list says of each, by its id.
        eval_run: One that has ended.
        eval_running: One that has not.
        recording: An episode that is still being recorded.
        long: One whose texts are as long as they may be; empty when there is none.
        onset_ms: When the first finding of ``by_fault["NaN"]`` was.
    """

    by_fault: dict[str | None, str] = field(default_factory=dict)
    episodes: dict[str, str] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)
    eval_run: str = ""
    eval_running: str = ""
    recording: str = ""
    long: str = ""
    onset_ms: float = 0.0


def fill_showcase(
    deployment: Deployment, settings: Settings, *, arms: int = 18, poles: int = 20, extremes: bool = False
) -> Showcase:
    """Fill a running deployment.

    Args:
        deployment: One that runs.
        settings: Its settings: what no API can set (when something was) is set in its database.
        arms: How many episodes of the arm; 18 at most, and 7 have one of each kind.
        poles: How many of CartPole.
        extremes: Names as long as they may be, too.
    """
    _record(deployment, arms, poles)
    with httpx.Client(
        base_url=deployment.base_url,
        headers={"Authorization": f"Bearer {deployment.internal_key}"},
        trust_env=False,
        timeout=60,
    ) as http:
        made = _Api(http)
        showcase = _found(made, arms)
        _judge(made, showcase)
        _keys(made)
        showcase.recording = made.post(
            "/api/ingest/episode",
            {"name": "pick the cube, live", "policy_version": "act-v8-rc1", "robot": "arm-1"},
        )["episode_id"]
        if extremes:
            _extremes(made, showcase)
        _spread_over_days(settings)
        _wait(lambda: _explained(made, showcase), "the failures are not explained")
        if "NaN" in showcase.by_fault:
            analysis = made.get(f"/portal/episodes/{showcase.by_fault['NaN']}.json")["analysis"]
            showcase.onset_ms = 1000 * analysis["findings"][0]["onset_s"]
    return showcase


class _Api:
    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def get(self, path: str) -> Any:
        answer = self._http.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()


def _record(deployment: Deployment, arms: int, poles: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("ROBOTRACE_")}
        environment = {
            **kept,
            "ROBOTRACE_HOME": home,
            "ROBOTRACE_SPOOL_DIR": str(Path(home) / "spool"),
            "ROBOTRACE_BASE_URL": deployment.base_url,
            "ROBOTRACE_API_KEY": deployment.internal_key,
            "SDL_VIDEODRIVER": "dummy",
            "PYTHONPATH": os.pathsep.join((str(_ROOT / "src"), str(_ROOT / "integrations"), str(_HERE))),
        }
        command = [sys.executable, str(_HERE / "showcase_recording.py"), str(arms), str(poles)]
        ran = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr


def _found(made: _Api, arms: int) -> Showcase:
    showcase, cursor = Showcase(), ""
    while True:
        listed = made.get(f"/portal/episodes.json?limit=200&cursor={cursor}")
        showcase.episodes.update({episode["name"]: episode["id"] for episode in listed["episodes"]})
        showcase.listed.update({episode["id"]: episode for episode in listed["episodes"]})
        cursor = listed["next"]
        if not cursor:
            break
    for number, plan in enumerate(PICKS[:arms]):
        showcase.by_fault[plan.fault] = showcase.episodes[f"pick the cube #{number + 1}"]
    return showcase


def _judge(made: _Api, showcase: Showcase) -> None:
    """Scenarios, their verdicts, eval runs, and what somebody put away."""
    in_order = sorted(showcase.episodes.items(), key=lambda item: int(item[0].rpartition("#")[2]))
    picks = [number for name, number in in_order if name.startswith("pick")]
    poles = [number for name, number in in_order if name.startswith("CartPole")]
    severities = ("critical", "warning", "critical", "info", "critical", "warning")
    names = ("reach across", "heavy cube", None, "cube at the edge", "near the tray", None)
    scenarios = [
        made.post(
            "/api/verify/promote",
            {"baseline_episode_id": episode, "severity": severity, **({"name": name} if name else {})},
        )["scenario_id"]
        for episode, severity, name in zip(picks, severities, names, strict=False)
    ]
    verdicts = {
        "act-v7": "pass pass pass pass pass pass",
        "diffusion-v2": "pass fail fail pass pass error",
        "act-v8-rc1": "pass pass fail pass pass pass",
        "act-v8-rc2": "pass pass pass pass - -",
    }
    for candidate, statuses in verdicts.items():
        for scenario, status in zip(scenarios, statuses.split(), strict=False):
            if status != "-":
                error = {"error": "gripper: no answer within 50 ms"} if status == "error" else {}
                body = {"scenario_id": scenario, "candidate_policy_version": candidate, "status": status, "metrics": {}}
                made.post("/api/verify/result", body | error)
    baselines = [showcase.listed[number] for number in picks]
    showcase.eval_run = _eval(made, baselines, "act-v8-rc1", "act-v7", "nightly", finished=True)
    _eval(made, baselines, "diffusion-v2", "act-v7", "diffusion against act", finished=True, worse=True)
    showcase.eval_running = _eval(made, baselines, "act-v8-rc2", "act-v7", "release candidate 2", finished=False)
    made.post("/api/episodes/archive", {"ids": poles[:2]})


def _eval(
    made: _Api, episodes: list[Any], candidate: str, baseline: str, name: str, *, finished: bool, worse: bool = False
) -> str:
    run: str = made.post(
        "/api/ingest/eval-run",
        {
            "candidate_policy_version": candidate,
            "baseline_policy_version": baseline,
            "baseline_episode_ids": [episode["id"] for episode in episodes],
            "name": name,
            "metadata": {"host": "eval-1", "repeats": 1},
        },
    )["eval_run_id"]
    for number, episode in enumerate(episodes if finished else episodes[: len(episodes) // 2]):
        before, after = bool(episode["success"]), (number % 4 != 1) if worse else (number % 7 != 5)
        metrics = {
            "success_baseline": before,
            "success_candidate": after,
            "reward_total_baseline": episode["reward_total"],
            "reward_total_candidate": round(-79.0 - 3.4 * (number % 5) - 14 * worse - 20 * (not after), 3),
            "collision_count_baseline": int(number % 9 == 3),
            "collision_count_candidate": int(worse and number % 6 == 1),
            "action_distance_mean": 0.021 + 0.004 * (number % 4) + 0.03 * worse,
            "ood_action_share": 0.01 * (number % 3) + 0.04 * worse,
        }
        for side, good in (("baseline", before), ("candidate", after)):
            if good:
                metrics[f"time_to_goal_s_{side}"] = 6.66 + 0.04 * (number % 4) + 0.6 * (worse and side == "candidate")
        result = {"baseline_episode_id": episode["id"], "status": "complete", "metrics": metrics}
        if worse and number == 2:
            result |= {"status": "failed", "metrics": {}, "error": "the policy server closed the connection"}
        made.post(f"/api/ingest/eval-run/{run}/result", result)
    if finished:
        made.post(f"/api/ingest/eval-run/{run}/finalize", {"status": "completed"})
    return run


def _keys(made: _Api) -> None:
    for name in ("uploader of cell 1", "uploader of cell 2", "ci", "old laptop"):
        key = made.post("/api/keys", {"name": name})
        if name == "old laptop":
            made._http.delete(f"/api/keys/{key['key_id']}").raise_for_status()
        elif name != "ci":
            httpx.get(
                f"{made._http.base_url}/api/keys",
                headers={"Authorization": f"Bearer {key['api_key']}"},
                trust_env=False,
            ).raise_for_status()


def _extremes(made: _Api, showcase: Showcase) -> None:
    long = {
        "name": _LONG[:200],
        "robot": _LONG[:120].replace(" ", "_"),
        "policy_version": "x" * 200,
        "env_version": _LONG[:200].replace(" ", "_"),
    }
    meta = {"failure_reason": _LONG, "x" * 200: {"y" * 200: "z" * 400}}
    showcase.long = made.post("/api/ingest/episode", {**long, "request_uploads": [], "metadata": meta})["episode_id"]
    made.post(f"/api/ingest/episode/{showcase.long}/finalize", {"status": "failed", "failure_time_s": 1.0})
    scenario = made.post(
        "/api/verify/promote",
        {"baseline_episode_id": showcase.long, "severity": "critical", "name": _LONG[:200], "description": "d" * 400},
    )["scenario_id"]
    made.post(
        "/api/verify/result",
        {
            "scenario_id": scenario,
            "candidate_policy_version": "x" * 200,
            "status": "error",
            "error": "e" * 500,
            "metrics": {},
        },
    )
    run = made.post(
        "/api/ingest/eval-run",
        {"candidate_policy_version": "x" * 200, "baseline_episode_ids": ["i" * 200], "name": _LONG[:200]},
    )["eval_run_id"]
    body = {"baseline_episode_id": "i" * 200, "status": "failed", "metrics": {}, "error": "e" * 500}
    made.post(f"/api/ingest/eval-run/{run}/result", body)
    made.post("/api/keys", {"name": "k" * 200})


def _spread_over_days(settings: Settings) -> None:
    """The newest are of now, the oldest of last week; the order stays."""
    now = utc_now()
    database = Database(settings.database_url)
    try:
        with database.write() as session:
            for table in (Episode, EvalRun, Scenario, ScenarioResult, AuditEntry):
                newest_first = list(
                    session.execute(select(table.id).order_by(table.created_at.desc(), table.id.desc()))
                )
                for place, (number,) in enumerate(newest_first):
                    moment = now - timedelta(minutes=2 + 9 * place + 6.5 * place**2 * (30 / max(len(newest_first), 30)))
                    values = {"created_at": moment}
                    if table is not AuditEntry:
                        values["updated_at"] = moment + timedelta(seconds=40)
                    session.execute(update(table).where(table.id == number).values(**values))
            # Limits nothing here comes near to.
            limits = {"quota_bytes": 64 * 1024**2, "retain_ready_days": 180, "retain_archived_days": 30}
            session.execute(update(Project).where(Project.id == DEFAULT_PROJECT_ID).values(**limits))
            for place, (number,) in enumerate(list(session.execute(select(ApiKey.id).order_by(ApiKey.id.desc())))):
                session.execute(
                    update(ApiKey).where(ApiKey.id == number).values(created_at=now - timedelta(days=1 + 3 * place))
                )
    finally:
        database.close()


def _explained(made: _Api, showcase: Showcase) -> bool:
    failed = [number for fault, number in showcase.by_fault.items() if fault is not None]
    failed += [showcase.long] if showcase.long else []
    return all(made.get(f"/portal/episodes/{number}.json")["analysis"] is not None for number in failed)


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


def _main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="robotrace-showcase-"))
    settings = Settings(folder, rate_limit=None, port=int(os.environ.get("PORT", "0")))
    with Deployment(settings) as deployment:
        if len(sys.argv) < 3:
            fill_showcase(deployment, settings)
        print(f"{deployment.base_url}/portal/episodes    files: {folder}", flush=True)
        try:
            deployment.wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    _main()
