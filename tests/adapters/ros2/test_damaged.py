"""Bags that are cut off, broken, empty or of unknown types: what can be read is, and the rest is named in one line."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("av")

import numpy as np
from ros2_bags import BagMaker, arrays, quiet_image

from robotrace.adapters.ros2 import encode_bag, scan_bag, upload_bag
from robotrace.errors import ConfigurationError

MS = 1_000_000
COUNT = 400
PAYLOAD = 16_384


def long_bag(path: Path, storage: str) -> Path:
    """6 MB of counted messages; returns the one file in it."""
    noise = np.random.default_rng(4).integers(0, 256, PAYLOAD, np.uint8)
    with BagMaker(path, storage) as bag:
        for number in range(COUNT):
            data = noise.copy()
            data[:4] = np.frombuffer(np.int32(number).tobytes(), np.uint8)
            bag.add("/blob", bag.make("std_msgs/msg/UInt8MultiArray", data=data), number * MS)
            bag.add("/count", bag.make("std_msgs/msg/Int64", data=number), number * MS)
    (file,) = [found for found in path.iterdir() if found.suffix != ".yaml"]
    return file


def counted(folder: Path) -> list[int]:
    return [int(value) for value in arrays(folder)["/count/data"]]


def cut(file: Path, share: float) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def scratch(file: Path) -> None:
    """Three messages in the middle of a file are overwritten."""
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3 * PAYLOAD] = b"\xff" * (3 * PAYLOAD)
    file.write_bytes(data)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("has_metadata", [True, False])
def test_an_mcap_file_that_is_cut_off_is_read_up_to_its_last_whole_record(
    has_metadata: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = long_bag(tmp_path / "bag", "mcap")
    cut(file, 0.6)
    if not has_metadata:
        (tmp_path / "bag" / "metadata.yaml").unlink()
    before = file.read_bytes()
    assert list(scan_bag(tmp_path / "bag").faults) == ["bag.mcap"]
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert file.read_bytes() == before
    numbers = counted(tmp_path / "out")
    assert numbers == list(range(len(numbers)))
    # A chunk is 1 MiB, 16 % of the file: that much at the most is in the record that is cut.
    assert 0.43 * COUNT < len(numbers) < 0.6 * COUNT
    blobs = arrays(tmp_path / "out")["/blob/data"]
    assert blobs[:, :4].copy().view(np.int32).ravel().tolist() == list(range(len(blobs)))
    why = episode.metadata["incomplete"]["bag.bag.mcap"]
    assert why.startswith("it is cut off: ")
    assert warnings_of(caplog) == [f"{tmp_path / 'bag'}: bag.mcap: {why}"]


def test_messages_out_of_order_in_a_file_that_is_cut_off_are_all_read(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag", "mcap") as bag:
        for number, receive_ns in enumerate([0, 30, 20, 10, 40]):
            bag.add("/count", bag.make("std_msgs/msg/Int64", data=number), receive_ns)
    cut(tmp_path / "bag" / "bag.mcap", 0.99)
    encode_bag(tmp_path / "bag", tmp_path / "out")
    assert counted(tmp_path / "out") == [0, 1, 2, 3, 4]
    assert arrays(tmp_path / "out")["/count/_t_ns"].tolist() == [0, 30, 20, 10, 40]


def test_an_mcap_file_with_a_broken_chunk_is_read_up_to_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = long_bag(tmp_path / "bag", "mcap")
    scratch(file)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    numbers = counted(tmp_path / "out")
    assert numbers == list(range(len(numbers)))
    assert 0.25 * COUNT < len(numbers) < 0.55 * COUNT
    assert "it cannot be read beyond" in episode.metadata["incomplete"]["bag.bag"]
    assert len(warnings_of(caplog)) == 1


def test_a_database_with_broken_pages_is_read_up_to_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scratch(long_bag(tmp_path / "bag", "sqlite3"))
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    numbers = counted(tmp_path / "out")
    assert numbers == list(range(len(numbers)))
    assert 0.25 * COUNT < len(numbers) < 0.55 * COUNT
    assert "it cannot be read beyond" in episode.metadata["incomplete"]["bag.bag"]
    assert len(warnings_of(caplog)) == 1


def test_a_database_that_is_cut_off_says_what_may_save_it(tmp_path: Path) -> None:
    cut(long_bag(tmp_path / "bag", "sqlite3"), 0.6)
    with pytest.raises(ConfigurationError, match=r"malformed \(`sqlite3 bag.db3 .recover \| sqlite3 recovered.db3`"):
        encode_bag(tmp_path / "bag", tmp_path / "out")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_whatever_is_broken_in_a_bag_it_is_read_or_refused_in_one_line(storage: str, tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag", storage) as bag:
        for number in range(8):
            header = bag.header(number * MS)
            bag.add("/camera", bag.image(quiet_image(number, (16, 24)), "rgb8", header), number * MS)
            state = bag.make("sensor_msgs/msg/JointState", header=header, name=["a"], position=np.zeros(1))
            bag.add("/joint_states", state, number * MS)
            transforms = [bag.make("geometry_msgs/msg/TransformStamped", header=header)] * (number % 3)
            bag.add("/tf", bag.make("tf2_msgs/msg/TFMessage", transforms=transforms), number * MS)
    (file,) = [found for found in (tmp_path / "bag").iterdir() if found.suffix != ".yaml"]
    good = file.read_bytes()
    read, refused = 0, []
    for seed in range(25):
        generator = random.Random(seed)
        data = bytearray(good)
        for _ in range(generator.choice([1, 3, 10, 100])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        file.write_bytes(data[: generator.randrange(len(data))] if seed % 3 == 0 else data)
        try:
            encode_bag(tmp_path / "bag", tmp_path / "out")
            read += 1
        except ConfigurationError as exc:
            refused.append(str(exc))
    assert read
    assert refused
    assert not [line for line in refused if "\n" in line]


def test_of_a_bag_in_several_files_the_others_are_read(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        with BagMaker(tmp_path / name, "mcap") as bag:
            bag.add("/count", bag.make("std_msgs/msg/Int64", data=number), number * MS)
    (tmp_path / "bag").mkdir()
    shutil.copy(tmp_path / "a" / "a.mcap", tmp_path / "bag" / "bag_0.mcap")
    (tmp_path / "bag" / "bag_1.mcap").write_bytes(b"")
    shutil.copy(tmp_path / "b" / "b.mcap", tmp_path / "bag" / "bag_2.mcap")
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    assert found["/count/data"].tolist() == [0, 1]
    assert found["/count/_t_ns"].tolist() == [0, MS]
    assert list(episode.metadata["incomplete"]) == ["bag.bag_1.mcap"]


def test_files_of_a_bag_without_metadata_are_in_the_order_of_their_numbers_and_others_are_no_bag(
    tmp_path: Path,
) -> None:
    (tmp_path / "bag").mkdir()
    for number in range(12):
        with BagMaker(tmp_path / f"made-{number}", "sqlite3") as bag:
            bag.add("/count", bag.make("std_msgs/msg/Int64", data=number), number * MS)
        shutil.copy(tmp_path / f"made-{number}" / f"made-{number}.db3", tmp_path / "bag" / f"pick_7_{number}.db3")
    encode_bag(tmp_path / "bag", tmp_path / "out")
    assert counted(tmp_path / "out") == list(range(12))
    shutil.copy(tmp_path / "bag" / "pick_7_0.db3", tmp_path / "bag" / "place.db3")
    with pytest.raises(ConfigurationError, match=r"holds several bags, pick_7_0.db3, .*, place.db3: give one"):
        scan_bag(tmp_path / "bag")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.mcap", b""),
        ("x.mcap", b"\x89MCAP0\r\n"),
        ("x.mcap", b"no bag" * 100),
        ("x.db3", b""),
        ("x.db3", b"no bag" * 100),
        ("x.db3", b"SQLite format 3\0" + bytes(200)),
        ("x.bag", b"#ROSBAG V2.0\n"),
        ("x.bag", b""),
        ("x.txt", b"no bag"),
    ],
)
def test_what_is_no_bag_is_one_line(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    for call in (scan_bag, upload_bag):
        with pytest.raises(ConfigurationError, match=f"the bag .*{name} cannot be read: ") as caught:
            call(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_folders_that_are_no_bag_say_what_a_bag_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no bag"):
        scan_bag(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"neither metadata.yaml nor .mcap or .db3 files"):
        scan_bag(tmp_path / "empty")
    (tmp_path / "empty" / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    with pytest.raises(ConfigurationError, match=r"cannot be read: Could not load YAML"):
        scan_bag(tmp_path / "empty")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_an_empty_bag_is_empty_and_no_episode(storage: str, tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag", storage) as bag:
        bag.topic("/count", "std_msgs/msg/Int64")
    summary = scan_bag(tmp_path / "bag")
    assert (summary.duration_s, summary.message_count, len(summary.topics)) == (None, 0, 1)
    assert ": empty" in summary.report().replace(f"{storage}, ", "")
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert (episode.files, episode.duration_s, episode.fps) == ({}, None, None)
    with pytest.raises(ConfigurationError, match="has no message that could be kept"):
        upload_bag(tmp_path / "bag")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_type_that_nobody_knows_is_named_and_the_rest_is_there(storage: str, tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag", storage) as bag:
        bag.topic("/mine", "my_msgs/msg/Mine", msgdef="", rihs01="RIHS01_0")
        bag.topic("/half", "my_msgs/msg/Half", msgdef="my_msgs/Other other\n", rihs01="RIHS01_1")
        bag.topic("/odd", "my_msgs/msg/Odd", msgdef="??? what is this\n", rihs01="RIHS01_2")
        for number in range(3):
            for topic, kind in (("/mine", "Mine"), ("/half", "Half"), ("/odd", "Odd")):
                bag.add_bytes(topic, f"my_msgs/msg/{kind}", b"\0\1\0\0abcd", number)
            bag.add("/count", bag.make("std_msgs/msg/Int64", data=number), number)
            bag.add("/tick", bag.make("std_msgs/msg/Empty"), number)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert counted(tmp_path / "out") == [0, 1, 2]
    assert arrays(tmp_path / "out")["/tick/_t_ns"].tolist() == [0, 1, 2]
    skipped = {each["topic"]: each["reason"] for each in episode.metadata["skipped_topics"]}
    assert skipped.pop("/odd").startswith("its definition in the bag cannot be read: ")
    assert skipped == {
        "/half": "neither the bag nor ROS humble has a definition of my_msgs/msg/Other",
        "/mine": "neither the bag nor ROS humble has a definition of my_msgs/msg/Mine",
    }


def test_a_bag_without_definitions_is_read_by_those_of_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BagMaker(tmp_path / "bag", "sqlite3") as bag:
        for number in range(3):
            bag.add("/temperature", bag.make("sensor_msgs/msg/Temperature", temperature=0.5 * number), number)
    connection = sqlite3.connect(tmp_path / "bag" / "bag.db3")
    connection.execute("DROP TABLE message_definitions")
    connection.execute("UPDATE schema SET schema_version = 3")
    connection.commit()
    connection.close()
    monkeypatch.setenv("ROS_DISTRO", "foxy")
    encode_bag(tmp_path / "bag", tmp_path / "out")
    assert arrays(tmp_path / "out")["/temperature/temperature"].tolist() == [0.0, 0.5, 1.0]


def test_messages_that_are_not_of_their_type_are_counted(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(6):
            bag.add("/count", bag.make("std_msgs/msg/Int64", data=number), number)
            bag.add_bytes("/count", "std_msgs/msg/Int64", [b"", b"\0\1\0\0abc", b"\7\7\7\7"][number % 3], number)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert counted(tmp_path / "out") == list(range(6))
    assert episode.metadata["incomplete"]["/count"].startswith("6 messages could not be decoded: ")


def test_the_log_of_a_database_whose_recorder_was_killed_is_named(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag", "sqlite3") as bag:
        bag.add("/count", bag.make("std_msgs/msg/Int64", data=1), 0)
    (tmp_path / "bag" / "bag.db3-wal").write_bytes(b"x")
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert "`sqlite3 bag.db3 'PRAGMA wal_checkpoint'`" in episode.metadata["incomplete"]["bag.bag.db3-wal"]
    assert counted(tmp_path / "out") == [1]
