"""The picture of an episode: one frame, small, decoded once and within bounds."""

from __future__ import annotations

import io
import logging
from concurrent.futures import ThreadPoolExecutor

import av
import httpx
import numpy as np
import pytest
from polling import eventually

from robotrace.serve import thumbnail_cache, thumbnails
from robotrace.serve.frame_times import VideoError
from robotrace.serve.models import Episode, utc_now
from robotrace.serve.thumbnails import HEIGHT, WIDTH, thumbnail

from .portal_fixtures import constant_rate, publish, write_video

GREY = {number: np.full((120, 160, 3), number, np.uint8) for number in range(0, 250, 2)}


def patterned(level):
    """``(120, 160, 3) uint8``: something to see, of a mean brightness."""
    image = GREY[level].copy()
    image[40:80, 60:100] += 60
    return image


@pytest.fixture
def video(tmp_path):
    """A video of 90 frames at 30 a second, whose frame k has the brightness 2 k."""
    path = tmp_path / "video.mp4"
    write_video(path, constant_rate(90), [patterned(2 * number) for number in range(90)], 30)
    return path


def pixels(jpeg):
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as image:
        return next(image.decode(video=0)).to_ndarray(format="rgb24")


def brightness(jpeg):
    return float(pixels(jpeg)[:20].mean())


@pytest.mark.parametrize(("at_s", "frame"), [(0.0, 0), (1.51, 45), (2.99, 89), (99.0, 89), (None, 45)])
def test_it_shows_the_frame_of_a_time_or_the_middle(video, at_s, frame):
    assert brightness(thumbnail(video, at_s)) == pytest.approx(2 * frame, abs=4)


def test_it_is_small_and_in_the_videos_proportions(tmp_path):
    for size, expected in (
        ((480, 640), (144, 192)),
        ((96, 256), (72, 192)),
        ((400, 100), (144, 36)),
        ((48, 64), (48, 64)),
    ):
        image = np.tile(np.linspace(0, 255, size[1], dtype=np.uint8)[None, :, None], (size[0], 1, 3))
        write_video(tmp_path / "v.mp4", constant_rate(5), [image] * 5, 30)
        jpeg = thumbnail(tmp_path / "v.mp4")
        shape = pixels(jpeg).shape
        assert shape == (*expected, 3)
        assert shape[0] <= HEIGHT
        assert shape[1] <= WIDTH
        assert len(jpeg) < 20_000


def test_a_blank_middle_is_passed_over(tmp_path):
    images = [GREY[0]] * 45 + [patterned(100)] * 45
    write_video(tmp_path / "v.mp4", constant_rate(90), images, 30)
    assert brightness(thumbnail(tmp_path / "v.mp4")) == pytest.approx(100, abs=4)
    write_video(tmp_path / "v.mp4", constant_rate(30), [GREY[0]] * 30, 30)
    assert brightness(thumbnail(tmp_path / "v.mp4")) < 4  # nothing else to show


def test_a_video_cut_off_by_a_kill_has_one(tmp_path):
    write_video(tmp_path / "v.mp4", constant_rate(120), [patterned(100)] * 120, 30, killed=True)
    assert brightness(thumbnail(tmp_path / "v.mp4")) == pytest.approx(100, abs=4)


@pytest.mark.parametrize("content", [b"", b"#EXTM3U\nfile:///etc/passwd", b"\0\0\0\x18ftypisom" + bytes(200)])
def test_what_is_no_video_has_none(tmp_path, content):
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(VideoError):
        thumbnail(tmp_path / "v.mp4")


def test_frames_of_a_size_that_fills_the_memory_are_not_decoded(video, monkeypatch):
    monkeypatch.setattr(thumbnails, "_MAX_PIXELS", 160 * 120 - 1)
    with pytest.raises(VideoError, match="frames of 160 × 120"):
        thumbnail(video)
    content = bytearray(video.read_bytes())
    size = content.index(b"avc1", content.index(b"stsd")) + 28
    assert content[size : size + 4] == (160).to_bytes(2, "big") + (120).to_bytes(2, "big")
    content[size : size + 4] = (16).to_bytes(2, "big") * 2  # the file says one thing, its frames another
    video.write_bytes(content)
    with pytest.raises(VideoError):
        thumbnail(video)


@pytest.fixture
def web(deployment):
    with httpx.Client(base_url=deployment.base_url, trust_env=False, timeout=60) as client:
        yield client


def address(web, policy):
    (episode,) = web.get("/portal/episodes.json", params={"policy_version": policy}).json()["episodes"]
    return episode["thumbnail_url"]


def test_the_list_names_it_and_a_browser_may_keep_it(web, deployment, policy, video):
    create = {"policy_version": policy}
    end = {"status": "failed", "duration_s": 3.0, "failure_time_s": 1.0}
    episode = publish(deployment, files={"video": video}, create=create, finalize=end)
    url = address(web, policy)
    answer = web.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert "immutable" in answer.headers["cache-control"]
    assert "private" in answer.headers["cache-control"]
    assert brightness(answer.content) == pytest.approx(60, abs=4)
    assert web.get(url, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    unnamed = web.get(f"/portal/episodes/{episode}/thumbnail.jpg")
    assert (unnamed.content, unnamed.headers["cache-control"]) == (answer.content, "no-cache")


def test_many_who_ask_at_once_get_one_that_was_made_once(web, deployment, policy, video, monkeypatch):
    publish(deployment, files={"video": video}, create={"policy_version": policy}, finalize={"status": "ready"})
    url, made = address(web, policy), []
    monkeypatch.setattr(thumbnail_cache, "thumbnail", lambda *asked: made.append(asked) or thumbnail(*asked))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: web.get(url), range(8)))
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["content-type"] == "image/jpeg"
    assert len(made) == 1


def test_a_broken_video_has_a_placeholder_and_is_looked_at_once(web, deployment, policy, tmp_path, caplog):
    (tmp_path / "video.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
    files = {"video": tmp_path / "video.mp4"}
    publish(deployment, files=files, create={"policy_version": policy}, finalize={"status": "ready"})
    url = address(web, policy)
    with caplog.at_level(logging.WARNING, "robotrace.serve.thumbnail_cache"):
        answers = [web.get(url) for _ in range(3)]
    assert {(answer.status_code, answer.headers["content-type"]) for answer in answers} == {(200, "image/svg+xml")}
    assert "immutable" not in answers[0].headers["cache-control"]
    assert len([record for record in caplog.records if "no picture" in record.message]) == 1
    assert address(web, policy) is None


def test_there_is_none_before_the_end_and_none_without_a_video(web, deployment, database, policy, video):
    reaped = publish(deployment, files={"video": video}, create={"policy_version": f"{policy} reaped"})
    with database.write() as session:
        session.get(Episode, reaped).status = "failed"
        session.get(Episode, reaped).reaped_at = utc_now()
    assert address(web, f"{policy} reaped") is None
    episodes = [
        reaped,
        publish(deployment, files={"video": video}, create={"policy_version": policy}),
        publish(deployment, finalize={"status": "ready"}),
    ]
    assert address(web, policy) is None
    assert {web.get(f"/portal/episodes/{episode}/thumbnail.jpg").status_code for episode in episodes} == {404}


def test_it_goes_with_its_episode(web, deployment, api, settings, policy, video):
    kept = settings.thumbnails_dir
    before = set(kept.iterdir()) if kept.exists() else set()
    episode = publish(
        deployment, files={"video": video}, create={"policy_version": policy}, finalize={"status": "ready"}
    )
    web.get(address(web, policy))
    (picture,) = set(kept.iterdir()) - before
    assert api.http.delete(f"/api/episodes/{episode}").status_code == 204
    eventually(lambda: not picture.exists())
