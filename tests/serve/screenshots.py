"""The pictures of the guide: ``python -m tests.serve.screenshots``, in an environment with Chromium and Pillow.

Fills a deployment with the showcase, opens every page in both schemes, and writes ``docs/images/portal-*.png``: of 256
colours where no picture needs more, so that all of them together stay small enough for the repository.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .house_pages import HousePage, address, picture_pages
from .portal_fixtures import Tab, chromium
from .showcase import Showcase, fill_showcase

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZE = {"width": 1280, "height": 860}
MOST_BYTES = 200_000
COLOURS = (256, 128, 64, 32)
WITH_PICTURES = ("episodes", "verify", "verify-all")

# A seek is over when the video has a frame to show, and it has been painted.
FRAMES_ARE_THERE = """async () => {
  const videos = [...document.querySelectorAll("video")].filter(video => video.checkVisibility());
  for (let waited = 0; waited < 10000; waited += 50) {
    if (videos.every(video => video.readyState >= 2 && !video.seeking)) break;
    await new Promise(done => setTimeout(done, 50));
  }
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""
IMAGES_ARE_THERE = """async () => {
  for (const image of document.images) image.loading = "eager";
  const there = () => [...document.images].every(image => image.complete);
  for (let waited = 0; waited < 10000 && !there(); waited += 50) await new Promise(done => setTimeout(done, 50));
}"""


def shoot(browser: Any, base_url: str, page: HousePage, showcase: Showcase, scheme: str) -> bytes:
    """The page as a PNG."""
    tab = Tab(browser, base_url, viewport=SIZE, color_scheme=scheme)
    try:
        tab.open(address(page, showcase))
        tab.page.locator(page.ready).first.wait_for(state="attached")
        tab.page.evaluate(IMAGES_ARE_THERE)
        if page.video:
            tab.page.evaluate(FRAMES_ARE_THERE)
        tab.page.wait_for_timeout(300)  # nothing counts on it: the last of what is drawn by itself
        assert tab.complaints == [], (page.name, tab.complaints)
        return bytes(tab.page.screenshot())
    finally:
        tab.close()


def small(png: bytes, *, pictures: bool) -> bytes:
    """The same in few bytes: in fewer colours, but where pictures would take them all from the words."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (None, *COLOURS) if pictures else COLOURS:
        written = io.BytesIO()
        # No dithering: it would put dots into plain grounds, and cost twice the bytes.
        cut = Image.Quantize.MEDIANCUT
        fewer = picture.quantize(colours, method=cut, dither=Image.Dither.NONE) if colours else picture
        fewer.save(written, "PNG", optimize=True)
        if written.tell() <= MOST_BYTES:
            break
    return written.getvalue()


def main() -> None:
    """Write them all, or those whose names are given; those of pages that are gone go with a full run."""
    wanted = set(sys.argv[1:])
    IMAGES.mkdir(exist_ok=True)
    total, kept = 0, set()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        settings = Settings(Path(folder) / "data", port=0, rate_limit=None)
        with Deployment(settings) as deployment:
            showcase = fill_showcase(deployment, settings)
            for page in picture_pages():
                if wanted and page.name not in wanted:
                    continue
                for scheme in ("light", "dark"):
                    target = IMAGES / f"portal-{page.name}-{scheme}.png"
                    png = shoot(browser, deployment.base_url, page, showcase, scheme)
                    target.write_bytes(small(png, pictures=page.video or page.name in WITH_PICTURES))
                    kept.add(target)
                    total += target.stat().st_size
                    print(f"{target.stat().st_size // 1000:5} kB  {target.name}", flush=True)
    if not wanted:
        for old in set(IMAGES.glob("portal-*.png")) - kept:
            old.unlink()
            print(f"  gone  {old.name}")
    print(f"{total // 1000:5} kB in all")


if __name__ == "__main__":
    main()
