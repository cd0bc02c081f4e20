"""A scripted deployment with recorded episodes to replay, and what an eval run sends it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from wire_server import CREATE, FINALIZE, Answer, Received, WireServer

__all__ = ["ACTIONS", "RUN", "SENSORS", "npz", "script_evals", "serve_baseline"]

RUN = "/api/ingest/eval-run"

SENSORS = {"observation/value": np.arange(12.0).reshape(6, 2), "observation/_t_ns": np.arange(6) * 10}
ACTIONS = {"action/value": np.array([[0.0], [1.0], [0.0], [1.0], [0.0]]), "action/_t_ns": np.arange(5) * 10}


def npz(arrays: dict[str, Any], *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def serve_baseline(
    server: WireServer,
    episode_id: str = "base_1",
    *,
    sensors: Any = SENSORS,
    actions: Any = ACTIONS,
    metadata: dict[str, Any] | None = None,
    route: bool = True,
) -> None:
    """Have the server hold an episode: arrays or bytes in its slots, None for an empty one, its metadata on a route."""
    for kind, content in (("sensors", sensors), ("actions", actions)):
        path = f"/api/episodes/{episode_id}/artifact/{kind}"
        if content is None:
            server.on("GET", path, Answer(404, {"error": f"the episode has no {kind}"}))
        else:
            server.on("GET", path, Answer(200, content if isinstance(content, bytes) else npz(content)))
    if route:
        server.on(
            "GET", f"/api/episodes/{episode_id}", Answer(200, {"episode_id": episode_id, "metadata": metadata or {}})
        )


def script_evals(server: WireServer) -> None:
    """Have the server take runs, results and candidate episodes as the wire contract says."""

    def create(request: Received) -> Answer:
        count = len(request.json["baseline_episode_ids"])
        return Answer(201, {"eval_run_id": "run_1", "status": "pending", "episode_count": count})

    def finalize(request: Received) -> Answer:
        return Answer(200, {"eval_run_id": "run_1", "status": request.json["status"], "summary": {"recommend": "hold"}})

    server.on("POST", RUN, create)
    server.on("POST", f"{RUN}/run_1/result", Answer(200, {"eval_result_id": "r", "run_status": "running"}))
    server.on("POST", f"{RUN}/run_1/finalize", finalize)
    episode = {"episode_id": "ep_1", "status": "recording", "storage": "r2", "upload_urls": []}
    server.on("POST", CREATE, Answer(201, episode))
    server.on("POST", FINALIZE, Answer(200, {"episode_id": "ep_1", "status": "ready"}))
