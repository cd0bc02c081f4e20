"""The episode's page in Chromium: how long until it is there, how long a scrub takes, and whether frames are right.

Every picture carries its number as a barcode, which is read back from the screen. Needs playwright, and a ``chromium``
on the PATH.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
from numpy.typing import NDArray

from cases.deployment import running
from robotrace.capture.mp4 import Mp4Writer
from robotrace.serve.frame_times import read_tracks

__all__ = ["measure"]

_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
_WIDTH, _HEIGHT = 640, 480
_BITS, _BLOCK = 16, 40
_FPS = 30
_SEGMENT_FRAMES = 300
"""What an hour is made of, over and over: encoding all of it would take minutes, and be as long."""

# `readBarcode(video)`: the number in the picture that is on screen.
_READER = f"""
const canvas = document.createElement("canvas");
canvas.width = {_WIDTH};
canvas.height = 1;
const context = canvas.getContext("2d", {{ willReadFrequently: true }});
const readBarcode = (video) => {{
  context.drawImage(video, 0, {_BLOCK // 2}, {_WIDTH}, 1, 0, 0, {_WIDTH}, 1);
  const {{ data }} = context.getImageData(0, 0, {_WIDTH}, 1);
  let number = 0;
  for (let bit = 0; bit < {_BITS}; bit += 1) {{
    if (data[(bit * {_BLOCK} + {_BLOCK // 2}) * 4] > 127) number += 2 ** bit;
  }}
  return number;
}};
"""
# Scrubs to each time, and says how long it took until the page says that its picture is there, and which it is.
_SCRUB = f"""async (times) => {{
  {_READER}
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
    const began = performance.now();
    scrub.value = time;
    scrub.dispatchEvent(new Event("input"));
    await settled();
    const took = performance.now() - began;
    const pictures = figures.map((figure) => [figure.dataset.picture, readBarcode(figure.querySelector("video"))]);
    found.push([took, pictures]);
  }}
  return found;
}}"""
# Of the page's own beginning, in ms: when picture and charts were there, and painted.
_NOTE_READY = """
new MutationObserver(() => {
  if (document.documentElement.dataset.ready && window.readyMs === undefined) {
    window.readyMs = null;
    requestAnimationFrame(() => requestAnimationFrame((now) => { window.readyMs = now; }));
  }
}).observe(document, { attributes: true, subtree: true, attributeFilter: ["data-ready"] });
"""
_READY = """() => new Promise((resolve) => {
  const look = () => (typeof window.readyMs === "number" ? resolve(window.readyMs) : requestAnimationFrame(look));
  look();
})"""
# The charts of all streams, from the answer in hand until they are painted; then a zoom, likewise.
_DRAW = """async ([url, count]) => {
  const { fetchSeries } = await import("/static/series.js");
  const { ChartStack } = await import("/static/charts.js");
  const series = await fetchSeries(url);
  const root = document.createElement("div");
  document.getElementById("content").prepend(root);
  const painted = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  await painted();
  const totalMs = Math.max(...series.streams.map((stream) => stream.endMs));
  let began = performance.now();
  const stack = new ChartStack(root, { series, seriesUrl: url, totalMs, onSeek: () => {} });
  while (root.querySelectorAll("canvas").length < count) await painted();
  await painted();
  const drawn = performance.now() - began;
  const zooms = [];
  for (let step = 1; step <= 20; step += 1) {
    began = performance.now();
    stack.zoomTo(totalMs * 0.01 * step, totalMs * (1 - 0.01 * step));
    await painted();
    zooms.push(performance.now() - began);
  }
  return [drawn, zooms];
}"""


def measure(contestant: str, *, what: str, seeks: int = 0, **size: Any) -> dict[str, Any]:
    """``what``: ``scrub``, ``page``, ``streams`` or ``hour``.

    Args:
        contestant: The kind of video: ``constant``, ``variable`` or ``cameras`` (three of different rates in one
            file); for the others than ``scrub`` it does not matter.
        what: What is measured.
        seeks: How often is scrubbed.
        **size: ``streams`` and ``points`` of each; ``seconds`` of video.
    """
    with tempfile.TemporaryDirectory(prefix="robotrace-bench-") as name:
        folder = Path(name)
        tables = _write_episode(folder, contestant, what, **size)
        with running(folder, "", "") as (base_url, key), _chromium() as browser:
            episode_id = _publish(base_url, key, folder)
            httpx.get(f"{base_url}/portal/episodes/{episode_id}.json", timeout=600).raise_for_status()
            # A browser that has just been started is 0.1 s slower, once; the second context has no cache of the first.
            _open(browser, f"{base_url}/portal/episodes/{episode_id}").context.close()
            page = _open(browser, f"{base_url}/portal/episodes/{episode_id}")
            figures = {"ready_ms": page.evaluate(_READY)}
            if seeks:
                figures |= _scrub(page, tables, seeks)
            if what == "streams":
                figures |= _draw(page, f"/portal/episodes/{episode_id}/series.bin", size["streams"])
            return figures | _memory(browser, page)


@contextmanager
def _chromium() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise RuntimeError("playwright is not installed") from None
    executable = shutil.which("chromium")
    if executable is None:
        raise RuntimeError("there is no chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def _open(browser: Any, url: str) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 860}).new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(_NOTE_READY)
    page.goto(url)
    page.evaluate(_READY)
    return page


def _scrub(page: Any, tables: Sequence[Sequence[float]], seeks: int) -> dict[str, float]:
    rng = random.Random(11)
    end_ms = max(table[-1] for table in tables)
    times = [rng.uniform(0, end_ms) for _ in range(seeks)]
    found = page.evaluate(_SCRUB, times)
    wrong = 0
    for time_ms, (_, pictures) in zip(times, found, strict=True):
        for table, (picture, shown) in zip(tables, pictures, strict=True):
            frame = bisect_right(table[:-1], time_ms + 1e-6) - 1
            if (picture != "before") if frame < 0 else (picture == "shown" and shown != frame % _SEGMENT_FRAMES):
                wrong += 1
    p50, p95 = np.percentile([took for took, _ in found], [50, 95]).tolist()
    return {"scrub_p50_ms": p50, "scrub_p95_ms": p95, "wrong_frames": wrong}


def _draw(page: Any, url: str, streams: int) -> dict[str, float]:
    # Charts off the screen are not drawn: all of them have to be on it.
    page.set_viewport_size({"width": 1280, "height": 400 + 200 * streams})
    drawn, zooms = page.evaluate(_DRAW, [url, streams])
    return {"drawn_ms": drawn, "zoom_ms": float(np.median(zooms))}


def _memory(browser: Any, page: Any) -> dict[str, float]:
    """What the page holds in its heap, and all that its process has, in MiB."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [process["id"] for process in processes if process["type"] == "renderer"]
    sizes = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in renderers]
    mib = 1024 * 1024
    return {"heap_mib": metrics["JSHeapUsedSize"] / mib, "tab_mib": max(sizes) / mib}


def _write_episode(
    folder: Path, kind: str, what: str, *, seconds: float, streams: int, points: int, columns: int = 1
) -> list[list[float]]:
    """The files of an episode; the frame times of its cameras in ms, the end of the last frame behind them."""
    if what == "hour":
        _write_long_video(folder / "video.mp4", seconds)
    elif seconds:
        _write_video(folder / "video.mp4", _cameras(kind, seconds))
    if streams:
        _write_streams(folder / "sensors.npz", streams, points, columns, max(seconds, 1.0))
    video = folder / "video.mp4"
    return [track.times_ms.tolist() for track in read_tracks(video)] if video.exists() else []


def _cameras(kind: str, seconds: float) -> dict[str, NDArray[np.float64]]:
    """The frame times of each camera, in s."""
    rng = np.random.default_rng(5)
    constant = np.arange(0, seconds, 1 / _FPS)
    variable = np.cumsum(rng.uniform(0.008, 0.090, int(seconds * 20)))
    variable = variable[variable < seconds]
    if kind == "cameras":
        return {"front": constant, "wrist": variable, "top": np.arange(0.5, seconds * 0.8, 0.1)}
    return {"front": variable if kind == "variable" else constant}


def _picture(number: int) -> NDArray[np.uint8]:
    """A scene in which something moves, below the barcode."""
    rows, columns = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    shade = ((rows + columns + number * 3) % 256).astype(np.uint8)
    image = np.stack([shade, shade[::-1], np.full_like(shade, 90)], axis=2)
    bits = np.array([number >> bit & 1 for bit in range(_BITS)], dtype=np.uint8) * 255
    image[:_BLOCK] = np.repeat(bits, _BLOCK)[None, :, None]
    return image


def _write_video(path: Path, cameras: dict[str, NDArray[np.float64]]) -> None:
    pictures = [_picture(number) for number in range(_SEGMENT_FRAMES)]
    writer = Mp4Writer(path, round(1e9 / _FPS))
    tracks = {name: writer.add_camera(name, _WIDTH, _HEIGHT) for name in cameras}
    frames = [(time_s, name, number) for name, times_s in cameras.items() for number, time_s in enumerate(times_s)]
    for time_s, name, number in sorted(frames):
        writer.add(pictures[number % _SEGMENT_FRAMES], round(time_s * 1e9), tracks[name])
    writer.close()


def _write_long_video(path: Path, seconds: float) -> None:
    """The packets of a short video again and again."""
    short = path.with_name("segment.mp4")
    _write_video(short, {"front": np.arange(_SEGMENT_FRAMES) / _FPS})
    with av.open(str(path), "w", options={"video_track_timescale": "1000000"}) as target, av.open(str(short)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.pts is not None]
        contents = [(bytes(packet), packet.pts, packet.is_keyframe) for packet in packets]
        copy = target.add_stream_from_template(stream)
        length = round(_SEGMENT_FRAMES / _FPS / stream.time_base)
        for turn in range(round(seconds * _FPS / _SEGMENT_FRAMES)):
            for content, pts, is_keyframe in contents:
                packet = av.Packet(content)
                packet.pts = packet.dts = pts + turn * length
                packet.duration = length // _SEGMENT_FRAMES
                packet.time_base, packet.is_keyframe, packet.stream = stream.time_base, is_keyframe, copy
                target.mux(packet)


def _write_streams(path: Path, streams: int, points: int, columns: int, seconds: float) -> None:
    rng = np.random.default_rng(3)
    t_ns = np.linspace(0, seconds * 1e9, points).astype(np.int64)
    arrays: dict[str, Any] = {}
    for number in range(streams):
        walk = np.cumsum(rng.normal(size=(points, columns)).astype(np.float32), axis=0)
        arrays[f"stream.{number:02}/value"] = walk
        arrays[f"stream.{number:02}/_t_ns"] = t_ns
    np.savez(path, **arrays)


def _publish(base_url: str, key: str, folder: Path) -> str:
    files = {path.stem: path for path in (folder / "video.mp4", folder / "sensors.npz") if path.exists()}
    with httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=600) as api:
        created = api.post("/api/ingest/episode", json={"request_uploads": list(files)}).json()
        for slot in created["upload_urls"]:
            kind = "video/mp4" if slot["kind"] == "video" else "application/octet-stream"
            content = files[slot["kind"]].read_bytes()
            httpx.put(slot["url"], content=content, headers={"Content-Type": kind}, timeout=600).raise_for_status()
        path = f"/api/ingest/episode/{created['episode_id']}/finalize"
        api.post(path, json={"status": "ready"}).raise_for_status()
    return str(created["episode_id"])
