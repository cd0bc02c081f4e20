"""The device flow's routes and its page, over HTTP."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from html import unescape

import httpx
import pytest
from polling import eventually
from sqlalchemy import func, select, update

from robotrace.serve.database import Database
from robotrace.serve.device_sessions import (
    TTL_S,
    GuessLimit,
    StartedSession,
    TooManySessionsError,
    canonical_user_code,
    start_session,
)
from robotrace.serve.models import ApiKey, DeviceSession, utc_now
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

START, POLL, REVOKE = (f"/api/cli/auth/{name}" for name in ("start", "poll", "revoke"))
PAGE = "/cli/auth"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
WRONG_CODE = "BBBB-BBBB"


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "data", port=0)


@pytest.fixture
def deployment(settings):
    """One of each test's own: how many logins wait, and how many codes were wrong, is of the whole deployment."""
    with Deployment(settings) as running:
        yield running


@pytest.fixture
def web(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        yield client


def start(web, **body):
    answer = web.post(START, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def poll(web, started):
    return web.post(POLL, json={"device_code": started["device_code"]})


def decide(web, code, decision, **headers):
    return web.post(PAGE, data={"code": code, "decision": decision}, headers=SAME_ORIGIN | headers)


def log_in(web, **body):
    started = start(web, **body)
    assert decide(web, started["user_code"], "approve").status_code == 303
    return poll(web, started).json()["api_key"]


def expire(database, started):
    with database.write() as session:
        found = DeviceSession.user_code == started["user_code"]
        session.execute(update(DeviceSession).where(found).values(expires_at=utc_now() - timedelta(seconds=1)))


def accepts(web, key):
    answer = web.get("/api/episodes/none", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code in (401, 404)
    return answer.status_code == 404


# --- start


def test_a_login_starts_without_a_key_and_says_where_to_go(web, deployment):
    answer = web.post(START, json={"user_agent": "robotrace-python/1", "hostname": "arm-2"})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    started = answer.json()
    code = started["user_code"]
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", code)
    assert len(started.pop("device_code")) == 43
    uri = f"{deployment.base_url}{PAGE}"
    assert started == {
        "user_code": code,
        "verification_uri": uri,
        "verification_uri_complete": f"{uri}?code={code}",
        "interval": 2,
        "expires_in": 600,
    }


def test_a_client_may_say_nothing_of_itself(web):
    for sent in ({"json": {}}, {}):
        answer = web.post(START, **sent)
        assert answer.status_code == 200
        page = web.get(PAGE, params={"code": answer.json()["user_code"]}).text
        assert "it does not say" in page  # its host; the user agent is in the header


def test_neither_code_nor_key_is_in_the_database(web, deployment, settings):
    started = start(web)
    decide(web, started["user_code"], "approve")
    content = b"".join(path.read_bytes() for path in settings.data_dir.glob("robotrace.db*"))
    assert started["user_code"].encode() in content
    assert started["device_code"].encode() not in content
    key = poll(web, started).json()["api_key"]
    content = b"".join(path.read_bytes() for path in settings.data_dir.glob("robotrace.db*"))
    assert key.split("_", 2)[1].encode() in content
    assert key.split("_", 2)[2].encode() not in content


def test_only_so_many_logins_wait_and_expired_ones_do_not_count(web, database, deployment):
    now = utc_now()
    with database.write() as session:
        for _ in range(99):
            start_session(session, hostname=None, user_agent=None, now=now)
    first = start(web)
    answer = web.post(START, json={})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= TTL_S + 1
    assert answer.json()["error"]
    assert decide(web, first["user_code"], "deny").status_code == 303
    second = start(web)
    assert web.post(START, json={}).status_code == 429
    expire(database, second)
    start(web)
    assert poll(web, second).json()["status"] == "expired"


def test_codes_of_waiting_logins_differ(database, deployment, monkeypatch):
    codes = iter(["BCDF-GHJK", "BCDF-GHJK", "BCDF-GHJK", "LMNP-QRST"])
    monkeypatch.setattr("robotrace.serve.device_sessions._new_user_code", lambda: next(codes))
    with database.write() as session:
        made = [start_session(session, hostname=None, user_agent=None, now=utc_now()) for _ in range(2)]
    assert [item.user_code for item in made] == ["BCDF-GHJK", "LMNP-QRST"]


# --- poll


def test_the_whole_flow(web, deployment):
    started = start(web, hostname="arm-2")
    for _ in range(3):  # faster than the interval, and not punished
        answer = poll(web, started)
        assert (answer.status_code, answer.json()) == (200, {"status": "pending"})
    decided = decide(web, started["user_code"], "approve")
    assert (decided.status_code, decided.headers["location"]) == (303, f"{PAGE}?code={started['user_code']}")
    assert "will be logged in within seconds" in web.get(decided.headers["location"]).text
    answer = poll(web, started)
    assert answer.headers["cache-control"] == "no-store"
    approved = answer.json()
    key = approved.pop("api_key")
    assert approved == {
        "status": "approved",
        "base_url": deployment.base_url,
        "portal_url": f"{deployment.base_url}/portal/episodes",
    }
    assert re.fullmatch("rt_[a-z0-9]{10}_[A-Za-z0-9_-]{43}", key)
    assert accepts(web, key)
    again = poll(web, started)
    assert (again.status_code, again.json()["status"]) == (410, "consumed")
    assert key not in again.text
    page = web.get(decided.headers["location"]).text
    assert "is logged in" in page
    assert key not in page


def test_the_key_is_named_after_the_host(web, database):
    log_in(web, hostname="arm-2\u202e\n")
    log_in(web, hostname=" ")
    with database.read() as session:
        names = [key.name for key in session.scalars(select(ApiKey).where(ApiKey.internal.is_(False)))]
    assert names[-2:] == ["login from arm-2", "login"]


def test_a_denied_login_gets_no_key(web):
    started = start(web)
    decide(web, started["user_code"], "deny")
    assert (poll(web, started).status_code, poll(web, started).json()) == (200, {"status": "denied"})
    decide(web, started["user_code"], "approve")  # too late
    assert poll(web, started).json() == {"status": "denied"}
    assert "gets no key" in web.get(PAGE, params={"code": started["user_code"]}).text


@pytest.mark.parametrize("decision", [None, "approve"])
def test_a_login_expires_even_when_it_was_approved(web, database, decision):
    started = start(web)
    if decision:
        decide(web, started["user_code"], decision)
    expire(database, started)
    answer = poll(web, started)
    assert (answer.status_code, answer.json()["status"]) == (410, "expired")
    assert web.get(PAGE, params={"code": started["user_code"]}).status_code == 404
    assert decide(web, started["user_code"], "approve").status_code == 404


def test_an_unknown_device_code_is_as_an_expired_one(web):
    for code in ("x" * 43, "", "ü"):
        answer = web.post(POLL, json={"device_code": code})
        assert (answer.status_code, answer.json()["status"]) == (410, "expired")
    assert web.post(POLL, json={}).status_code == 400


def test_of_many_polls_at_once_one_gets_the_key(web, deployment, database):
    started = start(web)
    decide(web, started["user_code"], "approve")
    answers = []
    together = threading.Barrier(8)

    def ask():
        with httpx.Client(base_url=deployment.base_url, trust_env=False, timeout=60) as http:
            together.wait()
            answers.append(poll(http, started).json())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["status"] for answer in answers) == ["approved", *["consumed"] * 7]
    with database.read() as session:
        assert sum(key.name == "login" for key in session.scalars(select(ApiKey))) == 1


# --- revoke


def test_a_revoked_key_fails_at_once_on_every_route(web):
    key = log_in(web)
    headers = {"Authorization": f"Bearer {key}"}
    answer = web.post(REVOKE, headers=headers)
    assert answer.status_code == 200
    revoked = answer.json()
    assert revoked["key_prefix"] == key[:13]
    assert (revoked["status"], sorted(revoked)) == ("revoked", ["key_id", "key_prefix", "revoked_at", "status"])
    assert revoked["revoked_at"].endswith("Z")
    assert key.split("_", 2)[2] not in answer.text
    for method, path in (
        ("POST", "/api/ingest/episode"),
        ("POST", "/api/ingest/episode/none/finalize"),
        ("GET", "/api/episodes/none"),
        ("POST", REVOKE),
    ):
        assert web.request(method, path, json={}, headers=headers).status_code == 401
        assert web.request(method, path, json={}, headers={"X-RoboTrace-Key": key}).status_code == 401


@pytest.mark.parametrize("key", [None, "rt_x", f"rt_0123456789_{'x' * 43}"])
def test_revoking_an_unknown_key_is_401(web, key):
    answer = web.post(REVOKE, headers={} if key is None else {"Authorization": f"Bearer {key}"})
    assert answer.status_code == 401
    assert answer.json()["error"]


# --- the page


def test_the_page_asks_for_a_code(web):
    page = web.get(PAGE)
    assert page.status_code == 200
    assert 'name="code" value=""' in page.text


def test_the_page_shows_who_asks_as_text(web):
    evil = '"><script>alert(1)</script>'
    started = start(web, hostname=f"arm{evil}", user_agent=f"robotrace{evil}")
    page = web.get(PAGE, params={"code": started["user_code"]})
    assert "<script>" not in page.text
    text = unescape(page.text)
    assert all(part in text for part in (f"arm{evil}", f"robotrace{evil}", started["user_code"], "just now"))
    assert 'value="approve"' in page.text
    assert 'value="deny"' in page.text
    assert started["device_code"] not in page.text


@pytest.mark.parametrize(
    "spell", [str.lower, lambda code: code.replace("-", ""), lambda code: f" {code[:4]} {code[5:]} "]
)
def test_a_code_is_read_as_people_type_it(web, spell):
    started = start(web)
    typed = spell(started["user_code"])
    page = web.get(PAGE, params={"code": typed})
    assert (page.status_code, started["user_code"] in page.text) == (200, True)
    assert decide(web, typed, "approve").status_code == 303
    assert poll(web, started).json()["status"] == "approved"


def test_a_wrong_code_is_said(web):
    page = web.get(PAGE, params={"code": '"><b>nope'})
    assert page.status_code == 404
    assert "No login waits for this code" in page.text
    assert "<b>nope" not in page.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_page_cannot_approve(web, headers):
    started = start(web)
    answer = web.post(PAGE, data={"code": started["user_code"], "decision": "approve"}, headers=headers)
    assert answer.status_code == 403
    assert poll(web, started).json() == {"status": "pending"}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_cannot_use_up_the_limits(web, database, site):
    with database.read() as session:
        before = session.scalar(select(func.count()).select_from(DeviceSession))
    assert web.post(START, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "empty"}).status_code == 403
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(DeviceSession)) == before
    for number in range(2 * GuessLimit.MAX_WRONG):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "image" if number % 2 else "iframe"}
        assert web.get(PAGE, params={"code": WRONG_CODE}, headers=headers).status_code == 403
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}
    answer = web.get(PAGE, params={"code": start(web)["user_code"]}, headers=link)
    assert (answer.status_code, "A program asks to log in" in answer.text) == (200, True)


def test_looking_at_the_page_approves_nothing(web):
    started = start(web)
    web.get(PAGE, params={"code": started["user_code"], "decision": "approve"})
    assert poll(web, started).json() == {"status": "pending"}


def test_a_decision_that_is_none_is_refused(web):
    started = start(web)
    assert decide(web, started["user_code"], "maybe").status_code == 400
    assert poll(web, started).json() == {"status": "pending"}


def test_codes_cannot_be_guessed(web):
    """Of both forms together; what is refused then is refused for right codes, too."""
    started = start(web)
    for _ in range(GuessLimit.MAX_WRONG // 2):
        assert web.get(PAGE, params={"code": WRONG_CODE}).status_code == 404
        assert decide(web, WRONG_CODE, "approve").status_code == 404
    for answer in (web.get(PAGE, params={"code": started["user_code"]}), decide(web, started["user_code"], "approve")):
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert "Too many wrong codes" in answer.text
    assert poll(web, started).json() == {"status": "pending"}


def test_the_limit_of_guesses_ends():
    now = [0.0]
    limit = GuessLimit(lambda: now[0])
    for second in range(10):
        assert limit.wait_s() == 0
        now[0] = float(second)
        limit.wrong()
    assert limit.wait_s() == 51
    now[0] = 60.5
    assert limit.wait_s() == 0
    limit.wrong()
    assert limit.wait_s() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("typed", "code"),
    [("bcdf-ghjk", "BCDF-GHJK"), ("b c d f g h j k", "BCDF-GHJK"), ("BCDF-GHJ", None), ("ACDF-GHJK", None), ("", None)],
)
def test_spellings(typed, code):
    assert canonical_user_code(typed) == code


# --- what is written where


def test_nothing_secret_is_in_a_repr():
    assert "canary" not in repr(StartedSession("canary", "BCDF-GHJK"))


def test_the_limit_of_waiting_logins_is_an_error_with_a_time(tmp_path):
    database = Database(Settings(tmp_path).database_url)
    try:
        database.migrate()
        now = utc_now()
        with database.write() as session:
            for second in range(100):
                start_session(session, hostname=None, user_agent=None, now=now + timedelta(seconds=second))
            with pytest.raises(TooManySessionsError) as caught:
                start_session(session, hostname=None, user_agent=None, now=now + timedelta(seconds=100))
        assert caught.value.retry_after_s == TTL_S - 100 + 1
    finally:
        database.close()


def test_no_code_and_no_key_is_ever_logged(web, deployment, settings, caplog):
    caplog.set_level("DEBUG")
    started = start(web)
    poll(web, started)
    web.get(PAGE, params={"code": started["user_code"]})
    decide(web, started["user_code"], "approve")
    key = poll(web, started).json()["api_key"]
    poll(web, started)
    web.post(REVOKE, headers={"Authorization": f"Bearer {key}"})
    other = start(web)
    with closing(sqlite3.connect(settings.database_path)) as connection:
        connection.execute("DROP TABLE device_sessions")
    assert poll(web, other).status_code == 500
    # The server logs an exception once it has answered.
    eventually(lambda: any("no such table" in (record.exc_text or "") for record in list(caplog.records)))
    records = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    lines = "\n".join(f"{record.getMessage()} {record.exc_text or ''} {record.stack_info or ''}" for record in records)
    assert not any(secret in lines for secret in (key, started["device_code"], other["device_code"]))
