"""Further cameras from the client: onto a deployment that has slots for them, and onto one that has none."""

import json

import pytest
from command_line import robotrace as command
from wire_server import API_KEY

import robotrace
from robotrace.errors import ConfigurationError


@pytest.fixture
def client(deployment):
    with robotrace.Client(base_url=deployment.base_url, api_key=deployment.internal_key) as client:
        yield client


@pytest.fixture
def videos(tmp_path):
    made = {}
    for name in ("main", "wrist", "top"):
        made[name] = tmp_path / f"{name}.mp4"
        made[name].write_bytes(b"\0\0\0\x20ftypisom" + name.encode() * 100)
    return made


def test_each_camera_has_a_file_of_its_own(client, videos, tmp_path):
    cameras = {"wrist": videos["wrist"], "top": videos["top"]}
    episode = client.log_episode(video=videos["main"], cameras=cameras)
    assert episode.status == "ready"
    stored = {artifact["kind"]: artifact for artifact in client.get_episode(episode.id)["artifacts"]}
    assert set(stored) == {"video", "video.wrist", "video.top"}
    target = tmp_path / "back.mp4"
    client.download_artifact(episode.id, "video.wrist", target, sha256=stored["video.wrist"]["sha256"])
    assert target.read_bytes() == videos["wrist"].read_bytes()


def test_they_may_be_opened_first_and_filled_later(client, videos):
    with client.start_episode(artifacts=[], cameras=["wrist"]) as episode:
        assert list(episode.upload_urls) == ["video.wrist"]
        episode.upload_camera("wrist", videos["wrist"])
    assert client.get_episode(episode.id)["artifacts"][0]["kind"] == "video.wrist"


@pytest.mark.parametrize("camera", ["", "Wrist", "../x", "a b", ".x", "x" * 41, 7])
def test_a_name_that_fits_into_no_slot_is_refused_before_anything_is_sent(client, camera):
    with pytest.raises(ConfigurationError, match="camera"):
        client.start_episode(cameras=[camera])


def test_a_camera_has_a_video_and_no_arrays(client, tmp_path):
    arrays = tmp_path / "x.npz"
    arrays.write_bytes(b"PK")
    with pytest.raises(ConfigurationError, match=r"video.wrist: x.npz has extension"):
        client.log_episode(cameras={"wrist": arrays})


def test_a_deployment_without_such_slots_is_named_and_gets_no_episode(server, videos):
    """As every one of another make: it does not know the question."""
    with robotrace.Client(base_url=server.url, api_key=API_KEY) as client:
        with pytest.raises(ConfigurationError, match="has no slots for further cameras"):
            client.log_episode(cameras={"wrist": videos["wrist"]})
    assert [(request.method, request.path) for request in server.requests] == [("GET", "/api/features")]


def test_the_command_downloads_them_with_the_others_and_goes_on_where_it_was(deployment, client, videos, tmp_path):
    ids = [client.log_episode(video=videos["main"], cameras={"wrist": videos["wrist"]}).id for _ in range(2)]
    environment = {"ROBOTRACE_BASE_URL": deployment.base_url, "ROBOTRACE_API_KEY": deployment.internal_key}

    def download(*options):
        return command("episodes", "download", *ids, "--output", str(tmp_path / "out"), *options, **environment)

    done = download("--json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["episodes"]
    assert [each["episode_id"] for each in files] == ids
    assert list(files[0]["files"]) == ["video", "video.wrist", "metadata"]
    kept, lost = (tmp_path / "out" / ids[0] / name for name in ("video.mp4", "video.wrist.mp4"))
    before = kept.stat().st_ino
    lost.write_bytes(b"half")
    assert download().returncode == 1
    assert download("--resume").returncode == 0
    assert kept.stat().st_ino == before  # not fetched again
    assert lost.read_bytes() == videos["wrist"].read_bytes()
    assert download("--resume", "--force").returncode == 2
