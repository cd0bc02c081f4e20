"""A deployment on a bucket: a real S3 server that checks signatures, and one that knows Range and parts."""

import hashlib
import logging
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from polling import eventually
from sqlalchemy import select

from robotrace.errors import ConfigurationError
from robotrace.serve import arrivals
from robotrace.serve.check import check_settings
from robotrace.serve.collector import collect_late
from robotrace.serve.models import Artifact, Episode
from robotrace.serve.server import Deployment
from robotrace.serve.services import Services
from robotrace.serve.settings import Settings
from robotrace.serve.storage import open_store
from robotrace.serve.store import StoreError

from .backends import SECRET
from .conftest import Api

pytest.importorskip("obstore", reason="the s3 extra is not installed")
from robotrace.serve import bucket
from robotrace.serve.bucket import BucketStore, without_secrets

BINARY = {"Content-Type": "application/octet-stream"}
SECRET_KEY = b"x" * 32


@pytest.fixture(scope="module")
def settings(servers, tmp_path_factory):
    """SQLite and a bucket: the database is no matter of these tests."""
    return Settings(tmp_path_factory.mktemp("deployment") / "data", port=0, storage=servers.storage())


@pytest.fixture
def objects(settings, servers):
    """The files of the bucket, by key."""
    root = servers.folder / urlsplit(settings.storage).path.strip("/")

    def look():
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    return look


@pytest.fixture
def services(settings, store, database):
    return Services(settings, database, store, cookies=None)


def of_episode(objects, episode_id):
    return [content for key, content in objects().items() if episode_id in key]


def url_of(created, kind="sensors"):
    return next(entry["url"] for entry in created["upload_urls"] if entry["kind"] == kind)


def read(api, episode_id, kind):
    answer = api.http.get(f"/api/episodes/{episode_id}/artifact/{kind}", follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer.content


# --- uploads go past us


def test_a_files_bytes_go_straight_to_the_bucket_and_are_in_the_episode_after_finalize(api, store, claim, objects):
    content = bytes(range(256)) * 40_000
    created = api.create(request_uploads=["video", "sensors"])
    for kind in ("video", "sensors"):
        assert url_of(created, kind).startswith(f"{store.origin}/bucket/")
        assert api.put(created, kind, kind.encode() + content).status_code == 200
    claims = [claim(kind, kind.encode() + content) for kind in ("video", "sensors")]
    assert api.finalize(created["episode_id"], artifacts=claims).status_code == 200
    assert read(api, created["episode_id"], "sensors") == b"sensors" + content
    assert read(api, created["episode_id"], "video") == b"video" + content
    assert len(of_episode(objects, created["episode_id"])) == 2  # what waited is gone


def test_finalize_says_what_is_wrong_with_a_file_and_takes_the_right_one_then(api, claim, objects):
    created = api.create(request_uploads=["sensors"])
    right = [claim("sensors", b"right")]
    assert "nothing has arrived" in api.finalize(created["episode_id"], artifacts=right).json()["error"]
    api.put(created, "sensors", b"wrong")
    assert "sha256" in api.finalize(created["episode_id"], artifacts=right).json()["error"]
    api.put(created, "sensors", b"right")
    assert api.finalize(created["episode_id"], artifacts=right).status_code == 200
    assert of_episode(objects, created["episode_id"]) == [b"right"]


def test_a_url_that_is_still_good_cannot_change_what_was_checked(api, claim, objects):
    created = api.create(request_uploads=["sensors"])
    api.put(created, "sensors", b"first")
    api.finalize(created["episode_id"], artifacts=[claim("sensors", b"first")])
    assert api.put(created, "sensors", b"other").status_code == 200  # the bucket knows of no finalize
    assert read(api, created["episode_id"], "sensors") == b"first"
    assert api.finalize(created["episode_id"], artifacts=[claim("sensors", b"other")]).status_code == 409
    assert api.finalize(created["episode_id"], artifacts=[claim("sensors", b"first")]).status_code == 200
    assert read(api, created["episode_id"], "sensors") == b"first"
    assert of_episode(objects, created["episode_id"]) == [b"first"]


def test_an_episode_that_is_closed_while_its_file_is_read_again_keeps_it(api, services, monkeypatch, claim, objects):
    """Another finalize, of the same file, is answered between the copy and the row."""
    created = api.create(request_uploads=["sensors"])
    api.put(created, "sensors", b"content")
    assert api.finalize(created["episode_id"], artifacts=[claim("actions", b"")]).status_code == 409
    api.put(created, "sensors", b"content")
    real = BucketStore.collect

    def closed_meanwhile(self, key, max_size):
        staged = real(self, key, max_size)
        with services.database.write() as session:
            session.get_one(Episode, created["episode_id"]).status = "ready"
        return staged

    monkeypatch.setattr(BucketStore, "collect", closed_meanwhile)
    assert api.finalize(created["episode_id"], artifacts=[claim("sensors", b"content")]).status_code == 200
    assert read(api, created["episode_id"], "sensors") == b"content"
    assert of_episode(objects, created["episode_id"]) == [b"content"]


def test_what_a_deployment_had_copied_when_it_was_killed_is_deleted(api, store, objects):
    created = api.create(request_uploads=["sensors"])
    api.put(created, "sensors", b"content")
    assert store.collect(f"episodes/{created['episode_id']}/sensors", 1000).size == 7  # and here it was killed
    assert len(of_episode(objects, created["episode_id"])) == 2
    assert api.finalize(created["episode_id"]).status_code == 200
    assert of_episode(objects, created["episode_id"]) == [b"content"]


def test_a_file_that_is_too_large_is_413_and_gone(api, objects, monkeypatch):
    created = api.create(request_uploads=["sensors"])
    api.put(created, "sensors", b"12345678901")
    monkeypatch.setattr(arrivals, "MAX_SIZE", 10)
    answer = api.finalize(created["episode_id"])
    assert answer.status_code == 413
    assert answer.json()["error"] == "sensors: 11 bytes have arrived; 10 are taken"
    assert of_episode(objects, created["episode_id"]) == []


def test_a_client_that_gives_up_waiting_finds_the_work_done(api, claim, monkeypatch):
    created = api.create(request_uploads=["sensors"])
    api.put(created, "sensors", b"slow")
    reads, go_on = [], threading.Event()
    real = BucketStore.chunks

    def slow(self, key):
        reads.append(key)
        assert go_on.wait(60)
        yield from real(self, key)

    monkeypatch.setattr(BucketStore, "chunks", slow)
    url, headers = f"{api.http.base_url}/api/ingest/episode/{created['episode_id']}/finalize", api.http.headers
    body = {"status": "ready", "artifacts": [claim("sensors", b"slow")]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json=body, headers=headers, timeout=httpx.Timeout(60, read=2))
    eventually(lambda: reads)
    answers = []
    again = threading.Thread(target=lambda: answers.append(httpx.post(url, json=body, headers=headers, timeout=60)))
    again.start()
    go_on.set()
    again.join()
    assert [answer.status_code for answer in answers] == [200]
    assert len(reads) == 1


def test_an_archived_episode_takes_nothing(api, database, services, objects):
    created = api.create(request_uploads=["sensors"])
    api.put(created, "sensors", b"late")
    with database.write() as session:
        session.get_one(Episode, created["episode_id"]).status = "archived"
    assert api.finalize(created["episode_id"]).status_code == 409
    collect_late(services)
    assert api.episode(created["episode_id"])["artifacts"] == []


def test_a_late_file_of_which_no_call_tells_is_found(api, services, write_video):
    content = write_video([0, 40, 80]).read_bytes()
    episode_id = api.record()
    signed = api.http.post(f"/api/ingest/episode/{episode_id}/upload-urls", json={"kinds": ["video"]}).json()
    recording = api.create(request_uploads=["video"])
    assert api.put(signed, "video", content).status_code == 200
    assert api.put(recording, "video", content).status_code == 200
    collect_late(services)
    assert [artifact["kind"] for artifact in api.episode(episode_id)["artifacts"]] == ["video"]
    assert api.episode(recording["episode_id"])["artifacts"] == []


# --- who gets in


@pytest.fixture
def put_url(api):
    return url_of(api.create(request_uploads=["sensors"]))


@pytest.fixture
def get_url(api):
    episode_id = api.record({"video": b"0123456789"})
    return api.http.get(f"/api/episodes/{episode_id}/artifact/video").headers["location"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
        ("X-Amz-Expires=", "X-Amz-Expires=1"),
        ("/sensors?", "/actions?"),
        ("/video/", "/sensors/"),
        ("X-Amz-Signature", "X-Amz-Nothing"),
    ],
)
def test_a_tampered_url_of_the_bucket_is_refused(put_url, get_url, old, new):
    for url, method in ((put_url, "PUT"), (get_url, "GET")):
        if old in url:
            answer = httpx.request(method, url.replace(old, new), content=b"x" if method == "PUT" else None)
            assert 400 <= answer.status_code < 500


def test_a_url_of_the_bucket_is_for_one_method(put_url, get_url):
    assert httpx.get(put_url).status_code == 403
    assert httpx.put(get_url, content=b"x").status_code == 403


def test_a_url_of_the_bucket_is_good_for_as_long_as_the_answer_says(api, get_url):
    """That the bucket looks at it is tested in tests/deliver/test_s3.py, with URLs signed an hour ago."""
    (upload,) = api.create(request_uploads=["sensors"])["upload_urls"]
    query = dict(parse_qsl(urlsplit(upload["url"]).query))
    signed = datetime.strptime(query["X-Amz-Date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    expires = signed + timedelta(seconds=int(query["X-Amz-Expires"]))
    said = datetime.fromisoformat(upload["expires_at"].replace("Z", "+00:00"))
    assert abs(said - expires) <= timedelta(seconds=1)
    assert 21_590 <= int(dict(parse_qsl(urlsplit(get_url).query))["X-Amz-Expires"]) <= 21_600


def test_no_url_can_be_had_for_a_key_that_leads_out_of_the_prefix(store):
    for key in ("../x", "episodes/../../x", "a//b", "/etc", ".hidden", "a\\..\\b"):
        with pytest.raises(StoreError) as refused:
            store.signed_get(key, expires=int(time.time()) + 60, content_type="x/y")
        assert refused.value.status_code == 400


# --- what comes out


def test_pages_may_load_videos_from_the_buckets_origin_and_from_nowhere_else(api, store, get_url):
    policy = api.http.get("/portal/episodes").headers["content-security-policy"]
    assert get_url.startswith(store.origin)
    for kind in ("media-src", "img-src", "connect-src"):
        assert f"; {kind} 'self' {store.origin}" in policy
    assert policy.count(store.origin) == 3


def test_what_is_not_video_is_an_attachment_from_us(api, npz):
    content = npz({"a/value": [1]})
    episode_id = api.record({"sensors": content})
    location = api.http.get(f"/api/episodes/{episode_id}/artifact/sensors").headers["location"]
    assert location.startswith(f"{api.http.base_url}/objects/")
    for method in ("GET", "HEAD"):
        answer = httpx.request(method, location)
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == 'attachment; filename="sensors.npz"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-length"] == str(len(content))
    assert httpx.get(location).content == content
    assert httpx.get(location.replace("sensors", "actions")).status_code == 403


def test_a_lost_object_is_404_and_its_slot_is_signed_again(api, store, database):
    episode_id = api.record({"sensors": b"s"})
    with database.read() as session:
        key = session.scalars(select(Artifact.object_key).where(Artifact.episode_id == episode_id)).one()
    store.delete(key)
    location = api.http.get(f"/api/episodes/{episode_id}/artifact/sensors").headers["location"]
    assert httpx.get(location).status_code == 404
    signed = api.http.post(f"/api/ingest/episode/{episode_id}/upload-urls", json={"kinds": ["sensors"]})
    assert api.put(signed.json(), "sensors", b"s").status_code == 200
    assert api.finalize(episode_id).status_code == 200
    assert read(api, episode_id, "sensors") == b"s"


def test_where_a_bucket_takes_no_put_the_file_comes_through_us(servers, tmp_path, monkeypatch):
    """As on Azure, which asks for a header that the contract does not know."""
    monkeypatch.setattr(bucket, "_DIRECT_UPLOADS", ())
    own = Settings(tmp_path / "data", port=0, storage=servers.storage())
    with Deployment(own) as deployment:
        headers = {"Authorization": f"Bearer {deployment.internal_key}"}
        with httpx.Client(base_url=deployment.base_url, headers=headers, timeout=60) as http:
            api = Api(http)
            created = api.create(request_uploads=["sensors"])
            assert url_of(created).startswith(f"{deployment.base_url}/objects/")
            for content in (b"first", b"second"):
                assert api.put(created, "sensors", content).status_code == 200
            api.finalize(created["episode_id"])
            assert api.put(created, "sensors", b"second").status_code == 200
            assert api.put(created, "sensors", b"third").status_code == 409
            assert read(api, created["episode_id"], "sensors") == b"second"
    root = servers.folder / urlsplit(own.storage).path.strip("/")
    kept = [path for path in (root / "episodes").rglob("*") if path.is_file() and path.name != "keep"]
    assert [path.read_bytes() for path in kept] == [b"second"]
    assert list((own.bucket_dir / "incoming").iterdir()) == []


# --- settings, and a bucket that is not there


def test_a_bucket_that_does_not_answer_is_503_and_no_secret_is_in_the_log(tmp_path, servers, caplog, monkeypatch):
    monkeypatch.setattr(bucket, "_RETRIES", {"max_retries": 0})
    store = BucketStore("s3://bucket/x?endpoint=http://127.0.0.1:9&region=us-east-1", SECRET_KEY, tmp_path)
    with caplog.at_level(logging.DEBUG):
        for ask in (
            lambda: store.size("episodes/a/video"),
            lambda: list(store.chunks("episodes/a/video")),
            lambda: store.waiting("episodes/a"),
        ):
            with pytest.raises(StoreError) as refused:
                ask()
            assert refused.value.status_code == 503
    assert "the bucket refuses or does not answer" in caplog.text
    for secret in (SECRET, "X-Amz", "Signature", "AWS4"):
        assert secret not in caplog.text


def test_the_query_of_a_url_is_cut_out_of_what_an_error_says():
    error = ValueError("Error performing PUT https://b.example/key?sig=abc%2F&se=1 in 1s\n\nDebug source: sig=abc")
    assert without_secrets(error) == "Error performing PUT https://b.example/key in 1s"
    nowhere = ValueError("Error performing PUT http://169.254.169.254/latest/api/token in 1s")
    assert without_secrets(nowhere).startswith("the environment has no credentials (AWS_ACCESS_KEY_ID")


@pytest.mark.parametrize(
    "url",
    [
        "s3:///prefix",
        "s3://user:password@bucket/x",
        "https://bucket/x",
        "bucket",
        "s3://bucket/a b",
        "s3://bucket/../x",
        "s3://bucket/x?secret_access_key=password",
        "s3://bucket/x?password",
        "s3://bucket/x#password",
        "s3://[",
    ],
)
def test_a_url_that_is_none_is_refused_and_not_quoted(tmp_path, url):
    with pytest.raises(ConfigurationError) as refused:
        BucketStore(url, SECRET_KEY, tmp_path)
    assert "password" not in str(refused.value)
    assert "--storage" in str(refused.value)


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "robotrace.serve.bucket", None)
    with pytest.raises(ConfigurationError, match=r"robotrace-dev\[s3\]"):
        open_store(Settings(tmp_path, storage="s3://bucket/x"), SECRET_KEY)


def test_a_deployment_whose_bucket_is_another_than_before_is_refused(settings, deployment, servers, tmp_path):
    with pytest.raises(ConfigurationError, match="another storage"):
        Deployment(replace(settings, data_dir=copied(settings, tmp_path), storage=servers.storage())).start()


def copied(settings, folder):
    """A data folder with the same database, since another deployment runs on the first."""
    import sqlite3
    from contextlib import closing

    folder.mkdir(exist_ok=True)
    with (
        closing(sqlite3.connect(settings.database_path)) as source,
        closing(sqlite3.connect(folder / settings.database_path.name)) as target,
    ):
        source.backup(target)
    return folder


# --- S3 as such: moto checks no signature, and does the rest as Amazon


def test_a_large_file_goes_in_parts_and_a_part_of_it_can_be_read(amazon, tmp_path):
    store = BucketStore(amazon, SECRET_KEY, tmp_path / "work")
    content = b"0123456789" * 4_000_000  # more than two parts of 16 MiB
    (tmp_path / "file").write_bytes(content)
    store.put_file("episodes/a/video/1", tmp_path / "file", "video/mp4")
    assert store.size("episodes/a/video/1") == len(content)
    digest = hashlib.sha256()
    for chunk in store.chunks("episodes/a/video/1"):
        digest.update(chunk)
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()
    url = store.signed_get("episodes/a/video/1", expires=int(time.time()) + 60, content_type="video/mp4")
    answer = httpx.get(url, headers={"Range": "bytes=30000005-30000009"})
    assert (answer.status_code, answer.content) == (206, b"56789")
    assert answer.headers["content-type"] == "video/mp4"
    with store.local_file("episodes/a/video/1") as path:
        assert path.stat().st_size == len(content)


def states(settings):
    return {name: (state, detail) for name, state, detail in check_settings(settings)}


def test_the_check_tries_a_bucket_and_leaves_nothing(amazon, tmp_path):
    found = states(Settings(tmp_path / "data", port=0, storage=amazon))
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(
        ("data folder", "port", "database", "storage", "clock", "copying", "range", "deleting", "secret"), "ok"
    )
    store = BucketStore(amazon, SECRET_KEY, tmp_path / "work")
    assert store.waiting("episodes") == []
    assert not (tmp_path / "data").exists()


def test_the_check_says_that_a_bucket_ignores_range(settings):
    found = states(replace(settings, port=0))
    assert found["storage"][0] == "ok"
    assert found["range"][0] == "wrong"
    assert "no browser can seek" in found["range"][1]


def test_the_check_names_what_a_bucket_refuses(settings, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another one")
    state, detail = states(settings)["storage"]
    assert state == "wrong"
    assert "answers a signed PUT with 403 SignatureDoesNotMatch" in detail
