"""Who may open the pages: sessions, hosts, forms from elsewhere, where signing in leads."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from robotrace.errors import ConfigurationError
from robotrace.serve.portal_login import local_path
from robotrace.serve.server import Deployment
from robotrace.serve.sessions import SESSION_S, Cookies
from robotrace.serve.settings import Settings

from .tenants import SAME_ORIGIN, add_project, new_key, sign_in

PUBLIC = "https://team.example"
HOME = "/portal/episodes"
LOGIN = "/portal/login"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(tmp_path_factory.mktemp("shared") / "data", port=0, public_url=f"{PUBLIC}/")


@pytest.fixture
def shared(tmp_path) -> Iterator[Deployment]:
    """One that nobody else has tried to sign in to."""
    with Deployment(Settings(tmp_path / "data", port=0, public_url=PUBLIC)) as running:
        yield running


def browser_to(deployment: Deployment, **headers: str) -> httpx.Client:
    # A browser that reached it through the proxy, which is on this machine; its Secure cookies come back over TLS.
    return httpx.Client(base_url=deployment.base_url, trust_env=False, headers={**SAME_ORIGIN, **headers})


def cookies_of(deployment: Deployment) -> Cookies:
    found = deployment._server.config.app.state.services.cookies
    assert isinstance(found, Cookies)
    return found


def session_of(answer: httpx.Response) -> str:
    """The cookie as a browser would send it back."""
    return answer.headers["set-cookie"].partition(";")[0]


def sees_pages(deployment: Deployment, cookie: str) -> bool:
    with browser_to(deployment, Cookie=cookie) as web:
        page, twin = web.get(HOME), web.get(f"{HOME}.json")
    assert (page.status_code, twin.status_code) in ((200, 200), (303, 401))
    return page.status_code == 200


def signed_in(deployment: Deployment) -> str:
    """The cookie of a session that has just begun, with the first key."""
    with browser_to(deployment) as web:
        answer = sign_in(web, deployment.first_key or "")
    assert answer.status_code == 303
    return session_of(answer)


def test_a_page_leads_to_the_form_and_the_form_back_to_the_page(shared: Deployment) -> None:
    with browser_to(shared) as web:
        asked = web.get("/portal/verify?candidate=a b")
        assert (asked.status_code, asked.headers["location"]) == (
            303,
            f"{LOGIN}?next=%2Fportal%2Fverify%3Fcandidate%3Da%2520b",
        )
        form = web.get(asked.headers["location"])
        assert form.status_code == 200
        assert 'name="next" value="/portal/verify?candidate=a%20b"' in form.text
        answer = sign_in(web, shared.first_key or "", next="/portal/verify?candidate=a%20b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/portal/verify?candidate=a%20b")
    flags = {flag.strip().lower() for flag in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "secure", "samesite=lax", "path=/", f"max-age={7 * 24 * 3600}"} <= flags
    assert sees_pages(shared, session_of(answer))


def test_nobody_sees_a_page_or_its_twin_without_signing_in(shared: Deployment) -> None:
    with browser_to(shared) as web:
        for path in (HOME, "/portal/evals", "/portal/verify", "/portal/api-keys", "/cli/auth", f"{HOME}/x", "/"):
            answer = web.get(path)
            assert answer.status_code in (303, 307), path
            assert answer.headers["location"].startswith((LOGIN, HOME))
        for path in (f"{HOME}.json", f"{HOME}/x.json", f"{HOME}/x/series.bin", "/portal/verify.json"):
            answer = web.get(path)
            assert (answer.status_code, list(answer.json())) == (401, ["error"])
        posted = web.post("/cli/auth", data={"code": "BCDF-GHJK", "decision": "approve"})
        assert (posted.status_code, posted.headers["location"]) == (303, LOGIN)
        # A key of the API opens no page: what a page's script may do is not for every program.
        assert web.get(f"{HOME}.json", headers={"Authorization": f"Bearer {shared.first_key}"}).status_code == 401


def test_a_request_from_this_machine_is_no_exception(shared: Deployment) -> None:
    """Behind a proxy all of them are."""
    for host in ("127.0.0.1", "localhost", "team.example"):
        answer = httpx.get(f"{shared.base_url}{HOME}.json", headers={"Host": host})
        assert answer.status_code == 401


def test_signing_out_revoking_and_time_end_a_session(shared: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = signed_in(shared)
    assert sees_pages(shared, cookie)
    with browser_to(shared, Cookie=cookie) as web:
        out = web.post("/portal/logout")
        assert (out.status_code, out.headers["location"]) == (303, LOGIN)
        assert session_of(out).rstrip('"').endswith("=") or "Max-Age=0" in out.headers["set-cookie"]
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr(cookies_of(shared), "_clock", lambda: now + SESSION_S - 60)
        assert sees_pages(shared, cookie)
        later.setattr(cookies_of(shared), "_clock", lambda: now + SESSION_S + 60)
        assert not sees_pages(shared, cookie)
    assert sees_pages(shared, cookie)
    revoked = httpx.post(
        f"{shared.base_url}/api/cli/auth/revoke", headers={"Authorization": f"Bearer {shared.first_key}"}
    )
    assert revoked.status_code == 200
    assert not sees_pages(shared, cookie)


def test_a_cookie_that_was_changed_or_is_of_another_deployment_is_worth_nothing(shared: Deployment, tmp_path) -> None:
    cookie = signed_in(shared)
    name, _, value = cookie.partition("=")
    public, expires, signature = value.split(".")
    for changed in (
        f"{public}.{int(expires) + 1}.{signature}",
        f"{public}.{expires}.{'0' * len(signature)}",
        f"{public}.{expires}.",
        f"{public}.{expires}",
        f"{'a' * 10}.{expires}.{signature}",
        f".{signature}",
        "",
        ".",
        "é.é.é",
    ):
        with browser_to(shared) as web:
            answer = web.get(f"{HOME}.json", headers=[(b"Cookie", f"{name}={changed}".encode())])
            assert answer.status_code == 401, changed
    with Deployment(Settings(tmp_path / "other", port=0, public_url=PUBLIC)) as other:
        there = signed_in(other)
        # By its own name it is another cookie; by ours another signature.
        assert there.partition("=")[0] != name
        assert not sees_pages(shared, there)
        assert not sees_pages(shared, f"{name}={there.partition('=')[2]}")


def test_a_session_outlives_a_restart(tmp_path) -> None:
    settings = Settings(tmp_path / "data", port=0, public_url=PUBLIC)
    with Deployment(settings) as first:
        cookie = signed_in(first)
    with Deployment(settings) as second:
        assert sees_pages(second, cookie)


def test_a_wrong_key_is_refused_and_ten_a_minute_are_enough(shared: Deployment) -> None:
    with browser_to(shared) as web:
        answers = [sign_in(web, key) for key in ("", "rt_x", shared.internal_key, *["rt_wrong"] * 7)]
        assert [answer.status_code for answer in answers] == [401] * 10
        assert "not in force" in answers[0].text
        assert not any("set-cookie" in answer.headers for answer in answers)
        # A right one, too: an answer would tell it apart.
        refused = sign_in(web, shared.first_key or "")
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 6
        # What an uploader sends from the same address is not concerned.
        headers = {"Authorization": f"Bearer {shared.first_key}"}
        assert web.post("/api/ingest/episode", json={}, headers=headers).status_code == 201


@pytest.mark.parametrize("path", [LOGIN, "/portal/logout", "/portal/api-keys", "/portal/project", "/cli/auth"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://team.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_a_form_elsewhere_is_refused(deployment: Deployment, path: str, headers: dict[str, str]) -> None:
    fields = {"key": deployment.first_key, "name": "x", "project": "default", "code": "x", "decision": "approve"}
    answer = httpx.post(deployment.base_url + path, data=fields, headers={"Host": "team.example", **headers})
    # Whoever has not signed in may be sent to do so first.
    assert answer.status_code == 403 or answer.headers["location"] == LOGIN
    assert "set-cookie" not in answer.headers


def test_a_form_of_the_public_name_is_taken(deployment: Deployment) -> None:
    fields = {"key": deployment.first_key}
    headers = {"Host": "team.example", "Origin": PUBLIC}
    answer = httpx.post(deployment.base_url + LOGIN, data=fields, headers=headers)
    assert answer.status_code == 303
    assert "set-cookie" in answer.headers


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "http:evil.example",
        "/é",
        "",
        LOGIN,
        f"{LOGIN}?next=/x",
    ],
)
def test_signing_in_leads_to_no_other_site(there: str) -> None:
    assert local_path(there) == HOME


@pytest.mark.parametrize("there", ["/portal/evals?cursor=a", "/portal/episodes/x?t=12840ms#charts", "/cli/auth?code=A"])
def test_signing_in_leads_back(there: str) -> None:
    assert local_path(there) == there


def test_the_redirect_after_signing_in_is_checked(deployment: Deployment) -> None:
    with browser_to(deployment) as web:
        answer = sign_in(web, deployment.first_key or "", next="//evil.example/portal")
        assert (answer.status_code, answer.headers["location"]) == (303, HOME)
        assert 'value="/portal/episodes"' in web.get(f"{LOGIN}?next=//evil.example").text


@pytest.mark.parametrize("host", ["team.example", "TEAM.example:443", "127.0.0.1", "localhost:8321", "[::1]"])
def test_the_public_name_and_loopback_are_served(deployment: Deployment, host: str) -> None:
    assert httpx.get(deployment.base_url + LOGIN, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "team.example.evil.example", "192.0.2.1", "x.team.example"])
def test_other_names_are_not(deployment: Deployment, host: str) -> None:
    assert httpx.get(deployment.base_url + LOGIN, headers={"Host": host}).status_code == 400


def test_urls_for_others_have_the_public_name_and_those_for_itself_the_address(deployment: Deployment) -> None:
    for key, start in ((deployment.first_key, PUBLIC), (deployment.internal_key, deployment.base_url)):
        created = httpx.post(
            f"{deployment.base_url}/api/ingest/episode", json={}, headers={"Authorization": f"Bearer {key}"}
        ).json()
        assert created["upload_urls"][0]["url"].startswith(f"{start}/objects/")
    started = httpx.post(f"{deployment.base_url}/api/cli/auth/start", json={}).json()
    assert started["verification_uri_complete"].startswith(f"{PUBLIC}/cli/auth?code=")
    assert deployment.public_url == PUBLIC


def test_every_address_is_served_under_addresses_and_this_machines_name(tmp_path) -> None:
    with Deployment(Settings(tmp_path / "data", host="0.0.0.0", port=0)) as everywhere:
        assert everywhere.base_url.startswith("http://127.0.0.1:")
        for host in ("192.0.2.1", "[2001:db8::1]:80", socket.gethostname(), "localhost"):
            assert httpx.get(everywhere.base_url + LOGIN, headers={"Host": host}).status_code == 200, host
        assert httpx.get(everywhere.base_url + LOGIN, headers={"Host": "evil.example"}).status_code == 400
        # Not because of a public URL: because others can reach it.
        assert httpx.get(f"{everywhere.base_url}{HOME}.json").status_code == 401
        assert everywhere.first_key is not None
        # Over plain HTTP a browser would not send a Secure cookie back, and sends no Sec-Fetch-Site.
        origin = {"Host": "192.0.2.1:8321", "Origin": "http://192.0.2.1:8321"}
        answer = httpx.post(everywhere.base_url + LOGIN, data={"key": everywhere.first_key}, headers=origin)
        assert answer.status_code == 303
        assert "secure" not in answer.headers["set-cookie"].lower()
        assert sees_pages(everywhere, session_of(answer))


def test_on_this_machine_alone_nobody_signs_in_and_projects_are_chosen(tmp_path) -> None:
    settings = Settings(tmp_path / "data", port=0)
    with Deployment(settings) as own, browser_to(own) as web:
        assert 'action="/portal/project"' not in web.get(HOME).text
        assert (web.get(f"{LOGIN}?next=/portal/evals").headers["location"]) == "/portal/evals"
        headers = {"Authorization": f"Bearer {new_key(settings, add_project(settings, 'nightly'))}"}
        episode = web.post("/api/ingest/episode", json={"request_uploads": []}, headers=headers).json()["episode_id"]
        page = web.get(HOME)
        assert 'action="/portal/project"' in page.text
        assert episode not in page.text
        assert web.post("/portal/project", data={"project": "unknown"}).status_code == 404
        chosen = web.post("/portal/project", data={"project": "nightly"})
        assert (chosen.status_code, chosen.headers["location"]) == (303, HOME)
        assert episode in web.get(HOME).text
        assert web.get(f"{HOME}/{episode}").status_code == 200
        web.post("/portal/project", data={"project": "default"})
        assert web.get(f"{HOME}/{episode}").status_code == 404


def test_a_viewer_who_has_signed_in_cannot_choose_another_project(shared: Deployment) -> None:
    settings = shared._settings
    add_project(settings, "nightly")
    with browser_to(shared, Cookie=signed_in(shared)) as web:
        assert web.post("/portal/project", data={"project": "nightly"}).status_code == 404
        web.headers["Cookie"] += f"; {cookies_of(shared).project_name}=nightly"
        page = web.get(HOME)
    assert page.status_code == 200
    assert "nightly" not in page.text
    assert "Sign out" in page.text


@pytest.mark.parametrize(
    "url",
    ["team.example", "ftp://team.example", "https://", "https://team.example/robotrace", "https://a@b", "https://x?y"],
)
def test_a_public_url_that_is_none_is_a_clear_error(tmp_path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="no public URL"):
        Settings(tmp_path, public_url=url)


@pytest.mark.parametrize(
    ("change", "asks", "runs"),
    [
        ({}, False, True),
        ({"host": "localhost"}, False, True),
        ({"host": "::1"}, False, True),
        ({"host": "0.0.0.0"}, True, False),
        ({"host": "team.lan"}, True, False),
        ({"public_url": "http://localhost:8321"}, True, False),
        ({"public_url": PUBLIC, "render_failed": True}, True, True),
    ],
    ids=str,
)
def test_who_signs_in_and_what_runs_is_a_matter_of_configuration(tmp_path, change, asks: bool, runs: bool) -> None:
    settings = dataclasses.replace(Settings(tmp_path), **change)
    assert (settings.asks_for_sign_in, settings.runs_code) == (asks, runs)
