"""Storage, audit log and about, over HTTP; and that every page has its twin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from robotrace import serve
from robotrace.serve.audit_log import ACTIONS
from robotrace.serve.database import Database
from robotrace.serve.models import AuditEntry, Episode, Project
from robotrace.serve.portal_storage import bars
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings
from robotrace.serve.storage_use import DayUse, use_by_day

from .house_pages import FILES, NO_TWIN, PAGES, QUERIES
from .tenants import add_project, fill, new_key, sign_in
from .test_tenants import filled, routes


@pytest.fixture
def web(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def ids(api: Any) -> dict[str, str]:
    """Of one of everything that has a page, by the name a route's path has for it."""
    episode = api.record(name="has pages", policy_version="act-v1")
    body = {"candidate_policy_version": "act-v2", "baseline_episode_ids": [episode]}
    run = api.http.post("/api/ingest/eval-run", json=body).json()["eval_run_id"]
    return {"episode_id": episode, "eval_run_id": run}


def json_of(web: httpx.Client, path: str) -> dict[str, Any]:
    answer = web.get(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def pages(deployment: Deployment) -> list[str]:
    """The templates of every route that may be a page."""
    found = {path for method, path in routes(deployment._server.config.app) if method == "GET"}
    named = {path for path in found if path.startswith("/portal/") and "." not in path.rpartition("/")[2]}
    return sorted(named - FILES)


def test_every_page_has_a_twin_that_answers_alike(
    deployment: Deployment, web: httpx.Client, ids: dict[str, str]
) -> None:
    """A new page without one fails here; with a reason it may be in NO_TWIN."""
    there = [path for path in pages(deployment) if path not in NO_TWIN]
    assert len(there) >= 9
    for path in there:
        for each in (ids, dict.fromkeys(ids, "nowhere")):
            page, twin = (web.get(filled(path + end + QUERIES.get(path, ""), each)) for end in ("", ".json"))
            assert page.headers["content-type"].startswith("text/html"), path
            assert twin.headers["content-type"] == "application/json", path
            assert page.status_code == twin.status_code, path
        assert web.get(filled(path + QUERIES.get(path, ""), ids)).status_code == 200, path


def test_every_page_is_walked_over_by_the_tests_of_all_pages(deployment: Deployment) -> None:
    """A new page is one line in house_pages.PAGES."""
    walked = {page.route for page in PAGES}
    assert len({page.name for page in PAGES}) == len(PAGES)
    assert {path for path in pages(deployment) if path not in walked} <= set(NO_TWIN)


def test_storage_adds_up_what_the_project_holds(web: httpx.Client, api: Any, database: Database, npz: Any) -> None:
    before = json_of(web, "/portal/storage.json")
    sizes = {"sensors": 4000, "video": 2000, "video.wrist": 3000, "video.top": 500}
    made = api.record({kind: b"x" * size for kind, size in sizes.items()}, name="stored")
    api.http.post(f"/api/episodes/{made}/archive").raise_for_status()
    after = json_of(web, "/portal/storage.json")

    def grown(name: str, key: str, field: str) -> dict[str, int]:
        old, new = ({entry[key]: entry[field] for entry in view[name]} for view in (before, after))
        return {key: value - old.get(key, 0) for key, value in new.items() if value != old.get(key, 0)}

    assert grown("by_kind", "kind", "bytes") == {"sensors": 4000, "video": 2000, "cameras": 3500}
    assert grown("by_kind", "kind", "files") == {"sensors": 1, "video": 1, "cameras": 2}
    assert grown("by_status", "status", "bytes") == {"archived": 9500}
    today = datetime.now(timezone.utc).date().isoformat()
    assert set(grown("by_day", "day", "bytes").values()) == {9500}
    assert after["by_day"][-1]["day"] >= today[:8]
    assert after["storage"]["bytes"] - before["storage"]["bytes"] == 9500
    assert sum(entry["bytes"] for entry in after["by_kind"]) == after["storage"]["bytes"]
    # Three of 30 days ago are out of the drawing, and still held.
    with database.write() as session:
        old = datetime.now(timezone.utc) - timedelta(days=31)
        session.execute(update(Episode).where(Episode.id == made).values(created_at=old))
    later = json_of(web, "/portal/storage.json")
    assert later["storage"]["bytes"] == after["storage"]["bytes"]
    assert sum(day["bytes"] for day in after["by_day"]) - sum(day["bytes"] for day in later["by_day"]) == 9500
    page = web.get("/portal/storage").text
    assert "deleting them</a> frees it" in page
    assert page.count("<rect x=") == 30


def test_days_are_those_of_utc_on_both_sides_of_midnight(api: Any, database: Database) -> None:
    midnight = datetime(2031, 3, 31, tzinfo=timezone.utc)
    for offset in (-1, 1):
        made = api.record({"sensors": b"x" * 100})
        with database.write() as session:
            moment = midnight + timedelta(seconds=offset)
            session.execute(update(Episode).where(Episode.id == made).values(created_at=moment))
    # A server of another zone, where this is yet another day.
    now = datetime(2031, 3, 31, 23, tzinfo=timezone(timedelta(hours=-9)))
    with database.read() as session:
        days = use_by_day(session, 1, now, 3)
    assert [(day.day, day.episodes, day.bytes) for day in days] == [
        ("2031-03-30", 1, 100),
        ("2031-03-31", 1, 100),
        ("2031-04-01", 0, 0),
    ]


def test_quotas_and_times_are_shown(web: httpx.Client, database: Database) -> None:
    limits = {"quota_bytes": 10**9, "quota_episodes": 5000, "retain_archived_days": 1}
    with database.write() as session:
        session.execute(update(Project).where(Project.id == 1).values(**limits))
    page = web.get("/portal/storage").text
    assert page.count("<meter") == 2
    assert "of 5000" in page
    assert "1 day, from when it was archived" in page
    with database.write() as session:
        session.execute(update(Project).where(Project.id == 1).values(dict.fromkeys(limits)))


def test_bars_stand_on_one_line_and_what_is_there_can_be_seen() -> None:
    drawn = bars(
        [
            DayUse(day="a", episodes=0, bytes=0),
            DayUse(day="b", episodes=1, bytes=1),
            DayUse(day="c", episodes=9, bytes=10**9),
        ]
    )
    assert [bar.height for bar in drawn] == [0, 2, 64]
    assert {bar.y + bar.height for bar in drawn} == {64}
    assert [bar.x for bar in drawn] == [0, 10, 20]
    assert bars([]) == []


def test_an_empty_deployment_has_its_pages_too(tmp_path) -> None:
    with Deployment(Settings(tmp_path / "data", port=0)) as empty:
        for name in ("storage", "audit", "about", "api-keys"):
            assert httpx.get(f"{empty.base_url}/portal/{name}", trust_env=False).status_code == 200
        assert "No file has arrived." in httpx.get(f"{empty.base_url}/portal/storage", trust_env=False).text


def test_the_audit_log_is_filtered_by_its_address(web: httpx.Client, api: Any, database: Database) -> None:
    made = api.record(name="to be archived")
    api.http.post(f"/api/episodes/{made}/archive").raise_for_status()
    key = api.http.post("/api/keys", json={"name": "<b>arm</b>"}).json()
    path = "/portal/audit.json"
    every = json_of(web, f"{path}?limit=200")["entries"]
    assert {"key.created", "episode.archived"} <= {entry["action"] for entry in every}
    assert {entry["action"] for entry in json_of(web, f"{path}?action=key&limit=200")["entries"]} == {"key.created"}
    assert json_of(web, f"{path}?action=ke")["entries"] == []
    assert json_of(web, f"{path}?action=episode.archived")["entries"][0]["target"] == made
    assert json_of(web, f"{path}?who=command")["entries"][-1]["who"] == "command line"
    assert json_of(web, f"{path}?who=nobody%25")["entries"] == []
    with database.write() as session:
        old = datetime(2026, 1, 31, 23, 59, tzinfo=timezone.utc)
        session.execute(update(AuditEntry).where(AuditEntry.target == made).values(created_at=old))
    days = "after=2026-01-31&before=2026-01-31"
    assert [entry["target"] for entry in json_of(web, f"{path}?{days}")["entries"]] == [made]
    assert json_of(web, f"{path}?before=2026-01-30")["entries"] == []
    page = web.get(f"/portal/audit?{days}").text
    assert f'href="/portal/episodes/{made}"' in page
    assert 'value="2026-01-31"' in page
    page = web.get("/portal/audit?action=key").text
    assert "&lt;b&gt;arm" in page
    assert key["api_key"] not in page
    assert made not in page
    # The API has the same filters.
    assert api.http.get(f"/api/audit?{days}").json() == json_of(web, f"{path}?{days}")
    assert api.http.get("/api/audit?after=soon").status_code == 400


def test_pages_of_the_audit_log_go_back_to_its_beginning(web: httpx.Client, api: Any) -> None:
    for number in range(5):
        api.http.post("/api/keys", json={"name": f"of a page {number}"}).raise_for_status()
    seen: list[str] = []
    cursor = ""
    while True:
        listed = json_of(web, f"/portal/audit.json?limit=2&cursor={cursor}")
        seen += [entry["audit_id"] for entry in listed["entries"]]
        if listed["next"] is None:
            break
        cursor = listed["next"]
    assert len(seen) == len(set(seen)) > 5
    assert seen == [entry["audit_id"] for entry in json_of(web, "/portal/audit.json?limit=200")["entries"]]


def test_a_filter_that_is_none_is_said_to_be_and_the_rest_holds(web: httpx.Client) -> None:
    page = web.get("/portal/audit?after=soon&action=key")
    assert page.status_code == 200
    assert "after: a day or a time as ISO 8601" in page.text
    assert "episode.archived" not in page.text
    assert web.get("/portal/audit?cursor=xyz&action=key").headers["location"] == "/portal/audit?action=key"
    assert web.get("/portal/audit.json?cursor=xyz").status_code == 400


def test_the_last_day_of_the_calendar_leaves_nothing_out(web: httpx.Client) -> None:
    assert web.get("/portal/audit.json?before=9999-12-31").json() == web.get("/portal/audit.json").json()


def test_every_kind_of_change_can_be_chosen() -> None:
    """What is passed to audit() anywhere begins with one of the kinds."""
    source = "".join(path.read_text() for path in Path(serve.__path__[0]).glob("*.py"))
    kinds = set(re.findall(r'\baudit\(.{0,120}?"(\w+)\.\w+"', source, re.DOTALL)) | {"login"}  # whose end varies
    assert {"episode", "key", "portal", "project"} <= kinds
    assert kinds <= set(ACTIONS)


def test_about_says_what_this_is_and_how_to_connect_to_it(web: httpx.Client, deployment: Deployment) -> None:
    about, page = json_of(web, "/portal/about.json"), web.get("/portal/about").text
    assert about["features"] == web.get("/api/features").json()
    assert about["health"] == {"database": "ok", "storage": "ok"}
    assert re.fullmatch(r"\d{4}", about["schema_revision"])
    parts = {part["name"].lower(): part for part in about["parts"]}
    assert parts["uplot"] == {"name": "uPlot", "version": "1.6.31", "licence": "MIT", "served": True}
    assert parts["fastapi"]["licence"] == "MIT"
    assert f"robotrace login --base-url {deployment.base_url}" in page
    assert f"export ROBOTRACE_BASE_URL={deployment.base_url}\n" in page
    for path in re.findall(r'<a href="(/(?:api/|metrics|healthz|readyz)[^"]*)"', page):
        assert web.get(path).status_code == 200, path


def test_a_database_that_is_gone_is_told_on_the_page(
    web: httpx.Client, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = deployment._server.config.app.state.services
    monkeypatch.setattr(services.store, "size", lambda key: 1 / 0)
    about = json_of(web, "/portal/about.json")
    assert about["health"]["storage"] == "does not answer (ZeroDivisionError)"
    assert 'data-status="failed">does not answer' in web.get("/portal/about").text


def test_another_project_sees_nothing_of_the_deployments_own(tmp_path) -> None:
    settings = Settings(tmp_path / "data", port=0, public_url="http://team.example", rate_limit=None)
    with Deployment(settings) as team:
        keys = {"default": new_key(settings, 1), "other": new_key(settings, add_project(settings, "other"))}
        fill(team, keys["default"])
        shown = {}
        for slug, key in keys.items():
            with httpx.Client(base_url=team.base_url, trust_env=False) as web:
                assert sign_in(web, key).status_code == 303
                shown[slug] = {
                    path: web.get(path)
                    for name in ("storage", "about")
                    for path in (f"/portal/{name}", f"/portal/{name}.json")
                }
                assert all(answer.status_code == 200 for answer in shown[slug].values())
        own, foreign = shown["default"], shown["other"]
        assert own["/portal/storage.json"].json()["place"]["objects"] == str(settings.objects_dir.resolve())
        assert foreign["/portal/storage.json"].json()["place"] is None
        assert foreign["/portal/storage.json"].json()["storage"]["bytes"] == 0
        assert own["/portal/about.json"].json()["settings"]
        assert foreign["/portal/about.json"].json()["settings"] is None
        for answer in foreign.values():
            assert str(settings.data_dir) not in answer.text
        for answer in (*own.values(), *foreign.values()):
            assert not any(key.split("_", 2)[2] in answer.text for key in keys.values())


def test_where_a_bucket_and_a_database_lie_is_told_without_what_opens_them(tmp_path) -> None:
    pytest.importorskip("psycopg")
    settings = Settings(tmp_path, database="postgresql://robo:hunter2@db.example:5433/traces?sslpassword=hunter3")
    database = Database(settings.database_url)
    assert database.place == "db.example:5433/traces"
    database.close()
