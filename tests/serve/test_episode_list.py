"""``GET /api/episodes``: the list for programs, with a key."""

import httpx
import pytest


def listed(api, **query):
    answer = api.http.get("/api/episodes", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page):
    return [episode["episode_id"] for episode in page["episodes"]]


def test_an_episode_in_the_list_has_every_field_and_a_number_as_its_seed(api, policy):
    outcome = {"success": False, "reward_total": -1.5, "steps": 7}
    episode_id = api.record(
        {"video": b"x"},
        policy_version=policy,
        seed=2**62,
        name="n",
        robot="r",
        env_version="e",
        git_sha="abc",
        source="sim",
        finalize={
            "status": "failed",
            "duration_s": 2,
            "failure_time_s": 1,
            "fps": 30,
            "metadata": {"outcome": outcome},
        },
    )
    page = listed(api, policy_version=policy)
    (episode,) = page["episodes"]
    assert page["next"] is None
    assert episode.pop("created_at").endswith("Z")
    assert episode.pop("updated_at").endswith("Z")
    assert episode == {
        "episode_id": episode_id,
        "name": "n",
        "status": "failed",
        "source": "sim",
        "robot": "r",
        "policy_version": policy,
        "env_version": "e",
        "git_sha": "abc",
        "seed": 2**62,
        "fps": 30,
        "duration_s": 2,
        "failure_time_s": 1,
        "has_video": True,
        **outcome,
        "failure_reason": None,
    }


def test_the_list_goes_page_by_page_newest_first_and_takes_the_filters_of_the_portal(api, policy):
    recorded = [api.record(policy_version=policy, seed=number % 2) for number in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = listed(api, policy_version=policy, limit=2, cursor=cursor)
        assert len(page["episodes"]) <= 2
        seen += ids(page)
        cursor = page["next"]
    assert seen == recorded[::-1]
    assert ids(listed(api, policy_version=policy, seed=1)) == [recorded[3], recorded[1]]
    assert ids(listed(api, policy_version=policy, status="failed")) == []


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "201"}, {"seed": "x"}, {"cursor": "nonsense"}])
def test_a_list_asked_for_wrongly_is_400(api, query):
    answer = api.http.get("/api/episodes", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_the_list_is_for_those_with_a_key(deployment):
    assert httpx.get(f"{deployment.base_url}/api/episodes").status_code == 401
