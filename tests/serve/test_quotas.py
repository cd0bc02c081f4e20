"""What a project may hold, and what a client gets to hear when it is full."""

import httpx
import pytest

import robotrace
from robotrace.deliver.retry import Action, decide
from robotrace.serve.database import Database
from robotrace.serve.models import Project
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings
from robotrace.serve.usage import UsageCache


@pytest.fixture
def full(tmp_path):
    """A deployment of its own; sets the limits of its project."""
    settings = Settings(tmp_path / "data", port=0)
    database = Database(settings.database_url)
    with Deployment(settings) as deployment:
        headers = {"Authorization": f"Bearer {deployment.internal_key}"}

        def limit(**limits):
            with database.write() as session:
                project = session.get_one(Project, 1)
                for name, value in limits.items():
                    setattr(project, name, value)

        with httpx.Client(base_url=deployment.base_url, headers=headers) as http:
            yield deployment, http, limit
    database.close()


def create(http, key=None):
    headers = {} if key is None else {"Idempotency-Key": key}
    return http.post("/api/ingest/episode", json={"request_uploads": ["sensors"]}, headers=headers)


def test_a_full_project_answers_429_with_the_text_and_the_time(full):
    _, http, limit = full
    limit(quota_episodes=2)
    first = create(http, "one")
    assert [first.status_code, create(http).status_code] == [201, 201]
    refused = create(http)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "10"
    assert refused.json()["error"] == (
        "project default is full: it holds 2 episodes of 2; delete some, or raise its quota"
    )
    # What it has, it goes on with.
    again = create(http, "one")
    assert (again.status_code, again.json()["episode_id"]) == (201, first.json()["episode_id"])
    url = first.json()["upload_urls"][0]["url"]
    assert httpx.put(url, content=b"x", headers={"Content-Type": "application/octet-stream"}).status_code == 200
    path = f"/api/ingest/episode/{first.json()['episode_id']}/finalize"
    assert http.post(path, json={"status": "ready"}).status_code == 200


def test_bytes_count_and_storage_says_what_there_is(full):
    _, http, limit = full
    created = create(http).json()
    url = created["upload_urls"][0]["url"]
    httpx.put(url, content=b"x" * 100, headers={"Content-Type": "application/octet-stream"})
    http.post(f"/api/ingest/episode/{created['episode_id']}/finalize", json={"status": "ready"})
    limit(quota_bytes=100, retain_failed_days=30)
    assert create(http).status_code == 429
    assert http.get("/api/storage").json() == {
        "project": "default",
        "episodes": 1,
        "episodes_by_status": {"ready": 1},
        "bytes": 100,
        "quota_episodes": None,
        "quota_bytes": 100,
        "retention": {"ready_days": None, "failed_days": 30, "archived_days": None},
    }


def test_the_uploader_keeps_the_episode_and_the_synchronous_client_says_it(full):
    deployment, _, limit = full
    limit(quota_episodes=0)
    slept = []
    with robotrace.Client(base_url=deployment.base_url, api_key=deployment.internal_key) as client:
        client._transport._sleep = slept.append
        with pytest.raises(robotrace.RateLimitError, match="project default is full") as caught:
            client.start_episode(artifacts=())
    assert slept == [10.0, 10.0, 10.0]
    assert decide("create", caught.value) is Action.RETRY


def test_what_a_project_holds_is_looked_up_every_ten_seconds(full, tmp_path):
    _, http, _ = full
    now = [0.0]
    cache = UsageCache(lambda: now[0])
    database = Database(Settings(tmp_path / "data").database_url)
    try:
        assert cache.usage(database, 1).episodes == 0
        create(http)
        assert cache.usage(database, 1).episodes == 0
        cache.created(1)
        assert cache.usage(database, 1).episodes == 1
        now[0] = 10.0
        assert cache.usage(database, 1).episodes == 1
        create(http)
        now[0] = 20.0
        assert cache.usage(database, 1).episodes == 2
    finally:
        database.close()
