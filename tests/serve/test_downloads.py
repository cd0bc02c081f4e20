"""Episodes as one ZIP file, streamed."""

import contextlib
import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from polling import eventually
from zipstream import ZipStream

from robotrace.serve.downloads import _add
from robotrace.serve.models import Artifact, Episode, utc_now
from robotrace.serve.services import Services

FILES = {"video": b"\0\0\0\x20ftypisom" + b"v" * 1000, "sensors": b"PK sensors", "actions": b"PK actions"}


def opened(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    return zipfile.ZipFile(io.BytesIO(answer.content))


def folders(archive):
    assert archive.testzip() is None
    return {name.partition("/")[0] for name in archive.namelist()}


def test_one_episode_is_its_json_and_its_files_uncompressed_and_of_a_known_size(api):
    episode_id = api.record(FILES, name="n", metadata={"task": "pick"})
    answer = api.http.get(f"/api/episodes/{episode_id}/download")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with opened(answer) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        names = {"episode.json", "video.mp4", "sensors.npz", "actions.npz"}
        assert set(archive.namelist()) == {f"{episode_id}/{name}" for name in names}
        assert archive.read(f"{episode_id}/video.mp4") == FILES["video"]
        assert archive.read(f"{episode_id}/sensors.npz") == FILES["sensors"]
        assert json.loads(archive.read(f"{episode_id}/episode.json")) == api.episode(episode_id)


def test_an_episode_without_files_is_its_json(api):
    episode_id = api.record()
    with opened(api.http.get(f"/api/episodes/{episode_id}/download")) as archive:
        assert archive.namelist() == [f"{episode_id}/episode.json"]


def test_several_by_their_ids_or_by_what_the_filters_let_pass(api, policy):
    ids = [api.record(FILES, policy_version=policy) for _ in range(3)]
    failed = api.record(policy_version=policy, finalize={"status": "failed"})
    url = "/api/episodes/download"
    by_commas = api.http.get(url, params={"ids": f"{ids[0]},{ids[1]}"})
    repeated = api.http.get(url, params={"ids": [ids[0], ids[1]]})
    posted = api.http.post(url, json={"ids": [ids[0], ids[1], ids[0]]})
    for answer in (by_commas, repeated, posted):
        with opened(answer) as archive:
            assert folders(archive) == {ids[0], ids[1]}
            assert len(archive.namelist()) == 8
    with opened(api.http.get(url, params={"policy_version": policy})) as archive:
        assert folders(archive) == {*ids, failed}
    with opened(api.http.get(url, params={"policy_version": policy, "status": "failed"})) as archive:
        assert folders(archive) == {failed}
    with opened(api.http.get(url, params={"policy_version": policy, "seed": 77})) as archive:
        assert archive.namelist() == []


def test_more_than_a_page_goes_into_one_file(api, database, policy):
    now = utc_now()
    with database.write() as session:
        session.add_all(
            Episode(
                id=f"{policy[:30]}-{number:05}",
                project_id=1,
                status="ready",
                source="sim",
                policy_version=policy,
                meta={},
                requested_uploads=[],
                created_at=now - timedelta(seconds=number),
                updated_at=now,
            )
            for number in range(230)
        )
    with opened(api.http.get("/api/episodes/download", params={"policy_version": policy})) as archive:
        assert len(folders(archive)) == 230


@pytest.mark.parametrize("route", ["/api/episodes/{}/download", "/api/episodes/download?ids={}"])
def test_what_is_not_there_is_404_before_anything_is_sent(api, route):
    answer = api.http.get(route.format("nobody"))
    assert answer.status_code == 404
    assert answer.json() == {"error": "there is no such episode"}


def test_one_unknown_id_of_several_is_named(api):
    episode_id = api.record()
    answer = api.http.post("/api/episodes/download", json={"ids": [episode_id, "nobody"]})
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no episode nobody")


def test_a_file_that_the_store_has_lost_is_named_and_the_rest_comes(api, objects_dir):
    episode_id = api.record(FILES)
    (objects_dir / "episodes" / episode_id / "sensors").unlink()
    with opened(api.http.get(f"/api/episodes/{episode_id}/download")) as archive:
        assert f"{episode_id}/sensors.npz" not in archive.namelist()
        assert json.loads(archive.read(f"{episode_id}/episode.json"))["missing"] == ["sensors"]


def test_the_names_in_the_file_lead_nowhere_else(api):
    hostile = "../../etc/passwd"
    episode_id = api.record(FILES, name=hostile, robot=hostile, policy_version=hostile)
    with opened(api.http.get(f"/api/episodes/{episode_id}/download")) as archive:
        assert all(name.startswith(f"{episode_id}/") and ".." not in name for name in archive.namelist())


class _Zeros:
    """A store whose objects are zeros, of which there are as many as the row says."""

    def __init__(self, size):
        self._size = size

    def size(self, key):
        return self._size

    def chunks(self, key):
        block = bytes(16 * 1024 * 1024)
        for begin in range(0, self._size, len(block)):
            yield block[: self._size - begin]


def test_a_file_beyond_4_gib_has_its_true_size_and_is_never_in_memory(api, settings, database):
    """Not over HTTP, where it would take half a minute; what is kept of the archive is its end, with the directory."""
    size = 4 * 1024**3 + 5
    episode_id = api.record({"sensors": b"PK"})
    with database.write() as session:
        session.query(Artifact).filter(Artifact.episode_id == episode_id).update({"size": size})
    archive = ZipStream(sized=True)
    _add(Services(settings, database, _Zeros(size), cookies=None), archive, episode_id)
    tail, sent, longest = b"", 0, 0
    for block in archive:
        sent += len(block)
        longest = max(longest, len(block))
        tail = (tail + block[-4096:])[-4096:]
    assert sent == len(archive) > size
    assert longest <= 16 * 1024 * 1024
    # A reader asks for the end of the file first.
    with zipfile.ZipFile(_Hole(sent, tail)) as read:
        info = read.getinfo(f"{episode_id}/sensors.npz")
        assert (info.file_size, info.compress_size) == (size, size)


class _Hole(io.RawIOBase):
    """A file of zeros with this end."""

    def __init__(self, size, tail):
        self._size, self._tail, self._at = size, tail, 0

    def seekable(self):
        return True

    def readable(self):
        return True

    def seek(self, offset, whence=0):
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        begin = self._at - (self._size - len(self._tail))
        assert begin >= 0, "only the end was kept"
        part = self._tail[begin : begin + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no list of open files here")
def test_a_client_that_leaves_in_the_middle_leaves_no_file_open(api, deployment, objects_dir):
    episode_id = api.record({"sensors": b"PK" + b"x" * (32 * 1024 * 1024)})
    headers = {"Authorization": f"Bearer {deployment.internal_key}"}
    url = f"{deployment.base_url}/api/episodes/{episode_id}/download"

    def is_open():
        found = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.append(entry.readlink())
        return any(episode_id in str(path) for path in found)

    with httpx.stream("GET", url, headers=headers) as answer:
        received = answer.iter_raw()  # dropped, it would close the answer
        next(received)
        eventually(is_open, timeout_s=60)  # what is not read stops the sender in the middle of it
    eventually(lambda: not is_open(), timeout_s=60)
