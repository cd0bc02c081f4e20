"""Recorded episodes that a scripted deployment holds, and what it is told of them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from recorded import RecordedEpisode
from reruns import record
from unsteady_envs import ARM
from wire_server import EPISODE_ID, Answer, Received, WireServer

__all__ = ["EPISODE", "VERDICT", "arm", "detail", "hold"]

EPISODE = f"/api/episodes/{EPISODE_ID}"
VERDICT = f"/api/ingest/episode/{EPISODE_ID}/reproduction"


def arm(**kwargs: Any) -> RecordedEpisode:
    return record(gym.make(ARM, **kwargs), [{"seed": 1}])[0]


def detail(episode: RecordedEpisode) -> dict[str, Any]:
    """What a deployment says of it."""
    artifacts = [{key: item[key] for key in ("kind", "size", "sha256")} for item in episode.manifest["artifacts"]]
    return {
        "episode_id": EPISODE_ID,
        "name": "from afar",
        "fps": 20.0,
        "metadata": episode.metadata,
        "artifacts": artifacts,
    }


def hold(server: WireServer, episode: RecordedEpisode) -> list[dict[str, Any]]:
    """Have the deployment hold the episode; returns the verdicts it gets."""
    stored: list[dict[str, Any]] = []

    def take(request: Received) -> Answer:
        stored.append(request.json)
        return Answer(200, {"episode_id": EPISODE_ID, "verdict": request.json["verdict"]})

    server.on("GET", EPISODE, Answer(200, detail(episode)))
    for item in episode.manifest["artifacts"]:
        content = (episode.folder / item["file"]).read_bytes()
        server.on("GET", f"{EPISODE}/artifact/{item['kind']}", Answer(200, content))
    server.on("POST", VERDICT, take)
    return stored
