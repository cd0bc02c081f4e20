"""Keys over the API, and when they were used last."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from robotrace.serve.database import Database
from robotrace.serve.key_uses import KeyUses
from robotrace.serve.models import ApiKey, utc_now
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .tenants import SAME_ORIGIN, new_key

KEYS = "/api/keys"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path / "data", port=0)


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    with Deployment(settings) as running:
        yield running


@pytest.fixture
def http(deployment: Deployment) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {deployment.first_key}"}
    with httpx.Client(base_url=deployment.base_url, headers=headers, trust_env=False) as client:
        yield client


def accepts(http: httpx.Client, key: str) -> bool:
    return http.get("/api/episodes", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_a_key_is_made_listed_and_revoked(http: httpx.Client) -> None:
    answer = http.post(KEYS, json={"name": "  arm-2 "})
    made = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert (made["name"], made["api_key"][:13]) == ("arm-2", made["key_prefix"])
    assert accepts(http, made["api_key"])
    listed = http.get(KEYS)
    assert [key["name"] for key in listed.json()["keys"]] == ["arm-2", "first"]
    assert made["api_key"][14:] not in listed.text
    revoked = http.delete(f"{KEYS}/{made['key_id']}")
    assert (revoked.status_code, revoked.json()["status"]) == (200, "revoked")
    assert not accepts(http, made["api_key"])
    # A repeat says the same.
    assert http.delete(f"{KEYS}/{made['key_id']}").json() == revoked.json()
    assert http.get(KEYS).json()["keys"][0]["revoked_at"] == revoked.json()["revoked_at"]


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "\x1b[31mred", "x" * 201, None, 7], ids=repr)
def test_a_name_that_is_none_is_refused(http: httpx.Client, name: object) -> None:
    answer = http.post(KEYS, json={"name": name})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("name: ")
    if isinstance(name, str):
        form = http.post("/portal/api-keys", data={"name": name}, headers=SAME_ORIGIN)
        assert form.status_code == 400
        assert 'role="alert"' in form.text
    assert len(http.get(KEYS).json()["keys"]) == 1


@pytest.mark.parametrize("number", ["0", "99", str(2**31 - 1)])
def test_an_unknown_key_is_404(http: httpx.Client, number: str) -> None:
    assert http.delete(f"{KEYS}/{number}").status_code == 404


@pytest.mark.parametrize("number", ["x", "-1", str(2**63)])
def test_what_is_no_number_is_400(http: httpx.Client, number: str) -> None:
    assert http.delete(f"{KEYS}/{number}").status_code == 400


def test_a_key_made_on_the_page_is_shown_there_this_once(http: httpx.Client) -> None:
    answer = http.post("/portal/api-keys", data={"name": "<b>ci"}, headers=SAME_ORIGIN)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert "<b>" not in answer.text
    text = answer.text.partition('<pre id="new-key"><code>')[2].partition("<")[0]
    assert accepts(http, text)
    assert text[14:] not in http.get("/portal/api-keys").text


def test_the_last_use_is_written_once_a_minute_and_at_the_end(settings: Settings) -> None:
    """By the thread of the deployment, so here at its end; never by the request."""
    with Deployment(settings) as deployment:
        key = new_key(settings, 1)
        headers = {"Authorization": f"Bearer {key}"}
        before = utc_now()
        for _ in range(3):
            answer = httpx.get(f"{deployment.base_url}{KEYS}", headers=headers)
        assert {found["last_used_at"] for found in answer.json()["keys"]} == {None}
    with Deployment(settings) as deployment:
        keys = httpx.get(f"{deployment.base_url}/portal/api-keys.json").json()["keys"]
        used, unused = keys
        assert unused["last_used_at"] is None
        assert used["last_used_at"] >= before.isoformat().replace("+00:00", "Z")
        assert used["last_used_at"] in httpx.get(f"{deployment.base_url}/portal/api-keys").text.replace("+00:00", "Z")


def test_many_uses_are_one_write_and_none_is_none(settings: Settings, deployment: Deployment) -> None:
    database, uses = Database(settings.database_url), KeyUses()
    try:
        assert uses.write(database) == 0
        for number in (2, 2, 2, 99):  # 99: a key that is gone
            uses.note(number)
        assert uses.write(database) == 2
        with database.read() as session:
            found = session.get(ApiKey, 2)
            assert found is not None
            assert found.last_used_at is not None
            assert utc_now() - found.last_used_at < timedelta(minutes=10)
        assert uses.write(database) == 0
    finally:
        database.close()
