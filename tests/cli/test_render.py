"""``robotrace render``: a video of an episode that has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import one_line, robotrace
from wire_server import EPISODE_ID, Answer, Received, WireServer

gym = pytest.importorskip("gymnasium")
av = pytest.importorskip("av")

from held_episodes import VERDICT, arm, detail, hold  # noqa: E402

pytestmark = pytest.mark.usefixtures("arm")

URLS = f"/api/ingest/episode/{EPISODE_ID}/upload-urls"


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def take_videos(server: WireServer) -> list[bytes]:
    """Have the deployment take a video afterwards; returns what comes."""
    taken: list[bytes] = []

    def put(request: Received) -> Answer:
        taken.append(request.body)
        return Answer(200, b"")

    url = {"kind": "video", "url": f"{server.url}/store/video?signature=s", "expires_at": "", "public_url": None}
    server.on("POST", URLS, Answer(200, {"episode_id": EPISODE_ID, "upload_urls": [url]}))
    server.on("PUT", "/store/video", put)
    return taken


def test_a_video_is_made_and_described(tmp_path: Path) -> None:
    episode = arm()
    made = tmp_path / "fall.mp4"
    result = robotrace("render", episode.manifest["uuid"], "-o", str(made))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{made}  13 frames, 64 × 48, ")
    assert result.stdout.rstrip().endswith("reproduced to the bit, 12 steps")
    assert frames(made) == 13
    assert json.loads((episode.folder / "reproduction.json").read_text())["video"] is None  # it is not in its folder


def test_without_a_name_it_is_called_as_the_episode(tmp_path: Path) -> None:
    episode = arm()
    result = robotrace("render", str(episode.folder), "--size", "32", "--fps", "10", "--json")
    told = json.loads(result.stdout)
    assert told["path"] == f"{episode.manifest['uuid']}.mp4"
    assert (told["video"]["width"], told["video"]["frames"]) == (32, 7)
    assert frames(tmp_path / told["path"]) == 7


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    episode = arm()
    made = tmp_path / "fall.mp4"
    made.write_text("precious")
    assert "exists already" in one_line(robotrace("render", str(episode.folder), "-o", str(made)))
    assert made.read_text() == "precious"
    assert robotrace("render", str(episode.folder), "-o", str(made), "--force").returncode == 0
    assert frames(made) == 13
    assert "does not exist" in one_line(robotrace("render", str(episode.folder), "-o", str(tmp_path / "no" / "x.mp4")))


def test_of_what_comes_out_differently_there_is_no_video(tmp_path: Path) -> None:
    result = robotrace("render", str(arm(mood="random", at=4).folder), "-o", str(tmp_path / "fall.mp4"))
    assert result.returncode == 1
    *_, last = result.stderr.splitlines()
    assert last.startswith("robotrace: no video: not reproducible: the environment is not deterministic")
    assert not (tmp_path / "fall.mp4").exists()


def test_it_is_uploaded_into_the_empty_slot(at: Callable[..., Any], server: WireServer, tmp_path: Path) -> None:
    stored, taken = hold(server, arm()), take_videos(server)
    result = at("render", EPISODE_ID, "--upload")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{server.url}/portal/episodes/{EPISODE_ID}"
    (sent,) = taken
    assert sent[4:8] == b"ftyp"
    (verdict,) = stored
    assert verdict["video"]["frames"] == 13
    assert verdict["video"]["size"] == len(sent)
    (asked,) = server.received("POST", URLS)
    assert asked.json == {"kinds": ["video"]}
    assert list(tmp_path.glob("*.mp4")) == []


def test_a_full_slot_is_no_place_for_it(at: Callable[..., Any], server: WireServer) -> None:
    episode = arm()
    hold(server, episode)
    taken = detail(episode)
    taken["artifacts"].append({"kind": "video", "size": 1, "sha256": "0" * 64})
    server.on("GET", f"/api/episodes/{EPISODE_ID}", Answer(200, taken))
    assert "has a video already" in one_line(at("render", EPISODE_ID, "--upload"))
    assert "on no deployment yet" in one_line(at("render", str(episode.folder), "--upload"))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(404, {"error": "no such route"}), "takes no video of an episode that is finished"),
        (Answer(409, {"error": "video: the slot is not empty"}), "video: the slot is not empty"),
        (Answer(200, {"upload_urls": []}), "gave no address for the video"),
    ],
)
def test_a_deployment_that_takes_no_video_says_why(
    at: Callable[..., Any], server: WireServer, answer: Answer, says: str
) -> None:
    stored = hold(server, arm())
    server.on("POST", URLS, answer)
    assert says in one_line(at("render", EPISODE_ID, "--upload"))
    assert stored == []  # nobody is told of a video that never arrived


def test_the_deployment_is_told_of_an_episode_that_diverged(at: Callable[..., Any], server: WireServer) -> None:
    stored = hold(server, arm(mood="random"))
    assert at("render", EPISODE_ID, "--upload").returncode == 1
    assert [item["verdict"] for item in stored] == ["not_reproducible"]
    assert len(server.received("POST", VERDICT)) == 1
