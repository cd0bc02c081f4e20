"""The audit log: every change is in it, with who made it, and no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from robotrace.serve.audit import Actor, audit
from robotrace.serve.database import Database
from robotrace.serve.housekeeping import Housekeeping, KeyUses
from robotrace.serve.models import AuditEntry, utc_now
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .tenants import SAME_ORIGIN, add_project, new_key, sign_in

AUDIT = "/api/audit"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path / "data", port=0, public_url="http://team.example", rate_limit=None)


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    with Deployment(settings) as running:
        yield running


@pytest.fixture
def http(deployment: Deployment) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {deployment.first_key}", **SAME_ORIGIN}
    with httpx.Client(base_url=deployment.base_url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def beside(settings: Settings, deployment: Deployment) -> Iterator[Database]:
    database = Database(settings.database_url)
    yield database
    database.close()


def entries(http: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(AUDIT, params={"limit": 200}).json()["entries"]
    return found


def test_every_change_is_in_it_with_who_made_it(deployment: Deployment, http: httpx.Client) -> None:
    me = (deployment.first_key or "")[:13]
    sign_in(http, deployment.first_key or "")
    made = http.post("/api/keys", json={"name": "arm-2"}).json()
    http.delete(f"/api/keys/{made['key_id']}")
    http.delete(f"/api/keys/{made['key_id']}")  # changes nothing
    http.post("/portal/api-keys", data={"name": "by hand"})
    episode = http.post("/api/ingest/episode", json={"request_uploads": []}).json()["episode_id"]
    http.post("/api/verify/promote", json={"baseline_episode_id": episode})
    http.post("/api/verify/promote", json={"baseline_episode_id": episode})  # changes nothing
    http.post(f"/portal/episodes/{episode}/promote", data={"severity": "critical"})
    for decision in ("approve", "deny"):
        started = http.post("/api/cli/auth/start", json={"hostname": "arm-9", "user_agent": "robot/1"}).json()
        http.post("/cli/auth", data={"code": started["user_code"], "decision": decision})
        http.post("/api/cli/auth/poll", json={"device_code": started["device_code"]})
    found = [(entry["who"], entry["action"]) for entry in reversed(entries(http))]
    assert found == [
        ("command line", "key.created"),  # the first one
        (me, "portal.sign_in"),
        (me, "key.created"),
        (me, "key.revoked"),
        (me, "key.created"),
        (me, "scenario.promoted"),
        (me, "scenario.changed"),
        (me, "login.approved"),
        ("device login", "key.created"),
        (me, "login.denied"),
    ]
    newest = entries(http)[0]
    assert (newest["target"], newest["details"]) == ("arm-9", {"program": "robot/1"})
    text = json.dumps(entries(http))
    for key in (made["api_key"], deployment.first_key or "", deployment.internal_key):
        assert key[14:] not in text


def test_what_was_done_at_the_command_line_is_in_the_project_it_was_done_in(
    deployment: Deployment, settings: Settings, http: httpx.Client
) -> None:
    key = new_key(settings, add_project(settings, "nightly"), "ci")
    answer = http.get(AUDIT, headers={"Authorization": f"Bearer {key}"}).json()
    assert [(entry["who"], entry["action"], entry["target"]) for entry in answer["entries"]] == [
        ("command line", "key.created", key[:13]),
        ("command line", "project.created", "nightly"),
    ]
    assert "nightly" not in http.get(AUDIT).text


def test_pages_go_by_keyset_and_end(http: httpx.Client, beside: Database) -> None:
    with beside.write() as session:
        for number in range(7):
            audit(session, Actor(1, "command line"), "x.done", str(number))
    seen, cursor = [], ""
    for _ in range(10):
        page = http.get(AUDIT, params={"limit": 3, "cursor": cursor}).json()
        seen += [entry["target"] for entry in page["entries"] if entry["action"] == "x.done"]
        assert len(page["entries"]) <= 3
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]
    assert http.get(AUDIT, params={"cursor": "x"}).status_code == 400


def test_a_change_that_fails_leaves_no_entry(beside: Database) -> None:
    def fail() -> None:
        with beside.write() as session:
            audit(session, Actor(1, "command line"), "x.done", "never")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with beside.read() as session:
        assert session.scalar(select(func.count()).where(AuditEntry.action == "x.done")) == 0


def test_what_is_too_old_is_forgotten_and_long_texts_are_cut(beside: Database) -> None:
    with beside.write() as session:
        for days in (10, 9):
            audit(session, Actor(1, "w" * 500), "x.done", f"{days} {'t' * 500}")
            session.flush()
        for entry in session.scalars(select(AuditEntry).where(AuditEntry.action == "x.done")):
            entry.created_at = utc_now() - timedelta(days=int(entry.target.split()[0]), seconds=-60)
    Housekeeping(beside, KeyUses(), audit_days=9).round(trim=True)
    with beside.read() as session:
        (left,) = session.scalars(select(AuditEntry).where(AuditEntry.action == "x.done"))
        assert left.target.startswith("9 ")
        assert (len(left.who), len(left.target)) == (200, 200)
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 2  # the other one is of the first key
