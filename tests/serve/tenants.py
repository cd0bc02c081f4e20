"""Two projects in one deployment, and everything that one of them can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from robotrace.serve.audit import Actor
from robotrace.serve.database import Database
from robotrace.serve.keys import create_key, find_key
from robotrace.serve.projects import create_project
from robotrace.serve.saved_views import save_view
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

__all__ = ["SAME_ORIGIN", "Tenant", "add_project", "fill", "new_key", "sign_in"]

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True)
class Tenant:
    """A key of a project, and what was made with it: ids by the name a route's path has for them."""

    key: str
    ids: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        """Of a call to the API."""
        return {"Authorization": f"Bearer {self.key}"}


def add_project(settings: Settings, slug: str) -> int:
    """Make a project beside the running deployment; returns its id."""
    database = Database(settings.database_url)
    try:
        with database.write() as session:
            return create_project(session, slug, slug, who="command line").id
    finally:
        database.close()


def new_key(settings: Settings, project_id: int, name: str = "robot") -> str:
    """Make a key beside the running deployment."""
    database = Database(settings.database_url)
    try:
        with database.write() as session:
            return create_key(session, Actor(project_id, "command line"), name)
    finally:
        database.close()


def fill(deployment: Deployment, key: str) -> Tenant:
    """One of everything, made over HTTP."""
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {key}"

        def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = http.post(path, json=body)
            assert answer.is_success, answer.text
            found: dict[str, Any] = answer.json()
            return found

        create = {"name": "secret", "policy_version": "secret-policy", "seed": 1, "request_uploads": ["sensors"]}
        opened = post("/api/ingest/episode", create)
        # The public name need not be known on this machine.
        put = urlsplit(opened["upload_urls"][0]["url"])._replace(scheme="", netloc="").geturl()
        stored = http.put(put, content=b"x", headers={"Content-Type": "application/octet-stream"})
        assert stored.is_success
        episode = opened["episode_id"]
        post(f"/api/ingest/episode/{episode}/finalize", {"status": "ready", "metadata": {"outcome": {"success": True}}})
        run = post(
            "/api/ingest/eval-run", {"candidate_policy_version": "secret-policy", "baseline_episode_ids": [episode]}
        )["eval_run_id"]
        post(f"/api/ingest/eval-run/{run}/finalize", {"status": "completed"})
        scenario = post("/api/verify/promote", {"baseline_episode_id": episode})["scenario_id"]
        post(
            "/api/verify/result",
            {"scenario_id": scenario, "candidate_policy_version": "secret-policy", "metrics": {}, "status": "fail"},
        )
        key_id = http.get("/api/keys").json()["keys"][0]["key_id"]
    # Not by its form: signing in is limited.
    with deployment._server.config.app.state.services.database.write() as session:
        project_id = find_key(session, key).project_id
        query = f"policy_version=secret-policy&name={episode}"
        view_id = str(save_view(session, Actor(project_id, "command line"), episode, query).id)
    ids = {"episode_id": episode, "eval_run_id": run, "scenario_id": scenario, "key_id": key_id, "view_id": view_id}
    return Tenant(key, ids)


def sign_in(web: httpx.Client, key: str, next: str = "") -> httpx.Response:
    """What the form of the sign-in page does."""
    return web.post("/portal/login", data={"key": key, "next": next}, headers=SAME_ORIGIN)
