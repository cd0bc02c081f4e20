"""Replay in a real Chromium, several cameras wide: each shows the frame of its own that belongs to the time."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import pytest
from trainings import environment, salvaged

from robotrace.serve.frame_times import read_tracks
from robotrace.serve.server import Deployment

from .portal_fixtures import (
    BARCODE_READER,
    HEIGHT,
    WIDTH,
    Tab,
    constant_rate,
    publish,
    variable_rate,
    write_cameras,
    write_streams,
)

pytestmark = pytest.mark.browser

SEEKS = 80
# Two cameras of different rates: the second begins later and ends earlier.
FRONT = constant_rate(150)
WRIST = [0.7 + time_s for time_s in variable_rate(60, seed=11) if time_s < 3.2]

# Sets the scrubber to each time in ms, waits until the page stands still, and reads every picture.
SEEK_ALL = f"""async (times) => {{
  {BARCODE_READER}
  const player = document.getElementById("player");
  const scrub = document.getElementById("scrub");
  const figures = [...document.querySelectorAll("figure[data-camera]")];
  const settled = () => new Promise((resolve) => {{
    const look = () => player.dataset.settled === "true" && (observer.disconnect(), resolve());
    const observer = new MutationObserver(look);
    observer.observe(player, {{ attributes: true }});
    look();
  }});
  const found = [];
  for (const time of times) {{
    scrub.value = time;
    scrub.dispatchEvent(new Event("input"));
    await settled();
    found.push(figures.map((figure) => [figure.dataset.picture, readBarcode(figure.querySelector("video"))]));
  }}
  return found;
}}"""

# Notes at each frame callback of a camera: its media time in ms, the page's time and frame, every picture, how long
# after the callback's frame these were read, and the media times of the other camera's last callbacks, at most two.
WATCH = f"""(camera) => {{
  {BARCODE_READER}
  const player = document.getElementById("player");
  const figures = [...document.querySelectorAll("figure[data-camera]")];
  const video = figures[camera].querySelector("video");
  const notes = (window.notes = []);
  const last = [];
  const other = figures[1 - camera].querySelector("video");
  const hear = (_now, metadata) => {{
    last.push(metadata.mediaTime * 1000);
    last.splice(0, last.length - 2);
    other.requestVideoFrameCallback(hear);
  }};
  other.requestVideoFrameCallback(hear);
  const note = (_now, metadata) => {{
    // After the page's own callback of this frame, in the same rendering of it.
    requestAnimationFrame(() => {{
      if (player.dataset.playing !== "true") return;
      const pictures = figures.map((figure) =>
        [figure.dataset.picture, figure.dataset.synced, readBarcode(figure.querySelector("video"))]);
      notes.push([metadata.mediaTime * 1000, Number(player.dataset.timeMs), Number(player.dataset.frame), pictures,
        performance.now() - metadata.presentationTime, [...last]]);
    }});
    video.requestVideoFrameCallback(note);
  }};
  video.requestVideoFrameCallback(note);
}}"""

# A real robot's loop, killed in the middle of its episode: two cameras, the second on every third step.
RECORDER = """
import os, signal
import numpy as np
import robotrace
from robotrace import session
from robotrace.capture import recording
from serve.portal_fixtures import barcode, variable_rate

recording._BLOCK_STEPS = 4
with robotrace.record(fps=30, realtime=False) as episode:
    for number, time_s in enumerate(variable_rate(140, seed=5)):
        frames = {"front": barcode(number)}
        if number % 3 == 0:
            frames["wrist"] = barcode(number // 3)
        episode.step(observation=[time_s], frames=frames, t=time_s)
    session.recording_process().drain(30)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _salvaged_video(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.setenv("ROBOTRACE_SPOOL_DIR", str(folder / "spool"))
    script = folder / "robot.py"
    script.write_text(RECORDER)
    done = subprocess.run(
        [sys.executable, str(script)], env=environment({}), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (episode,) = salvaged()
    assert episode.metadata["salvaged"] is True
    return episode.folder / "video.mp4"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Path]]]:
    """The files of each kind of episode, by slot."""
    folder = tmp_path_factory.mktemp("videos")
    for name, cameras in {
        "constant": {"front": FRONT},
        "variable": {"front": variable_rate(200)},
        "tracks": {"front": FRONT, "wrist": WRIST},
        "wrist": {"wrist": WRIST},
    }.items():
        write_cameras(folder / f"{name}.mp4", cameras)
    _write_unplayable(folder / "old.mp4")
    with pytest.MonkeyPatch.context() as patch:
        killed = _salvaged_video(tmp_path_factory.mktemp("robot"), patch)
        yield {
            "constant": {"video": folder / "constant.mp4"},
            "variable": {"video": folder / "variable.mp4"},
            "killed": {"video": killed},
            "tracks": {"video": folder / "tracks.mp4"},
            "slots": {"video.front": folder / "constant.mp4", "video.wrist": folder / "wrist.mp4"},
            "unplayable": {"video": folder / "old.mp4", "video.front": folder / "constant.mp4"},
        }


@pytest.fixture(scope="module")
def pages(
    deployment: Deployment, videos: dict[str, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The page of each kind of episode; one of them has streams and failed."""
    sensors = tmp_path_factory.mktemp("streams") / "sensors.npz"
    times_s = np.arange(0, FRONT[-1], 0.01)
    write_streams(sensors, times_s, {"observation": np.sin(times_s)})
    paths = {}
    for kind, files in videos.items():
        files = {**files, "sensors": sensors} if kind == "tracks" else files
        finalize = {"status": "failed", "failure_time_s": 2.5} if kind == "tracks" else {"status": "ready"}
        paths[kind] = f"/portal/episodes/{publish(deployment, files=files, finalize=finalize)}"
    return paths


@pytest.fixture
def tab(desktop: Tab) -> Tab:
    return desktop


def _write_unplayable(path: Path) -> None:
    """MPEG-4 Part 2, which Chromium has no decoder for."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _tables(videos: dict[str, Path]) -> list[list[float]]:
    """The frame times in ms of each camera, then its end."""
    found = []
    for _, path in sorted(videos.items()):
        found += [track.times_ms.tolist() for track in read_tracks(path)]
    return found


def _picture(table: list[float], time_ms: float) -> tuple[str, int]:
    """What a camera has of a time, and the frame it shows."""
    *starts, end_ms = table
    if time_ms < starts[0]:
        return "before", 0
    frame = bisect_right(starts, time_ms + 1e-6) - 1
    return "after" if time_ms > end_ms + (end_ms - starts[-1]) else "shown", frame


@pytest.mark.parametrize("kind", ["constant", "variable", "killed", "tracks", "slots"])
def test_80_seeks_show_the_right_frame_of_every_camera(
    kind: str, tab: Tab, pages: dict[str, str], videos: dict[str, dict[str, Path]]
) -> None:
    tables = _tables(videos[kind])
    assert len(tables) == (1 if kind in ("constant", "variable") else 2)
    assert min(len(table) for table in tables) > 30
    rng = random.Random(kind)
    end_ms = max(table[-1] for table in tables)
    # A quarter where rounding bites: at the very start of a frame.
    starts = [rng.choice(rng.choice(tables)[:-1]) for _ in range(SEEKS // 4)]
    times = [rng.uniform(0, end_ms) for _ in range(SEEKS - len(starts))] + starts
    rng.shuffle(times)
    tab.open_replay(pages[kind])
    found = tab.page.evaluate(SEEK_ALL, times)
    wrong = []
    for time_ms, pictures in zip(times, found, strict=True):
        for camera, (table, (picture, shown)) in enumerate(zip(tables, pictures, strict=True)):
            wanted = _picture(table, time_ms)
            # Before its first frame a camera shows none.
            if picture != wanted[0] or (picture != "before" and shown != wanted[1]):
                wrong.append((camera, time_ms, wanted, (picture, shown)))
    assert wrong == []
    if kind in ("tracks", "slots"):
        assert {picture for pictures in found for picture, _ in pictures} == {"before", "shown", "after"}


@pytest.mark.parametrize("reference", [0, 1])
def test_while_it_plays_the_named_frame_is_the_one_of_every_callback(
    reference: int, tab: Tab, pages: dict[str, str], videos: dict[str, dict[str, Path]]
) -> None:
    """From the start to the end, over the beginning and the end of the second camera."""
    tables = _tables(videos["tracks"])
    query = "?camera=video:1" if reference else ""
    tab.open_replay(pages["tracks"] + query)
    tab.wait_settled()
    tab.page.evaluate(WATCH, reference)
    tab.page.keyboard.press(" ")
    tab.page.locator("#player[data-playing=true]").wait_for(state="attached")
    tab.wait_settled()
    notes = tab.page.evaluate("window.notes")
    assert len(notes) > 20
    starts = tables[reference][:-1]
    wrong, times, seen, synced = [], [], set(), 0
    for media_ms, time_ms, named, pictures, late_ms, heard in notes:
        times.append(time_ms)
        seen.add(pictures[1][0])
        frame = _picture(tables[reference], media_ms + 0.01)[1]
        if pictures[reference][0] != "shown":  # its last callbacks come when another camera leads already
            continue
        # The videos go on while a busy page gets to reading them, a follower at up to 1.25 times the speed.
        newest = _picture(tables[reference], media_ms + late_ms)[1] + 1
        if named != frame or not frame <= pictures[reference][2] <= newest:
            wrong.append(("reference", media_ms, frame, named, pictures, late_ms))
        other = 1 - reference
        picture, marked, shown = pictures[other]
        until_ms = starts[frame + 1] if frame + 1 < len(starts) else tables[reference][-1]
        low, high = (_picture(tables[other], at_ms)[1] for at_ms in (media_ms, until_ms + 1.25 * late_ms))
        if picture == "shown" and marked == "true" and heard:
            synced += 1
            # What the page knows of it is its last callback, or the one before; a canvas may read what came after.
            told = [_picture(tables[other], at_ms + 0.01)[1] for at_ms in heard]
            if not any(low - 1 <= one <= high + 1 for one in told) or shown < told[0]:
                wrong.append(("other", media_ms, low, high, pictures, late_ms, told))
    assert wrong == []
    assert times == sorted(times)
    assert synced > 0
    if reference == 0:
        assert seen == {"before", "shown", "after"}
    assert abs(tab.time_ms - FRONT[-1] * 1000) < 0.01


def test_frames_are_stepped_and_named_by_the_camera_one_looks_at(
    tab: Tab, pages: dict[str, str], videos: dict[str, dict[str, Path]]
) -> None:
    tables = _tables(videos["tracks"])
    tab.open_replay(f"{pages['tracks']}?t=2000ms")
    tab.page.keyboard.press("2")
    tab.wait_settled()
    wrist = _picture(tables[1], 2000)[1]
    assert tab.frame == wrist
    assert tab.page.get_by_role("button", name="wrist").get_attribute("aria-pressed") == "true"
    tab.page.keyboard.press(".")
    tab.wait_settled()
    assert tab.frame == wrist + 1
    assert abs(tab.time_ms - tables[1][wrist + 1]) < 0.01
    # The link leads another reader to the same frames of both cameras, and to the same large one.
    tab.page.wait_for_url(lambda url: "camera=video" in url and _time_in(url) >= tables[1][wrist + 1] - 0.002)
    link = tab.page.url
    assert [_picture(table, _time_in(link) + 0.002) for table in tables] == [
        _picture(table, tables[1][wrist + 1]) for table in tables
    ]
    tab.open_replay(link.removeprefix(tab.base_url))
    assert tab.frame == wrist + 1
    tab.page.locator("figure[data-camera=video] video").click()
    tab.wait_settled()
    assert tab.frame == _picture(tables[0], tables[1][wrist + 1] + 0.002)[1]


def test_a_camera_that_cannot_be_played_says_so_and_the_others_go_on(tab: Tab, pages: dict[str, str]) -> None:
    tab.open_replay(f"{pages['unplayable']}?t=1000ms")
    tab.wait_settled()
    broken = tab.page.locator("figure[data-camera=video]")
    assert broken.get_attribute("data-picture") == "failed"
    assert broken.locator(".camera-note").text_content() == "cannot be played"
    assert tab.frame == 30
    tab.page.keyboard.press("1")
    tab.page.keyboard.press(".")
    tab.wait_settled()
    assert tab.frame == 31


def _time_in(url: str) -> float:
    return float(parse_qs(urlsplit(url).query).get("t", ["0ms"])[0].removesuffix("ms"))
