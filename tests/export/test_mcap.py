"""Episodes as MCAP, read back with the format's own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")
pytest.importorskip("mcap")
pytest.importorskip("google.protobuf")

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402
from mcap.reader import make_reader  # noqa: E402

from robotrace.export import ExportedEpisode, ExportError, export_episode  # noqa: E402

from .exported import SLOW_NS, START_NS, T_NS, TEXTS, episode, values, write, write_video  # noqa: E402


class Read:
    """An MCAP file, decoded by the schemas that are in it."""

    def __init__(self, path: Path) -> None:
        self.topics: dict[str, list[tuple[int, Any]]] = {}
        self.schemas: dict[str, str] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.channels: dict[str, dict[str, str]] = {}
        kinds: dict[str, Any] = {}
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            self.records = {record.name: record.metadata for record in reader.iter_metadata()}
            summary = reader.get_summary()
            assert summary is not None
            assert summary.statistics is not None
            self.count = summary.statistics.message_count
            for schema, channel, message in reader.iter_messages(log_time_order=False):
                assert schema is not None
                assert channel.message_encoding == schema.encoding == "protobuf"
                if schema.name not in kinds:
                    pool = descriptor_pool.DescriptorPool()
                    for each in descriptor_pb2.FileDescriptorSet.FromString(schema.data).file:
                        pool.Add(each)
                    kinds[schema.name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name))
                self.schemas[channel.topic] = schema.name
                self.channels[channel.topic] = channel.metadata
                read = kinds[schema.name].FromString(message.data)
                self.topics.setdefault(channel.topic, []).append((message.log_time, read))

    def times(self, topic: str) -> list[int]:
        return [time for time, _ in self.topics[topic]]


def exported(tmp_path: Path, of: ExportedEpisode) -> Read:
    done = export_episode(of, "mcap", tmp_path / "out.mcap")
    assert done.size == done.path.stat().st_size
    return Read(done.path)


def test_every_value_and_every_time_is_there_to_the_bit(tmp_path: Path) -> None:
    read = exported(tmp_path, episode(tmp_path))
    for name, value in values().items():
        topic = f"/{name}"
        assert read.times(topic) == (START_NS + T_NS).tolist()
        about = read.channels[topic]
        assert (about["dtype"], json.loads(about["shape"])) == (value.dtype.name, list(value.shape[1:]))
        flat = [np.array(row.value, value.dtype) for _, row in read.topics[topic]]
        assert np.concatenate(flat, axis=None).astype(value.dtype).tobytes() == value.tobytes(), name
    assert read.times("/slow") == (START_NS + SLOW_NS).tolist()
    assert [row.value for _, row in read.topics["/contacts"]] == [[], [0], [1, 2, 3, 4, 5]]
    assert read.schemas["/observation"] == "robotrace.Float32Array"
    assert read.schemas["/odd"] == "robotrace.Float32"
    assert read.schemas["/action"] == "robotrace.Int32Array"


def test_texts_and_what_happened_are_logs(tmp_path: Path) -> None:
    read = exported(tmp_path, episode(tmp_path))
    assert [message.message for _, message in read.topics["/task"]] == TEXTS
    time_ns, first = read.topics["/task"][0]
    assert first.timestamp.seconds * 10**9 + first.timestamp.nanos == time_ns == START_NS
    events = [(time, message.level, message.name, message.message) for time, message in read.topics["/events"]]
    assert events == [
        (START_NS + 400_000_000, 3, "collision", "Collision: A jump."),
        (START_NS + 500_000_000, 5, "failure", "dropped it"),
    ]


def test_a_camera_is_h264_in_annex_b_a_message_a_frame(tmp_path: Path) -> None:
    read = exported(tmp_path, episode(tmp_path))
    for camera, topic in enumerate(("/camera/render", "/camera/wrist")):
        assert read.schemas[topic] == "foxglove.CompressedVideo"
        # A video's own times are whole µs.
        shown = [round(time / 1000) * 1000 + START_NS for time in (T_NS[:20] + camera * 1000).tolist()]
        assert read.times(topic) == shown
        decoder = av.CodecContext.create("h264", "r")
        pictures = []
        for _, message in read.topics[topic]:
            assert (message.format, message.frame_id) == ("h264", topic.rpartition("/")[2])
            assert message.data.startswith((b"\0\0\0\1", b"\0\0\1"))
            pictures += decoder.decode(av.Packet(message.data))
        pictures += decoder.decode(None)
        means = [picture.to_ndarray(format="gray").mean() for picture in pictures]
        wanted = [number * 5 + camera * 2 for number in range(20)]
        assert np.abs(np.array(means) - wanted).max() < 2.4  # half the way to the next
        first = read.topics[topic][0][1].data
        kinds = [first[at + 4] & 31 for at in range(len(first)) if first[at : at + 4] == b"\0\0\0\1"]
        assert {7, 8} <= set(kinds)


def test_the_exact_times_of_a_camera_go_before_those_of_its_video(tmp_path: Path) -> None:
    exact = T_NS[:20] + 123
    read = exported(tmp_path, episode(tmp_path, **{"render/_t_ns": exact}))
    assert read.times("/camera/render") == (START_NS + exact).tolist()


def test_arrays_that_are_pictures_are_shown(tmp_path: Path) -> None:
    read = exported(tmp_path, episode(tmp_path))
    picture = read.topics["/depth"][1][1]
    assert (picture.width, picture.height, picture.encoding, picture.step) == (12, 8, "32FC1", 48)
    assert picture.data == (np.arange(96, 192, dtype=np.float32) / 7).tobytes()


def test_metadata_records_say_what_it_takes_to_make_it_again(tmp_path: Path) -> None:
    of = episode(tmp_path)
    read = exported(tmp_path, of)
    about = read.records["robotrace"]
    assert about["episode_id"] == of.episode_id
    assert (about["policy_version"], about["seed"]) == ("act-v7", str(2**53 + 1))
    assert "env_version" not in about  # nobody knows it
    assert (about["start_ns"], about["clock"]) == (str(START_NS), "since 1970")
    assert json.loads(read.records["robotrace.metadata"]["env"]) == {"id": "Arm-v0"}
    assert read.records["robotrace.otel"] == {"trace_id": "ab" * 16}
    assert read.records["robotrace.left_out"] == {"lonely": "it has no times"}


def test_without_a_wall_clock_time_begins_at_0(tmp_path: Path) -> None:
    read = exported(tmp_path, episode(tmp_path, wall_clock=False))
    assert read.times("/observation") == T_NS.tolist()
    assert read.records["robotrace"]["clock"] == "since the episode's start"
    bag = episode(tmp_path, wall_clock=False)
    bag = ExportedEpisode(bag.episode_id, bag.about, {"ros2": {"start_ns": START_NS}}, bag.files)
    assert exported(tmp_path, bag).times("/observation") == (START_NS + T_NS).tolist()


def test_messages_are_in_the_order_of_time(tmp_path: Path) -> None:
    of = episode(tmp_path)
    export_episode(of, "mcap", tmp_path / "out.mcap")
    with (tmp_path / "out.mcap").open("rb") as file:
        times = [message.log_time for _, _, message in make_reader(file).iter_messages(log_time_order=False)]
    assert times == sorted(times)
    assert len(times) > 500


def test_foxgloves_own_types_read_ours(tmp_path: Path) -> None:
    compressed = pytest.importorskip("foxglove_schemas_protobuf.CompressedVideo_pb2")
    logs = pytest.importorskip("foxglove_schemas_protobuf.Log_pb2")
    images = pytest.importorskip("foxglove_schemas_protobuf.RawImage_pb2")
    read = exported(tmp_path, episode(tmp_path))
    for topic, kind in (
        ("/camera/render", compressed.CompressedVideo),
        ("/task", logs.Log),
        ("/depth", images.RawImage),
    ):
        ours = read.topics[topic][-1][1]
        theirs = kind.FromString(ours.SerializeToString())
        assert kind.DESCRIPTOR.full_name == read.schemas[topic]
        assert {field.name: value for field, value in theirs.ListFields() if field.name != "timestamp"} == {
            field.name: value for field, value in ours.ListFields() if field.name != "timestamp"
        }
        assert theirs.timestamp.nanos == ours.timestamp.nanos
        for field in kind.DESCRIPTOR.fields:
            own = type(ours).DESCRIPTOR.fields_by_name[field.name]
            assert (own.number, own.type) == (field.number, field.type)


def test_a_video_that_a_kill_has_cut_off_is_exported_as_far_as_it_goes(tmp_path: Path) -> None:
    of = episode(tmp_path)
    write_video(tmp_path / "video.mp4", np.arange(50) * 40_000_000, killed=True)
    (tmp_path / "video.mp4").write_bytes((tmp_path / "video.mp4").read_bytes()[:-20])
    frames = len(exported(tmp_path, of).topics["/camera/render"])
    assert 0 < frames < 50


def test_a_broken_file_leaves_nothing_behind(tmp_path: Path) -> None:
    of = episode(tmp_path, video=False)
    content = bytearray((tmp_path / "sensors.npz").read_bytes())
    at = content.find(values()["observation"].tobytes())
    content[at + 20] ^= 0xFF
    (tmp_path / "sensors.npz").write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ExportError, match="observation/value"):
        export_episode(of, "mcap", tmp_path / "out.mcap")
    assert sorted(tmp_path.iterdir()) == before


def test_an_unreadable_video_is_left_out_and_said(tmp_path: Path) -> None:
    of = episode(tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"no video")
    done = export_episode(of, "mcap", tmp_path / "out.mcap")
    assert "neither MP4 nor Matroska" in done.left_out["video"]


def test_offsets_that_promise_too_much_are_not_believed(tmp_path: Path) -> None:
    of = episode(tmp_path, video=False)
    arrays = {"x/value": np.arange(6), "x/_offsets": np.array([0, 2**40]), "x/_t_ns": T_NS[:1]}
    write(tmp_path / "sensors.npz", arrays)
    with pytest.raises(ExportError, match="offsets"):
        export_episode(of, "mcap", tmp_path / "out.mcap")
