"""Loop, marks, help and full screen of the replay in a real Chromium, at a desk and on a phone."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from polling import eventually

from robotrace.serve.server import Deployment

from .portal_fixtures import Tab, constant_rate, publish, write_cameras, write_streams

pytestmark = pytest.mark.browser

FRAME_MS = 1000 / 30

# Notes every time the page names, while it plays.
NOTE_TIMES = """() => {
  const player = document.getElementById("player");
  window.times = [];
  new MutationObserver(() => {
    if (player.dataset.playing === "true") window.times.push(Number(player.dataset.timeMs));
  }).observe(player, { attributes: true, attributeFilter: ["data-time-ms"] });
}"""
# Resolves when the noted time has gone back so often.
WAIT_FOR_TURNS = """(turns) => new Promise((resolve) => {
  const player = document.getElementById("player");
  const look = () => {
    const { times } = window;
    if (times.filter((time, index) => index && time < times[index - 1]).length >= turns) resolve();
  };
  new MutationObserver(look).observe(player, { attributes: true });
})"""


@pytest.fixture(scope="module")
def page(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An episode of 4 s that froze at 2.4 s and failed at 3.6 s."""
    folder = tmp_path_factory.mktemp("episode")
    write_cameras(folder / "video.mp4", {"front": constant_rate(120), "wrist": constant_rate(40, fps=10)})
    times_s = np.arange(200) / 50
    seen = np.cumsum(np.random.default_rng(0).normal(size=(200, 3)), axis=0)
    seen[120:] = seen[120]
    write_streams(folder / "sensors.npz", times_s, {"observation": seen})
    episode_id = publish(
        deployment,
        files={"video": folder / "video.mp4", "sensors": folder / "sensors.npz"},
        create={"policy_version": "v1"},
        finalize={"status": "failed", "duration_s": 4.0, "failure_time_s": 3.6},
    )
    url = f"{deployment.base_url}/portal/episodes/{episode_id}/findings.json"
    eventually(lambda: httpx.get(url, trust_env=False).json()["pending"] is False)
    return f"/portal/episodes/{episode_id}"


def test_a_loop_comes_with_the_link_and_plays_nothing_else(tab: Tab, page: str) -> None:
    tab.open_replay(f"{page}?loop=1000-1600ms")
    tab.wait_settled()
    assert tab.time_ms == 1000
    tab.page.evaluate(NOTE_TIMES)
    tab.page.locator("#speed").select_option("2")
    tab.page.locator("#play").click()
    tab.page.evaluate(WAIT_FOR_TURNS, 2)
    tab.page.locator("#play").click()
    tab.wait_settled()
    times = tab.page.evaluate("window.times")
    assert (min(times), max(times) < 1600) == (1000, True)
    tab.page.wait_for_url(lambda url: "loop=1000-1600ms" in url and "t=" in url)
    tab.page.locator("#loop-toggle[aria-pressed=true]").click()
    tab.page.wait_for_url(lambda url: "loop=" not in url)
    assert tab.fits


def test_a_loop_is_set_from_frame_to_frame_by_keyboard_and_by_handle(tab: Tab, page: str) -> None:
    tab.open_replay(f"{page}?t=1010ms")
    start, end = tab.page.locator("#loop-start"), tab.page.locator("#loop-end")
    tab.page.keyboard.press("[")
    assert (start.get_attribute("aria-valuenow"), end.get_attribute("aria-valuenow")) == ("1010", "4000")
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("]")
    # With the whole of the frame it was set on.
    assert float(end.get_attribute("aria-valuenow")) == pytest.approx(61 * FRAME_MS, abs=0.01)
    end.focus()
    tab.page.keyboard.press("ArrowRight")
    assert float(end.get_attribute("aria-valuenow")) == pytest.approx(62 * FRAME_MS, abs=0.01)
    box = start.bounding_box()
    lane = tab.page.locator("#loop").bounding_box()
    tab.page.mouse.move(box["x"] + 3, box["y"] + 8)
    tab.page.mouse.down()
    tab.page.mouse.move(lane["x"] + lane["width"] / 8, box["y"] + 8, steps=4)
    tab.page.mouse.up()
    dragged = float(start.get_attribute("aria-valuenow"))
    assert abs(dragged - 500) < FRAME_MS + 4000 / lane["width"]
    assert dragged / FRAME_MS == pytest.approx(round(dragged / FRAME_MS), abs=0.001)
    tab.page.wait_for_url(lambda url: "loop=" in url)
    end.blur()
    tab.page.keyboard.press("\\")
    tab.page.locator("#loop").wait_for(state="hidden")
    tab.page.wait_for_url(lambda url: "loop=" not in url)


def test_f_goes_from_mark_to_mark_and_round(tab: Tab, page: str) -> None:
    tab.open_replay(page)
    assert tab.page.locator(".flag").count() == 2
    seen = []
    for _ in range(3):
        tab.page.keyboard.press("f")
        tab.wait_settled()
        seen.append(tab.time_ms)
    assert seen == [2400, 3600, 2400]
    tab.page.locator(".flag.failure").click()
    assert tab.time_ms == 3600
    assert tab.page.locator(".mark.failure").count() == tab.page.locator(".mark.onset").count() > 0


def test_the_help_and_the_pictures_are_reached_without_a_keyboard(tab: Tab, page: str) -> None:
    tab.open_replay(page)
    tab.page.locator("#help-open").click()
    tab.page.get_by_role("dialog", name="Keyboard and gestures").get_by_role("button", name="Close").click()
    tab.page.get_by_role("button", name="wrist").click()
    assert tab.page.locator("figure[data-active=true]").get_attribute("data-camera") == "video:1"
    tab.page.get_by_role("button", name="Same size").click()
    widths = tab.page.locator("figure").evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
    assert max(widths) - min(widths) < 1
    tab.page.get_by_role("button", name="Full screen").click()
    tab.page.locator("#workspace:fullscreen").wait_for()
    assert tab.page.locator("#transport").is_visible()
    tab.page.get_by_role("button", name="Leave full screen").click()
    tab.page.locator("#workspace:not(:fullscreen)").wait_for()
    assert tab.fits
