"""Episodes back from a deployment: the list, one of them, its files."""

import hashlib

import pytest
from wire_server import API_KEY, EPISODE_ID, Answer

from robotrace.client import Client
from robotrace.errors import ConfigurationError, NotFoundError, ServerError, TransportError

EPISODES = "/api/episodes"
EPISODE = f"{EPISODES}/{EPISODE_ID}"
VIDEO = f"{EPISODE}/artifact/video"
CONTENT = b"frames" * 100_000


def test_a_list_sends_the_filters_that_were_given_and_no_others(client, server):
    page = {"episodes": [{"episode_id": EPISODE_ID}], "next": "c2"}
    server.on("GET", EPISODES, Answer(200, page))
    assert client.list_episodes() == page
    assert (
        client.list_episodes(limit=7, cursor="c1", status="failed", policy_version="a b&c", seed=0, git_sha="") == page
    )
    plain, filtered = server.requests
    assert plain.target == f"{EPISODES}?limit=50"
    assert filtered.target == f"{EPISODES}?limit=7&cursor=c1&status=failed&policy_version=a+b%26c&git_sha=&seed=0"
    assert plain.header("authorization") == f"Bearer {API_KEY}"
    assert plain.body == b""


def test_a_filter_that_is_no_unicode_is_asked_for_as_it_is_shown(client, server):
    server.on("GET", EPISODES, Answer(200, {"episodes": [], "next": None}))
    client.list_episodes(robot="caf\udce9")
    assert server.requests[0].target == f"{EPISODES}?limit=50&robot=caf%5Cudce9"


def test_an_episode_is_what_the_deployment_says(client, server):
    episode = {"episode_id": EPISODE_ID, "metadata": {"task": "pick"}, "anything": ["else"]}
    server.on("GET", EPISODE, Answer(200, episode))
    assert client.get_episode(EPISODE_ID) == episode
    with pytest.raises(NotFoundError, match="scripted"):
        client.get_episode("another")


def test_an_id_cannot_lead_to_another_route(client, server):
    for episode_id in ("../ingest/episode", "a/b", "a?b=c", "ü#"):
        with pytest.raises(NotFoundError):
            client.get_episode(episode_id)
    assert [request.target for request in server.requests] == [
        f"{EPISODES}/..%2Fingest%2Fepisode",
        f"{EPISODES}/a%2Fb",
        f"{EPISODES}/a%3Fb%3Dc",
        f"{EPISODES}/%C3%BC%23",
    ]
    for episode_id in ("", ".", "..", None, 7, "caf\udce9"):
        with pytest.raises(ConfigurationError, match="id of an episode"):
            client.get_episode(episode_id)
    with pytest.raises(ConfigurationError, match="kind"):
        client.download_artifact(EPISODE_ID, "audio", "audio.wav")
    assert len(server.requests) == 4


def test_a_download_is_there_whole_and_tells_its_progress(client, server, tmp_path):
    server.on("GET", VIDEO, Answer(302, b"", {"Location": f"{server.url}/store/x?X-Signature=s"}))
    server.on("GET", "/store/x", Answer(200, CONTENT))
    path = tmp_path / "video.mp4"
    path.write_bytes(b"an older one")
    seen = []
    digest = hashlib.sha256(CONTENT).hexdigest()
    size = client.download_artifact(
        EPISODE_ID, "video", path, sha256=digest.upper(), progress=lambda *args: seen.append(args)
    )
    assert size == len(CONTENT)
    assert path.read_bytes() == CONTENT
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(404, {"error": "the episode has no video"}), NotFoundError),
        (Answer(500, b"oops"), ServerError),
        (Answer(cut=True), TransportError),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), TransportError),
    ],
)
def test_a_download_that_fails_leaves_the_folder_as_it_was(client, server, tmp_path, answer, error):
    server.on("GET", VIDEO, answer)
    path = tmp_path / "video.mp4"
    path.write_bytes(b"an older one")
    with pytest.raises(error):
        client.download_artifact(EPISODE_ID, "video", path)
    assert path.read_bytes() == b"an older one"
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]


def test_bytes_of_another_hash_are_not_kept(client, server, tmp_path):
    server.on("GET", VIDEO, Answer(200, CONTENT))
    with pytest.raises(TransportError, match="arrived damaged"):
        client.download_artifact(EPISODE_ID, "video", tmp_path / "video.mp4", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_half_file(deployment, tmp_path):
    class Interrupt(BaseException):
        pass

    def interrupt(done, total):
        raise Interrupt

    deployment.on("GET", VIDEO, Answer(200, CONTENT))
    with Client(base_url=deployment.url, api_key=API_KEY) as client:
        with pytest.raises(Interrupt):
            client.download_artifact(EPISODE_ID, "video", tmp_path / "video.mp4", progress=interrupt)
    assert list(tmp_path.iterdir()) == []
