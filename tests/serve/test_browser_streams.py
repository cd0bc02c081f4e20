"""The streams of an episode in a real Chromium: groups, search, overlays, zoom, and what is drawn of hundreds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from robotrace.serve.server import Deployment

from .portal_fixtures import Tab, publish, write_streams

pytestmark = pytest.mark.browser

JOINTS = ["shoulder", "elbow", "wrist"]
TOTAL_MS = 3990.0
MANY = 400


@pytest.fixture(scope="module")
def episodes(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Page paths: an arm that lags behind its commands, and one with hundreds of streams."""
    folder = tmp_path_factory.mktemp("episodes")
    arm = publish(
        deployment,
        files=_arm(folder),
        create={
            "robot": "arm-2",
            "metadata": {
                "lerobot": {"names": {"observation.state": {"motors": JOINTS}, "action": {"motors": JOINTS}}},
                "streams": {
                    "observation.state": {"unit": "rad"},
                    "action": {"unit": "rad", "low": -0.5, "high": 0.5},
                    "mode": {"meanings": ["open", "close"]},
                },
            },
        },
        finalize={"status": "ready"},
    )
    times_s = np.arange(1000) / 50
    groups = ["observation", "info", "debug", "planner"]
    many = {f"{groups[index % 4]}.x{index:03}": np.sin(times_s + index) for index in range(MANY)}
    write_streams(folder / "many.npz", times_s, many)
    hundreds = publish(deployment, files={"sensors": folder / "many.npz"}, finalize={"status": "ready"})
    return {"arm": f"/portal/episodes/{arm}", "many": f"/portal/episodes/{hundreds}"}


def _arm(folder: Path) -> dict[str, Path]:
    times_s = np.arange(400) / 100
    command = np.stack([times_s / 10, times_s / 20, -times_s / 10], axis=1)
    write_streams(folder / "actions.npz", times_s, {"action": command})
    write_streams(
        folder / "numbers.npz",
        times_s,
        {
            "observation.state": command - [0.25, 0, 0],
            "observation.contact": np.stack([times_s > 1, times_s > 2], axis=1),
            "reward": np.zeros(400),
            "mode": (times_s > 2).astype(np.int64),
            "truncated": np.zeros(400, bool),
            "info.a": times_s,
            "info.b": times_s**2,
        },
    )
    phases = ["approach", "grasp", "lift"]
    with np.load(folder / "numbers.npz") as numbers:
        arrays = dict(numbers)
    arrays["phase/value"] = np.frombuffer("".join(phases).encode(), np.uint8)
    arrays["phase/_offsets"] = np.cumsum([0, *map(len, phases)])
    arrays["phase/_t_ns"] = np.array([0, 1, 3]) * 10**9
    np.savez(folder / "sensors.npz", **arrays)
    return {"actions": folder / "actions.npz", "sensors": folder / "sensors.npz"}


@pytest.fixture
def tab(desktop: Tab) -> Tab:
    return desktop


def _chart(tab: Tab, name: str) -> Any:
    return tab.page.locator(f".chart[data-stream='{name}']")


def _window(tab: Tab) -> tuple[float, float]:
    stack = tab.page.locator("#stack")
    return float(stack.get_attribute("data-start-ms")), float(stack.get_attribute("data-end-ms"))


def _streams_in(tab: Tab) -> list[str]:
    return parse_qs(urlsplit(tab.page.url).query).get("streams", [])


def test_pure_functions(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open(episodes["arm"])
    found = tab.page.evaluate(
        """async () => {
          const groups = await import("/static/groups.js");
          const { toAddress, fromAddress } = await import("/static/choices.js");
          const { subtract } = await import("/static/difference.js");
          const { Stream } = await import("/static/series.js");
          const stream = (dtype, time, values) => new Stream(
            { name: "x", artifact: "sensors", dtype, count: time.length, labels: ["0"] },
            new Float64Array(time), [new Float32Array(values)]);
          const minus = (b) => [...subtract(stream("float32", [0, 5, 10, 20], [1, 1, 1, 1]), b)[0]];
          const item = (name, labels, isFlag = false) => ({ name, labels, isFlag });
          const action = item("action", ["0", "1"]);
          const named = item("action.arm", ["elbow.pos", "wrist.pos"]);
          const state = item("observation.state", ["0", "1"]);
          const image = item("observation.env", ["0", "1"]);
          const arm = item("observation.arm", ["elbow", "wrist"]);
          const all = [image, state, arm, action, named];
          const over = (one) => groups.overlayFor(one, all)?.name ?? null;
          const names = ["info.x", "done", "reward", "/joint_states/position", "action", "obs/eef", "observation"];
          const arranged = groups.arrange(names.map((name) => item(name, ["0"], name === "done")));
          const address = toAddress(new Set(["a,b", "c"]), { c: ["d~e"], f: ["g"] });
          return {
            groups: arranged.map((group) => group.key),
            within: [["observation.state", "observation"], ["action", "action"]].map((p) => groups.nameWithin(...p)),
            words: ["", "WRIST", "obs wrist", "0"].map((query) => groups.matches(query, "obs.q", ["elbow", "wrist"])),
            over: [action, named, state].map(over),
            between: minus(stream("float32", [0, 10], [0, 1])),
            held: minus(stream("int64", [0, 10], [0, 1])),
            address: fromAddress(address),
          };
        }"""
    )
    assert found["groups"] == ["observation", "action", "reward", "info", "/joint_states", "obs", "done"]
    assert found["within"] == ["state", "action"]
    assert found["words"] == [True, True, True, False]
    assert found["over"] == ["observation.state", "observation.arm", None]
    assert found["between"][:3] == [1, 0.5, 0]
    assert np.isnan(found["between"][3])  # beyond its end nothing is known
    assert found["held"] == [1, 1, 0, 0]
    assert found["address"] == {"pinned": ["a,b", "c", "f"], "overlays": {"c": ["d~e"], "f": ["g"]}}


def test_a_stack_of_two_episodes_and_its_y_axes(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open(episodes["arm"])
    found = tab.page.evaluate(
        """async () => {
          const { ChartStack } = await import("/static/charts.js");
          const { Stream } = await import("/static/series.js");
          const time = Float64Array.from({ length: 101 }, (_, row) => row * 10);
          const described = { name: "x", artifact: "sensors", dtype: "float32", count: 101, labels: ["0"] };
          const source = (label, offsetMs, value) => {
            const stream = new Stream(described, time, [Float32Array.from(time, value)]);
            return { label, offsetMs, seriesUrl: "", series: { streams: [stream], skipped: [] } };
          };
          const root = document.createElement("div");
          document.body.prepend(root);
          const sources = [source("A", 0, (ms) => ms), source("B", 500, (ms) => -ms)];
          const stack = new ChartStack(root, { sources, totalMs: 1500, onSeek: () => {} });
          const [chart] = stack.charts;
          const seen = new Promise((resolve) => new MutationObserver(() => root.querySelector("canvas") && resolve())
            .observe(root, { childList: true, subtree: true }));
          if (!chart.plot) await seen;
          const y = async () => {
            await null;
            return ["min", "max"].map((side) => Math.round(chart.plot.scales.y[side]));
          };
          const ranges = [await y()];
          stack.zoomTo(0, 250);
          ranges.push(await y());
          root.querySelector(".lock-y").click();
          stack.resetZoom();
          ranges.push(await y());
          root.querySelector(".lock-y").click();
          ranges.push(await y());
          chart.showValues(600);
          return { ranges, charts: stack.charts.length, legend: root.querySelector(".legend").textContent };
        }"""
    )
    assert found["charts"] == 1
    assert found["legend"] == "A600B-100"  # B began half a second later
    whole, early = [-1160, 1160], [-21, 281]
    assert found["ranges"] == [whole, early, early, whole]


def test_streams_stand_in_groups_and_are_found_by_name_and_column(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(episodes["arm"])
    groups = tab.page.locator(".group")
    assert groups.evaluate_all("all => all.map((one) => one.dataset.group)") == [
        "observation", "action", "reward", "mode", "info", "truncated", "phase",
    ]  # fmt: skip
    heads = tab.page.get_by_role("button", expanded=True)
    assert heads.all_text_contents() == ["observation2", "info2"]
    heads.last.click()
    assert not _chart(tab, "info.a").is_visible()

    count = tab.page.locator(".count-text")
    assert count.text_content() == "9 streams"
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("WRIST")
    assert count.text_content() == "2 of 9 streams"
    visible = tab.page.locator(".chart:visible")
    assert visible.evaluate_all("all => all.map((one) => one.dataset.stream)") == ["observation.state", "action"]
    tab.page.keyboard.press("Control+a")
    tab.page.keyboard.type("info")  # what is folded is found
    assert _chart(tab, "info.a").is_visible()
    tab.page.keyboard.type("zz")
    assert tab.page.get_by_text("No stream or column is called “infozz”.").is_visible()
    tab.page.keyboard.press("Escape")
    assert count.text_content() == "9 streams"
    tab.open_replay(episodes["arm"])  # the fold is remembered
    assert not _chart(tab, "info.a").is_visible()


def test_pins_and_what_is_hidden_stay_and_pins_go_with_the_link(
    tab: Tab, browser: Any, deployment: Deployment, episodes: dict[str, str]
) -> None:
    tab.open_replay(episodes["arm"])
    tab.page.get_by_role("button", name="Pin mode").click()
    tab.page.get_by_role("button", name="Hide reward").click()
    assert not _chart(tab, "reward").is_visible()
    assert _streams_in(tab) == ["mode"]
    tab.open_replay(episodes["arm"])
    assert tab.page.locator(".group").first.get_attribute("data-group") == "Pinned"
    assert not _chart(tab, "reward").is_visible()
    tab.page.get_by_role("button", name="1 hidden").click()
    tab.page.get_by_role("button", name="Hide reward", pressed=True).click()
    assert tab.page.locator(".chart.dimmed").count() == 0

    other = Tab(browser, deployment.base_url)
    other.open_replay(tab.page.url.removeprefix(deployment.base_url))
    assert other.page.locator(".group[data-group=Pinned] .chart").get_attribute("data-stream") == "mode"
    other.close()
    assert other.complaints == []


def test_a_command_is_laid_over_what_was_measured_and_their_difference_is_shown(
    tab: Tab, episodes: dict[str, str]
) -> None:
    tab.open_replay(f"{episodes['arm']}?t=1000ms")
    action = _chart(tab, "action")
    action.get_by_role("button", name="+ observation.state").click()
    layers = action.locator(".layer-name")
    action.get_by_text("-0.1500").wait_for()  # 0.25 below the command
    assert layers.all_text_contents() == ["action", "observation.state"]
    values = action.locator(".legend-value")
    assert values.all_text_contents() == ["0.1000", "-0.1500", "0.0500", "0.0500", "-0.1000", "-0.1000"]
    assert _streams_in(tab) == ["action~observation.state"]
    action.get_by_role("button", name="Difference").click()
    values.get_by_text("0.2500").wait_for()
    assert values.all_text_contents() == ["0.2500", "0", "0"]
    tab.open_replay(episodes["arm"])  # remembered for the robot
    assert layers.count() == 2
    action.get_by_role("button", name="Remove observation.state").click()
    assert layers.count() == 0

    # The same by the keyboard alone, with any stream.
    action.get_by_role("button", name="Overlay on action").focus()
    tab.page.keyboard.press("Enter")
    picker = tab.page.get_by_role("dialog", name="Overlay on action")
    assert picker.get_by_role("listitem").first.text_content() == "observation.statesuggested"
    tab.page.keyboard.type("info")
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("Enter")
    assert layers.all_text_contents() == ["action", "info.b"]
    assert action.get_by_role("button", name="Overlay on action").evaluate("it => it === document.activeElement")


def test_zoom_and_pan_by_keys_wheel_drag_and_double_click(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(f"{episodes['arm']}?t=2000ms")
    assert _window(tab) == (0, TOTAL_MS)
    tab.page.keyboard.press("+")
    start, end = _window(tab)
    assert (end - start) == pytest.approx(TOTAL_MS * 0.6)
    assert (2000 - start) / (end - start) == pytest.approx(2000 / TOTAL_MS)  # the cursor stays where it is
    tab.page.keyboard.press("d")
    assert _window(tab) == pytest.approx((start + (end - start) / 4, end + (end - start) / 4))
    tab.page.keyboard.press("-")
    tab.page.keyboard.press("-")
    assert _window(tab) == (0, TOTAL_MS)

    box = _chart(tab, "observation.state").locator(".u-over").bounding_box()
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    tab.page.mouse.move(x, y)
    tab.page.keyboard.down("Control")
    tab.page.mouse.wheel(0, -200)
    tab.page.keyboard.up("Control")
    tab.page.locator(f"#stack:not([data-end-ms='{TOTAL_MS:g}'])").wait_for()
    start, end = _window(tab)
    assert start + (end - start) / 4 == pytest.approx(TOTAL_MS / 4, rel=0.01)
    tab.page.keyboard.down("Shift")
    tab.page.mouse.down()
    tab.page.mouse.move(x - box["width"] / 10, y, steps=4)
    tab.page.mouse.up()
    tab.page.keyboard.up("Shift")
    assert _window(tab)[0] == pytest.approx(start + (end - start) / 10, rel=1e-3)
    tab.page.mouse.dblclick(x, y)
    assert _window(tab) == (0, TOTAL_MS)


def test_two_fingers_zoom_and_one_pans(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(episodes["arm"])
    tab.page.evaluate(
        """() => {
          const plot = document.querySelector(".plot .u-over");
          const { left, top, width } = plot.getBoundingClientRect();
          const touch = (type, id, share) => plot.dispatchEvent(new PointerEvent(type, {
            bubbles: true, pointerId: id, pointerType: "touch", clientX: left + width * share, clientY: top + 9 }));
          touch("pointerdown", 1, 0.4);
          touch("pointerdown", 2, 0.6);
          touch("pointermove", 1, 0.3);
          touch("pointermove", 2, 0.7);
          touch("pointerup", 1, 0.3);
          touch("pointerup", 2, 0.7);
        }"""
    )
    start, end = _window(tab)
    assert (end - start, (start + end) / 2) == pytest.approx((TOTAL_MS / 2, TOTAL_MS / 2), rel=0.01)
    tab.page.evaluate(
        """() => {
          const plot = document.querySelector(".plot .u-over");
          const { left, top, width } = plot.getBoundingClientRect();
          for (const [type, share] of [["pointerdown", 0.5], ["pointermove", 0.4], ["pointerup", 0.4]])
            plot.dispatchEvent(new PointerEvent(type, {
              bubbles: true, pointerId: 3, pointerType: "touch", clientX: left + width * share, clientY: top + 9 }));
        }"""
    )
    assert _window(tab)[0] == pytest.approx(start + (end - start) / 10, rel=0.01)


def test_charts_say_what_they_show(tab: Tab, episodes: dict[str, str]) -> None:
    tab.open_replay(f"{episodes['arm']}?t=1500ms")
    state = _chart(tab, "observation.state")
    assert state.locator(".unit").text_content() == "rad"
    assert state.locator(".legend-label").all_text_contents() == JOINTS
    plot = state.locator(".plot")
    label = plot.get_attribute("aria-label")
    assert label.startswith("observation.state. shoulder: -0.2500 to 0.1490, last 0.1490 rad; elbow: ")
    assert _chart(tab, "reward").locator(".constant-value").text_content() == "constant 0"
    assert _chart(tab, "truncated").locator(".constant-value").text_content() == "constant false"
    contact = _chart(tab, "observation.contact")
    assert contact.bounding_box()["height"] >= contact.locator(".plot").bounding_box()["height"] + 20 > 70
    mode = _chart(tab, "mode").locator(".legend-value")
    mode.get_by_text("0 open").wait_for()
    phase = _chart(tab, "phase")
    phase.locator(".legend-value").get_by_text("grasp").wait_for()
    assert phase.locator(".lane span").all_text_contents() == ["approach", "grasp", "lift"]
    phase.get_by_text("3 texts").click()
    phase.get_by_role("button", name="3.000").click()
    assert tab.time_ms == 3000
    mode.get_by_text("1 close").wait_for()

    plot.focus()
    tab.page.keyboard.press("ArrowLeft")
    assert tab.time_ms == 2990
    tab.page.keyboard.press("Shift+ArrowRight")
    assert tab.time_ms == 3090


def test_of_hundreds_of_streams_only_the_near_ones_are_fetched_and_drawn(tab: Tab, episodes: dict[str, str]) -> None:
    asked: list[list[str]] = []
    tab.page.on(
        "request",
        lambda one: "series.bin" in one.url and asked.append(parse_qs(urlsplit(one.url).query).get("streams", [])),
    )
    tab.open_replay(episodes["many"])
    assert tab.page.locator(".count-text").text_content() == f"{MANY} streams"
    assert tab.page.locator(".group-toggle[aria-expanded=false]").count() == 3
    assert asked == [[]]
    tab.page.locator("canvas").first.wait_for()
    assert tab.page.locator("canvas").count() < 20
    tab.page.get_by_role("searchbox").fill("planner.x399")
    last = _chart(tab, "planner.x399")
    last.locator(".legend-value").get_by_text(f"{np.sin(399):.4f}"[:7]).wait_for()
    assert asked[1:] == [["planner.x399"]]
    tab.page.locator("canvas").nth(1).wait_for(state="detached")
