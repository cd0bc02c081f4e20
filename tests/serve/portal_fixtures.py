"""Episodes for the portal's tests: videos that carry their frame number in their pixels, sent through real ingest."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from robotrace.capture.mp4 import Mp4Writer
from robotrace.serve.server import Deployment

BITS = 16
BLOCK = 16  # pixels; wide enough to survive the encoder's loss
WIDTH, HEIGHT = BITS * BLOCK, 96
CLOCK_HZ = 1_000_000  # of the recorder's time stamps

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Chromium says this, as information, when a test types before the page has painted: autofocus then stays away, as it
# should. Whether it does depends on how busy the machine is.
_TYPED_BEFORE_AUTOFOCUS = "Autofocus processing was blocked because a document already has a focused element."

# Defines `readBarcode(video)`: the number in the frame that a <video> shows at this moment.
BARCODE_READER = f"""
const canvas = document.createElement("canvas");
canvas.width = {WIDTH};
canvas.height = {HEIGHT};
const context = canvas.getContext("2d", {{ willReadFrequently: true }});
const readBarcode = (video) => {{
  context.drawImage(video, 0, 0, {WIDTH}, {HEIGHT});
  const {{ data }} = context.getImageData(0, {HEIGHT // 2}, {WIDTH}, 1);
  let number = 0;
  for (let bit = 0; bit < {BITS}; bit += 1) {{
    if (data[(bit * {BLOCK} + {BLOCK // 2}) * 4] > 127) number += 2 ** bit;
  }}
  return number;
}};
"""
READ_BARCODE = f"() => {{ {BARCODE_READER} return readBarcode(document.getElementById('video')); }}"


def barcode(number: int) -> NDArray[np.uint8]:
    """``(HEIGHT, WIDTH, 3) uint8``: one white or black column a bit."""
    bits = np.array([number >> bit & 1 for bit in range(BITS)], dtype=np.uint8) * 255
    return np.broadcast_to(np.repeat(bits, BLOCK)[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def write_video(
    path: Path,
    times_s: Sequence[float],
    images: Sequence[NDArray[np.uint8]],
    nominal_fps: int,
    *,
    killed: bool = False,
    cameras: int = 1,
) -> None:
    """A video as the recorder writes it, each image at its own time.

    Args:
        path: The file.
        times_s: Of the images.
        images: ``(H, W, 3) uint8`` each.
        nominal_fps: How long the last one is shown.
        killed: As it lies there, never closed.
        cameras: The further ones are grey, larger, twice as slow, and begin later.
    """
    height, width = images[0].shape[:2]
    grey = np.full((2 * height, 2 * width, 3), 128, np.uint8)
    writer = Mp4Writer(path, round(1e9 / nominal_fps))
    writer.add_camera("render", width, height)
    for number in range(1, cameras):
        writer.add_camera(f"wrist {number}", 2 * width, 2 * height)
    for index, (time_s, image) in enumerate(zip(times_s, images, strict=True)):
        writer.add(image, round(time_s * 1e9))
        for number in range(1, cameras):
            if index % 2 and index > 4:
                writer.add(grey, round(time_s * 1e9) + 1_000_000, number)
    content = path.read_bytes() if killed else b""  # the first second is not in the file before it is over
    writer.close()
    if killed:
        path.write_bytes(content)


def write_barcode_video(
    path: Path, times_s: Sequence[float], nominal_fps: int = 30, *, killed: bool = False, cameras: int = 1
) -> None:
    """A video whose frame k shows the number k."""
    images = [barcode(number) for number in range(len(times_s))]
    write_video(path, times_s, images, nominal_fps, killed=killed, cameras=cameras)


def write_cameras(path: Path, cameras: dict[str, Sequence[float]]) -> None:
    """A video with a track for each camera, given the times of its frames in s; frame k of each shows the number k."""
    writer = Mp4Writer(path, round(1e9 / 30))
    tracks = {name: writer.add_camera(name, WIDTH, HEIGHT) for name in cameras}
    frames = [(time_s, name, number) for name, times_s in cameras.items() for number, time_s in enumerate(times_s)]
    for time_s, name, number in sorted(frames):
        writer.add(barcode(number), round(time_s * 1e9), tracks[name])
    writer.close()


def constant_rate(frames: int, fps: int = 30) -> list[float]:
    """Frame times of a camera that keeps time."""
    return [index / fps for index in range(frames)]


def variable_rate(frames: int, seed: int = 7) -> list[float]:
    """Frame times of one that does not: 8 to 90 ms apart, with a gap of half a second now and then."""
    rng = np.random.default_rng(seed)
    gaps = rng.uniform(0.008, 0.090, frames)
    gaps[rng.integers(10, frames, 3)] = 0.5
    return [float(time) for time in np.cumsum(gaps) - gaps[0]]


def write_streams(path: Path, times_s: NDArray[np.float64], streams: dict[str, NDArray[Any]]) -> None:
    """An NPZ as the recorder writes it: ``<stream>/value`` beside ``<stream>/_t_ns``."""
    t_ns = np.round(times_s * 1e9).astype(np.int64)
    arrays: dict[str, Any] = {}
    for name, value in streams.items():
        arrays[f"{name}/value"] = value
        arrays[f"{name}/_t_ns"] = t_ns
    np.savez(path, **arrays)


def publish(
    deployment: Deployment,
    *,
    files: dict[str, Path] | None = None,
    create: dict[str, Any] | None = None,
    finalize: dict[str, Any] | None = None,
) -> str:
    """Send an episode as the SDK would; returns its id. ``finalize=None`` leaves it recording."""
    files = files or {}
    with httpx.Client(
        base_url=deployment.base_url,
        headers={"Authorization": f"Bearer {deployment.internal_key}"},
        trust_env=False,
        timeout=60,
    ) as client:
        answer = client.post(
            "/api/ingest/episode",
            json={"request_uploads": list(files), **(create or {})},
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        assert answer.status_code == 201, answer.text
        opened = answer.json()
        for target in opened["upload_urls"]:
            kind = target["kind"]
            content_type = "video/mp4" if kind.partition(".")[0] == "video" else "application/octet-stream"
            content = files[kind].read_bytes()
            # Without the client's key: a store refuses two credentials at once.
            stored = httpx.put(
                target["url"], content=content, headers={"Content-Type": content_type}, trust_env=False, timeout=60
            )
            assert stored.is_success, stored.text
        if finalize is not None:
            closed = client.post(f"/api/ingest/episode/{opened['episode_id']}/finalize", json=finalize)
            assert closed.status_code == 200, closed.text
    return str(opened["episode_id"])


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's Chromium, headless; skips the tests where it or playwright is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("there is no chromium on the PATH")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that notes down everything a user would find in the console, and every foreign request.

    The portal's policy forbids eval, so ``page.wait_for_function`` cannot be used; locators can.
    """

    def __init__(self, browser: Any, base_url: str, **context: Any) -> None:
        self.base_url = base_url
        self.complaints: list[str] = []
        self._context = browser.new_context(**context)
        self.page = self._context.new_page()
        self.page.set_default_timeout(15_000)
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", self._note_request)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI))"
        )

    def _note_message(self, message: Any) -> None:
        if message.text != _TYPED_BEFORE_AUTOFOCUS:
            self.complaints.append(f"{message.type}: {message.text}")

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith(self.base_url):
            self.complaints.append(f"foreign request: {request.url}")

    def open(self, path: str) -> None:
        """Go to a page."""
        self.page.goto(self.base_url + path)

    def open_replay(self, path: str) -> None:
        """Go to an episode's page, and wait until its picture and charts are there."""
        self.open(path)
        self.page.locator("html[data-ready=true]").wait_for(state="attached")

    def wait_settled(self) -> None:
        """Until the player stands still and shows what it names."""
        self.page.locator("#player[data-settled=true][data-playing=false]").wait_for(state="attached")

    @property
    def frame(self) -> int:
        """The frame the page names."""
        return int(self.page.locator("#player").get_attribute("data-frame"))

    @property
    def time_ms(self) -> float:
        """The time the page names."""
        return float(self.page.locator("#player").get_attribute("data-time-ms"))

    @property
    def shown(self) -> int:
        """The frame the pixels show."""
        return int(self.page.evaluate(READ_BARCODE))

    @property
    def fits(self) -> bool:
        """Whether nothing is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    def close(self) -> None:
        """Close the tab."""
        self._context.close()
