"""The pages over HTTP, as they are before any script runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import httpx
import numpy as np
import pytest

from robotrace.serve.portal_list import PAGE_SIZE
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .portal_fixtures import constant_rate, publish, write_barcode_video, write_streams

EPISODES = "/portal/episodes"


@pytest.fixture
def web(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        yield client


def rows(page: httpx.Response) -> list[str]:
    return re.findall(r'data-episode-id="([^"]+)"', page.text)


def link(page: httpx.Response, element_id: str) -> str | None:
    found = re.search(rf'id="{element_id}"[^>]*href="([^"]+)"', page.text)
    return unescape(found.group(1)) if found else None


def test_the_root_leads_to_the_list(web):
    answer = web.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, EPISODES)


def test_the_empty_portal_teaches_the_three_lines(tmp_path):
    with Deployment(Settings(tmp_path / "data", port=0)) as empty:
        page = unescape(httpx.get(empty.base_url + EPISODES, trust_env=False).text)
    assert "pip install 'robotrace-dev[gymnasium]'" in page
    assert "from robotrace_gymnasium import RoboTraceRecorder" in page
    assert 'env = RoboTraceRecorder(gym.make("CartPole-v1", render_mode="rgb_array"))' in page


def test_the_list_is_newest_first_and_pages_by_keyset(web, deployment, policy):
    made = [
        publish(deployment, create={"policy_version": policy}, finalize={"status": "ready"})
        for _ in range(PAGE_SIZE + 3)
    ]
    first = web.get(EPISODES, params={"policy_version": policy})
    assert rows(first) == made[:2:-1]
    assert link(first, "pager-newest") is None
    # What arrives meanwhile moves nothing.
    publish(deployment, create={"policy_version": policy}, finalize={"status": "ready"})
    second = web.get(link(first, "pager-next"))
    assert rows(second) == made[2::-1]
    assert link(second, "pager-next") is None
    assert len(rows(web.get(link(second, "pager-newest")))) == PAGE_SIZE


def test_filters_come_from_the_address_and_stay_in_the_form(web, deployment, policy):
    failed = publish(
        deployment,
        create={"policy_version": policy, "seed": -(2**63), "source": "sim", "robot": "arm & hand"},
        finalize={"status": "failed"},
    )
    publish(deployment, create={"policy_version": policy, "seed": 3}, finalize={"status": "ready"})
    for filters in ({"status": "failed"}, {"seed": str(-(2**63))}, {"source": "sim"}, {"robot": "arm & hand"}):
        assert rows(web.get(EPISODES, params={"policy_version": policy, **filters})) == [failed]
    page = web.get(EPISODES, params={"policy_version": policy, "robot": "arm & hand", "status": "failed", "seed": ""})
    assert rows(page) == [failed]
    assert 'name="robot" value="arm &amp; hand"' in page.text
    assert '<option value="failed" selected>' in page.text
    nothing = web.get(EPISODES, params={"policy_version": policy, "status": "archived"})
    assert rows(nothing) == []
    assert "No episode matches" in nothing.text


def test_a_seed_that_is_none_is_said_and_left_out(web, deployment, policy):
    made = publish(deployment, create={"policy_version": policy}, finalize={"status": "ready"})
    for seed in ("seven", str(2**63)):
        page = web.get(EPISODES, params={"policy_version": policy, "seed": seed})
        assert rows(page) == [made]
        assert "It was left out." in page.text


def test_a_broken_cursor_leads_to_the_newest_page(web, policy):
    answer = web.get(EPISODES, params={"policy_version": policy, "cursor": "WyIyMDI"})
    assert (answer.status_code, answer.headers["location"]) == (307, f"{EPISODES}?policy_version={policy}")


def test_reproducibility_fields_come_first_and_are_never_invented(web, deployment):
    create = {"policy_version": "ppo@3", "seed": 2**53 + 1}
    page = web.get(f"{EPISODES}/{publish(deployment, create=create, finalize={'status': 'ready'})}").text
    fields = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page[page.index('id="repro"') :])[:4]
    assert [name for name, _ in fields] == ["policy_version", "env_version", "git_sha", "seed"]
    values = [unescape(re.sub(r"<[^>]+>", "", text)).strip() for _, text in fields]
    assert values == ["ppo@3", "not recorded", "not recorded", str(2**53 + 1)]


def test_the_seed_zero_is_a_seed(web, deployment):
    page = web.get(f"{EPISODES}/{publish(deployment, create={'seed': 0}, finalize={'status': 'ready'})}").text
    assert re.search(r'href="/portal/episodes\?seed=0" title="[^"]*">0</a>', page)


def test_markup_in_anything_a_robot_sends_is_text(web, deployment, policy):
    evil = '"><script>alert(1)</script>'
    episode = publish(
        deployment,
        create={"name": evil, "robot": evil, "policy_version": policy, "env_version": evil, "git_sha": evil},
        finalize={"status": "failed", "metadata": {evil: evil, "failure_reason": evil}},
    )
    for path in (f"{EPISODES}?policy_version={policy}", f"{EPISODES}/{episode}", f"{EPISODES}?robot={evil}"):
        page = web.get(path).text
        assert evil not in page
        assert "<script>" not in page
        assert unescape(page).count(evil) > 0


def test_files_tracing_and_metadata_are_shown(web, deployment, tmp_path):
    write_barcode_video(tmp_path / "video.mp4", constant_rate(30))
    write_streams(tmp_path / "sensors.npz", np.arange(30) / 30, {"observation": np.zeros((30, 2))})
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    otel = {"trace_id": trace_id, "span_id": "00f067aa0ba902b7", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    episode = publish(
        deployment,
        files={"video": tmp_path / "video.mp4", "sensors": tmp_path / "sensors.npz"},
        create={"otel": otel, "metadata": {"task": "stack the cubes"}},
        finalize={"status": "ready"},
    )
    page = web.get(f"{EPISODES}/{episode}").text
    assert trace_id in page
    assert "stack the cubes" in page
    downloads = re.findall(r'<a href="([^"]+)" download="([^"]+)"', page)
    assert [name for _, name in downloads] == ["video.mp4", "sensors.npz"]
    for url, name in downloads:
        assert web.get(unescape(url)).content == (tmp_path / name).read_bytes()


def test_an_unreadable_video_is_said_and_stays_downloadable(web, deployment, tmp_path):
    (tmp_path / "video.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
    episode = publish(deployment, files={"video": tmp_path / "video.mp4"}, finalize={"status": "ready"})
    page = web.get(f"{EPISODES}/{episode}").text
    assert "The video has no frames that can be read" in page
    assert "<video" not in page
    assert 'download="video.mp4"' in page


def test_an_unknown_episode_is_a_page_of_its_own(web):
    answer = web.get(f"{EPISODES}/<b>nope")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "No such episode" in answer.text
    assert "&lt;b&gt;nope" in answer.text


def test_pages_allow_nothing_inline_and_hold_nothing_inline(web, deployment, policy):
    episode = publish(deployment, create={"policy_version": policy}, finalize={"status": "ready"})
    for path in (EPISODES, f"{EPISODES}/{episode}", f"{EPISODES}/nope"):
        answer = web.get(path)
        policies = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policies
        assert "unsafe" not in policies
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", answer.text)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/static/episode.js", "text/javascript"),
        ("/static/portal.css", "text/css"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/static/vendor/uplot.js", "text/javascript"),
        ("/static/vendor/uplot.css", "text/css"),
    ],
)
def test_static_files_are_typed_and_asked_for_again(web, path, media_type):
    answer = web.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.headers["cache-control"] == "no-cache"
    assert web.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/static/vendor/other.js", "/static/../server.py", "/static/%2e%2e/server.py"])
def test_nothing_beside_the_static_files_is_served(web, path):
    assert web.get(path).status_code == 404
