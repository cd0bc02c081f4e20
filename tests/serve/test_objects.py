"""The store over HTTP: who gets in, what comes out."""

import errno
import http.client
import os
import socket
import time
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from robotrace.serve.store import LocalStore, ObjectWriter, StoreError

BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def put_url(api, objects_dir):
    return api.create(request_uploads=["sensors"])["upload_urls"][0]["url"]


@pytest.fixture
def get_url(api, objects_dir):
    episode_id = api.record({"sensors": b"0123456789"})
    return api.http.get(f"/api/episodes/{episode_id}/artifact/sensors").headers["location"]


def changed(url, **changes):
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | changes
    return urlunsplit(parts._replace(query=urlencode({name: value for name, value in query.items() if value})))


def raw(deployment, method, path):
    """The status and body of a request whose path no client has tidied up."""
    connection = http.client.HTTPConnection(urlsplit(deployment.base_url).netloc)
    try:
        connection.request(method, path, body=b"x" if method == "PUT" else None, headers=BINARY)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": "99999999999"},
        {"expires": "soon"},
        {"max": "999999999999"},
        {"type": "text/html"},
        {"name": "other.html"},
        {"signature": "0" * 64},
        {"signature": "ä"},
        {"signature": ""},
        {"expires": "", "max": "", "type": "", "signature": ""},
    ],
)
def test_a_tampered_url_is_403(put_url, get_url, changes):
    put = httpx.put(changed(put_url, **changes), content=b"x", headers=BINARY)
    get = httpx.get(changed(get_url, **changes))
    assert (put.status_code, get.status_code) == (403, 403)
    assert put.json()["error"]


def test_a_url_for_the_other_method_is_403(put_url, get_url):
    assert httpx.get(put_url).status_code == 403
    assert httpx.put(get_url, content=b"x", headers=BINARY).status_code == 403


def test_a_url_for_another_key_is_403(api, put_url, get_url):
    other = api.record({"sensors": b"other"})
    elsewhere = urlunsplit(urlsplit(get_url)._replace(path=f"/objects/episodes/{other}/sensors"))
    assert httpx.get(elsewhere).status_code == 403
    swapped = put_url.replace("/sensors?", "/actions?")
    assert httpx.put(swapped, content=b"x", headers=BINARY).status_code == 403


def test_a_url_signed_with_another_secret_is_403(api, objects_dir):
    forged = LocalStore(objects_dir, b"x" * 32)
    url = forged.signed_get("episodes/a/video", expires=int(time.time()) + 60, content_type="video/mp4")
    assert api.http.get(url).status_code == 403


def test_an_expired_url_is_403(api, store, get_url):
    key = urlsplit(get_url).path.removeprefix("/objects/")
    past = int(time.time()) - 1
    get = api.http.get(store.signed_get(key, expires=past, content_type="video/mp4"))
    put = api.http.put(
        store.signed_put(key, expires=past, max_size=9, content_type="video/mp4"),
        content=b"x",
        headers={"Content-Type": "video/mp4"},
    )
    assert (get.status_code, put.status_code) == (403, 403)
    assert "expired" in get.json()["error"]


def test_a_file_of_another_type_than_signed_is_403(put_url):
    assert httpx.put(put_url, content=b"x", headers={"Content-Type": "text/html"}).status_code == 403


@pytest.mark.parametrize("streamed", [False, True])
def test_a_file_larger_than_signed_is_413_and_leaves_nothing(api, store, objects_dir, streamed):
    episode_id = api.create()["episode_id"]
    url = store.signed_put(
        f"episodes/{episode_id}/sensors",
        expires=int(time.time()) + 60,
        max_size=10,
        content_type=BINARY["Content-Type"],
    )
    before = files_in(objects_dir)
    content = iter([b"12345", b"678901"]) if streamed else b"12345678901"
    answer = api.http.put(url, content=content, headers=BINARY)
    assert answer.status_code == 413
    assert "10 bytes" in answer.json()["error"]
    assert files_in(objects_dir) == before


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(
    "path",
    [
        "/objects/../secret",
        "/objects/episodes/../../secret",
        "/objects/%2e%2e/secret",
        "/objects/episodes/..%2f..%2fsecret",
        "/objects/episodes//x",
        "/objects//etc/passwd",
        "/objects/",
        "/objects/a%5c..%5cb",
        "/objects/a%00b",
        "/objects/.incoming/x.part",
    ],
)
def test_a_key_that_could_lead_out_of_the_store_is_400(deployment, method, path):
    status, body = raw(deployment, method, f"{path}?expires=99999999999&max=9&type=x&signature=0")
    assert status == 400
    assert b"error" in body


def test_a_link_that_leads_out_of_the_store_is_refused(tmp_path):
    (tmp_path / "outside").mkdir()
    store = LocalStore(tmp_path / "objects", b"x" * 32)
    (tmp_path / "objects" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError):
        store.path("link/file")


def test_what_was_never_stored_is_404(api, store, objects_dir):
    expires = int(time.time()) + 60
    binary = BINARY["Content-Type"]
    get = api.http.get(store.signed_get("episodes/nope/video", expires=expires, content_type=binary))
    puts = [
        api.http.put(
            store.signed_put(key, expires=expires, max_size=9, content_type=binary), content=b"x", headers=BINARY
        )
        for key in ("episodes/nope/sensors", "episodes/nope/lidar", "elsewhere")
    ]
    assert [answer.status_code for answer in (get, *puts)] == [404] * 4


def test_a_file_comes_back_as_it_went_in(api):
    content = os.urandom(3 * 1024 * 1024 + 17)
    episode_id = api.record({"actions": content})
    answer = api.http.get(f"/api/episodes/{episode_id}/artifact/actions", follow_redirects=True)
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"


def test_files_are_attachments_named_after_what_they_are_and_videos_are_not(api, npz, write_video, store):
    video = write_video([0, 33]).read_bytes()
    files = {"video": video, "sensors": npz({"a/value": [1]}), "actions": b"x,y\n1,2\n"}
    episode_id = api.record(files)
    answers = {
        kind: api.http.get(f"/api/episodes/{episode_id}/artifact/{kind}", follow_redirects=True) for kind in files
    }
    assert "content-disposition" not in answers["video"].headers
    assert answers["video"].headers["content-type"] == "video/mp4"
    assert answers["sensors"].headers["content-disposition"] == 'attachment; filename="sensors.npz"'
    assert answers["actions"].headers["content-disposition"] == 'attachment; filename="actions.bin"'
    ours = [answer for kind, answer in answers.items() if kind != "video" or not store.origin]
    assert all(answer.headers["x-content-type-options"] == "nosniff" for answer in ours)


@pytest.mark.parametrize(
    ("asked", "part", "range_"),
    [("bytes=2-4", b"234", "bytes 2-4/10"), ("bytes=7-", b"789", "bytes 7-9/10"), ("bytes=-2", b"89", "bytes 8-9/10")],
)
def test_a_range_is_answered_with_206(get_url, asked, part, range_):
    answer = httpx.get(get_url, headers={"Range": asked})
    assert (answer.status_code, answer.content, answer.headers["content-range"]) == (206, part, range_)


def test_a_range_behind_the_end_is_416(get_url):
    answer = httpx.get(get_url, headers={"Range": "bytes=10-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] in ("bytes */10", "*/10")


def test_head_tells_the_size(get_url):
    answer = httpx.head(get_url)
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "10", b"")
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_file_may_be_put_again_while_the_episode_is_recording(api, claim):
    created = api.create(request_uploads=["sensors"])
    assert api.put(created, "sensors", b"first").status_code == 200
    assert api.put(created, "sensors", b"second").status_code == 200
    assert api.finalize(created["episode_id"], artifacts=[claim("sensors", b"second")]).status_code == 200


def test_a_finalized_file_can_be_repeated_but_not_replaced(api, claim, objects_dir):
    created = api.create(request_uploads=["sensors", "actions"])
    api.put(created, "sensors", b"first")
    api.finalize(created["episode_id"])
    assert api.put(created, "sensors", b"first").status_code == 200
    assert api.put(created, "sensors", b"other").status_code == 409
    assert api.put(created, "actions", b"late").status_code == 200
    stored = {artifact["kind"]: artifact["sha256"] for artifact in api.episode(created["episode_id"])["artifacts"]}
    assert stored == {
        "sensors": claim("sensors", b"first")["sha256"],
        "actions": claim("actions", b"late")["sha256"],
    }


def test_an_upload_that_breaks_off_leaves_nothing(api, put_url, objects_dir):
    parts = urlsplit(put_url)
    incoming = objects_dir / ".incoming"
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        head = (
            f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/octet-stream\r\nContent-Length: 4000000\r\n\r\n"
        )
        connection.sendall(head.encode() + b"x" * 2_000_000)
        until(lambda: any(incoming.iterdir()))
    until(lambda: not any(incoming.iterdir()))
    episode_id = parts.path.split("/")[3]
    assert api.episode(episode_id)["artifacts"] == []


def test_a_full_disk_is_507_and_leaves_nothing(put_url, objects_dir, monkeypatch):
    def full(writer):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = files_in(objects_dir)
    monkeypatch.setattr(ObjectWriter, "flush", full)
    answer = httpx.put(put_url, content=b"x", headers=BINARY)
    assert answer.status_code == 507
    assert "full" in answer.json()["error"]
    assert files_in(objects_dir) == before


def files_in(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def until(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
