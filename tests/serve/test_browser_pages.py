"""The other pages in a real Chromium, and the scripts' pure functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .portal_fixtures import Tab, publish, write_streams

pytestmark = pytest.mark.browser

EPISODES = "/portal/episodes"
EVIL = '<img src=x onerror="document.title = `pwned`"><b id="pwned">name</b>'


def test_filtering_the_list_with_the_form(tab: Tab, deployment: Deployment, policy: str) -> None:
    failed = publish(
        deployment, create={"name": "fell", "policy_version": policy}, finalize={"status": "failed", "duration_s": 1.5}
    )
    publish(deployment, create={"name": "stood", "policy_version": policy, "seed": 1}, finalize={"status": "ready"})
    tab.open(EPISODES)
    page = tab.page

    def unfold() -> None:  # on a phone
        if page.locator(".filters-toggle").is_visible():
            page.locator(".filters-toggle").click()

    unfold()
    page.get_by_label("Policy").fill(policy)
    page.get_by_role("button", name="Filter", exact=True).click()
    page.wait_for_url(lambda url: f"policy_version={policy}" in url)
    assert page.locator("[data-episode-id]").count() == 2
    unfold()
    page.get_by_label("Status").select_option("failed")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.wait_for_url(lambda url: "status=failed" in url)
    assert page.locator("[data-episode-id]").evaluate_all("all => all.map(row => row.dataset.episodeId)") == [failed]
    assert tab.fits
    page.get_by_role("link", name="fell").click()
    page.wait_for_url(f"**{EPISODES}/{failed}")
    assert page.get_by_role("heading", level=1).text_content() == "fell"


def test_markup_in_names_is_text(tab: Tab, deployment: Deployment, policy: str, tmp_path: Path) -> None:
    write_streams(tmp_path / "s.npz", np.arange(20) / 10, {EVIL: np.zeros((20, 2)), f"{EVIL}2": np.zeros((20, 99))})
    episode = publish(
        deployment,
        files={"sensors": tmp_path / "s.npz"},
        create={"name": EVIL, "robot": EVIL, "policy_version": policy},
        finalize={"status": "failed", "failure_time_s": 1.0, "metadata": {"failure_reason": EVIL}},
    )
    tab.open(f"{EPISODES}?policy_version={policy}")
    assert EVIL in tab.page.locator(".cell-name").text_content()
    tab.open_replay(f"{EPISODES}/{episode}")
    assert tab.page.get_by_role("heading", level=1).text_content() == EVIL
    assert tab.page.locator(".chart-name").text_content() == EVIL
    assert f"{EVIL}2" in tab.page.locator("#skipped li").text_content()
    assert tab.page.locator("#pwned, img").count() == 0
    assert tab.fits


def test_an_episode_without_files_is_a_quiet_page(tab: Tab, deployment: Deployment) -> None:
    tab.open(f"{EPISODES}/{publish(deployment, finalize={'status': 'ready'})}")
    assert tab.page.locator("#workspace").count() == 0
    assert "metadata only" in tab.page.locator("#downloads").text_content()
    assert tab.fits


def test_promoting_an_episode_and_looking_at_its_gate(tab: Tab, deployment: Deployment) -> None:
    """A real browser's own headers pass the same-origin check; the words fit on every page."""
    episode = publish(deployment, create={"name": "pick the blue cube"}, finalize={"status": "ready"})
    tab.open(f"{EPISODES}/{episode}")
    page = tab.page
    page.get_by_label("Severity").select_option("critical")
    page.get_by_role("button", name="Promote to scenario").click()
    page.wait_for_url(f"**{EPISODES}/{episode}#scenario")
    assert "is a scenario: critical" in page.locator("#scenario").text_content()
    assert tab.fits
    page.get_by_role("link", name="All scenarios").click()
    page.get_by_placeholder("Candidate version").fill("a-candidate-version-of-some-length/with-a-slash")
    page.get_by_role("button", name="Show gate").click()
    page.locator("#blockers").wait_for()
    assert (
        "no result of a-candidate-version-of-some-length/with-a-slash yet" in page.locator("#blockers").text_content()
    )
    assert tab.fits


def test_an_eval_run_with_long_texts_fits_on_every_screen(tab: Tab, deployment: Deployment) -> None:
    long = "x" * 200
    with httpx.Client(
        base_url=deployment.base_url, headers={"Authorization": f"Bearer {deployment.internal_key}"}, trust_env=False
    ) as client:
        body = {"candidate_policy_version": long, "baseline_episode_ids": [long], "name": long}
        run = client.post("/api/ingest/eval-run", json=body).json()["eval_run_id"]
        result = {"baseline_episode_id": long, "status": "failed", "metrics": {}, "error": long * 3}
        client.post(f"/api/ingest/eval-run/{run}/result", json=result).raise_for_status()
        client.post(f"/api/ingest/eval-run/{run}/finalize", json={"status": "completed"}).raise_for_status()
    tab.open("/portal/evals")
    assert tab.fits
    tab.page.locator(f"[data-eval-run-id='{run}'] a").click()
    tab.page.locator("#recommendation").wait_for()
    tab.page.wait_for_load_state()  # without its style sheets a page is wider
    assert tab.fits


def test_an_episode_still_recording_says_so(tab: Tab, deployment: Deployment) -> None:
    tab.open(f"{EPISODES}/{publish(deployment)}")
    assert "Still recording" in tab.page.locator(".notice").text_content()


def test_the_empty_list_fills_itself(browser: Any, tmp_path: Path) -> None:
    with Deployment(Settings(tmp_path / "data", port=0)) as empty:
        tab = Tab(browser, empty.base_url)
        tab.open("/")
        assert "pip install 'robotrace-dev[gymnasium]'" in tab.page.locator("#empty").text_content()
        assert tab.fits
        made = publish(empty, finalize={"status": "ready"})
        tab.page.locator(f"[data-episode-id='{made}']").wait_for()
        tab.close()
    assert tab.complaints == []


def test_a_closer_look_at_a_long_stream_loads_its_own_points(tab: Tab, deployment: Deployment, tmp_path: Path) -> None:
    rows = 60_000
    values = np.zeros(rows)
    values[30_000] = 7.0
    write_streams(tmp_path / "s.npz", np.arange(rows) / 1000, {"imu": values})
    episode = publish(deployment, files={"sensors": tmp_path / "s.npz"}, finalize={"status": "ready"})
    tab.open_replay(f"{EPISODES}/{episode}?t=30000ms")
    value = tab.page.locator("[data-stream=imu] .legend-value")
    value.filter(has_text="≈").wait_for()
    box = tab.page.locator("[data-stream=imu] .u-over").bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + box["width"] * 0.45, middle)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.55, middle, steps=4)
    tab.page.mouse.up()
    tab.page.mouse.move(5, 5)
    value.filter(has_not_text="≈").wait_for()
    assert value.text_content() == "7"


LINKS_STAY_IN_THEIR_FRAME = """async () => {
  const { FrameTable, parseTime } = await import("/static/timeline.js");
  const wrong = [];
  for (const step of [100, 33.333333333, 8.341, 1, 0.73, 0.05]) {
    const edges = Float64Array.from({ length: 400 }, (_, k) => k * step + (k % 3) * step * 0.2);
    const table = new FrameTable(edges);
    for (let frame = 0; frame < table.count; frame += 1) {
      for (const share of [0, 0.001, 0.5, 0.9]) {
        const time = edges[frame] + (edges[frame + 1] - edges[frame]) * share;
        const read = table.frameAt(parseTime(`${table.linkText(time)}ms`));
        if (read !== frame || table.frameAt(time) !== frame) wrong.push([step, frame, share, read]);
      }
    }
  }
  return wrong;
}"""


def test_a_link_reads_back_as_the_frame_it_was_made_on(tab: Tab) -> None:
    tab.open(EPISODES)
    assert tab.page.evaluate(LINKS_STAY_IN_THEIR_FRAME) == []


@pytest.mark.parametrize(
    ("text", "ms"),
    [("12840ms", 12840), ("12.84s", 12840), ("12840", 12840), ("0ms", 0), ("-5ms", None), ("soon", None), ("", None)],
)
def test_times_in_addresses(tab: Tab, text: str, ms: float | None) -> None:
    tab.open(EPISODES)
    read = "async (text) => (await import('/static/timeline.js')).parseTime(text)"
    assert tab.page.evaluate(read, text) == ms


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0.000"), (12840, "12.840"), (59999.6, "1:00.000"), (192840, "3:12.840"), (3792840, "1:03:12.840")],
)
def test_times_as_text(tab: Tab, ms: float, text: str) -> None:
    tab.open(EPISODES)
    write = "async (ms) => (await import('/static/timeline.js')).formatTime(ms)"
    assert tab.page.evaluate(write, ms) == text
