"""The compare page in a real Chromium: two pictures of different rates on one clock, each on its own right frame."""

from __future__ import annotations

import random
from bisect import bisect_right
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from robotrace.serve.portal_format import compare_url
from robotrace.serve.server import Deployment

from .portal_fixtures import BARCODE_READER, CLOCK_HZ, Tab, publish, variable_rate, write_barcode_video, write_streams

pytestmark = pytest.mark.browser

STEPS_HZ = 50
# A camera that keeps 25 frames/s for 8 s, and one that keeps no time at all.
TIMES_S = {"a": [index / 25 for index in range(200)], "b": variable_rate(150, seed=4)}
STEPS = {"a": 400, "b": 250}
PARTED_AT = 90
FAILED_S = {"a": 7.0, "b": 4.4}
SEEKS = 30

READ = f"""(side) => {{
  {BARCODE_READER}
  return readBarcode(document.querySelector(`.compare-side[data-side=${{side}}] video`));
}}"""


@pytest.fixture(scope="module")
def pair(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two episodes that act alike up to a step."""
    folder = tmp_path_factory.mktemp("pair")
    ids = {}
    for side, times_s in TIMES_S.items():
        video, rows = folder / f"{side}.mp4", STEPS[side]
        write_barcode_video(video, times_s)
        clock = np.arange(rows) / STEPS_HZ
        wave = np.sin(np.arange(rows)[:, None] * [0.02, 0.05]).astype(np.float32)
        push = (np.arange(rows) // 10 % 2).astype(np.int64)
        if side == "b":
            wave[PARTED_AT + 1 :] += np.float32(0.4)
            push[PARTED_AT] += 1
        sensors, actions = folder / f"{side}-sensors.npz", folder / f"{side}-actions.npz"
        write_streams(sensors, clock, {"observation": wave, "mine" if side == "a" else "its": wave})
        write_streams(actions, clock, {"action": push})
        ids[side] = publish(
            deployment,
            files={"video": video, "sensors": sensors, "actions": actions},
            create={"name": f"reach {side}", "policy_version": f"v-{side}", "env_version": "Reach-v1", "seed": 5},
            finalize={"status": "failed", "failure_time_s": FAILED_S[side], "duration_s": rows / STEPS_HZ},
        )
    return ids


def frame_at(side: str, time_ms: float) -> int:
    starts = [round(time_s * CLOCK_HZ) * 1000 / CLOCK_HZ for time_s in TIMES_S[side]]
    return max(0, bisect_right(starts, time_ms + 0.002) - 1)


def frames(tab: Tab) -> dict[str, tuple[int, int]]:
    """What each side names, and what its pixels show."""
    tab.wait_settled()
    return {
        side: (
            int(tab.page.locator(f".compare-side[data-side={side}]").get_attribute("data-frame")),
            int(tab.page.evaluate(READ, side)),
        )
        for side in TIMES_S
    }


def wanted(time_ms: float, begins_ms: dict[str, float]) -> dict[str, tuple[int, int]]:
    found = {side: frame_at(side, time_ms - begins_ms[side]) for side in TIMES_S}
    return {side: (frame, frame) for side, frame in found.items()}


@pytest.mark.parametrize("align", ["start", "failure"])
def test_both_pictures_are_on_their_own_right_frame(align: str, tab: Tab, pair: dict[str, str]) -> None:
    begins_ms = {"a": 0.0, "b": (FAILED_S["a"] - FAILED_S["b"]) * 1000 if align == "failure" else 0.0}
    rng = random.Random(align)
    # Where both have a picture.
    low, high = begins_ms["b"], min(TIMES_S["a"][-1] * 1000, TIMES_S["b"][-1] * 1000 + begins_ms["b"])
    times = [round(rng.uniform(low, high), 3) for _ in range(SEEKS // 2)]
    tab.open_replay(f"{compare_url(pair['a'], pair['b'], align=align)}&t={times[0]}ms")
    assert frames(tab) == wanted(times[0], begins_ms)
    total_ms = float(tab.page.locator("#scrub").get_attribute("max"))
    wrong = []
    for time_ms in times[1:]:
        tab.page.locator("#scrub").fill(str(time_ms))
        if (found := frames(tab)) != (expected := wanted(time_ms, begins_ms)):
            wrong.append((time_ms, found, expected))
    assert wrong == []
    assert total_ms >= 8000
    assert tab.fits


def test_the_divergence_is_one_press_away_and_the_link_brings_it_back(
    tab: Tab, browser: Any, pair: dict[str, str]
) -> None:
    url = compare_url(pair["a"], pair["b"], align="120")
    tab.open_replay(url)
    page = tab.page
    # By time now: B says what A said 120 ms before.
    assert page.locator("#scope").text_content().startswith("2 streams by time")
    page.locator("#compare-form [name=align]").select_option("start")
    page.wait_for_url(lambda address: "align=start" in address)
    page.locator("html[data-ready=true]").wait_for(state="attached")
    at_ms = PARTED_AT * 1000 / STEPS_HZ
    assert f"Identical to the bit until step {PARTED_AT}" in page.locator("#sentence").text_content()
    page.locator("#jump-to-divergence").click()
    assert frames(tab) == wanted(at_ms, {"a": 0, "b": 0})
    assert tab.time_ms == at_ms
    page.keyboard.press("Home")
    tab.wait_settled()
    page.keyboard.press("g")
    tab.wait_settled()
    page.wait_for_url(lambda address: parse_qs(urlsplit(address).query).get("t") == [f"{at_ms:.0f}ms"])
    link = page.url
    again = Tab(browser, tab.base_url, viewport={"width": 1280, "height": 800})
    try:
        again.open_replay(link.removeprefix(tab.base_url))
        assert frames(again) == wanted(at_ms, {"a": 0, "b": 0})
        assert again.page.locator("#compare-form [name=align]").input_value() == "start"
        again.page.locator("#swap").click()
        again.page.wait_for_url(lambda address: f"a={pair['b']}" in address and "t=" in address)
        assert again.page.locator(".identity[data-side=a] h2").text_content() == "reach b"
        again.page.locator("html[data-ready=true]").wait_for(state="attached")
        assert again.time_ms == at_ms
    finally:
        again.close()
    assert again.complaints == []


def test_curves_lie_over_each_other_with_their_difference_below(tab: Tab, pair: dict[str, str]) -> None:
    tab.open_replay(f"{compare_url(pair['a'], pair['b'])}&t=3000ms")
    page = tab.page
    charts = page.locator("article.chart").evaluate_all("all => all.map(chart => chart.dataset.stream)")
    assert charts == ["observation", "observation.|A − B|", "action", "action.|A − B|"]
    layers = page.locator("article[data-stream=observation] .layer-name").all_text_contents()
    assert layers == ["A", "B"]
    value = page.locator("article[data-stream='observation.|A − B|'] .legend-value")
    page.locator("article[data-stream='observation.|A − B|']").scroll_into_view_if_needed()
    value.filter(has_text="0.4").wait_for()
    left_out = page.locator(".left-out li code").all_text_contents()
    assert sorted(left_out) == ["its", "mine"]
    marks = page.locator(".heads .mark span").all_text_contents()
    assert sorted(marks) == ["A fails", "A ≠ B", "B fails"]
    assert tab.fits


def test_choosing_the_other_one(tab: Tab, deployment: Deployment, pair: dict[str, str], tmp_path: Path) -> None:
    """From one episode to the comparison: the same seed is offered first; one of them has neither video nor files."""
    bare = publish(deployment, create={"name": "bare", "env_version": "Reach-v1", "seed": 5})
    tab.open(compare_url(pair["a"]))
    page = tab.page
    assert tab.fits
    first = page.locator(".pick-group").first
    assert first.locator("h2").text_content() == "Same env and seed"
    page.get_by_label("Name, or the beginning of an id").fill("bare")
    page.get_by_role("button", name="Search").click()
    page.locator(f"[data-episode-id='{bare}'] a").click()
    page.wait_for_url(f"**{compare_url(pair['a'], bare)}")
    page.locator("html[data-ready=true]").wait_for(state="attached")
    assert "no stream in common" in page.locator("#sentence").text_content()
    assert "Still recording" in page.locator(".compare-side[data-side=b]").text_content()
    page.locator("#scrub").fill("2000")
    tab.wait_settled()
    assert int(page.evaluate(READ, "a")) == frame_at("a", 2000)
    assert tab.fits
