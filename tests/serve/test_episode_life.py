"""Archived, restored, deleted, given up on; and that no kill in between leaves anything behind."""

import os
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta

import httpx
import pytest
from polling import eventually
from sqlalchemy import func, select, update

from robotrace.serve.database import Database
from robotrace.serve.janitor import Janitor
from robotrace.serve.lifecycle import delete_episodes, reap, sweep
from robotrace.serve.models import Artifact, DoomedObject, Episode, Project, utc_now
from robotrace.serve.quotas import expire
from robotrace.serve.server import Deployment
from robotrace.serve.services import Services
from robotrace.serve.settings import Settings
from robotrace.serve.store import LocalStore

FILES = {"sensors": b"sensors", "actions": b"actions"}
WEEK = timedelta(days=7)


@pytest.fixture(scope="module", autouse=True)
def still(deployment):
    """The deployment's own janitor rests: what happens, and when, is up to each test."""
    deployment._janitor.stop()
    deployment._janitor.join(60)


@pytest.fixture
def services(database, settings, store):
    """The deployment's parts, for the janitor's work with a time of one's own."""
    return Services(settings, database, store, cookies=None)


@pytest.fixture
def lives(api):
    def post(episode_id, what):
        answer = api.http.post(f"/api/episodes/{episode_id}/{what}")
        assert answer.status_code == 200, answer.text
        return answer.json()["status"]

    return post


def delete(api, episode_id, **query):
    return api.http.delete(f"/api/episodes/{episode_id}", params=query)


def listed(api, **query):
    return [episode["episode_id"] for episode in api.http.get("/api/episodes", params=query).json()["episodes"]]


def objects(store, episode_id):
    """The slots that have a file in the store."""
    if isinstance(store, LocalStore):
        return sorted(path.name for path in store.path(f"episodes/{episode_id}").glob("*"))
    import obstore

    found = [each["path"] for page in obstore.list(store._quick, prefix=f"episodes/{episode_id}") for each in page]
    return sorted(path.split("/")[2] for path in found)


def aged(database, episode_id, age):
    """As if it had come so long ago."""
    then = utc_now() - age
    with database.write() as session:
        session.execute(update(Episode).where(Episode.id == episode_id).values(created_at=then, updated_at=then))
        session.execute(update(Artifact).where(Artifact.episode_id == episode_id).values(stored_at=then))


@pytest.mark.parametrize("status", ["ready", "failed", "recording"])
def test_an_archived_episode_is_out_of_the_lists_and_comes_back_as_it_was(api, lives, policy, status):
    if status == "recording":
        episode_id = api.create(policy_version=policy)["episode_id"]
    else:
        episode_id = api.record(FILES, policy_version=policy, finalize={"status": status})
    assert lives(episode_id, "archive") == "archived"
    assert lives(episode_id, "archive") == "archived"
    assert listed(api, policy_version=policy) == []
    assert listed(api, policy_version=policy, status="archived") == [episode_id]
    assert api.finalize(episode_id).status_code == 409
    assert api.episode(episode_id)["status"] == "archived"
    assert lives(episode_id, "restore") == status
    assert lives(episode_id, "restore") == status
    assert listed(api, policy_version=policy) == [episode_id]
    assert api.finalize(episode_id, status="failed" if status == "failed" else "ready").status_code == 200


def test_many_are_archived_in_one_call_which_says_which_there_were(api, policy):
    ids = [api.record(policy_version=policy) for _ in range(3)]
    answer = api.http.post("/api/episodes/archive", json={"ids": [ids[0], "nobody", ids[2], ids[0]]})
    assert answer.json() == {"archived": [ids[0], ids[2]], "missing": ["nobody"]}
    assert listed(api, policy_version=policy) == [ids[1]]
    assert api.http.post("/api/episodes/archive", json={"ids": []}).status_code == 400


def test_a_deleted_episode_is_gone_and_its_files_follow(api, store, services, database, policy):
    episode_id = api.record(FILES, policy_version=policy)
    other = api.record(FILES, policy_version=policy)
    assert objects(store, episode_id) == ["actions", "sensors"]
    answer = delete(api, episode_id)
    assert (answer.status_code, answer.content) == (204, b"")
    for call in (api.http.get, api.http.delete):
        assert call(f"/api/episodes/{episode_id}").status_code == 404
    assert listed(api, policy_version=policy) == [other]
    Janitor(services).tidy()
    assert objects(store, episode_id) == []
    assert objects(store, other) == ["actions", "sensors"]
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Artifact).where(Artifact.episode_id == episode_id)) == 0


def test_an_upload_url_of_a_deleted_episode_brings_nothing_back(api, store, services):
    created = api.create()
    delete(api, created["episode_id"])
    # A bucket knows nothing of episodes, and takes it for a while.
    assert api.put(created, "video", b"late").status_code == (200 if store.origin else 404)
    Janitor(services).tidy()
    assert objects(store, created["episode_id"]) == []
    sweep(services, utc_now() + timedelta(hours=3))
    assert not store.waiting(f"episodes/{created['episode_id']}")


def test_the_create_of_a_deleted_episode_is_refused_for_good_when_it_is_repeated(api):
    created = api.create(key="deleted-1")
    delete(api, created["episode_id"])
    answer = api.http.post("/api/ingest/episode", json={}, headers={"Idempotency-Key": "deleted-1"})
    # One that uploaders count as a refusal of this episode, not of all of them.
    assert answer.status_code == 422
    assert "deleted" in answer.json()["error"]


def test_a_baseline_is_protected_unless_its_scenario_goes_too(api, policy):
    episode_id = api.record(FILES, policy_version=policy)
    body = {"baseline_episode_id": episode_id}
    scenario = api.http.post("/api/verify/promote", json=body).json()["scenario_id"]
    refused = delete(api, episode_id)
    assert refused.status_code == 409
    assert scenario in refused.json()["error"]
    assert "force=true" in refused.json()["error"]
    assert delete(api, episode_id, force="true").status_code == 204
    gate = api.http.post("/api/verify/check", json={"candidate_policy_version": policy}).json()
    assert scenario not in [each["scenario_id"] for each in gate["scenarios"]]


def test_a_sweep_never_takes_an_object_that_a_row_names(api, store, services, database):
    episode_id = api.record(FILES)
    key = f"episodes/{episode_id}/sensors"
    with database.write() as session:
        session.add(DoomedObject(object_key=key, since=utc_now()))
    sweep(services, utc_now())
    assert objects(store, episode_id) == ["actions", "sensors"]
    with database.read() as session:
        assert session.get(DoomedObject, key) is None


def test_what_a_late_put_has_brought_back_goes_with_the_last_sweep(api, services, database, store, tmp_path):
    episode_id = api.record(FILES)
    with database.write() as session:
        delete_episodes(session, [session.get_one(Episode, episode_id)], utc_now())
    sweep(services, utc_now())
    file = tmp_path / "late"
    file.write_bytes(b"late")
    name = "sensors/late" if store.origin else "sensors"
    store.put_file(f"episodes/{episode_id}/{name}", file, "application/octet-stream")
    sweep(services, utc_now())
    assert objects(store, episode_id) == ["sensors"]
    sweep(services, utc_now() + timedelta(hours=3))
    assert objects(store, episode_id) == []
    with database.read() as session:
        left = select(func.count()).select_from(DoomedObject).where(DoomedObject.object_key.contains(episode_id))
        assert session.scalar(left) == 0


def test_a_store_that_fails_in_the_middle_loses_no_note(api, store, services, database, monkeypatch):
    ids = [api.record(FILES) for _ in range(2)]
    deleted = []

    def third_fails(key):
        if len(deleted) == 2:
            raise OSError("the disk is away")
        deleted.append(key)
        type(store).empty(store, key)

    with database.write() as session:
        delete_episodes(session, [session.get_one(Episode, each) for each in ids], utc_now())
    with monkeypatch.context() as patch:
        patch.setattr(services.store, "empty", third_fails)
        with pytest.raises(OSError, match="away"):
            sweep(services, utc_now())
    sweep(services, utc_now())
    assert [objects(store, each) for each in ids] == [[], []]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import httpx
    from robotrace.serve import lifecycle
    from robotrace.serve.server import Deployment
    from robotrace.serve.settings import Settings
    from robotrace.serve.store import LocalStore

    where = sys.argv[2]
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)
    if where == "before the first object":
        LocalStore.delete = die
    elif where == "between two objects":
        real, seen = LocalStore.delete, []
        def delete(self, key):
            real(self, key)
            seen.append(key)
            if len(seen) == 2:
                die()
        LocalStore.delete = delete
    elif where == "before the note that they are gone":
        lifecycle._note_swept = die
    with Deployment(Settings(Path(sys.argv[1]), port=0)) as deployment:
        headers = {"Authorization": "Bearer " + deployment.internal_key}
        with httpx.Client(base_url=deployment.base_url, headers=headers) as http:
            created = http.post("/api/ingest/episode", json={}).json()
            for slot in created["upload_urls"]:
                kind = "video/mp4" if slot["kind"] == "video" else "application/octet-stream"
                httpx.put(slot["url"], content=b"x" * 100, headers={"Content-Type": kind})
            print(created["episode_id"], flush=True)
            http.delete("/api/episodes/" + created["episode_id"])
            deployment.wait()
"""


@pytest.mark.parametrize(
    "where", ["before the first object", "between two objects", "before the note that they are gone"]
)
def test_a_deletion_that_is_killed_is_finished_after_the_restart(tmp_path, where):
    settings = Settings(tmp_path / "data", port=0)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(settings.data_dir), where]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert process.returncode == -signal.SIGKILL, process.stderr
    episode_id = process.stdout.strip()
    with Deployment(settings) as deployment:
        headers = {"Authorization": f"Bearer {deployment.internal_key}"}
        assert httpx.get(f"{deployment.base_url}/api/episodes/{episode_id}", headers=headers).status_code == 404
        left = settings.objects_dir / "episodes" / episode_id
        eventually(lambda: not left.exists() or not any(left.iterdir()), timeout_s=60)


def test_what_nothing_comes_for_is_failed_and_says_why(api, services, database):
    episode_id = api.create(metadata={"task": "pick"})["episode_id"]
    fresh = api.create()["episode_id"]
    aged(database, episode_id, timedelta(days=8))
    assert reap(services, utc_now(), WEEK) == 1
    assert reap(services, utc_now(), WEEK) == 0
    episode = api.episode(episode_id)
    assert episode["status"] == "failed"
    assert episode["metadata"]["failure_reason"].startswith("no finalize came for 7 days")
    assert episode["metadata"]["task"] == "pick"
    assert episode["metadata"]["reaped"]["after_s"] == WEEK.total_seconds()
    assert api.episode(fresh)["status"] == "recording"


def test_an_episode_whose_files_still_arrive_is_not_given_up(api, services, database, objects_dir):
    """Past this deployment into a bucket, what arrives is not seen before the finalize."""
    created = api.create()
    aged(database, created["episode_id"], timedelta(days=8))
    assert api.put(created, "sensors", b"x").status_code == 200
    assert reap(services, utc_now(), WEEK) == 0


def test_a_finalize_that_comes_after_weeks_still_wins(api, services, database, claim, policy):
    created = api.create(metadata={"task": "pick"}, policy_version=policy)
    episode_id = created["episode_id"]
    assert api.put(created, "sensors", b"first").status_code == 200
    aged(database, episode_id, timedelta(days=8))
    assert reap(services, utc_now(), WEEK) == 1
    # The uploader begins again where it was: its files, then finalize.
    assert api.put(created, "sensors", b"second").status_code == 200
    assert api.put(created, "actions", b"a").status_code == 200
    answer = api.finalize(episode_id, artifacts=[claim("sensors", b"second"), claim("actions", b"a")])
    assert answer.json()["status"] == "ready"
    episode = api.episode(episode_id)
    assert episode["metadata"] == {"task": "pick"}
    (shown,) = api.http.get("/api/episodes", params={"policy_version": policy}).json()["episodes"]
    assert (shown["status"], shown["failure_reason"]) == ("ready", None)
    # A bucket takes what the deployment does not.
    assert api.put(created, "sensors", b"third").status_code == (200 if services.store.origin else 409)
    assert api.finalize(episode_id, artifacts=[claim("sensors", b"second")]).status_code == 200


def test_a_finalize_as_failed_keeps_its_own_reason(api, services, database):
    episode_id = api.create()["episode_id"]
    aged(database, episode_id, timedelta(days=8))
    reap(services, utc_now(), WEEK)
    api.finalize(episode_id, status="failed", metadata={"failure_reason": "it fell"})
    assert api.episode(episode_id)["metadata"] == {"failure_reason": "it fell"}


def test_what_is_too_old_goes_but_no_baseline(tmp_path):
    """With a deployment of its own: retention is of a whole project."""
    settings = Settings(tmp_path / "data", port=0, reap_after=None)
    with Deployment(settings) as deployment:
        headers = {"Authorization": f"Bearer {deployment.internal_key}"}
        with httpx.Client(base_url=deployment.base_url, headers=headers) as http:

            def record(status):
                created = http.post("/api/ingest/episode", json={"request_uploads": []}).json()["episode_id"]
                http.post(f"/api/ingest/episode/{created}/finalize", json={"status": status})
                return created

            old_ready, old_failed, baseline, archived, young = (
                record(status) for status in ("ready", "failed", "failed", "failed", "failed")
            )
            http.post("/api/verify/promote", json={"baseline_episode_id": baseline})
            http.post(f"/api/episodes/{archived}/archive")
            database = Database(settings.database_url)
            services = Services(settings, database, store=None, cookies=None)
            try:
                with database.write() as session:
                    session.get_one(Project, 1).retain_failed_days = 30
                for each in (old_ready, old_failed, baseline, archived):
                    aged(database, each, timedelta(days=31))
                assert expire(services, utc_now()) == 1
                assert http.get(f"/api/episodes/{old_failed}").status_code == 404
                for each in (old_ready, baseline, archived, young):
                    assert http.get(f"/api/episodes/{each}").status_code == 200
                with database.write() as session:
                    session.get_one(Project, 1).retain_archived_days = 30
                assert expire(services, utc_now()) == 0  # archived just now
                assert expire(services, utc_now() + timedelta(days=31)) == 2  # and the young one is old then
            finally:
                database.close()


def test_the_janitor_goes_on_when_a_step_fails(services, monkeypatch, caplog):
    monkeypatch.setattr("robotrace.serve.janitor.reap", lambda *_: 1 / 0)
    swept = []
    monkeypatch.setattr("robotrace.serve.janitor.sweep", lambda *_: swept.append(1) or 0)
    Janitor(services).tidy()
    assert swept
    assert "ZeroDivisionError" in caplog.text


def test_parts_of_uploads_that_ended_long_ago_are_collected(services, objects_dir):
    incoming = objects_dir / ".incoming"
    old, new = incoming / "old.part", incoming / "new.part"
    for part in (old, new):
        part.write_bytes(b"x")
    then = (utc_now() - timedelta(days=2)).timestamp()
    os.utime(old, (then, then))
    Janitor(services).tidy()
    assert [part.exists() for part in (old, new)] == [False, True]
    new.unlink()


def test_two_janitors_at_once_do_no_harm(api, services, store, database):
    ids = [api.record(FILES) for _ in range(3)]
    with database.write() as session:
        delete_episodes(session, [session.get_one(Episode, each) for each in ids], utc_now())
    janitors = [Janitor(services, round_s=0.01) for _ in range(2)]
    for janitor in janitors:
        janitor.start()
    try:
        eventually(lambda: all(objects(store, each) == [] for each in ids), timeout_s=60)
    finally:
        for janitor in janitors:
            janitor.stop()
            janitor.join(30)


def test_a_delete_wakes_the_janitor_and_no_empty_folder_remains(tmp_path):
    settings = Settings(tmp_path / "data", port=0)
    with Deployment(settings) as deployment:
        headers = {"Authorization": f"Bearer {deployment.internal_key}"}
        with httpx.Client(base_url=deployment.base_url, headers=headers) as http:
            created = http.post("/api/ingest/episode", json={"request_uploads": ["sensors"]}).json()
            url = created["upload_urls"][0]["url"]
            httpx.put(url, content=b"x", headers={"Content-Type": "application/octet-stream"})
            folder = settings.objects_dir / "episodes" / created["episode_id"]
            assert folder.is_dir()
            assert http.delete(f"/api/episodes/{created['episode_id']}").status_code == 204
            eventually(lambda: not folder.exists(), timeout_s=60)
