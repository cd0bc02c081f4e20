"""What the pages show: lists, one episode, frame times, series."""

from datetime import timedelta

import httpx
import numpy as np
import pytest

from robotrace.serve.models import Episode, utc_now


@pytest.fixture
def portal(deployment):
    """A browser on this machine: no key."""
    with httpx.Client(base_url=deployment.base_url) as http:
        yield http


def listed(portal, **query):
    answer = portal.get("/portal/episodes.json", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page):
    return [episode["id"] for episode in page["episodes"]]


def test_an_episode_in_the_list_has_every_field(portal, api, policy, npz):
    episode_id = api.record(
        {"video": b"x"},
        policy_version=policy,
        seed=2**62,
        name="n",
        robot="r",
        env_version="e",
        git_sha="abc",
        source="sim",
        metadata={"failure_reason": "ValueError: no"},
        finalize={
            "status": "failed",
            "duration_s": 2,
            "failure_time_s": 1,
            "fps": 30,
            "metadata": {"outcome": {"success": False, "reward_total": -1.5, "steps": 7}},
        },
    )
    (episode,) = listed(portal, policy_version=policy)["episodes"]
    assert episode.pop("created_at").endswith("Z")
    assert episode.pop("updated_at").endswith("Z")
    assert episode == {
        "id": episode_id,
        "name": "n",
        "status": "failed",
        "source": "sim",
        "robot": "r",
        "policy_version": policy,
        "env_version": "e",
        "git_sha": "abc",
        "seed": "4611686018427387904",
        "fps": 30,
        "duration_s": 2,
        "failure_time_s": 1,
        "has_video": True,
        "success": False,
        "reward_total": -1.5,
        "steps": 7,
        "failure_reason": "ValueError: no",
    }


@pytest.mark.parametrize(
    "metadata",
    [
        {"outcome": "won", "failure_reason": 5},
        {"outcome": {"success": "yes", "reward_total": "a lot", "steps": 1.5}},
        {"outcome": {"success": 1, "reward_total": True, "steps": True}},
        {"outcome": {"reward_total": 10**400, "steps": 2**70}},
        {"outcome": None, "failure_reason": None},
    ],
)
def test_an_outcome_of_the_wrong_type_is_not_shown(portal, api, policy, metadata):
    episode_id = api.record(policy_version=policy, metadata=metadata)
    (episode,) = listed(portal, policy_version=policy)["episodes"]
    assert [episode[name] for name in ("success", "reward_total", "steps", "failure_reason")] == [None] * 4
    assert api.episode(episode_id)["metadata"] == metadata


def test_the_list_is_filtered_by_each_field(portal, api, policy):
    common = {"policy_version": policy}
    plain = api.record(**common)
    values = {"env_version": "v2", "git_sha": "deadbeef01", "seed": 42, "robot": "arm", "source": "sim"}
    special = api.record(**common, **values, finalize={"status": "failed"})
    queries = [
        *({name: str(value)} for name, value in values.items()),
        {"git_sha": "deadb"},
        {"status": "failed"},
        {**values, "status": "failed"},
    ]
    for query in queries:
        assert ids(listed(portal, **common, **query)) == [special], query
    assert ids(listed(portal, **common, status="ready")) == [plain]
    assert ids(listed(portal, **common, git_sha="%")) == []
    assert ids(listed(portal, **common, status="", seed="", robot="", cursor="")) == [special, plain]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"seed": "x"},
        {"seed": str(2**63)},
        {"cursor": "nonsense"},
        {"cursor": "ä"},
        {"cursor": "W10"},
        {"cursor": "WzEsMl0"},
        {"cursor": "WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzE0OjAwIiwgImEiXQ"},
    ],
)
def test_a_list_asked_for_wrongly_is_400(portal, query):
    answer = portal.get("/portal/episodes.json", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_pages_are_stable_while_episodes_arrive_even_at_the_same_microsecond(portal, api, policy, database):
    expected = [api.record(policy_version=policy) for _ in range(5)]
    moment = utc_now()
    with database.write() as session:
        for number, episode_id in enumerate(expected):
            # Three of them at once: only the id tells them apart.
            session.get_one(Episode, episode_id).created_at = moment - timedelta(seconds=max(number - 2, 0))
    expected = sorted(expected[:3], reverse=True) + expected[3:]
    page = listed(portal, policy_version=policy, limit=2)
    seen = ids(page)
    while page["next"] is not None:
        api.record(policy_version=policy)
        page = listed(portal, policy_version=policy, limit=2, cursor=page["next"])
        seen += ids(page)
    assert seen == expected


def test_a_full_last_page_has_no_next(portal, api, policy):
    for _ in range(2):
        api.record(policy_version=policy)
    assert listed(portal, policy_version=policy, limit=2)["next"] is None
    assert listed(portal, policy_version=policy, limit=1)["next"] is not None


def test_an_episode_has_links_to_everything_and_they_work_without_a_key(portal, api, npz, write_video, store):
    files = {
        "video": write_video([0, 40, 80]).read_bytes(),
        "sensors": npz({"reward/value": np.ones(3), "reward/_t_ns": np.arange(3)}),
    }
    otel = {"trace_id": "a" * 32, "span_id": "b" * 16, "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    episode_id = api.record(files, metadata={"task": "x"}, otel=otel)
    view = portal.get(f"/portal/episodes/{episode_id}.json").json()
    assert view["episode"]["metadata"] == {"task": "x"}
    assert view["episode"]["otel"] == otel
    assert view["episode"]["has_video"] is True
    for artifact in view["artifacts"]:
        direct = store.origin and artifact["kind"] == "video"
        assert artifact["url"].startswith(store.origin if direct else "/objects/")
        assert portal.get(artifact["url"]).content == files[artifact["kind"]]
    video = view["video"]
    assert (video["width"], video["height"], video["frame_count"]) == (32, 32, 3)
    assert portal.get(video["url"]).content == files["video"]
    frames = np.frombuffer(portal.get(video["frames_url"]).content, "<f8")
    np.testing.assert_allclose(frames[:3], [0, 40, 80], atol=0.1)
    assert len(frames) == 4
    assert frames[-1] == video["end_ms"]
    assert portal.get(view["series_url"]).status_code == 200


def test_an_episode_without_files_has_neither_video_nor_series(portal, api, decode_series):
    episode_id = api.record()
    view = portal.get(f"/portal/episodes/{episode_id}.json").json()
    assert (view["video"], view["artifacts"], view["episode"]["has_video"]) == (None, [], False)
    assert portal.get(f"/portal/episodes/{episode_id}/frames.bin").status_code == 404
    series = decode_series(portal.get(view["series_url"]).content)
    assert series.header == {"streams": [], "texts": [], "skipped": []}


def test_an_episode_whose_video_is_broken_is_shown_without_it(portal, api):
    episode_id = api.record({"video": b"this is no video"})
    view = portal.get(f"/portal/episodes/{episode_id}.json").json()
    assert view["video"] is None
    assert view["artifacts"][0]["kind"] == "video"
    assert portal.get(f"/portal/episodes/{episode_id}/frames.bin").status_code == 404


def test_a_video_replaced_while_recording_gets_new_frame_times(portal, api, write_video, objects_dir):
    created = api.create(request_uploads=["video"])
    url = f"/portal/episodes/{created['episode_id']}/frames.bin"
    for times in ([0, 40], [0, 40, 80]):
        api.put(created, "video", write_video(times).read_bytes())
        assert len(portal.get(url).content) == 8 * (len(times) + 1)


@pytest.mark.parametrize("tail", [".json", "/frames.bin", "/series.bin"])
def test_an_unknown_episode_is_404(portal, tail):
    answer = portal.get(f"/portal/episodes/nope{tail}")
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_series_come_from_both_files_within_the_window(portal, api, npz, decode_series):
    clock = np.arange(10) * 1_000_000
    episode_id = api.record(
        {
            "sensors": npz({"observation/value": np.eye(10, 2, dtype=np.float32), "observation/_t_ns": clock}),
            "actions": npz({"action/value": np.arange(10), "action/_t_ns": clock}),
        }
    )
    answer = portal.get(f"/portal/episodes/{episode_id}/series.bin", params={"start_ms": 3, "end_ms": 4.5})
    series = decode_series(answer.content)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert {name: stream["artifact"] for name, stream in series.streams.items()} == {
        "observation": "sensors",
        "action": "actions",
    }
    assert series.times("action").tolist() == [2, 3, 4, 5]
    assert series.values("action").tolist() == [[2, 3, 4, 5]]


def test_series_are_named_by_the_metadata_and_sent_by_name(portal, api, npz, decode_series):
    arrays = {
        f"{name}/{key}": value
        for name in ("q", "v")
        for key, value in (("value", np.ones(1)), ("_t_ns", np.zeros(1, int)))
    }
    metadata = {"streams": {"q": {"names": ["elbow"], "unit": "rad"}}}
    episode_id = api.record({"sensors": npz(arrays)}, metadata=metadata)
    url = f"/portal/episodes/{episode_id}/series.bin"
    assert list(decode_series(portal.get(url).content).streams) == ["q", "v"]
    asked = decode_series(portal.get(url, params={"streams": ["q", "x,y"]}).content)
    assert list(asked.streams) == ["q"]
    assert (asked.streams["q"]["labels"], asked.streams["q"]["units"]) == (["elbow"], ["rad"])


@pytest.mark.parametrize("query", [{"points": "0"}, {"points": "x"}, {"start_ms": "nan"}, {"end_ms": "inf"}])
def test_series_asked_for_wrongly_are_400(portal, api, query):
    answer = portal.get(f"/portal/episodes/{api.record()}/series.bin", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_broken_series_are_422(portal, api, npz):
    content = npz({"a/value": np.ones(100), "a/_t_ns": np.arange(100)})
    episode_id = api.record({"sensors": content[:-50]})
    answer = portal.get(f"/portal/episodes/{episode_id}/series.bin")
    assert answer.status_code == 422
    assert answer.json()["error"]
