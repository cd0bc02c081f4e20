"""Videos that a browser loads from the bucket, under the policy that names its origin."""

from urllib.parse import parse_qs, urlsplit

import pytest
from polling import eventually

from robotrace.serve.settings import Settings

from .portal_fixtures import Tab, constant_rate, publish, write_barcode_video

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def settings(amazon, tmp_path_factory):
    """SQLite, and a bucket that knows Range: rclone's does not."""
    pytest.importorskip("obstore", reason="the s3 extra is not installed")
    return Settings(tmp_path_factory.mktemp("deployment") / "data", port=0, storage=amazon)


def test_a_video_in_the_bucket_is_shown_and_can_be_sought_in(browser, deployment, settings, tmp_path):
    write_barcode_video(tmp_path / "video.mp4", constant_rate(90))
    episode_id = publish(deployment, files={"video": tmp_path / "video.mp4"}, finalize={"status": "ready"})
    tab = Tab(browser, deployment.base_url)
    try:
        tab.open_replay(f"/portal/episodes/{episode_id}?t=2000ms")
        tab.wait_settled()
        assert tab.frame == 60
        video = tab.page.locator("#video")
        eventually(lambda: 2.0 <= video.evaluate("video => video.currentTime") < 2.04)
        assert video.evaluate("video => [video.videoWidth, video.readyState >= 2]") == [256, True]
        tab.page.keyboard.press(",")
        eventually(lambda: tab.frame == 59)
    finally:
        tab.close()
    (endpoint,) = parse_qs(urlsplit(settings.storage).query)["endpoint"]
    assert tab.complaints
    assert all(complaint.startswith(f"foreign request: {endpoint}/bucket/") for complaint in tab.complaints)
