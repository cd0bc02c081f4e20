"""Creating and finalizing episodes."""

import httpx
import pytest

from robotrace.serve.models import Episode

CREATE = "/api/ingest/episode"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer rt_aaaaaaaaaa_" + "b" * 43},
        {"Authorization": "Basic abc"},
        {"X-RoboTrace-Key": "rt_aaaaaaaaaa_" + "b" * 43},
    ],
)
def test_without_a_valid_key_every_api_call_is_401(deployment, headers):
    with httpx.Client(base_url=deployment.base_url, headers=headers) as http:
        answers = [
            http.post(CREATE, json={}),
            http.post(f"{CREATE}/some/upload-urls"),
            http.post(f"{CREATE}/some/finalize", json={"status": "ready"}),
            http.get("/api/episodes/some"),
            http.get("/api/episodes/some/artifact/video"),
        ]
    assert [answer.status_code for answer in answers] == [401] * 5
    assert all("API key" in answer.json()["error"] for answer in answers)


def test_a_right_public_part_with_a_wrong_secret_is_401(deployment):
    key = deployment.internal_key
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    answer = httpx.post(deployment.base_url + CREATE, json={}, headers={"Authorization": f"Bearer {wrong}"})
    assert answer.status_code == 401


def test_the_key_may_come_in_its_own_header(deployment):
    headers = {"X-RoboTrace-Key": deployment.create_key("ci")}
    assert httpx.post(deployment.base_url + CREATE, json={}, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x" * 201}, "name"),
        ({"name": 5}, "name"),
        ({"robot": "x" * 121}, "robot"),
        ({"policy_version": "x" * 201}, "policy_version"),
        ({"env_version": "x" * 201}, "env_version"),
        ({"git_sha": "x" * 65}, "git_sha"),
        ({"source": "dream"}, "source"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -(2**63) - 1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "7"}, "seed"),
        ({"seed": True}, "seed"),
        ({"fps": -1}, "fps"),
        ({"fps": "fast"}, "fps"),
        ({"metadata": [1]}, "metadata"),
        ({"request_uploads": ["lidar"]}, "request_uploads"),
        ({"otel": {"trace_id": "short", "span_id": "0" * 16, "traceparent": "x"}}, "otel"),
    ],
)
def test_a_create_that_is_wrong_is_400_and_names_the_field(api, body, field):
    answer = api.http.post(CREATE, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(field)
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", '"\\ud800"', '{"deep": [NaN]}'])
def test_metadata_that_is_not_json_is_400(api, value):
    for path, extra in ((CREATE, ""), (f"{CREATE}/{api.create()['episode_id']}/finalize", '"status": "ready", ')):
        body = f'{{{extra}"metadata": {{"x": {value}}}}}'
        answer = api.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, path
        assert answer.json()["error"]


def test_metadata_is_nested_as_deep_as_it_can_be_read_back_and_no_deeper(api):
    def nested(levels):
        value = 1
        for level in range(levels):
            value = [value] if level % 2 else {"x": value}
        return {"x": value}

    deepest = nested(98)
    episode_id = api.record(metadata=deepest)
    assert api.episode(episode_id)["metadata"] == deepest
    assert api.http.get(f"/portal/episodes/{episode_id}").status_code == 200
    for levels in (100, 300):
        answer = api.http.post(CREATE, json={"metadata": nested(levels)})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("metadata: Value error, nested deeper than 100 levels")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_400(api, content):
    answer = api.http.post(CREATE, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_body_beyond_the_limit_is_413(api):
    answer = api.http.post(CREATE, json={"metadata": {"x": "y" * (17 * 1024 * 1024)}})
    assert answer.status_code == 413
    assert "bytes" in answer.json()["error"]


def test_an_empty_create_is_legal_and_asks_for_all_three_slots(api, store):
    created = api.create()
    assert created["status"] == "recording"
    assert created["storage"] == "r2"
    assert [entry["kind"] for entry in created["upload_urls"]] == ["video", "sensors", "actions"]
    for entry in created["upload_urls"]:
        assert entry["url"].startswith(store.origin or str(api.http.base_url))
        assert entry["expires_at"].endswith("Z")
        assert entry["public_url"] is None
    assert api.episode(created["episode_id"])["source"] == "real"


def test_no_uploads_asked_for_means_metadata_only(api):
    assert api.create(request_uploads=[])["upload_urls"] == []


def test_a_slot_asked_for_twice_is_signed_once(api):
    assert len(api.create(request_uploads=["video", "video"])["upload_urls"]) == 1


def test_what_was_created_can_be_read_back(api):
    otel = {"trace_id": "a" * 32, "span_id": "b" * 16, "traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}
    body = {
        "name": "pick",
        "source": "sim",
        "robot": "arm",
        "policy_version": "p1",
        "env_version": "e1",
        "git_sha": "c" * 40,
        "seed": -(2**63),
        "fps": 30,
        "metadata": {"task": "größer", "big": 2**70, "nested": {"x": [1, None]}},
        "otel": otel,
    }
    episode = api.episode(api.create(**body, not_in_the_contract=1)["episode_id"])
    assert {name: episode[name] for name in body} == body


def test_a_repeated_create_answers_with_the_same_episode_and_fresh_urls(api, policy):
    first = api.create(key=policy, seed=1, request_uploads=["video"])
    second = api.create(key=policy, seed=2)
    assert second["episode_id"] == first["episode_id"]
    assert [entry["kind"] for entry in second["upload_urls"]] == ["video"]
    assert api.episode(first["episode_id"])["seed"] == 1
    assert api.put(second, "video", b"x").status_code == 200
    assert api.create(key=policy + "-other")["episode_id"] != first["episode_id"]
    assert api.create()["episode_id"] != api.create()["episode_id"]


def test_a_repeated_create_after_finalize_says_how_it_ended(api, policy):
    first = api.create(key=policy)
    api.finalize(first["episode_id"], status="failed")
    assert api.create(key=policy)["status"] == "failed"


def test_an_overlong_idempotency_key_is_400(api):
    answer = api.http.post(CREATE, json={}, headers={"Idempotency-Key": "x" * 201})
    assert answer.status_code == 400


def test_upload_urls_can_be_signed_again(api):
    created = api.create(request_uploads=["sensors"])
    answer = api.http.post(f"{CREATE}/{created['episode_id']}/upload-urls")
    assert answer.status_code == 200
    assert answer.json()["episode_id"] == created["episode_id"]
    assert api.put(answer.json(), "sensors", b"x").status_code == 200


def test_unknown_episodes_are_404(api):
    answers = [
        api.http.post(f"{CREATE}/nope/upload-urls"),
        api.finalize("nope"),
        api.http.get("/api/episodes/nope"),
        api.http.get("/api/episodes/nope/artifact/video"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert all(answer.json()["error"] for answer in answers)


def test_finalize_stores_what_it_is_given_and_merges_the_metadata(api):
    created = api.create(metadata={"task": "pick", "phase": "train"})
    answer = api.finalize(
        created["episode_id"],
        duration_s=2.5,
        fps=25,
        bytes_total=7,
        metadata={"phase": "eval", "outcome": {"success": True, "reward_total": 3, "steps": 50}},
    )
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    episode = api.episode(created["episode_id"])
    assert episode["updated_at"] == answer.json()["updated_at"] > episode["created_at"]
    assert (episode["duration_s"], episode["fps"], episode["bytes_total"]) == (2.5, 25, 7)
    assert episode["metadata"] == {
        "task": "pick",
        "phase": "eval",
        "outcome": {"success": True, "reward_total": 3, "steps": 50},
    }


@pytest.mark.parametrize(
    "body",
    [
        {"status": "recording"},
        {"duration_s": -1},
        {"bytes_total": 1.5},
        {"failure_time_s": "soon"},
        {"artifacts": [{"kind": "video", "size": 1, "sha256": "abc"}]},
        {"metadata": "text"},
    ],
)
def test_a_finalize_that_is_wrong_is_400_and_changes_nothing(api, body):
    episode_id = api.create()["episode_id"]
    assert api.finalize(episode_id, **body).status_code == 400
    assert api.episode(episode_id)["status"] == "recording"


@pytest.mark.parametrize("second", ["ready", "failed"])
@pytest.mark.parametrize("first", ["ready", "failed"])
def test_a_repeated_finalize_answers_the_same_and_never_rolls_back(api, first, second):
    episode_id = api.create()["episode_id"]
    answer = api.finalize(episode_id, status=first, duration_s=1, metadata={"a": 1})
    again = api.finalize(episode_id, status=second, duration_s=9, metadata={"a": 2})
    assert again.status_code == 200
    assert again.json() == answer.json()
    episode = api.episode(episode_id)
    assert (episode["status"], episode["duration_s"], episode["metadata"]) == (first, 1, {"a": 1})


@pytest.mark.parametrize(("given", "stored"), [(1.5, 1.5), (99.0, 4.0), (-3.0, 0.0)])
def test_the_failure_time_is_clamped_into_the_duration(api, given, stored):
    episode_id = api.create()["episode_id"]
    api.finalize(episode_id, status="failed", duration_s=4, failure_time_s=given)
    assert api.episode(episode_id)["failure_time_s"] == stored


def test_the_failure_time_of_an_episode_without_a_duration_is_kept(api):
    episode_id = api.create()["episode_id"]
    api.finalize(episode_id, status="failed", failure_time_s=12.0)
    assert api.episode(episode_id)["failure_time_s"] == 12.0


def test_a_failure_time_without_a_failure_is_dropped(api):
    episode_id = api.create()["episode_id"]
    api.finalize(episode_id, status="ready", duration_s=4, failure_time_s=1)
    assert api.episode(episode_id)["failure_time_s"] is None


def test_finalize_checks_what_has_arrived(api, claim):
    created = api.create(request_uploads=["video", "sensors"])
    episode_id = created["episode_id"]
    api.put(created, "sensors", b"abc")
    missing = api.finalize(episode_id, artifacts=[claim("video", b"abc")])
    size = api.finalize(episode_id, artifacts=[claim("sensors", b"abcd")])
    sha256 = api.finalize(episode_id, artifacts=[claim("sensors", b"abd")])
    assert [answer.status_code for answer in (missing, size, sha256)] == [409, 409, 409]
    assert "video: nothing" in missing.json()["error"]
    assert "3 bytes" in size.json()["error"]
    assert "sha256" in sha256.json()["error"]
    assert api.episode(episode_id)["status"] == "recording"
    assert api.finalize(episode_id, artifacts=[claim("sensors", b"abc")]).status_code == 200


def test_a_repeated_finalize_still_says_what_has_not_arrived(api, claim):
    episode_id = api.create()["episode_id"]
    api.finalize(episode_id)
    assert api.finalize(episode_id, artifacts=[claim("video", b"abc")]).status_code == 409


def test_a_file_lost_from_the_store_is_noticed_by_finalize(api, claim, lose):
    episode_id = api.record({"video": b"abc"})
    assert api.finalize(episode_id, artifacts=[claim("video", b"abc")]).status_code == 200
    lose(episode_id, "video")
    assert api.finalize(episode_id, artifacts=[claim("video", b"abc")]).status_code == 409


def test_an_archived_episode_is_409(api, database, store):
    created = api.create(request_uploads=["video"])
    with database.write() as session:
        session.get_one(Episode, created["episode_id"]).status = "archived"
    answers = [
        api.finalize(created["episode_id"]),
        api.http.post(f"{CREATE}/{created['episode_id']}/upload-urls"),
        *([] if store.origin else [api.put(created, "video", b"x")]),  # a bucket knows of no episode
    ]
    assert {answer.status_code for answer in answers} == {409}


def test_a_broken_video_does_not_fail_a_finalize(api):
    episode_id = api.record({"video": b"this is no video"})
    assert api.episode(episode_id)["status"] == "ready"


def test_the_published_description_names_the_ingest_routes(api):
    paths = api.http.get("/api/openapi.json").json()["paths"]
    assert {CREATE, CREATE + "/{episode_id}/finalize", "/api/episodes/{episode_id}"} <= set(paths)
