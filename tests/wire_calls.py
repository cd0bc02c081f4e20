"""Every call of the client that is one request, to be run against whatever a server may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wire_server import CREATE, EPISODE_ID, FINALIZE, SIGNATURE

from robotrace import Client, Episode, UploadUrl, evals, verify

__all__ = ["CALLS", "Call"]

EPISODE = f"/api/episodes/{EPISODE_ID}"


@dataclass(frozen=True)
class Call:
    """One call and the one request it makes.

    Attributes:
        run: Makes the call; gets a client and a folder of its own.
        answer: What a deployment answers.
        repeats_429: Whether a rate limit is tried again.
        json: Whether the answer has to be a JSON object.
        follows_redirects: Whether a 3xx is followed.
        requests: How often a request goes out whose connection breaks.
    """

    name: str
    method: str
    path: str
    run: Callable[[Client, Path], Any]
    answer: dict[str, Any]
    repeats_429: bool = False
    json: bool = True
    follows_redirects: bool = False
    requests: int = 1


def _open_episode(client: Client) -> Episode:
    url = UploadUrl("sensors", f"{client.base_url}/store/sensors?X-Signature={SIGNATURE}", "2031-01-01T00:00:00Z", None)
    return Episode(id=EPISODE_ID, status="recording", storage="r2", upload_urls={"sensors": url}, _client=client)


def _upload(client: Client, folder: Path) -> int:
    path = folder / "sensors.npz"
    path.write_bytes(b"x" * 1000)
    return _open_episode(client).upload("sensors", path)


CALLS = [
    Call(
        "start_episode",
        "POST",
        CREATE,
        lambda client, _: client.start_episode(artifacts=()),
        {"episode_id": EPISODE_ID, "status": "recording", "storage": "r2", "upload_urls": []},
        repeats_429=True,
    ),
    Call("upload", "PUT", "/store/sensors", _upload, {}, repeats_429=True, json=False),
    Call(
        "finalize",
        "POST",
        FINALIZE,
        lambda client, _: _open_episode(client).finalize(),
        {"episode_id": EPISODE_ID, "status": "ready", "updated_at": "2030-01-01T00:00:00Z"},
        requests=2,
    ),
    Call("get_episode", "GET", EPISODE, lambda client, _: client.get_episode(EPISODE_ID), {"episode_id": EPISODE_ID}),
    Call(
        "list_episodes",
        "GET",
        "/api/episodes",
        lambda client, _: client.list_episodes(policy_version="p1"),
        {"episodes": [], "next": None},
    ),
    Call(
        "download_artifact",
        "GET",
        f"{EPISODE}/artifact/video",
        lambda client, folder: client.download_artifact(EPISODE_ID, "video", folder / "video.mp4"),
        {},
        json=False,
        follows_redirects=True,
    ),
    Call(
        "create_run",
        "POST",
        "/api/ingest/eval-run",
        lambda client, _: evals.create_run(
            candidate_policy_version="c", baseline_episode_ids=[EPISODE_ID], client=client
        ),
        {"eval_run_id": "run_1", "status": "pending", "episode_count": 1},
        repeats_429=True,
    ),
    Call(
        "complete_run",
        "POST",
        "/api/ingest/eval-run/run_1/finalize",
        lambda client, _: evals.complete_run(evals.EvalRun("run_1", "c", None, [EPISODE_ID], None), client=client),
        {"eval_run_id": "run_1", "status": "completed", "summary": {}},
    ),
    Call(
        "promote",
        "POST",
        "/api/verify/promote",
        lambda client, _: verify.promote(baseline_episode_id=EPISODE_ID, client=client),
        {"scenario_id": "scenario_1", "promoted": True},
        repeats_429=True,
    ),
    Call(
        "check_gate",
        "POST",
        "/api/verify/check",
        lambda client, _: verify.check_gate(candidate_policy_version="c", client=client),
        {"passed": True, "scenarios": [], "blockers": []},
    ),
    Call(
        "record_result",
        "POST",
        "/api/verify/result",
        lambda client, _: verify.record_result(
            scenario_id="scenario_1", candidate_policy_version="c", metrics={}, client=client
        ),
        {"scenario_id": "scenario_1"},
        repeats_429=True,
    ),
]
