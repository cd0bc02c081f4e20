"""What a deployment tells of itself, and the slots of further cameras behind it."""

import httpx
import pytest

from robotrace._version import __version__

VIDEO = b"\0\0\0\x20ftypisom" + b"v" * 100


def test_the_features_are_told_without_a_key(deployment):
    answer = httpx.get(f"{deployment.base_url}/api/features")
    assert answer.status_code == 200
    features = answer.json()
    assert features["version"] == __version__
    assert {"camera_slots", "idempotency_key", "artifact_claims", "downloads"} <= set(features["features"])
    assert features["slots"] == {
        "kinds": ["video", "sensors", "actions"],
        "camera_pattern": r"^video\.[a-z0-9][a-z0-9_.-]{0,39}$",
        "max_cameras": 16,
    }
    assert features["limits"]["page"] == 200
    assert features["limits"]["artifact_bytes"] == 50 * 1024**3


def test_a_camera_has_a_slot_like_the_others(api, claim):
    created = api.create(request_uploads=["video", "video.wrist", "sensors"])
    episode_id = created["episode_id"]
    assert [slot["kind"] for slot in created["upload_urls"]] == ["video", "video.wrist", "sensors"]
    for kind in ("video", "video.wrist"):
        url = next(slot["url"] for slot in created["upload_urls"] if slot["kind"] == kind)
        put = httpx.put(url, content=VIDEO + kind.encode(), headers={"Content-Type": "video/mp4"})
        assert put.status_code == 200
    wrong = api.finalize(episode_id, artifacts=[claim("video.wrist", VIDEO)])
    assert (wrong.status_code, wrong.json()["error"][:12]) == (409, "video.wrist:")
    assert api.finalize(episode_id, artifacts=[claim("video.wrist", VIDEO + b"video.wrist")]).status_code == 200
    stored = {artifact["kind"]: artifact for artifact in api.episode(episode_id)["artifacts"]}
    assert stored["video.wrist"]["file_name"] == "video.wrist.mp4"
    assert stored["video.wrist"]["content_type"] == "video/mp4"
    read = api.http.get(f"/api/episodes/{episode_id}/artifact/video.wrist", follow_redirects=True)
    assert read.content == VIDEO + b"video.wrist"
    page = api.http.get(f"/portal/episodes/{episode_id}").text
    assert "video.wrist.mp4" in page


def test_a_camera_may_be_asked_for_later(api):
    episode_id = api.create(request_uploads=[])["episode_id"]
    answer = api.http.post(f"/api/ingest/episode/{episode_id}/upload-urls", json={"kinds": ["video.top"]})
    assert [slot["kind"] for slot in answer.json()["upload_urls"]] == ["video.top"]


@pytest.mark.parametrize(
    "kind",
    [
        "video.",
        "video.Wrist",
        "video..x",
        "video./x",
        "video.a/b",
        "video.a b",
        "video.\u00e9",
        "video." + "x" * 41,
        "sensors.left",
        "videos",
        "video.x\n",
        "video.\x00",
    ],
)
def test_a_slot_of_another_name_is_400(api, kind):
    answer = api.http.post("/api/ingest/episode", json={"request_uploads": [kind]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("request_uploads")


def test_there_are_sixteen_cameras_at_the_most_however_they_are_asked_for(api):
    cameras = [f"video.c{number}" for number in range(17)]
    answer = api.http.post("/api/ingest/episode", json={"request_uploads": ["video", *cameras]})
    assert (answer.status_code, "16" in answer.json()["error"]) == (400, True)
    created = api.create(request_uploads=["video", *cameras[:16]])
    assert len(created["upload_urls"]) == 17
    answer = api.http.post(f"/api/ingest/episode/{created['episode_id']}/upload-urls", json={"kinds": [cameras[16]]})
    assert (answer.status_code, "16" in answer.json()["error"]) == (400, True)
