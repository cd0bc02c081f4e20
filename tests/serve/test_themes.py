"""Light or dark by choice: what the server writes into a page, and whom it believes."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from robotrace.serve.server import Deployment

from .tenants import SAME_ORIGIN

THEME = "/portal/theme"


@pytest.fixture
def web(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.base_url, trust_env=False, headers=SAME_ORIGIN) as client:
        yield client


def choose(web: httpx.Client, theme: str, here: str = "/portal/about") -> httpx.Response:
    return web.post(THEME, data={"theme": theme}, headers={"Referer": f"{web.base_url}{here}"})


def test_a_choice_is_in_the_next_page_from_its_first_byte(web: httpx.Client) -> None:
    assert "data-theme" not in web.get("/portal/about").text
    assert '<meta name="color-scheme" content="light dark">' in web.get("/portal/about").text
    for theme in ("dark", "light"):
        answer = choose(web, theme)
        assert (answer.status_code, answer.headers["location"]) == (303, "/portal/about")
        text = web.get("/portal/about").text
        assert f'<html lang="en" data-theme="{theme}">' in text
        assert f'<meta name="color-scheme" content="{theme}">' in text
        assert f'value="{theme}" aria-pressed="true"' in text
    choose(web, "auto")
    assert "data-theme" not in web.get("/portal/about").text


@pytest.mark.parametrize(
    ("here", "back"),
    [
        ("/portal/episodes/x?t=12840ms", "/portal/episodes/x?t=12840ms"),
        ("/portal/episodes?cursor=a%3D", "/portal/episodes?cursor=a%3D"),
        ("//evil.example/", "/portal/episodes"),
        ("/\\evil.example", "/portal/episodes"),
    ],
)
def test_it_goes_back_to_where_it_was_chosen(web: httpx.Client, here: str, back: str) -> None:
    assert choose(web, "dark", here).headers["location"] == back


def test_without_a_referrer_it_goes_to_the_list(web: httpx.Client) -> None:
    assert web.post(THEME, data={"theme": "dark"}).headers["location"] == "/portal/episodes"


@pytest.mark.parametrize("sent", ["pink", '"><script>', "dark; x", "", '"', "a=b=c;;;"])
def test_what_is_no_theme_is_none(web: httpx.Client, sent: str) -> None:
    assert choose(web, sent).status_code == 400
    text = web.get("/portal/about", headers={"Cookie": f"robotrace_theme={sent}"}).text
    assert "data-theme" not in text or 'data-theme="dark"' in text  # "dark; x" is the cookie dark, and another one
    assert "script>" not in text.partition("</head>")[0].replace(
        '<script type="module" src="/static/copy.js"></script>', ""
    )


def test_a_page_elsewhere_cannot_choose(deployment: Deployment) -> None:
    answer = httpx.post(
        f"{deployment.base_url}{THEME}",
        data={"theme": "dark"},
        headers={"Sec-Fetch-Site": "cross-site"},
        trust_env=False,
    )
    assert answer.status_code == 403


def test_requests_beside_each_other_keep_their_own(deployment: Deployment) -> None:
    """The theme of a request is in its context, also in the thread that renders its page."""
    from concurrent.futures import ThreadPoolExecutor

    def shown(number: int) -> bool:
        theme = ("dark", "light")[number % 2]
        text = httpx.get(
            f"{deployment.base_url}/portal/about", headers={"Cookie": f"robotrace_theme={theme}"}, trust_env=False
        ).text
        return f'data-theme="{theme}"' in text

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(shown, range(40)))
