"""What somebody may try who has an upload URL, a key, or neither; the attacks on signed URLs are in test_objects.py.

Whoever attacks may get an error: never the process, nor another's data, nor more memory than a bound.
"""

import io
import os
import socket
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import pytest
from polling import eventually

from robotrace.serve.frame_times import VideoError, read_frame_times
from robotrace.serve.npz import NpzFile, SeriesError
from robotrace.serve.store import LocalStore, StoreError
from robotrace.serve.video_container import ContainerError, demuxer_of

MARKUP = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{191*7919}}"
OCTETS = {"Content-Type": "application/octet-stream"}


def slot(created, kind):
    return next(slot["url"] for slot in created["upload_urls"] if slot["kind"] == kind)


# --- signed URLs, beyond test_objects.py


def test_a_url_of_one_slot_is_none_of_another_nor_of_another_episode(api):
    one, other = api.create(), api.create()
    url = slot(one, "sensors")
    for key in (f"episodes/{one['episode_id']}/actions", f"episodes/{other['episode_id']}/sensors"):
        parts = urlsplit(url)
        moved = f"{parts.scheme}://{parts.netloc}/objects/{key}?{parts.query}"
        assert httpx.put(moved, content=b"x", headers=OCTETS).status_code == 403
    assert api.episode(other["episode_id"])["artifacts"] == []


def test_a_url_used_again_after_the_end_changes_nothing(api, objects_dir):
    created = api.create(request_uploads=["sensors"])
    url = slot(created, "sensors")
    assert httpx.put(url, content=b"first", headers=OCTETS).status_code == 200
    api.finalize(created["episode_id"])
    assert httpx.put(url, content=b"other", headers=OCTETS).status_code == 409
    read = api.http.get(f"/api/episodes/{created['episode_id']}/artifact/sensors", follow_redirects=True)
    assert read.content == b"first"


def test_a_parameter_given_twice_or_left_out_is_no_way_round(api, objects_dir):
    url = slot(api.create(), "sensors")
    for changed in (f"{url}&max=1", url.replace("max=", "max=9"), f"{url}&expires=9999999999", url.split("&sig")[0]):
        answer = httpx.put(changed, content=b"x", headers=OCTETS)
        assert answer.status_code == 403, changed


# --- paths


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "episodes/../../secret",
        "episodes/%2e%2e/%2e%2e/secret",
        "episodes/%252e%252e/secret",
        "..%2fsecret",
        "..%5csecret",
        "/etc/passwd",
        "//etc/passwd",
        "episodes/x\0/sensors",
        "episodes\\..\\secret",
        ".incoming/x.part",
        "storage-id",
    ],
)
def test_no_path_leads_to_a_file_that_is_no_object(deployment, settings, path):
    host, port = urlsplit(deployment.base_url).netloc.split(":")
    secret = settings.secret_path.read_bytes()
    # Raw: a client would tidy the path up.
    target = quote(path, safe="/%\\.")
    request = f"GET /objects/{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert int(answer.split()[1]) in (400, 403, 404), answer
    assert secret not in answer
    assert b"root:" not in answer


def test_a_link_in_the_store_leads_nowhere(tmp_path):
    store = LocalStore(tmp_path / "objects", b"s" * 32)
    (tmp_path / "outside").write_text("outside")
    folder = tmp_path / "objects" / "episodes"
    folder.mkdir()
    (folder / "x").symlink_to(tmp_path)
    for work in (store.path, store.size, store.delete, lambda key: list(store.chunks(key))):
        with pytest.raises(StoreError):
            work("episodes/x/outside")
    assert (tmp_path / "outside").read_text() == "outside"


@pytest.mark.parametrize("episode_id", ["..", "%2e%2e", "x%2f..", "a%00b", "'%20OR%201=1", "%F0%9F%92%A3" * 30])
def test_an_id_that_is_none_is_404_or_400_on_every_route(api, deployment, episode_id):
    calls = [
        ("GET", "/api/episodes/{}"),
        ("DELETE", "/api/episodes/{}"),
        ("GET", "/api/episodes/{}/download"),
        ("GET", "/api/episodes/{}/artifact/sensors"),
        ("POST", "/api/episodes/{}/archive"),
        ("GET", "/portal/episodes/{}"),
        ("GET", "/portal/episodes/{}/series.bin"),
    ]
    for method, route in calls:
        answer = api.http.request(method, route.format(episode_id))
        assert answer.status_code in (400, 404, 405), (method, route, answer.status_code)


# --- markup


def test_markup_in_every_name_is_text_on_every_page(api, deployment):
    said = {name: f"{name} {MARKUP}"[:120] for name in ("name", "robot", "policy_version", "env_version")}
    episode_id = api.record(
        {"sensors": b"PK", "video.wrist": b"x"},
        **said,
        git_sha="<b>",
        metadata={MARKUP: {MARKUP: [MARKUP]}, "robotrace": {"env": MARKUP}, "task": MARKUP},
        finalize={"status": "failed", "metadata": {"failure_reason": MARKUP, "outcome": {"success": False}}},
    )
    promoted = {"baseline_episode_id": episode_id, "name": MARKUP, "description": MARKUP, "severity": "critical"}
    api.http.post("/api/verify/promote", json=promoted)
    run = {
        "candidate_policy_version": MARKUP,
        "baseline_policy_version": MARKUP,
        "name": MARKUP,
        "baseline_episode_ids": [episode_id, MARKUP],
    }
    run_id = api.http.post("/api/ingest/eval-run", json=run).json()["eval_run_id"]
    api.http.post(
        f"/api/ingest/eval-run/{run_id}/result",
        json={"baseline_episode_id": episode_id, "status": "failed", "metrics": {}, "error": MARKUP},
    )
    login = api.http.post("/api/cli/auth/start", json={"hostname": MARKUP, "user_agent": MARKUP}).json()
    pages = [
        "/portal/episodes",
        f"/portal/episodes?name={quote(MARKUP)}&seed={quote(MARKUP)}",
        f"/portal/episodes/{episode_id}",
        f"/portal/episodes/{quote(MARKUP.replace('/', ''), safe='')}",
        "/portal/evals",
        f"/portal/evals/{run_id}",
        "/portal/verify",
        f"/portal/verify?candidate={quote(MARKUP)}",
        "/portal/api-keys",
        f"/cli/auth?code={login['user_code']}",
        f"/cli/auth?code={quote(MARKUP)}",
    ]
    shown = 0
    for url in pages:
        answer = api.http.get(url)
        assert answer.headers["content-type"].startswith("text/html"), url
        assert "<script>alert" not in answer.text, url
        assert "<img src=x" not in answer.text, url
        assert "<b>" not in answer.text, url
        assert "1512529" not in answer.text, url
        shown += "&lt;script&gt;alert(1)" in answer.text
    assert shown >= 7  # it is shown, as text


# --- bodies


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_json_body_that_is_too_large_is_413_before_it_is_read_to_the_end(api, chunked):
    body = b'{"metadata": {"x": "' + b"y" * (17 * 1024 * 1024) + b'"}}'
    content = (body[at : at + 65536] for at in range(0, len(body), 65536)) if chunked else body
    answer = api.http.post("/api/ingest/episode", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize("head", ["Content-Length: 1000", "Transfer-Encoding: chunked"], ids=["declared", "chunked"])
def test_a_body_that_is_half_sent_leaves_no_part_and_no_artifact(api, objects_dir, head):
    created = api.create(request_uploads=["sensors"])
    target = urlsplit(slot(created, "sensors"))
    incoming = objects_dir / ".incoming"
    before = set(incoming.glob("*.part"))
    with socket.create_connection((target.hostname, target.port), timeout=60) as connection:
        start = f"PUT {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\n{head}\r\n"
        half = "1F4\r\n" if "chunked" in head else ""
        connection.sendall(f"{start}Content-Type: application/octet-stream\r\n\r\n{half}{'x' * 200}".encode())
        eventually(lambda: set(incoming.glob("*.part")) - before, timeout_s=60)
    eventually(lambda: not set(incoming.glob("*.part")) - before, timeout_s=60)
    assert api.episode(created["episode_id"])["artifacts"] == []
    assert not (objects_dir / "episodes" / created["episode_id"]).exists()


# --- NPZ files. What is unpacked is bounded by 2 GiB in test_series.py, object arrays are refused there.


def with_directory(path, entries, *, count=None):
    """An archive with a directory of entries that all are the same empty member."""
    name = b"x/value.npy"
    local = b"PK\3\4" + struct.pack("<5H3L2H", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    entry = b"PK\1\2" + struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    directory = entry * entries
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, len(directory), len(local), 0)
    path.write_bytes(local + directory + end)
    return path


def test_a_million_members_are_refused_before_their_directory_is_read(tmp_path):
    path = with_directory(tmp_path / "x.npz", 1_000_000)
    with pytest.raises(SeriesError, match="arrays"):
        NpzFile(path)


def test_a_header_that_promises_four_gigabytes_is_refused_unread(tmp_path):
    """numpy reads what the length says before it looks at it; deflated, 4 GiB of it are 4 MB."""
    content = b"\x93NUMPY\x02\x00" + struct.pack("<L", 0xFFFFFFFF) + b" " * (64 * 1024 * 1024)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/value.npy", content)
    with pytest.raises(SeriesError, match="too long"):
        NpzFile(tmp_path / "x.npz")


def npy(shape, content, dtype="<f8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


@pytest.mark.parametrize("shape", [(2**40,), (2**20, 2**20), (2**62, 2**62), (0, 2**62), (-1,), (2**63,)])
def test_a_shape_that_nothing_stands_behind_is_refused(tmp_path, shape):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x/value.npy", npy(shape, b""))
    try:
        with NpzFile(tmp_path / "x.npz") as file:
            (member,) = file.members.values()
            assert file.read(member).size == 0  # no bytes, and none are claimed
    except SeriesError:
        pass


def test_a_small_file_that_unpacks_to_much_is_read_up_to_its_bound_and_no_further(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        # Its directory says 2^31 elements of 8 bytes; so does its header.
        with archive.open("x/value.npy", "w") as member:
            member.write(npy((2**23,), bytes(8 * 2**23)))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 24 : at + 28] = struct.pack("<L", 0xFFFFFFF0)
    (tmp_path / "x.npz").write_bytes(content)
    with NpzFile(tmp_path / "x.npz") as file:
        (member,) = file.members.values()
        assert file.read(member).nbytes == 8 * 2**23


def test_members_that_lie_on_top_of_each_other_count_each_time(tmp_path):
    """A bomb of overlapping members: every directory entry names the same bytes."""
    array = npy((2**20,), bytes(8 * 2**20))
    with zipfile.ZipFile(tmp_path / "one.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/value.npy", array)
    content = (tmp_path / "one.npz").read_bytes()
    begin, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    entry = content[begin:end]
    directory = b"".join(entry.replace(b"a/value", b"%c/value" % (97 + number)) for number in range(20))
    tail = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 20, 20, len(directory), begin, 0)
    (tmp_path / "many.npz").write_bytes(content[:begin] + directory + tail)
    with pytest.raises(SeriesError):
        NpzFile(tmp_path / "many.npz")


def test_an_archive_in_an_archive_is_not_looked_into(tmp_path):
    inner = io.BytesIO()
    np.savez(inner, a=np.ones(3))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("inner.npz", inner.getvalue())
        archive.writestr("x/value.npy", npy((1,), bytes(8)))
    with NpzFile(tmp_path / "x.npz") as file:
        assert list(file.members) == ["x/value"]


# --- videos


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>",
        b"RIFF\x24\0\0\0AVI LIST",
        b"\0" * 100,
        b"",
    ],
    ids=["hls", "concat", "dash", "avi", "zeros", "empty"],
)
def test_only_the_containers_of_the_contract_are_opened(tmp_path, content):
    """A playlist names other files and addresses, which FFmpeg would open from here."""
    path = tmp_path / "video"
    path.write_bytes(content)
    with pytest.raises(ContainerError):
        demuxer_of(path, 1000)
    with pytest.raises(VideoError):
        read_frame_times(path)


def rewritten(path, table, offset, number):
    content = bytearray(path.read_bytes())
    at = content.index(table) + offset
    content[at : at + 4] = struct.pack(">I", number)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("table", "offset"), [(b"stsz", 12), (b"stsc", 16)])
def test_tables_that_promise_millions_of_frames_are_refused(write_video, table, offset):
    path = write_video(range(0, 330, 33))
    assert len(read_frame_times(path).times_ms) == 11
    with pytest.raises(VideoError, match="more than 2000000 frames"):
        read_frame_times(rewritten(path, table, offset, 30_000_000))


def test_so_are_fragments_and_what_hides_in_an_unknown_box(write_video, tmp_path):
    honest = write_video(range(0, 330, 33)).read_bytes()
    fragment = struct.pack(">I4sI4sIII", 28, b"moof", 20, b"trun", 1, 30_000_000, 0)
    hidden = struct.pack(">I4s", 8 + len(fragment), b"abcd") + fragment
    for more in (fragment, hidden):
        path = tmp_path / "evil.mp4"
        path.write_bytes(honest + more)
        with pytest.raises(VideoError, match="more than 2000000 frames"):
            read_frame_times(path)


@pytest.mark.parametrize("kind", [b"cmov", b"hoov"])
def test_a_packed_or_hidden_directory_is_not_read(write_video, tmp_path, kind):
    path = tmp_path / "evil.mp4"
    path.write_bytes(write_video([0, 33]).read_bytes() + struct.pack(">I4s", 8, kind))
    with pytest.raises(VideoError, match="is not read"):
        read_frame_times(path)


def test_endless_boxes_and_tables_end(tmp_path):
    path = tmp_path / "evil.mp4"
    with path.open("wb") as file:
        file.write(struct.pack(">I4s", 8, b"ftyp"))
        file.write(struct.pack(">I4s", 8, b"mdat") * 1_000_001)
    with pytest.raises(ContainerError, match="boxes"):
        demuxer_of(path, 1000)
    with path.open("wb") as file:
        file.write(struct.pack(">I4sI4sQ", 8, b"ftyp", 1, b"moov", 2**40))
        file.truncate(2**32)
    with pytest.raises(ContainerError, match="no frames"):
        demuxer_of(path, 1000)


BOUNDED = """
    import resource, sys
    from pathlib import Path
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    from robotrace.serve.frame_times import VideoError, read_frame_times
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
    for name in sys.argv[1:]:
        try:
            read_frame_times(Path(name))
        except VideoError:
            pass
    print("alive")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process cannot be asked for here")
def test_damage_anywhere_in_a_video_costs_no_gigabyte_and_no_minute(write_video, tmp_path):
    """Every number in the directory of a real file, set to much: in a process that may take 1 GiB more."""
    content = write_video(range(0, 330, 33), b_frames=2).read_bytes()
    begin = content.index(b"moov")
    names = []
    for at in range(begin + 4, len(content) - 4, 12):
        path = tmp_path / f"{at}.mp4"
        path.write_bytes(content[:at] + struct.pack(">I", 0x00FFFFFF) + content[at + 4 :])
        names.append(str(path))
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BOUNDED), *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.stdout == "alive\n", result.stderr[-2000:]
