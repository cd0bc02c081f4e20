"""What a running graph publishes becomes an episode; the robot's program never notices what goes wrong with it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("av")

import numpy as np
from polling import eventually
from readme import ROOT, blocks
from recorded import sealed
from ros2_bags import BagMaker, arrays
from ros2_graph import DurabilityPolicy, Graph, ReliabilityPolicy, installed_graph, serialized

from robotrace import Client
from robotrace.adapters import ros2
from robotrace.errors import ConfigurationError
from robotrace.testing import Fault, FaultServer

TOPICS = ["/joint_states", "cmd_vel"]
MINE = "geometry_msgs/Vector3 where\nint32 number\n"


@pytest.fixture
def maker(tmp_path: Path) -> BagMaker:
    return BagMaker(tmp_path / "never-opened", definitions={"my_msgs/msg/Mine": MINE})


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Graph:
    made = installed_graph(monkeypatch, tmp_path / "share")
    made.advertise("/joint_states", "sensor_msgs/msg/JointState")
    made.advertise("/cmd_vel", "geometry_msgs/msg/Twist")
    return made


@pytest.fixture
def move(graph: Graph, maker: BagMaker) -> Callable[[ros2.LiveRecording], None]:
    """What a robot does: ten joint states and commands, all of which are recorded when this returns."""

    def publish(recording: ros2.LiveRecording) -> None:
        for number in range(10):
            position = np.array([float(number), 1.0])
            state = maker.make("sensor_msgs/msg/JointState", name=["a", "b"], position=position)
            graph.publish("/joint_states", serialized(maker, state))
            twist = maker.make("geometry_msgs/msg/Twist", linear=maker.vector(number, 0.0, 0.0))
            graph.publish("/cmd_vel", serialized(maker, twist))
        eventually(lambda: recording.message_count == 20)

    return publish


@pytest.fixture
def ingest() -> Any:
    with FaultServer() as server:
        yield server


@pytest.fixture
def client(ingest: FaultServer) -> Any:
    with Client(base_url=ingest.url, api_key="rt_test") as made:
        yield made


def test_what_is_published_is_an_episode_and_the_bag_is_gone_once_it_is_delivered(
    graph: Graph, move: Any, ingest: FaultServer, client: Client
) -> None:
    with ros2.record(topics=TOPICS, client=client, robot="arm-2", policy_version="v3", metadata={"a": 1}) as recording:
        assert recording.bag_path.is_dir()
        assert recording.bag_path.parent == Path(os.environ["ROBOTRACE_HOME"]) / "bags"
        move(recording)
    assert recording.error is None
    assert recording.episode is not None
    assert recording.episode.state == "delivered"
    assert not recording.bag_path.exists()
    (episode,) = ingest.episodes.values()
    assert episode.finalize is not None
    metadata = episode.finalize["metadata"]
    assert (episode.finalize["status"], metadata["a"], metadata["adapter"]) == ("ready", 1, "ros2")
    assert (episode.create["robot"], episode.create["policy_version"]) == ("arm-2", "v3")
    assert recording.bag_summary is not None
    assert [(each.topic, each.msgcount) for each in recording.bag_summary.topics] == [
        ("/cmd_vel", 10),
        ("/joint_states", 10),
    ]
    # On a thread, in a context and with a node of our own, all of which are gone.
    assert graph.threads == {"robotrace-ros2"}
    assert [node.destroyed for node in graph.nodes] == [True]
    assert [context.ok() for context in graph.contexts] == [False]


def test_the_snippet_of_the_docs_runs(graph: Graph, move: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (snippet,) = blocks(ROOT / "docs" / "ros2.md", "py")
    recordings: list[ros2.LiveRecording] = []
    record = ros2.record
    monkeypatch.setattr(ros2, "record", lambda **arguments: recordings.append(record(**arguments)) or recordings[0])
    exec(snippet, {"run_my_robot": lambda: move(recordings[0])})
    assert capsys.readouterr().out == "waiting\n"
    (entry,) = sealed()
    assert (entry.create["robot"], entry.create["policy_version"]) == ("arm-2", "act-v7")


def test_without_a_deployment_the_episode_waits_in_the_spool_and_the_bag_stays(graph: Graph, move: Any) -> None:
    with ros2.record(topics=TOPICS, name="pick 8", seed=3) as recording:
        move(recording)
    assert recording.episode is not None
    assert recording.episode.state == "waiting"
    (entry,) = sealed()
    assert (entry.create["name"], entry.create["seed"], entry.create["source"]) == ("pick 8", 3, "real")
    np.testing.assert_array_equal(entry.arrays("sensors")["/joint_states/position"][:, 0], np.arange(10.0))
    np.testing.assert_array_equal(entry.arrays("actions")["/cmd_vel/linear"][:, 0], np.arange(10.0))
    assert entry.metadata["ros2"]["topics"]["/joint_states"]["names"] == ["a", "b"]
    assert recording.duration_s == pytest.approx(entry.finalize["duration_s"])
    assert ros2.scan_bag(recording.bag_path).message_count == 20


def test_an_exception_of_the_robot_passes_and_is_why_the_episode_failed(graph: Graph, move: Any) -> None:
    def run() -> None:
        with ros2.record(topics=TOPICS) as recording:
            move(recording)
            raise ValueError("the arm is stuck")

    with pytest.raises(ValueError, match="the arm is stuck"):
        run()
    (entry,) = sealed()
    assert entry.finalize["status"] == "failed"
    assert entry.metadata["failure_reason"] == "ValueError: the arm is stuck"


def test_a_deployment_that_refuses_costs_the_robot_nothing_and_the_bag_stays(
    graph: Graph, move: Any, ingest: FaultServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    ingest.fault = lambda method, path: Fault(400, {"error": "no"})
    with ros2.record(topics=TOPICS, client=client) as recording:
        move(recording)
    assert recording.episode is None
    assert isinstance(recording.error, Exception)
    assert f"the recording of {recording.bag_path} could not be delivered: " in caplog.text
    assert ros2.scan_bag(recording.bag_path).message_count == 20
    # Later, by hand.
    ingest.fault = lambda method, path: None
    assert ros2.upload_bag(recording.bag_path, client=client).state == "delivered"


def test_a_bag_that_cannot_be_written_costs_a_warning_and_what_came_before_is_there(
    graph: Graph, move: Any, maker: BagMaker, caplog: pytest.LogCaptureFixture
) -> None:
    with ros2.record(topics=TOPICS) as recording:
        move(recording)
        assert recording._writer is not None
        recording._writer._writer.write = full_disk  # type: ignore[method-assign]
        for _ in range(3):
            graph.publish("/cmd_vel", b"x")
        eventually(lambda: recording.error is not None and graph.waiting.empty())
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("no further message is recorded: [Errno 28]" in warning for warning in warnings) == 1
    (entry,) = sealed()
    assert len(entry.arrays("actions")["/cmd_vel/linear"]) == 10


def full_disk(*args: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_bag_with_something_that_is_not_in_the_episode_stays(
    graph: Graph, move: Any, ingest: FaultServer, client: Client
) -> None:
    with ros2.record(topics=TOPICS, client=client) as recording:
        move(recording)
        graph.publish("/cmd_vel", b"no twist")
        eventually(lambda: recording.message_count == 21)
    assert recording.episode is not None
    assert recording.episode.state == "delivered"
    assert ros2.scan_bag(recording.bag_path).message_count == 21


def test_a_bag_that_cannot_be_finished_is_read_as_far_as_it_is_there(
    graph: Graph, move: Any, ingest: FaultServer, client: Client
) -> None:
    with ros2.record(topics=TOPICS, client=client) as recording:
        move(recording)
        assert recording._writer is not None
        writer = recording._writer._writer
        assert writer.storage is not None
        writer.storage.close_chunk()
        writer.storage.bio.flush()
        writer.close = full_disk  # type: ignore[method-assign]
    assert isinstance(recording.error, OSError)
    writer.storage.bio.close()
    (episode,) = ingest.episodes.values()
    assert episode.finalize is not None
    assert "it is cut off" in episode.finalize["metadata"]["incomplete"][f"bag.{recording.bag_path.name}.mcap"]
    assert ros2.scan_bag(recording.bag_path).message_count == 20


def test_topics_that_nobody_publishes_are_an_error_at_once(graph: Graph) -> None:
    graph.advertise("/odd", "std_msgs/msg/String")
    graph.advertise("/odd", "std_msgs/msg/Int64")
    graph.advertise("/mine", "my_msgs/msg/Unknown")
    for topics, why in [
        (["/joint_states", "/typo"], "nobody publishes /typo; there is /cmd_vel, /joint_states, /mine, /odd"),
        (["/odd"], "/odd has more than one type: std_msgs/msg/Int64, std_msgs/msg/String"),
        (["/mine"], "neither this installation nor ROS .* has a definition of my_msgs/msg/Unknown"),
    ]:
        recording = ros2.record(topics=topics, wait_s=0.5)
        with pytest.raises(ConfigurationError, match=why):
            recording.start()
        assert not recording.bag_path.exists()
        assert recording.stop() is None
    assert [context.ok() for context in graph.contexts] == [False] * 3
    graph.installed.discard("sensor_msgs/msg/JointState")
    recording = ros2.record(topics=["/joint_states"])
    with pytest.raises(ConfigurationError, match="the type of /joint_states, sensor_msgs/msg/JointState, is not inst"):
        recording.start()
    assert not recording.bag_path.exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"topics": []}, r"topics must be a list of topics, got \[\]"),
        ({"topics": "/joint_states"}, "topics must be a list of topics, got '/joint_states'"),
        ({"topics": [3]}, r"topics must be a list of topics, got \[3\]"),
        ({"topics": TOPICS, "ros_distro": "bouncy"}, "ros_distro 'bouncy' is not known; it takes "),
        ({"topics": TOPICS, "source": "dream"}, "source"),
        ({"topics": TOPICS, "output_dir": "."}, "exists; a bag is written into a new folder"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        ros2.record(**arguments)


def test_without_rclpy_it_says_where_that_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(ConfigurationError, match=r"needs rclpy .* source /opt/ros/<distro>/setup.bash"):
        ros2.record(topics=TOPICS).start()


def test_a_type_of_ones_own_is_recorded_by_its_installed_definition(
    graph: Graph, maker: BagMaker, tmp_path: Path
) -> None:
    folder = tmp_path / "share" / "my_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Mine.msg").write_text(MINE)
    graph.advertise("/mine", "my_msgs/msg/Mine")
    message = maker.make("my_msgs/msg/Mine", where=maker.vector(1.0, 2.0, 3.0), number=7)
    with ros2.record(topics=["/mine"], output_dir=tmp_path / "bag") as recording:
        graph.publish("/mine", serialized(maker, message))
        eventually(lambda: recording.message_count == 1)
    assert recording.bag_path == tmp_path / "bag"
    ros2.encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    np.testing.assert_array_equal(found["/mine/where"], [[1.0, 2.0, 3.0]])
    assert found["/mine/number"].tolist() == [7]


def test_a_graph_that_is_seen_late_is_waited_for(graph: Graph, move: Any) -> None:
    graph.hidden_looks = 3
    with ros2.record(topics=TOPICS, wait_s=60.0) as recording:
        move(recording)
    assert recording.episode is not None
    assert graph.nodes[0].looks == 4


def test_it_asks_for_what_every_publisher_can_serve(graph: Graph, move: Any) -> None:
    best_effort = {"reliability": ReliabilityPolicy.BEST_EFFORT}
    latched = {"durability": DurabilityPolicy.TRANSIENT_LOCAL}
    graph.advertise("/mixed", "std_msgs/msg/Int64", **latched)
    graph.advertise("/mixed", "std_msgs/msg/Int64", **best_effort)
    graph.advertise("/latched", "std_msgs/msg/Int64", **latched)
    with ros2.record(topics=[*TOPICS, "/mixed", "/latched"]) as recording:
        move(recording)
    asked = {each.topic: (each.qos_profile.reliability, each.qos_profile.durability) for each in graph.subscriptions}
    assert asked == {
        "/cmd_vel": (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE),
        "/joint_states": (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE),
        "/latched": (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL),
        "/mixed": (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE),
    }


KILLED = """
import pathlib, sys, time
import pytest
from ros2_bags import BagMaker
from ros2_graph import installed_graph, serialized
from robotrace.adapters import ros2
patch = pytest.MonkeyPatch()
graph = installed_graph(patch, pathlib.Path(sys.argv[1]))
graph.advertise("/count", "std_msgs/msg/Int64")
maker = BagMaker(pathlib.Path(sys.argv[1]) / "never-opened")
recording = ros2.record(topics=["/count"], output_dir=sys.argv[2])
recording.start()
number = 0
while True:
    graph.publish("/count", serialized(maker, maker.make("std_msgs/msg/Int64", data=number)))
    number += 1
    time.sleep(0.01)
    print(recording.message_count, next(recording.bag_path.glob("*.mcap")).stat().st_size, flush=True)
"""


def test_a_killed_recorder_leaves_a_bag_that_is_read_up_to_its_last_second(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(tmp_path / "bag")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    sizes: list[int] = []
    try:
        assert process.stdout is not None
        # A chunk is written after each second.
        while len(set(sizes)) < 3:
            _count, size = map(int, process.stdout.readline().split())
            sizes.append(size)
            assert len(sizes) < 6000, "nothing was written in a minute"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    encoded = ros2.encode_bag(tmp_path / "bag", tmp_path / "out")
    numbers = arrays(tmp_path / "out")["/count/data"].tolist()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 0
    assert "it is cut off" in encoded.metadata["incomplete"]["bag.bag.mcap"]


def test_a_forked_child_leaves_the_recording_to_its_parent(
    graph: Graph, move: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ros2.record(topics=TOPICS) as recording:
        move(recording)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            assert recording.stop() is None
        assert [context.ok() for context in graph.contexts] == [True]
    assert recording.episode is not None
