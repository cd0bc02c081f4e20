"""Episodes as files of other tools, from their pages."""

from __future__ import annotations

import csv
import importlib.util
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from robotrace.serve import portal_export
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .portal_fixtures import publish, write_barcode_video, write_streams

TIMES_S = np.arange(50) / 50


@pytest.fixture(scope="module")
def episode_id(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("files")
    values = (np.arange(100) / 7).astype(np.float32).reshape(50, 2)
    write_streams(folder / "sensors.npz", TIMES_S, {"observation": values, "battery, V": values[:, 0]})
    write_barcode_video(folder / "video.mp4", [float(time) for time in TIMES_S])
    files = {"sensors": folder / "sensors.npz", "video": folder / "video.mp4"}
    return publish(deployment, files=files, create={"seed": 7}, finalize={"status": "ready"})


@pytest.fixture(scope="module")
def browser(deployment: Deployment) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.base_url, trust_env=False, timeout=60) as http:
        yield http


def export(browser: httpx.Client, episode_id: str, **query: Any) -> httpx.Response:
    return browser.get(f"/portal/episodes/{episode_id}/export", params=query)


def test_mcap_comes_whole_and_leaves_nothing_behind(browser: httpx.Client, episode_id: str, settings: Settings) -> None:
    reader = pytest.importorskip("mcap.reader")
    answer = export(browser, episode_id, format="mcap")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="robotrace-{episode_id[:8]}.mcap"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    summary = reader.make_reader(io.BytesIO(answer.content)).get_summary()
    counts = {summary.channels[key].topic: count for key, count in summary.statistics.channel_message_counts.items()}
    assert counts == {"/observation": 50, "/battery, V": 50, "/camera/render": 50}
    assert list(settings.exports_dir.iterdir()) == []


def test_hdf5_has_the_video(browser: httpx.Client, episode_id: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "out.hdf5").write_bytes(export(browser, episode_id, format="hdf5").content)
    with h5py.File(tmp_path / "out.hdf5") as file:
        assert int(file.attrs["seed"]) == 7
        assert bytes(file["files/video"][4:8]) == b"ftyp"


def test_the_shown_window_as_csv(browser: httpx.Client, episode_id: str) -> None:
    answer = export(browser, episode_id, format="csv", start_ms=100, end_ms=160, streams=["battery, V"])
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["time_s", "battery, V"]
    assert [row[0] for row in rows[1:]] == ["0.100000000", "0.120000000", "0.140000000", "0.160000000"]
    assert [np.float32(row[1]) for row in rows[1:]] == [np.float32(number / 7) for number in (10, 12, 14, 16)]
    assert len(export(browser, episode_id, format="csv").text.splitlines()) == 51


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"format": "rosbag"}, 400, "format: one of mcap, hdf5, csv"),
        ({"format": "hdf5", "start_ms": 0}, 400, "only CSV takes a part of an episode"),
        ({"format": "csv", "start_ms": "nan"}, 400, "start_ms"),
        ({"format": "csv", "streams": "nothing"}, 422, "there is no stream 'nothing' to export"),
    ],
)
def test_what_cannot_be_exported_says_why(
    browser: httpx.Client, episode_id: str, query: dict[str, Any], status: int, says: str
) -> None:
    answer = export(browser, episode_id, **query)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_a_format_whose_packages_are_missing_says_how_to_get_them(
    browser: httpx.Client, episode_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "mcap" else find(name, *rest))
    answer = export(browser, episode_id, format="mcap")
    assert answer.status_code == 501
    assert "pip install 'robotrace-dev[mcap]'" in answer.json()["error"]
    page = browser.get(f"/portal/episodes/{episode_id}").text
    assert "robotrace-dev[mcap]" in page.replace("&#39;", "'")
    assert "export?format=mcap" not in page


def test_more_than_a_server_should_write_is_for_the_command_line(
    browser: httpx.Client, episode_id: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal_export, "_MOST_BYTES", 100)
    answer = export(browser, episode_id, format="csv")
    assert answer.status_code == 422
    assert f"robotrace export {episode_id}" in answer.json()["error"]
    assert list(settings.exports_dir.iterdir()) == []


def test_when_too_many_are_made_the_next_one_is_told_to_come_again(
    browser: httpx.Client, episode_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal_export, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(portal_export, "_making", threading.BoundedSemaphore(1))
    with portal_export._turn():
        answer = export(browser, episode_id, format="csv")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert export(browser, episode_id, format="csv").status_code == 200
