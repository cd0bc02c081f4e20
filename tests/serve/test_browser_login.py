"""Approving a login, and revoking its key, in a real Chromium: its own headers are what the forms are let in by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .portal_fixtures import Tab

pytestmark = pytest.mark.browser


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(Settings(tmp_path / "data", port=0)) as running:
        yield running


@pytest.fixture
def api(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        yield client


def start(api: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = api.post("/api/cli/auth/start", json={"hostname": "arm-2.example"}).json()
    return found


def poll(api: httpx.Client, started: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api.post("/api/cli/auth/poll", json={"device_code": started["device_code"]}).json()
    return found


def test_a_login_is_approved_and_its_key_revoked_by_hand(tab: Tab, api: httpx.Client) -> None:
    started = start(api)
    page = tab.page
    tab.open("/cli/auth")
    page.get_by_label("Code").fill(started["user_code"].lower().replace("-", " "))
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="A program asks to log in").wait_for()
    assert page.locator("#user-code").text_content() == started["user_code"]
    assert page.get_by_text("arm-2.example").is_visible()
    assert tab.fits
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("heading", name="Approved").wait_for()
    approved = poll(api, started)
    assert approved["status"] == "approved"
    key = approved["api_key"]

    page.get_by_role("main").get_by_role("link", name="API keys").click()
    row = page.locator("tr", has_text="login from arm-2.example")
    row.wait_for()
    assert key.split("_", 2)[2] not in page.content()
    row.locator("summary").click()
    assert tab.fits
    row.get_by_role("button", name=f"Revoke {key[:13]}").click()
    row.get_by_text("revoked").wait_for()
    assert api.get("/api/episodes/x", headers={"Authorization": f"Bearer {key}"}).status_code == 401


def test_a_login_is_denied_with_the_keyboard_alone(tab: Tab, api: httpx.Client) -> None:
    started = start(api)
    tab.open(started["verification_uri_complete"].removeprefix(tab.base_url))
    tab.page.get_by_role("button", name="Approve").focus()
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("heading", name="Denied").wait_for()
    assert poll(api, started) == {"status": "denied"}


def test_a_page_elsewhere_cannot_approve(
    browser: Any, deployment: Deployment, api: httpx.Client, tmp_path: Path
) -> None:
    started = start(api)
    evil = tmp_path / "evil.html"
    evil.write_text(
        f'<form method="post" action="{deployment.base_url}/cli/auth">'
        f'<input name="code" value="{started["user_code"]}"><button name="decision" value="approve">win</button></form>'
    )
    page = browser.new_page()
    page.goto(evil.as_uri())
    with page.expect_response(f"{deployment.base_url}/cli/auth") as answer:
        page.get_by_role("button").click()
    assert answer.value.status == 403
    assert poll(api, started) == {"status": "pending"}
    page.close()
