"""The head of an episode's page: its neighbours, what can be done with it, why it failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .portal_fixtures import publish
from .tenants import SAME_ORIGIN

EPISODES = "/portal/episodes"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("head") / "data"
    return Settings(folder, port=0, trace_url="https://jaeger.example/trace/{trace_id}")


@pytest.fixture(scope="module")
def web(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.base_url, trust_env=False, headers=SAME_ORIGIN) as http:
        yield http


def made(deployment: Deployment, name: str, policy: str | None, **finalize: object) -> str:
    create = {"name": name, **({} if policy is None else {"policy_version": policy})}
    return publish(deployment, create=create, finalize={"status": "ready", **finalize})


def beside(web: httpx.Client, episode_id: str) -> tuple[str | None, str | None]:
    found = web.get(f"{EPISODES}/{episode_id}.json").json()["neighbours"]
    return tuple(None if found[which] is None else found[which]["name"] for which in ("older", "newer"))  # type: ignore[return-value]


def test_neighbours_are_of_the_same_policy_and_none_that_is_archived(deployment: Deployment, web: httpx.Client) -> None:
    first, other, second, third = (
        made(deployment, name, policy) for name, policy in (("1", "a"), ("x", "b"), ("2", "a"), ("3", "a"))
    )
    none = [made(deployment, name, None) for name in ("n1", "n2")]
    assert [beside(web, each) for each in (first, second, third)] == [(None, "2"), ("1", "3"), ("2", None)]
    assert beside(web, other) == (None, None)
    assert beside(web, none[1]) == ("n1", None)
    web.post(f"{EPISODES}/{second}/archive", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert [beside(web, each) for each in (first, second, third)] == [(None, "3"), ("1", "3"), ("1", None)]
    page = web.get(f"{EPISODES}/{second}").text
    assert f'rel="prev" href="{EPISODES}/{first}"' in page
    assert f'rel="next" href="{EPISODES}/{third}"' in page
    assert 'id="archived"' in page
    assert f'action="{EPISODES}/{second}/restore"' in page


def test_reproducibility_fields_lead_to_every_episode_with_them(deployment: Deployment, web: httpx.Client) -> None:
    create = {"policy_version": "ppo & co/3 é", "seed": 7}
    number = publish(deployment, create=create, finalize={"status": "ready"})
    page = web.get(f"{EPISODES}/{number}").text
    (link,) = re.findall(r'href="(/portal/episodes\?policy_version=[^"]*)"', page)
    # Taken apart here: old versions of httpx quote what is quoted.
    asked = dict(parse_qsl(urlsplit(unescape(link)).query))
    assert asked == {"policy_version": create["policy_version"]}
    listed = web.get(f"{EPISODES}.json", params=asked).json()["episodes"]
    assert [episode["id"] for episode in listed] == [number]


def test_a_trace_is_linked_where_the_operator_says_where_it_is(deployment: Deployment, web: httpx.Client) -> None:
    otel = {"trace_id": "ab" * 16, "span_id": "cd" * 8, "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    number = publish(deployment, create={"otel": otel}, finalize={"status": "ready"})
    page = web.get(f"{EPISODES}/{number}").text
    link = f'href="https://jaeger.example/trace/{"ab" * 16}" target="_blank" rel="noopener noreferrer"'
    assert link in page
    bare = publish(deployment, finalize={"status": "ready"})
    assert "jaeger.example" not in web.get(f"{EPISODES}/{bare}").text


def test_everything_comes_as_one_zip(deployment: Deployment, web: httpx.Client) -> None:
    number = publish(deployment, finalize={"status": "ready"})
    answer = web.get(f"{EPISODES}/{number}/download")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.content[:2] == b"PK"
