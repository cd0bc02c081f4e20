"""The further filters of the list, over HTTP and from the client."""

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import update

import robotrace
from robotrace.serve.models import Episode, EpisodeAnalysis, utc_now

FAILED = {
    "status": "failed",
    "metadata": {"failure_reason": "Gripper slipped: 100%_sure", "outcome": {"success": False}},
}
WENT_WELL = {"metadata": {"outcome": {"success": True}}}
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def three(api):
    """Of one policy: a failed one with a video, one that went well, one that says nothing; an hour apart."""
    policy = "filters"
    return [
        api.record({"video": b"v"}, policy_version=policy, name="Pick 7", finalize=FAILED),
        api.record(policy_version=policy, name="pick_8", finalize=WENT_WELL),
        api.record(policy_version=policy),
    ]


@pytest.fixture
def at_noon(three, database):
    for number, episode_id in enumerate(three):
        moment = NOON + timedelta(hours=number)
        with database.write() as session:
            session.execute(update(Episode).where(Episode.id == episode_id).values(created_at=moment))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"name": "PICK"}, [1, 0]),
        ({"name": "pick_"}, [1]),  # no wildcard
        ({"name": "k 7"}, [0]),
        ({"failure_reason": "slipped"}, [0]),
        ({"failure_reason": "100%_"}, [0]),
        ({"failure_reason": "%"}, [0]),
        ({"failure_reason": "nothing like it"}, []),
        ({"has_video": "true"}, [0]),
        ({"has_video": "false"}, [2, 1]),
        ({"success": "true"}, [1]),
        ({"success": "false"}, [0]),
        ({"success": "false", "has_video": "false"}, []),
        ({"created_after": "2026-01-31T13:00:00Z"}, [2, 1]),
        ({"created_before": "2026-01-31T13:00:00Z"}, [0]),
        ({"created_after": "2026-01-31T14:00:00+01:00", "created_before": "2026-01-31T14:00:00"}, [1]),
        ({"created_after": "2026-01-31", "created_before": "2026-02-01"}, [2, 1, 0]),
        ({"name": "", "has_video": "", "success": " "}, [2, 1, 0]),
    ],
)
def test_each_filter_lets_pass_what_it_says(api, three, at_noon, query, expected):
    answer = api.http.get("/api/episodes", params={"policy_version": "filters", **query})
    assert answer.status_code == 200, answer.text
    assert [episode["episode_id"] for episode in answer.json()["episodes"]] == [three[number] for number in expected]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"has_video": "1"}, "has_video: true or false"),
        ({"success": "yes"}, "success: true or false"),
        (
            {"created_after": "yesterday"},
            "created_after: not a time as ISO 8601, 2026-01-31T12:00:00Z, nor how long ago, 24h",
        ),
        ({"created_after": "999999d"}, "created_after: longer ago than there were years"),
        (
            {"created_before": "0001-01-01T00:00:00+14:00"},
            "created_before: not a time as ISO 8601, 2026-01-31T12:00:00Z, nor how long ago, 24h",
        ),
        ({"seed": "1_000"}, "seed: not an integer"),
        ({"seed": "9" * 5000}, "seed: not a 64-bit integer"),
        ({"name": "a\0b"}, "name: no NUL"),
    ],
)
def test_a_filter_that_is_none_is_400_and_named(api, query, error):
    answer = api.http.get("/api/episodes", params=query)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_pages_say_what_is_wrong_and_leave_it_out(api, three):
    page = api.http.get("/portal/episodes", params={"policy_version": "filters", "success": "maybe", "seed": "x"})
    assert page.status_code == 200
    assert "seed: not an integer; success: true or false. It was left out." in page.text
    assert all(episode_id in page.text for episode_id in three)


def test_the_client_has_them_too(deployment, three, at_noon):
    with robotrace.Client(base_url=deployment.base_url, api_key=deployment.internal_key) as client:

        def found(**filters):
            page = client.list_episodes(policy_version="filters", **filters)
            return [three.index(episode["episode_id"]) for episode in page["episodes"]]

        assert found(success=False) == [0]
        assert found(has_video=False) == [2, 1]
        assert found(created_after=NOON + timedelta(hours=1)) == [2, 1]
        assert found(name="pick", failure_reason="gripper") == [0]


def test_a_filter_does_not_break_the_paging(api, three, at_noon):
    cursor, seen = "", []
    while cursor is not None:
        params = {"policy_version": "filters", "name": "pick", "limit": 1, "cursor": cursor}
        page = api.http.get("/api/episodes", params=params).json()
        seen += [three.index(episode["episode_id"]) for episode in page["episodes"]]
        cursor = page["next"]
    assert seen == [1, 0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"created_after": "90m"}, [1, 0]),
        ({"created_after": "2h", "created_before": "1h"}, [1]),
        ({"created_before": "1d"}, [2]),
    ],
)
def test_a_time_may_be_how_long_ago_it_was(api, three, database, query, expected):
    for episode_id, hours in zip(three, (0.5, 1.2, 30), strict=True):
        moment = utc_now() - timedelta(hours=hours)
        with database.write() as session:
            session.execute(update(Episode).where(Episode.id == episode_id).values(created_at=moment))
    answer = api.http.get("/api/episodes", params={"policy_version": "filters", **query})
    # The newest first.
    found = [three.index(episode["episode_id"]) for episode in answer.json()["episodes"]]
    assert found == sorted(expected)


def test_by_the_code_of_a_finding_and_not_by_what_is_written_in_one(api, database, policy):
    by_code = {}
    for code in ("battery", "frozen_sensor"):
        by_code[code] = api.record(policy_version=policy, finalize={"status": "ready"})
        other = {"code": "drift", "title": 'a "code": "frozen_sensor" in a text', "evidence": {"note": "battery"}}
        findings = [other, {"code": code, "title": "x"}]
        with database.write() as session:
            session.merge(
                EpisodeAnalysis(
                    episode_id=by_code[code],
                    analyzer_version="1",
                    findings=findings,
                    skipped=[],
                    basis="",
                    created_at=utc_now(),
                )
            )

    def found(code):
        answer = api.http.get("/api/episodes", params={"policy_version": policy, "finding": code})
        return [episode["episode_id"] for episode in answer.json()["episodes"]]

    assert {code: found(code) for code in by_code} == {code: [episode] for code, episode in by_code.items()}
    assert found("frozen%sensor") == found("frozen") == []
    assert len(found("drift")) == 2
