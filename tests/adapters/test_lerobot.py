"""LeRobot datasets in the documented layouts of v2.0, v2.1 and v3.0, as episodes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("huggingface_hub")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot_datasets import CAMERAS, FPS, SMALL, STILL, first_number, rows_of, write_dataset
from numbered import arrays, codecs, encoded, peak_bytes, picture, tracks, write_video

from robotrace.adapters.lerobot import encode_episode, scan_dataset, upload_dataset, upload_episode
from robotrace.deliver.spool import open_spool
from robotrace.errors import ConfigurationError, RobotraceError
from robotrace.evals import extract_outcome

_LENGTHS = (5, 7, 4)
_FIRST = (0, 5, 12)


def waiting() -> list[dict[str, Any]]:
    return [manifest for entry in open_spool().sealed_episodes() if (manifest := entry.manifest()) is not None]


def expected_frames(camera: str, episode: int) -> list[tuple[int, int]]:
    return [(k * 1_000_000 // FPS, first_number(camera, episode) + k) for k in range(_LENGTHS[episode])]


# --- scanning


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0", "v3.1"])
def test_a_dataset_is_described(tmp_path: Path, version: str) -> None:
    summary = scan_dataset(write_dataset(tmp_path / "picks", version, pictures=True))
    assert (summary.name, summary.version, summary.fps, summary.robot_type) == ("picks", version, 10.0, "so100")
    assert summary.episode_lengths == dict(enumerate(_LENGTHS))
    assert summary.tasks == ("task 0", "task 1")
    assert summary.cameras == (*CAMERAS, STILL, SMALL)
    assert summary.streams["observation.state"] == ("float32", (3,))
    assert f"picks: LeRobot {version}, 3 episodes, 16 rows at 10 fps" in summary.report()


def test_a_version_that_nobody_knows_is_refused_in_one_line(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", (2,))
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps({**info, "codebase_version": "v9.0"}))
    with pytest.raises(RobotraceError, match=r"picks has the format 'v9.0', and v2.0, v2.1, v3.0, v3.1 are known"):
        scan_dataset(root)


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is no LeRobot dataset: there is no meta/info.json in it"):
        scan_dataset(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{")
    with pytest.raises(RobotraceError, match=r"meta/info.json cannot be read"):
        scan_dataset(tmp_path)


def test_a_dataset_that_was_never_finished_is_said_to_be_that(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v3.0", (2, 2))
    (root / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(RobotraceError, match="never finished"):
        scan_dataset(root)


# --- what comes out is what went in


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0", "v3.1"])
def test_every_value_frame_and_stamp_comes_out_as_it_went_in(tmp_path: Path, version: str) -> None:
    root = write_dataset(tmp_path / "picks", version)
    for index in range(3):
        episode = encode_episode(root, index, tmp_path / "out")
        assert episode.sensors is not None
        assert episode.actions is not None
        assert episode.video is not None
        sensors, actions = arrays(episode.sensors.path), arrays(episode.actions.path)
        stamps = np.arange(_LENGTHS[index]) * 100_000_000
        assert set(actions) == {
            f"{name}/{field}" for name in ("action", "action.gripper") for field in ("value", "_t_ns")
        }
        for name, rows in rows_of(index, _LENGTHS[index], _FIRST[index]).items():
            found = actions if name.startswith("action") else sensors
            np.testing.assert_array_equal(found[f"{name}/_t_ns"], stamps, strict=True)
            if isinstance(rows, list):
                ends = found[f"{name}/_offsets"]
                text = found[f"{name}/value"].tobytes().decode()
                assert [text[a:b] for a, b in itertools.pairwise(ends)] == rows
            else:
                np.testing.assert_array_equal(found[f"{name}/value"], rows, strict=True)
        assert tracks(episode.video.path) == {camera: expected_frames(camera, index) for camera in CAMERAS}
        for camera in CAMERAS:
            np.testing.assert_array_equal(sensors[f"{camera}/_t_ns"], stamps, strict=True)
        assert "incomplete" not in episode.metadata
        assert (episode.fps, episode.duration_s) == (10.0, (_LENGTHS[index] - 1) / 10)


@pytest.mark.parametrize(
    ("video", "cuttable", "is_copied"),
    [({}, True, True), ({}, False, False), ({"bf": "2"}, True, False), ({"g": "1"}, False, True)],
    ids=["keyframes-where-episodes-begin", "none-there", "b-frames", "keyframes-everywhere"],
)
def test_a_video_is_cut_to_the_frame_and_encoded_only_where_it_has_to_be(
    tmp_path: Path, video: dict[str, str], cuttable: bool, is_copied: bool
) -> None:
    root = write_dataset(tmp_path / "picks", "v3.0", video=video, cuttable=cuttable)
    episode = encode_episode(root, 1, tmp_path / "out")
    assert episode.video is not None
    assert tracks(episode.video.path) == {camera: expected_frames(camera, 1) for camera in CAMERAS}
    assert [camera.get("copied", False) for camera in episode.metadata["video"]["cameras"]] == [is_copied] * 2


def test_av1_stays_av1(tmp_path: Path) -> None:
    import av

    if "libsvtav1" not in av.codecs_available or int(av.__version__.split(".")[0]) == 14:
        pytest.skip("this build of PyAV encodes no AV1, or cannot copy it")
    root = write_dataset(tmp_path / "picks", "v2.1", (4,), codec="libsvtav1", video={"crf": "30", "g": "2"})
    episode = encode_episode(root, 0, tmp_path / "out")
    assert episode.video is not None
    assert codecs(episode.video.path) == ["av1", "av1"]
    assert [number for _, number in tracks(episode.video.path)[CAMERAS[0]]] == [0, 1, 2, 3]


def test_a_codec_that_no_browser_plays_is_encoded_anew(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", (4,), codec="mpeg4", video={"qscale": "2"})
    episode = encode_episode(root, 0, tmp_path / "out")
    assert episode.video is not None
    assert codecs(episode.video.path) == ["h264", "h264"]
    assert [number for _, number in tracks(episode.video.path)[CAMERAS[1]]] == [100, 101, 102, 103]


def test_pictures_in_the_rows_become_video_and_small_ones_stay_arrays_too(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", pictures=True)
    episode = encode_episode(root, 1, tmp_path / "out", canonical_camera="still")
    assert episode.video is not None
    assert episode.sensors is not None
    found = tracks(episode.video.path)
    assert next(iter(found)) == STILL
    assert found[STILL] == [(k * 100_000, 10 + k) for k in range(7)]
    assert len(found[SMALL]) == 7
    sensors = arrays(episode.sensors.path)
    small = np.stack([np.full((32, 32, 3), k, np.uint8) for k in range(7)])
    np.testing.assert_array_equal(sensors[f"{SMALL}/value"], small, strict=True)
    assert f"{STILL}/value" not in sensors


def test_stamps_of_a_robot_are_kept_and_begin_at_zero(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", (4,))
    path = root / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("timestamp")
    uneven = [5.0, 5.125, 5.5, 5.5625]
    pq.write_table(table.set_column(place, "timestamp", pa.array(uneven, pa.float64())), path)
    episode = encode_episode(root, 0, tmp_path / "out")
    assert episode.actions is not None
    assert episode.video is not None
    assert arrays(episode.actions.path)["action/_t_ns"].tolist() == [0, 125_000_000, 500_000_000, 562_500_000]
    shown = [stamp for stamp, _ in tracks(episode.video.path)[CAMERAS[0]]]
    assert shown == [0, 125_000, 500_000, 562_500]


def test_gaps_in_a_column_are_no_values_of_ours(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", (4,))
    path = root / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("count")
    pq.write_table(table.set_column(place, "count", pa.array([1, None, 3, None], pa.int64())), path)
    episode = encode_episode(root, 0, tmp_path / "out")
    assert episode.sensors is not None
    sensors = arrays(episode.sensors.path)
    assert sensors["count/value"].dtype == np.int64
    assert sensors["count/value"].tolist() == [1, 3]
    assert sensors["count/_t_ns"].tolist() == [0, 200_000_000]
    assert "count/value" in episode.metadata["incomplete"]


def test_the_metadata_say_what_was_done_and_what_came_of_it(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v3.0")
    metadata = [encode_episode(root, index, tmp_path / "out").metadata for index in (0, 1)]
    assert [extract_outcome(item) for item in metadata] == [
        {"success": True, "reward_total": 1.75},
        {"success": False, "reward_total": 2.25},
    ]
    assert metadata[1]["task"] == "task 1"
    assert metadata[1]["outcome"]["terminated"] is True
    assert metadata[1]["lerobot"]["names"]["observation.state"] == ["x", "y", "z"]
    assert metadata[1]["lerobot"]["episode_index"] == 1


# --- broken datasets


_ROWS = "data/chunk-000/episode_000001.parquet"
_VIDEO = f"videos/chunk-000/{CAMERAS[0]}/episode_000001.mp4"


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda root: (root / _VIDEO).unlink(), "episode_000001.mp4 is missing"),
        (lambda root: (root / _ROWS).unlink(), "episode_000001.parquet is missing"),
        (lambda root: cut(root / _ROWS), "episode_000001.parquet cannot be read"),
        (lambda root: cut(root / _VIDEO), "episode_000001.mp4 cannot be read"),
        (lambda root: fewer_rows(root), "has 4 of the 7 rows of episode 1"),
        (lambda root: fewer_frames(root), "has 5 frames for the 7 rows"),
    ],
    ids=["no-video", "no-rows", "cut-rows", "cut-video", "fewer-rows", "fewer-frames"],
)
def test_a_broken_episode_is_one_line_and_the_rest_goes_through(tmp_path: Path, break_it: Any, said: str) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1")
    break_it(root)
    done = upload_dataset(root)
    assert [failure.episode_index for failure in done.failures] == [1]
    assert said in done.failures[0].error
    assert "\n" not in done.failures[0].error
    assert [episode.name for episode in done.episodes] == ["picks 0", "picks 2"]
    assert len(waiting()) == 2


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def fewer_rows(root: Path) -> None:
    pq.write_table(pq.read_table(root / _ROWS).slice(0, 4), root / _ROWS)


def fewer_frames(root: Path) -> None:
    write_video(root / _VIDEO, [picture(k) for k in range(5)], FPS)


def test_a_corrupt_shard_costs_its_episodes_only(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v3.0")
    cut(root / "data/chunk-000/file-000.parquet")
    done = upload_dataset(root)
    assert [failure.episode_index for failure in done.failures] == [0, 1]
    assert [episode.name for episode in done.episodes] == ["picks 2"]
    with pytest.raises(RobotraceError, match=r"file-000.parquet cannot be read"):
        upload_dataset(root, stop_on_error=True)


def test_a_broken_picture_is_one_line(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", (2, 2), pictures=True)
    path = root / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index(STILL)
    rows = [{"bytes": encoded(picture(0))[:40], "path": None}] * 2
    pq.write_table(table.set_column(place, STILL, pa.array(rows, table.schema.field(place).type)), path)
    done = upload_dataset(root)
    assert len(done.failures) == 1
    assert "a png picture of 40 bytes" in done.failures[0].error


def test_paths_that_lead_out_of_the_dataset_are_refused(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", (2,))
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps({**info, "data_path": "../../{episode_index}.parquet"}))
    with pytest.raises(RobotraceError, match="leads out of it"):
        encode_episode(root, 0, tmp_path / "out")


# --- upload


def test_an_import_goes_on_where_it_stopped_while_the_dataset_grows(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", (5, 7))
    done = upload_dataset(root, name_template="{task} #{episode_index:03d}")
    assert [episode.name for episode in done.episodes] == ["task 0 #000", "task 1 #001"]
    grown = write_dataset(tmp_path / "grown", "v2.1", (5, 7, 4))
    for path in sorted(grown.rglob("*")):
        if path.is_file():
            target = root / path.relative_to(grown)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert [episode.is_new for episode in upload_dataset(root).episodes] == [False, False, True]
    assert len(waiting()) == 3
    first = next(manifest for manifest in waiting() if manifest["create"]["name"] == "task 0 #000")
    assert (first["create"]["source"], first["create"]["robot"], first["create"]["fps"]) == ("replay", "so100", 10.0)


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])
def test_an_episode_that_was_recorded_anew_is_another_one(tmp_path: Path, version: str) -> None:
    root = write_dataset(tmp_path / "picks", version, (5, 5))
    upload_dataset(root)
    assert [episode.is_new for episode in upload_dataset(root).episodes] == [False, False]
    root.rename(tmp_path / "old")
    write_dataset(root, version, (5, 5), seed=7)
    assert [episode.is_new for episode in upload_dataset(root).episodes] == [True, True]


def test_a_camera_without_a_file_is_said_to_have_none(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v3.0", (3, 3))
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([f"videos/{CAMERAS[1]}/{name}" for name in ("chunk_index", "file_index")]), path)
    episode = encode_episode(root, 0, tmp_path / "out")
    assert episode.metadata["incomplete"] == {f"video.{CAMERAS[1]}": "the dataset names no file for it"}
    assert episode.video is not None
    assert list(tracks(episode.video.path)) == [CAMERAS[0]]


def test_a_refused_argument_opens_nothing(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "picks", "v2.1", (2,))
    with pytest.raises(ConfigurationError, match=r"has no camera 'side'; it has observation.images.top"):
        upload_episode(root, 0, canonical_camera="side")
    with pytest.raises(ConfigurationError, match="there is no episode 2; there is 0 to 0"):
        upload_dataset(root, episode_indices=[0, 2])
    with pytest.raises(ConfigurationError, match="name_template"):
        upload_dataset(root, name_template="{episode_index.__class__}")
    with pytest.raises(ConfigurationError, match="robot may have 120"):
        upload_dataset(root, robot="x" * 200)
    assert not waiting()


# --- the hub


class _Hub(BaseHTTPRequestHandler):
    """What ``huggingface_hub`` asks for: the commit, the list of files, and each of them."""

    server: Any

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, self.headers.get("Authorization")))
        root: Path = self.server.root
        if self.headers.get("Authorization") != "Bearer hf_secret":
            self._answer(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif path.startswith("/api/datasets/me/picks/tree/"):
            files = [item for item in sorted(root.rglob("*")) if item.is_file()]
            listed = [
                {"type": "file", "path": item.relative_to(root).as_posix(), "size": item.stat().st_size, "oid": "0"}
                for item in files
            ]
            self._answer(200, json.dumps(listed).encode())
        elif path.startswith("/api/datasets/me/picks"):
            siblings = [{"rfilename": item.relative_to(root).as_posix()} for item in root.rglob("*") if item.is_file()]
            told = {
                "id": "me/picks",
                "sha": "c" * 40,
                "siblings": siblings,
                "private": True,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
            self._answer(200, json.dumps(told).encode())
        elif path.startswith(f"/datasets/me/picks/resolve/{'c' * 40}/"):
            file = root / path.partition(f"{'c' * 40}/")[2]
            if file.is_file():
                data = file.read_bytes()
                self._answer(200, data, {"ETag": f'"{len(data)}-{file.name}"', "X-Repo-Commit": "c" * 40})
            else:
                self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.root = write_dataset(tmp_path / "hosted", "v3.0")
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def on_the_hub(hub: Any, tmp_path: Path, code: str, token: str = "hf_secret") -> subprocess.CompletedProcess[str]:
    # In a process of its own: the hub's address is read once, with the import.
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    for name in ("HF_LEROBOT_HOME", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-c", f"from robotrace.adapters.lerobot import *\n{code}", str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_episode_comes_from_the_hub_with_its_own_files_alone(hub: Any, tmp_path: Path) -> None:
    done = on_the_hub(
        hub, tmp_path, "import sys; e = encode_episode('me/picks', 2, sys.argv[1]); print(e.metadata['lerobot'])"
    )
    assert done.returncode == 0, done.stderr
    assert "'dataset': 'me/picks', 'revision': 'cccccc" in done.stdout
    assert tracks(tmp_path / "out/video.mp4")[CAMERAS[0]] == expected_frames(CAMERAS[0], 2)
    fetched = {path for command, path, _ in hub.asked if command == "GET"}
    assert any(path.endswith("file-001.parquet") for path in fetched)
    assert not any(path.endswith("data/chunk-000/file-000.parquet") for path in fetched)
    assert {token for _, _, token in hub.asked} == {"Bearer hf_secret"}


def test_what_the_hub_refuses_is_one_line(hub: Any, tmp_path: Path) -> None:
    refused = on_the_hub(hub, tmp_path, "scan_dataset('me/picks')", token="hf_other")
    assert refused.stderr.splitlines()[-1].endswith(
        "me/picks on the hub: there is none that is public, or that your token may read"
    )
    (hub.root / "data/chunk-000/file-001.parquet").unlink()
    missing = on_the_hub(hub, tmp_path, "import sys; encode_episode('me/picks', 2, sys.argv[1])")
    assert missing.stderr.splitlines()[-1].endswith("data/chunk-000/file-001.parquet of me/picks is missing")


def test_lerobots_own_cache_is_looked_into_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "me" / "picks", "v2.1", (2,))
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    assert scan_dataset("me/picks").name == "me/picks"


# --- memory


def test_memory_is_flat_over_ten_thousand_rows(tmp_path: Path) -> None:
    code = "from robotrace.adapters.lerobot import encode_episode; encode_episode(sys.argv[1], 0, sys.argv[2])"

    def peak(rows: int) -> int:
        root = tmp_path / str(rows)
        (root / "meta").mkdir(parents=True)
        (root / "data").mkdir()
        features = {"observation.state": {"dtype": "float32", "shape": [256]}, STILL: {"dtype": "image", "shape": []}}
        info = {
            "codebase_version": "v2.1",
            "fps": 10,
            "features": features,
            "data_path": "data/{episode_index}.parquet",
        }
        (root / "meta/info.json").write_text(json.dumps(info))
        (root / "meta/episodes.jsonl").write_text(json.dumps({"episode_index": 0, "length": rows}))
        still = encoded(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
        states = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(rows * 256, np.float32)), 256)
        stills = pa.StructArray.from_arrays([pa.array([still] * rows), pa.nulls(rows, pa.string())], ["bytes", "path"])
        # One row group: what a dataset's file has when it was written in one go.
        table = pa.table({"observation.state": states, STILL: stills})
        pq.write_table(table, root / "data/0.parquet", row_group_size=rows, use_dictionary=False, compression="none")
        return peak_bytes(code, root, tmp_path / "out")

    # States and pictures of the longer one are 20 MB more.
    assert peak(10_000) - peak(5_000) < 8_000_000
