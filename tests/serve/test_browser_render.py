"""Rendering a video from an episode's page in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from polling import eventually

pytest.importorskip("gymnasium")

from rerun_episodes import cartpole_arrays, reproduce, verdict

from robotrace.reroll import pool
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .portal_fixtures import Tab, constant_rate, publish, write_barcode_video

pytestmark = pytest.mark.browser

EPISODES = "/portal/episodes"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(Settings(tmp_path / "data", port=0)) as running:
        yield running


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_WORKER", "stand_in_worker")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for kind, arrays in cartpole_arrays().items():
        paths[kind] = tmp_path / f"{kind}.npz"
        np.savez(paths[kind], **arrays)
    return paths


@pytest.fixture
def video(tmp_path: Path) -> Path:
    write_barcode_video(tmp_path / "barcode.mp4", constant_rate(21, 50), 50)
    return tmp_path / "barcode.mp4"


def record(deployment: Deployment, files: dict[str, Path], **metadata: Any) -> str:
    whole = {"video": {"deferred": True}, "reproduce": reproduce(), **metadata}
    return publish(
        deployment,
        files=files,
        create={"name": "CartPole-v1 #7", "source": "sim", "fps": 50.0, "metadata": whole},
        finalize={"status": "failed", "duration_s": 0.4, "failure_time_s": 0.4},
    )


def test_a_video_is_rendered_with_a_click_and_plays(
    tab: Tab, deployment: Deployment, files: dict[str, Path], video: Path, tmp_path: Path, stand_in: None
) -> None:
    until = tmp_path / "until"
    episode = record(deployment, files, stand_in={"steps": 20, "until": str(until), "writes": str(video)})
    page = tab.page
    tab.open_replay(f"{EPISODES}/{episode}")
    assert page.locator("#deferred-note").is_visible()
    assert "CartPoleEnv" in (page.locator("#what-runs").text_content() or "")
    assert tab.fits
    page.get_by_role("link", name="it can be rendered").click()
    page.get_by_role("button", name="Render video").click()
    page.wait_for_url(f"**{EPISODES}/{episode}#reproduce")
    page.locator("#rendering-text", has_text="Step 19 of 20").wait_for()
    bar = page.locator("#rendering progress")
    assert (bar.get_attribute("value"), bar.get_attribute("max")) == ("19", "20")
    assert page.get_by_role("button", name="Render video").count() == 0
    assert tab.fits
    until.touch()
    page.locator("[data-verdict=reproduced]").wait_for()
    page.locator("html[data-ready=true]").wait_for(state="attached")
    assert page.locator("#deferred-note, #rendering").count() == 0
    assert tab.fits
    tab.wait_settled()
    assert tab.shown == tab.frame == 0
    page.locator("#play").click()
    page.locator("#player[data-frame='20'][data-playing=false]").wait_for(state="attached")
    assert tab.shown == 20


def test_a_render_is_cancelled_from_the_page(
    tab: Tab, deployment: Deployment, files: dict[str, Path], tmp_path: Path, stand_in: None
) -> None:
    episode = record(deployment, files, stand_in={"steps": 20, "until": str(tmp_path / "until")})
    tab.open_replay(f"{EPISODES}/{episode}")
    tab.page.get_by_role("button", name="Render video").focus()
    tab.page.keyboard.press("Enter")
    tab.page.locator("#rendering-text", has_text="Step 19 of 20").wait_for()
    tab.page.get_by_role("button", name="Cancel").click()
    tab.page.locator("#render-cancelled").wait_for()
    assert tab.page.get_by_role("button", name="Render video").is_visible()


def test_a_link_to_the_divergence_opens_on_its_moment(
    tab: Tab, deployment: Deployment, files: dict[str, Path], stand_in: None
) -> None:
    divergence = {"step": 13, "t_s": 0.26, "stream": "observation", "recorded": "[1]", "here": "[2]", "distance": 1.0}
    differences = [{"name": "gymnasium", "recorded": "1.0.0", "here": "1.4.0"}]
    told = verdict("diverged", divergence=divergence, differences=differences, not_compared={"a": "not recorded"})
    episode = record(deployment, files, stand_in={"steps": 20, "verdict": told})
    tab.open_replay(f"{EPISODES}/{episode}")
    tab.page.get_by_role("button", name="Render video").click()
    tab.page.locator("#render-failed").wait_for()
    assert tab.fits
    tab.page.locator("#divergence").get_by_role("link", name="0.260 s").click()
    tab.page.wait_for_url("**?t=260ms")
    tab.page.locator("html[data-ready=true]").wait_for(state="attached")
    assert tab.time_ms == pytest.approx(260)


def test_without_a_script_the_page_says_the_same(
    browser: Any, deployment: Deployment, files: dict[str, Path], video: Path, tmp_path: Path, stand_in: None
) -> None:
    until = tmp_path / "until"
    episode = record(deployment, files, stand_in={"steps": 20, "until": str(until), "writes": str(video)})
    tab = Tab(browser, deployment.base_url, java_script_enabled=False)
    tab.open(f"{EPISODES}/{episode}")
    tab.page.get_by_role("button", name="Render video").click()
    tab.page.wait_for_url(f"**{EPISODES}/{episode}#reproduce")
    state = f"{deployment.base_url}{EPISODES}/{episode}/render.json"
    eventually(lambda: httpx.get(state).json()["done"] == 19)
    tab.page.reload()
    assert tab.page.locator("#rendering-text").text_content() == "Step 19 of 20"
    assert "Reload the page" in tab.page.content()
    until.touch()
    eventually(lambda: httpx.get(state).json()["state"] == "done")
    tab.page.reload()
    assert tab.page.locator("[data-verdict=reproduced]").is_visible()
    assert tab.page.locator("#video").count() == 1
    tab.close()
    assert tab.complaints == []


def test_a_real_episode_is_rendered_from_its_page(tab: Tab, deployment: Deployment, files: dict[str, Path]) -> None:
    pytest.importorskip("pygame")
    episode = record(deployment, files)
    tab.open_replay(f"{EPISODES}/{episode}")
    tab.page.get_by_role("button", name="Render video").click()
    tab.page.locator("[data-verdict=reproduced]").wait_for(timeout=60_000)
    tab.page.locator("html[data-ready=true]").wait_for(state="attached")
    tab.wait_settled()
    assert tab.page.locator("#video").evaluate("video => [video.videoWidth, video.videoHeight]") == [600, 400]
    assert tab.page.locator("#frame-label").text_content() != ""
