"""Signing in, making a key and signing out in a real Chromium, which keeps and sends the cookie by its own rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .portal_fixtures import Tab
from .tenants import add_project, new_key

pytestmark = pytest.mark.browser


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "data", port=0, public_url="http://localhost:1")


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    with Deployment(settings) as running:
        yield running


def test_a_key_opens_the_pages_makes_another_one_and_ends_the_session(tab: Tab, deployment: Deployment) -> None:
    page = tab.page
    tab.open("/portal/verify")
    page.get_by_role("heading", name="Sign in").wait_for()
    assert tab.fits
    page.get_by_label("API key").fill("rt_wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    # A browser notes every answer of 400 and more; this one was asked for.
    assert [re.sub(r"\(.*", "", complaint) for complaint in tab.complaints] == [
        "error: Failed to load resource: the server responded with a status of 401 "
    ]
    tab.complaints.clear()
    page.get_by_label("API key").fill(deployment.first_key or "")
    page.keyboard.press("Enter")
    page.wait_for_url("**/portal/verify")

    page.get_by_role("button", name="Deployment").click()
    page.get_by_role("link", name="API keys").click()
    page.get_by_label("Name").fill("arm-2")
    page.get_by_role("button", name="Create key").click()
    made = page.locator("#new-key").text_content() or ""
    assert tab.fits
    headers = {"Authorization": f"Bearer {made.strip()}"}
    assert httpx.get(f"{deployment.base_url}/api/episodes", headers=headers).status_code == 200
    page.get_by_role("button", name="Copy the key").click()
    page.locator("#announcer", has_text="Copied").wait_for()

    page.get_by_role("button", name="Deployment").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    tab.open("/portal/api-keys")
    page.get_by_role("heading", name="Sign in").wait_for()


def test_a_page_elsewhere_can_neither_sign_in_nor_use_the_session(
    browser: Any, deployment: Deployment, tmp_path: Path
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{deployment.base_url}/portal/login")
    page.get_by_label("API key").fill(deployment.first_key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/portal/episodes")
    evil = tmp_path / "evil.html"
    evil.write_text(
        f'<form method="post" action="{deployment.base_url}/portal/api-keys">'
        '<input name="name" value="evil"><button>win</button></form>'
    )
    page.goto(evil.as_uri())
    with page.expect_response(f"{deployment.base_url}/portal/api-keys") as answer:
        page.get_by_role("button").click()
    assert answer.value.status in (303, 403)  # 303: the cookie was not even sent
    keys = httpx.get(
        f"{deployment.base_url}/api/keys", headers={"Authorization": f"Bearer {deployment.first_key}"}
    ).json()["keys"]
    assert [key["name"] for key in keys] == ["first"]
    context.close()


def test_projects_are_switched_where_nobody_signs_in(browser: Any, tmp_path: Path) -> None:
    settings = Settings(tmp_path / "own", port=0)
    with Deployment(settings) as own:
        headers = {"Authorization": f"Bearer {new_key(settings, add_project(settings, 'nightly'))}"}
        created = httpx.post(
            f"{own.base_url}/api/ingest/episode", json={"name": "of the night", "request_uploads": []}, headers=headers
        )
        assert created.status_code == 201
        for width in (1280, 390):
            tab = Tab(browser, own.base_url, viewport={"width": width, "height": 800})
            try:
                tab.open("/portal/episodes")
                assert tab.page.get_by_text("of the night").count() == 0
                tab.page.get_by_role("button", name="Deployment").click()
                tab.page.get_by_label("Project", exact=True).select_option("nightly")
                tab.page.get_by_role("button", name="Switch").click()
                tab.page.get_by_text("of the night").first.wait_for()
                assert tab.fits
                assert tab.complaints == []
            finally:
                tab.close()
