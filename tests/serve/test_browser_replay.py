"""The episode page in a real Chromium: the frame it names is the frame it shows."""

from __future__ import annotations

import random
from bisect import bisect_right
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from robotrace.serve.server import Deployment

from .portal_fixtures import (
    CLOCK_HZ,
    Tab,
    constant_rate,
    publish,
    variable_rate,
    write_barcode_video,
    write_streams,
)

pytestmark = pytest.mark.browser

FRAMES = 240
LINKS = 16
# Of a video whose writer was killed, the second that was not written yet is missing.
TIMES_S = {
    "constant": constant_rate(FRAMES),
    "variable": variable_rate(FRAMES),
    "killed": constant_rate(FRAMES - 30),
    "cameras": variable_rate(FRAMES, seed=9),
}

WAIT_FOR_FRAME = """(least) => new Promise((resolve) => {
  const player = document.getElementById("player");
  const look = () => Number(player.dataset.frame) >= least && resolve();
  new MutationObserver(look).observe(player, { attributes: true });
  look();
})"""


@pytest.fixture(scope="module")
def episodes(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Page paths: a video of each kind with streams beside it, and streams alone."""
    folder = tmp_path_factory.mktemp("episodes")
    paths: dict[str, str] = {}
    for kind, times_s in TIMES_S.items():
        video = folder / f"{kind}.mp4"
        killed = kind == "killed"
        cameras = 3 if kind == "cameras" else 1
        write_barcode_video(video, constant_rate(FRAMES) if killed else times_s, killed=killed, cameras=cameras)
        files = {"video": video, **_streams(folder, kind, np.arange(0, times_s[-1], 0.01))}
        finalize = {"status": "failed", "failure_time_s": 3.21, "metadata": {"failure_reason": "fell over"}}
        paths[kind] = _path(publish(deployment, files=files, finalize={**finalize, "duration_s": times_s[-1]}))
    files = _streams(folder, "streams", np.arange(200) / 50)
    paths["streams"] = _path(publish(deployment, files=files, finalize={"status": "ready"}))
    return paths


@pytest.fixture
def tab(desktop: Tab) -> Tab:
    return desktop


def _streams(folder: Path, name: str, times_s: np.ndarray) -> dict[str, Path]:
    sensors, actions = folder / f"{name}-sensors.npz", folder / f"{name}-actions.npz"
    wave = np.stack([np.sin(times_s * factor) for factor in (1, 2, 3, 4)], axis=1).astype(np.float32)
    wave[5, 2] = np.nan
    write_streams(
        sensors,
        times_s,
        {"observation": wave, "reward": times_s * 1e6, "terminated": times_s > times_s[-2]},
    )
    write_streams(actions, times_s, {"action": np.arange(len(times_s)) % 2})
    return {"sensors": sensors, "actions": actions}


def _path(episode_id: str) -> str:
    return f"/portal/episodes/{episode_id}"


def _starts_ms(kind: str) -> list[float]:
    return [round(time_s * CLOCK_HZ) * 1000 / CLOCK_HZ for time_s in TIMES_S[kind]]


def _frame_at(kind: str, time_ms: float) -> int:
    return bisect_right(_starts_ms(kind), time_ms + 1e-6) - 1


def _frame_in_address(kind: str, url: str) -> int:
    text = parse_qs(urlsplit(url).query)["t"][0]
    assert text.endswith("ms")
    return _frame_at(kind, float(text.removesuffix("ms")))


def _agree(tab: Tab, kind: str) -> int:
    """Picture, page and address name the same frame; returns it."""
    tab.wait_settled()
    frame = tab.frame
    tab.page.wait_for_url(lambda url: "t=" in url and _frame_in_address(kind, url) == frame)
    assert tab.shown == frame
    return frame


@pytest.mark.parametrize("kind", TIMES_S)
def test_every_link_shows_its_frame(kind: str, tab: Tab, episodes: dict[str, str]) -> None:
    rng = random.Random(kind)
    end_ms = TIMES_S[kind][-1] * 1000
    # A quarter where rounding bites: at the very start of a frame.
    starts = rng.sample(_starts_ms(kind), LINKS // 4)
    wanted = [float(rng.randrange(int(end_ms))) for _ in range(LINKS - len(starts))] + starts
    wrong = []
    for time_ms in wanted:
        text = f"{time_ms:.6f}".rstrip("0").rstrip(".")
        tab.open_replay(f"{episodes[kind]}?t={text}ms")
        expected = _frame_at(kind, time_ms)
        if (tab.shown, tab.frame) != (expected, expected):
            wrong.append((text, expected, tab.frame, tab.shown))
    assert wrong == []


@pytest.mark.parametrize("kind", TIMES_S)
def test_scrubbing_names_and_shows_the_same_frame(kind: str, tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(episodes[kind])
    bar = tab.page.locator("#scrub").bounding_box()
    rng = random.Random(3)
    seen = set()
    for _ in range(8):
        # A drag: many seeks at once, of which the last one counts.
        tab.page.mouse.move(bar["x"] + bar["width"] * rng.random(), bar["y"] + bar["height"] / 2)
        tab.page.mouse.down()
        tab.page.mouse.move(bar["x"] + bar["width"] * rng.random(), bar["y"] + bar["height"] / 2, steps=12)
        tab.page.mouse.up()
        seen.add(_agree(tab, kind))
    assert len(seen) > 5


def test_frame_keys_step_by_one_frame_however_fast_they_come(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(f"{episodes['variable']}?t=2000ms")
    before = tab.frame
    tab.page.keyboard.press(".")
    assert _agree(tab, "variable") == before + 1
    tab.page.keyboard.press(",")
    assert _agree(tab, "variable") == before
    for _ in range(20):
        tab.page.keyboard.press(".")
    assert _agree(tab, "variable") == before + 20
    tab.page.locator("#step-back").click()
    assert _agree(tab, "variable") == before + 19
    tab.page.keyboard.press("End")
    assert _agree(tab, "variable") == FRAMES - 1
    tab.page.keyboard.press(".")
    assert _agree(tab, "variable") == FRAMES - 1
    tab.page.keyboard.press("Home")
    assert _agree(tab, "variable") == 0


@pytest.mark.parametrize("kind", TIMES_S)
def test_a_pause_stays_on_the_frame_it_names(kind: str, tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(f"{episodes[kind]}?t=1000ms")
    for _ in range(3):
        before = tab.frame
        tab.page.keyboard.press(" ")
        tab.page.evaluate(WAIT_FOR_FRAME, before + 5)
        tab.page.keyboard.press(" ")
        assert _agree(tab, kind) >= before + 5


def test_playing_stops_on_the_last_frame_and_starts_over(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(f"{episodes['constant']}?t=7500ms")
    tab.page.locator("#speed").select_option("4")
    tab.page.locator("#play").click()
    tab.page.evaluate(WAIT_FOR_FRAME, FRAMES - 1)
    assert _agree(tab, "constant") == FRAMES - 1
    tab.page.locator("#play").click()
    tab.page.locator("#player[data-playing=true]").wait_for(state="attached")
    tab.page.keyboard.press(",")
    assert _agree(tab, "constant") < FRAMES - 1


def test_the_failure_button_goes_to_the_failure(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(episodes["variable"])
    tab.page.get_by_role("button", name="Failure at 3.210 s").click()
    assert _agree(tab, "variable") == _frame_at("variable", 3210)
    assert tab.page.url.endswith("?t=3210ms")


def test_a_bare_address_stays_as_it_is(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(episodes["constant"])
    tab.wait_settled()
    assert tab.page.url.endswith(episodes["constant"])
    assert tab.shown == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_stacked_plots_line_up_under_one_cursor(
    width: int, browser: Any, deployment: Deployment, episodes: dict[str, str]
) -> None:
    tab = Tab(browser, deployment.base_url, viewport={"width": width, "height": 800})
    tab.open_replay(f"{episodes['constant']}?t=2000ms")
    boxes = tab.page.locator(".u-over").evaluate_all("all => all.map(o => o.getBoundingClientRect().toJSON())")
    assert len(boxes) == 4
    assert len({(round(box["left"], 2), round(box["width"], 2)) for box in boxes}) == 1
    [cursor] = tab.page.locator(".cursor").evaluate_all("all => all.map(o => o.getBoundingClientRect().toJSON())")
    end_ms = FRAMES / 30 * 1000
    wanted = boxes[0]["left"] + boxes[0]["width"] * 2000 / end_ms
    assert abs(cursor["left"] + cursor["width"] / 2 - wanted) < 1
    assert cursor["top"] < boxes[0]["top"]
    assert cursor["bottom"] >= boxes[-1]["bottom"]
    # Nothing sticks out sideways.
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()
    assert tab.complaints == []


def test_a_click_on_a_chart_seeks_there_and_a_drag_zooms(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(episodes["constant"])
    total_ms = float(tab.page.locator("#scrub").get_attribute("max"))
    box = tab.page.locator("[data-stream=observation] .u-over").bounding_box()
    middle = box["y"] + box["height"] / 2
    tab.page.mouse.click(box["x"] + box["width"] / 2, middle)
    assert abs(tab.time_ms - total_ms / 2) < 2 * total_ms / box["width"]
    _agree(tab, "constant")

    tab.page.mouse.move(box["x"] + box["width"] * 0.2, middle)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.4, middle, steps=5)
    tab.page.mouse.up()
    stack = tab.page.locator("#stack")
    assert abs(float(stack.get_attribute("data-start-ms")) - total_ms * 0.2) < 2 * total_ms / box["width"]
    assert abs(float(stack.get_attribute("data-end-ms")) - total_ms * 0.4) < 2 * total_ms / box["width"]
    tab.page.locator(".zoom-reset").click()
    assert float(stack.get_attribute("data-start-ms")) == 0
    assert float(stack.get_attribute("data-end-ms")) == total_ms


def test_legends_read_the_row_in_force_at_the_cursor(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(f"{episodes['constant']}?t=55ms")
    values = tab.page.locator("[data-stream=observation] .legend-value")
    row_s = 0.05
    wanted = [f"{np.sin(row_s):.4f}", f"{np.sin(2 * row_s):.4f}", "NaN", f"{np.sin(4 * row_s):.4f}"]
    values.nth(0).filter(has_text=wanted[0]).wait_for()
    assert values.all_text_contents() == wanted
    assert tab.page.locator("[data-stream=action] .legend-value").text_content() == "1"
    assert tab.page.locator("[data-stream=terminated] .legend-value").text_content() == "false"
    assert tab.page.locator("[data-stream=observation] .badge").text_content() == "1 not a number"


def test_streams_alone_are_replayed_on_their_own_clock(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(f"{episodes['streams']}?t=1000ms")
    assert tab.frame == 50
    tab.page.keyboard.press(".")
    assert (tab.frame, tab.time_ms) == (51, 1020)
    assert tab.page.locator("#frame-label").text_content() == "row 51 / 199"
    tab.page.keyboard.press(" ")
    tab.page.evaluate(WAIT_FOR_FRAME, 60)
    tab.page.keyboard.press(" ")
    tab.wait_settled()
    paused = tab.frame
    tab.page.wait_for_url(lambda url: int(float(parse_qs(urlsplit(url).query)["t"][0][:-2]) / 20) == paused)


def test_the_link_is_copied_where_the_clipboard_is_missing(tab: Tab, episodes: dict[str, str]) -> None:
    tab.page.add_init_script(
        """Object.defineProperty(navigator, "clipboard", { value: undefined });
        addEventListener("copy", () => { window.copied = document.activeElement.value; });"""
    )
    tab.open_replay(f"{episodes['constant']}?t=1234ms")
    tab.page.locator("#copy-link").click()
    tab.page.locator("#copy-link[data-copied=yes]").wait_for()
    assert tab.page.evaluate("window.copied") == f"{tab.base_url}{episodes['constant']}?t=1234ms"
