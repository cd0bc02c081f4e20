"""The page of the API keys, over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

KEYS = "/portal/api-keys"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def deployment(tmp_path):
    with Deployment(Settings(tmp_path / "data", port=0)) as running:
        yield running


@pytest.fixture
def web(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        yield client


def keys(web):
    return web.get(f"{KEYS}.json").json()["keys"]


def accepts(web, key):
    return web.post("/api/ingest/episode", json={}, headers={"Authorization": f"Bearer {key}"}).status_code == 201


def test_keys_are_listed_newest_first_without_their_secret(web, deployment):
    secrets = [deployment.first_key, deployment.create_key('<b>"ci"</b>')]
    answer, page = web.get(f"{KEYS}.json"), web.get(KEYS)
    assert [key["name"] for key in answer.json()["keys"]] == ['<b>"ci"</b>', "first"]
    assert [key["prefix"] for key in answer.json()["keys"]] == [text[:13] for text in reversed(secrets)]
    assert "&lt;b&gt;" in page.text
    assert "<b>" not in page.text
    for text in (answer.text, page.text):
        assert all(secret[:13] in text for secret in secrets)
        assert not any(secret.split("_", 2)[2] in text for secret in (*secrets, deployment.internal_key))
        # Nobody was given it, and nobody can revoke it.
        assert deployment.internal_key[:13] not in text
    assert "sha256" not in answer.text


def test_a_key_is_revoked_from_the_page_and_fails_at_once(web, deployment):
    key = deployment.create_key("ci")
    assert accepts(web, key)
    action = re.findall(r'action="([^"]+/revoke)"', web.get(KEYS).text)[0]
    answer = web.post(action, headers=SAME_ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, KEYS)
    assert not accepts(web, key)
    assert accepts(web, deployment.first_key)
    revoked_at = keys(web)[0]["revoked_at"]
    assert revoked_at.endswith("Z")
    assert len(re.findall(r'action="([^"]+/revoke)"', web.get(KEYS).text)) == 1
    assert web.post(action, headers=SAME_ORIGIN).status_code == 303
    assert keys(web)[0]["revoked_at"] == revoked_at


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}])
def test_another_page_cannot_revoke(web, deployment, headers):
    answer = web.post(f"{KEYS}/{keys(web)[0]['id']}/revoke", headers=headers)
    assert answer.status_code == 403
    assert accepts(web, deployment.first_key)


def test_the_deployments_own_key_and_unknown_ones_cannot_be_revoked(web, deployment):
    for number in range(5):
        if number != keys(web)[0]["id"]:
            assert web.post(f"{KEYS}/{number}/revoke", headers=SAME_ORIGIN).status_code == 404
    for number in ("x", 2**63):
        assert web.post(f"{KEYS}/{number}/revoke", headers=SAME_ORIGIN).status_code == 400
    assert accepts(web, deployment.internal_key)


def test_the_pages_hold_nothing_inline(web):
    for path in (KEYS, "/cli/auth"):
        page = web.get(path)
        assert page.status_code == 200
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page.text)
