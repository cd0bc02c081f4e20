"""The head of an episode's page and its cards in a real Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from polling import eventually

from robotrace.serve.server import Deployment

from .portal_fixtures import Tab, publish, write_streams

pytestmark = pytest.mark.browser

EPISODES = "/portal/episodes"
METADATA = {
    "git": {"sha": "4f1c", "branch": "main"},
    "params": {f"layer_{number}": {"width": number, "kind": "linear"} for number in range(20)},
    "note": "a long note " * 60,
}


def frozen(deployment: Deployment, tmp_path: Path, name: str) -> str:
    times = np.arange(100) / 50
    seen = np.cumsum(np.random.default_rng(0).normal(size=(100, 3)), axis=0)
    seen[60:] = seen[60]
    more = {f"joint_{number}": np.random.default_rng(number).normal(size=100) for number in range(8)}
    write_streams(tmp_path / "s.npz", times, {**more, "observation": seen})
    number = publish(
        deployment,
        files={"sensors": tmp_path / "s.npz"},
        create={"name": name, "policy_version": tmp_path.name, "metadata": METADATA},
        finalize={"status": "failed", "duration_s": 2.0, "failure_time_s": 1.98},
    )
    url = f"{deployment.base_url}{EPISODES}/{number}/findings.json"
    eventually(lambda: httpx.get(url, trust_env=False).json()["pending"] is False)
    return number


def test_the_likeliest_cause_is_above_the_replay_and_leads_to_its_instant_and_stream(
    tab: Tab, deployment: Deployment, tmp_path: Path
) -> None:
    number = frozen(deployment, tmp_path, "froze")
    tab.open_replay(f"{EPISODES}/{number}")
    why = tab.page.locator("#failure")
    assert "observation froze at 1.200 s" in " ".join(why.text_content().split())
    assert why.bounding_box()["y"] + why.bounding_box()["height"] < 800
    why.get_by_role("link", name="Go", exact=True).click()
    tab.wait_settled()
    assert tab.time_ms == 1200
    tab.page.evaluate(
        "document.addEventListener('robotrace:show-stream', (e) => (document.body.dataset.asked = e.detail.name))"
    )
    tab.page.locator(".finding a[data-stream=observation]").first.click()
    chart = tab.page.locator("#stack [data-stream=observation]")
    assert tab.page.locator("body").get_attribute("data-asked") == "observation"
    assert 0 <= chart.bounding_box()["y"] < 800
    assert tab.fits


def test_metadata_is_searched_and_is_as_it_was_afterwards(tab: Tab, deployment: Deployment, tmp_path: Path) -> None:
    number = frozen(deployment, tmp_path, "searched")
    tab.open(f"{EPISODES}/{number}#metadata")
    tree, search = tab.page.locator("#metadata-tree"), tab.page.get_by_role("searchbox", name="Search the metadata")
    shown = tree.locator(".pair:visible")
    before = shown.count()
    search.fill("layer_7")
    assert [text.split() for text in shown.all_inner_texts()] == [["width", "7"], ["kind", "linear"]]
    search.fill("nothing has this")
    tab.page.get_by_text("Nothing in the metadata has that.").wait_for()
    search.fill("")
    assert shown.count() == before
    assert tree.locator(".branch[open]").count() == 0
    assert tab.fits


def test_an_episode_is_archived_restored_and_deleted_from_its_page(
    tab: Tab, deployment: Deployment, tmp_path: Path
) -> None:
    first, second = (frozen(deployment, tmp_path, name) for name in ("first", "second"))
    tab.open(f"{EPISODES}/{second}")
    tab.page.keyboard.press("p")
    tab.page.wait_for_url(f"**/{first}")
    tab.page.keyboard.press("n")
    tab.page.wait_for_url(f"**/{second}")
    tab.page.get_by_role("button", name="Archive").click()
    tab.page.locator("#archived").wait_for()
    tab.page.get_by_role("button", name="Restore").click()
    tab.page.get_by_role("button", name="Archive").wait_for()
    # Until its script has run, the link leads to the page that asks.
    tab.page.locator("html[data-ready=true]").wait_for(state="attached")
    tab.page.get_by_role("link", name="Delete…").click()
    dialog: Any = tab.page.get_by_role("dialog", name="Delete second?")
    dialog.get_by_role("button", name="Keep it").click()
    dialog.wait_for(state="hidden")
    tab.page.get_by_role("link", name="Delete…").click()
    dialog.get_by_role("button", name="Delete for good").click()
    tab.page.wait_for_url(f"**{EPISODES}")
    answer = httpx.get(f"{deployment.base_url}{EPISODES}/{second}.json", trust_env=False)
    assert answer.status_code == 404
