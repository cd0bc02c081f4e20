"""Errors: JSON to programs, a page to people, and never more than they may know."""

from __future__ import annotations

import httpx
import pytest

from robotrace.serve.server import Deployment

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def ask(deployment: Deployment, path: str, method: str = "GET", **options) -> httpx.Response:
    return httpx.request(method, f"{deployment.base_url}{path}", trust_env=False, **options)


@pytest.mark.parametrize("path", ["/portal/nothing", "/nothing", "/portal/evals/x/y"])
def test_people_get_a_page_and_programs_the_text(deployment: Deployment, path: str) -> None:
    page = ask(deployment, path, headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1>Nothing here</h1>" in page.text
    assert page.headers["content-security-policy"]
    assert ask(deployment, path).json() == {"error": "Not Found"}


@pytest.mark.parametrize(
    "path",
    ["/api/nothing", "/objects/x", "/static/nothing.js", "/portal/episodes/x.json", "/portal/audit.json?limit=0"],
)
def test_what_programs_ask_for_stays_json(deployment: Deployment, path: str) -> None:
    answer = ask(deployment, path, headers=BROWSER)
    assert answer.status_code >= 400
    assert set(answer.json()) == {"error"}


def test_a_form_that_is_loaded_again_as_an_address(deployment: Deployment) -> None:
    page = ask(deployment, "/portal/theme", headers=BROWSER)
    assert (page.status_code, "<h1>Nothing here</h1>" in page.text) == (405, True)
    assert page.headers["allow"] == "POST"


def test_a_refused_form_says_why(deployment: Deployment) -> None:
    refused = ask(deployment, "/portal/theme", "POST", headers={**BROWSER, "Sec-Fetch-Site": "cross-site"})
    assert (refused.status_code, refused.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "This form is only accepted from a page of this deployment." in refused.text


def test_what_breaks_says_where_to_look(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("robotrace.serve.portal_storage.storage_of", broken)
    page = ask(deployment, "/portal/storage", headers={**BROWSER, "X-Request-Id": "abc-1"})
    assert (page.status_code, page.headers["x-request-id"]) == (500, "abc-1")
    assert "<code>abc-1</code>" in page.text
    assert "secret" not in page.text
    assert page.headers["content-security-policy"]
    twin = ask(deployment, "/portal/storage.json", headers=BROWSER)
    assert twin.status_code == 500
    assert "secret" not in twin.text
