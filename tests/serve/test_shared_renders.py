"""Where others reach the deployment, what they send runs only as far as the operator has said so."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

pytest.importorskip("gymnasium")

from rerun_episodes import reproduce

from robotrace.reroll import pool
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .conftest import Api
from .tenants import SAME_ORIGIN, add_project, new_key, sign_in


@pytest.mark.parametrize(
    ("folders", "project", "status", "why"),
    [
        (False, "default", 409, "--import-from"),
        (False, "other", 409, "--import-from"),
        (True, "default", 303, None),
        (True, "other", 409, "project default"),
    ],
)
def test_only_episodes_of_the_operators_project_run_and_only_where_that_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: bool, project: str, status: int, why: str | None
) -> None:
    monkeypatch.setattr(pool, "_WORKER", "stand_in_worker")
    mine = tmp_path / "mine"
    mine.mkdir()
    settings = Settings(
        tmp_path / "data", port=0, public_url="http://team.example", import_from=(mine,) if folders else ()
    )
    with Deployment(settings) as deployment:
        key = new_key(settings, 1 if project == "default" else add_project(settings, project))
        headers = {"Authorization": f"Bearer {key}", **SAME_ORIGIN}
        with httpx.Client(base_url=deployment.base_url, headers=headers, trust_env=False) as http:
            episode = Api(http).record(metadata={"reproduce": reproduce(), "stand_in": {}})
            sign_in(http, key)
            answer = http.post(f"/portal/episodes/{episode}/render")
            assert answer.status_code == status, answer.text
            shown = http.get(f"/portal/episodes/{episode}.json").json()["rerun"]
            asked = [entry["action"] for entry in http.get("/api/audit").json()["entries"]]
    assert ("render.asked" in asked) == (why is None)
    if why is None:
        assert shown["why_not"] is None
    else:
        assert why in answer.json()["error"]
        assert shown["why_not"] == answer.json()["error"]
