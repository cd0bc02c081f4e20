"""What a running ROS 2 graph publishes, as one episode."""

from __future__ import annotations

import datetime
import logging
import os
import secrets
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from robotrace.adapters.ros2._bags import require
from robotrace.adapters.ros2._scan import BagSummary, scan_bag
from robotrace.config import home_dir
from robotrace.errors import ConfigurationError
from robotrace.ingest import EpisodeFinalStatus, EpisodeSource

if TYPE_CHECKING:
    from robotrace.adapters._episode import EncodedEpisode
    from robotrace.adapters._spooling import EpisodeFacts, ImportedEpisode
    from robotrace.adapters.ros2._bag_writer import BagWriter
    from robotrace.adapters.ros2._graph import Graph
    from robotrace.client import Client

__all__ = ["LiveRecording", "record"]

_log = logging.getLogger("robotrace")

_BAGS = "bags"


class LiveRecording:
    """A recording of :func:`record`; a context manager.

    Leaving the block stops it, and encodes and delivers the bag. What goes wrong with that is logged and in
    :attr:`error`, and never an exception in the robot's program; the bag stays where it is then.

    Attributes:
        bag_path: The bag that is written.
        topics: What is recorded.
        bag_summary: What the bag holds, once it is stopped.
        episode: What became of it, once it is stopped.
        error: What went wrong, None where nothing did.
    """

    def __init__(
        self,
        topics: Sequence[str],
        bag_path: Path,
        *,
        distro: str,
        wait_s: float,
        keep_bag: bool,
        client: Client | None,
        facts: EpisodeFacts,
    ) -> None:
        self.topics = tuple(topics)
        self.bag_path = bag_path
        self.bag_summary: BagSummary | None = None
        self.episode: ImportedEpisode | None = None
        self.error: Exception | None = None
        self._distro = distro
        self._wait_s = wait_s
        self._keep_bag = keep_bag
        self._client = client
        self._facts = facts
        self._graph: Graph | None = None
        self._writer: BagWriter | None = None
        self._pid = 0

    def __enter__(self) -> LiveRecording:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.stop()
            else:
                self.stop(status="failed", failure_reason=f"{type(error).__name__}: {error}".rstrip(": "))
        except Exception as exc:
            self.error = exc
            _log.warning("the recording of %s could not be delivered: %s", self.bag_path, exc)

    @property
    def message_count(self) -> int:
        """Messages recorded so far."""
        return 0 if self._writer is None else self._writer.message_count

    @property
    def duration_s(self) -> float | None:
        """From the first message to the last; None without any."""
        if self._writer is None or self._writer.first_ns is None:
            return None
        return (self._writer.last_ns - self._writer.first_ns) / 1e9

    def start(self) -> None:
        """Subscribe to the topics.

        Raises:
            ConfigurationError: rclpy is not there, nobody publishes one of the topics, or its type is not installed.
            OSError: The bag cannot be written.
        """
        from robotrace.adapters.ros2._bag_writer import BagWriter
        from robotrace.adapters.ros2._graph import Graph

        if self._graph is not None or self._writer is not None:
            raise ConfigurationError("this recording has been started before; record() makes another")
        graph = Graph()
        try:
            types = graph.types_of(self.topics, self._wait_s)
            self.bag_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writer = BagWriter(self.bag_path, types, self._distro)
            for topic, msgtype in types.items():
                graph.subscribe(topic, msgtype, self._taker(topic))
            graph.start()
        except BaseException:
            graph.close()
            if self._writer is not None:
                self._writer.close()
                shutil.rmtree(self.bag_path, ignore_errors=True)  # nothing is in it
            raise
        self._pid = os.getpid()
        self._graph = graph

    def stop(
        self, *, status: EpisodeFinalStatus = "ready", failure_reason: str | None = None
    ) -> ImportedEpisode | None:
        """Stop recording, encode the bag and deliver it.

        The bag is deleted once the episode is delivered, unless something in it is not in the episode.

        Args:
            status: ``ready`` or ``failed``.
            failure_reason: Why it failed, for the metadata.

        Returns:
            What became of the episode; None where nothing was started, or in a forked child.

        Raises:
            ConfigurationError: Nothing was published, or the bag cannot be read.
            RobotraceError: The episode could not be taken; the bag stays.
            OSError: The bag could not be finished, or the episode not be written; the bag stays.
        """
        graph, writer = self._graph, self._writer
        if graph is None or writer is None or self._pid != os.getpid():
            return self.episode
        self._graph = None
        graph.close()
        try:
            writer.close()
        except OSError as exc:  # what is on the disk is read as that of a recorder that was killed
            self.error = exc
            _log.warning("%s: it could not be finished: %s", self.bag_path, exc)
        from robotrace.adapters.ros2._upload import bring

        self.bag_summary = scan_bag(self.bag_path)
        metadata = dict(self._facts.metadata or {})
        if failure_reason is not None:
            metadata.setdefault("failure_reason", failure_reason)
        facts = replace(self._facts, status=status, metadata=metadata)
        self.episode, encoded = bring(self.bag_path, facts, {}, client=self._client)
        if self.episode.state == "delivered" and not self._keep_bag and encoded is not None and _is_whole(encoded):
            shutil.rmtree(self.bag_path, ignore_errors=True)
        else:
            _log.info("the bag stays in %s", self.bag_path)
        return self.episode

    def _taker(self, topic: str) -> Any:
        def take(data: bytes) -> None:
            writer = self._writer
            if writer is None or self.error is not None:
                return
            try:
                writer.write(topic, data)
            except Exception as exc:  # a full disk must not end the thread that spins
                self.error = exc
                _log.warning("%s: no further message is recorded: %s", self.bag_path, exc)

        return take


def _is_whole(encoded: EncodedEpisode) -> bool:
    """Whether the episode has all that is in its bag."""
    return not encoded.metadata.keys() & {"incomplete", "skipped_topics"}


def record(
    *,
    topics: Collection[str],
    client: Client | None = None,
    name: str | None = None,
    source: EpisodeSource = "real",
    robot: str | None = None,
    policy_version: str | None = None,
    env_version: str | None = None,
    git_sha: str | None = None,
    seed: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    ros_distro: str | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    keep_bag: bool = False,
    wait_s: float = 5.0,
) -> LiveRecording:
    """Record topics of the running ROS 2 graph as one episode, as long as the block lasts.

    Needs ``rclpy``, which comes with ROS 2. Messages are written as they come over the wire into an MCAP bag, by a node
    and a thread of its own; at the end the bag is encoded and delivered as by :func:`upload_bag`. A bag whose process
    was killed is read up to its last second: ``upload_bag`` takes it.

    Args:
        topics: What to record; somebody must publish them already.
        client: As of :func:`upload_bag`, like every argument not listed here.
        name: None: that of the bag.
        source: ``real``, ``sim`` or ``replay``.
        robot: Up to 120 characters.
        policy_version: What acts.
        env_version: What it acts in.
        git_sha: Of the code that acts.
        seed: Of the episode.
        metadata: Merged over what the bag says.
        ros_distro: For types whose definition is not installed; None: ``$ROS_DISTRO``.
        output_dir: The bag, a folder that does not exist; it stays. None: one in ``~/.robotrace/bags``.
        keep_bag: Leave the bag where it is.
        wait_s: How long to wait for publishers; a new node sees the graph after a second or so.

    Raises:
        ConfigurationError: An argument does not fit, or a package is missing.

    Example:
        >>> from robotrace.adapters import ros2
        >>> with ros2.record(topics=["/joint_states", "/cmd_vel"], robot="arm-2") as recording:  # doctest: +SKIP
        ...     run_my_robot()
        >>> recording.episode.state  # doctest: +SKIP
        'delivered'
    """
    require()
    from robotrace.adapters._spooling import EpisodeFacts
    from robotrace.adapters.ros2._bag_writer import distro_of
    from robotrace.adapters.ros2._upload import name_of

    if isinstance(topics, str) or not topics or not all(isinstance(topic, str) and topic for topic in topics):
        raise ConfigurationError(f"topics must be a list of topics, got {topics!r}")
    distro = distro_of(ros_distro)
    if output_dir is None:
        begun = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        bag_path = home_dir() / _BAGS / f"{begun}-{secrets.token_hex(3)}"
    else:
        bag_path = Path(output_dir).expanduser().resolve()
        if bag_path.exists():
            raise ConfigurationError(f"output_dir {bag_path} exists; a bag is written into a new folder")
    facts = EpisodeFacts(
        name=name or name_of(bag_path),
        source=source,
        robot=robot,
        policy_version=policy_version,
        env_version=env_version,
        git_sha=git_sha,
        seed=seed,
        metadata=metadata,
    )
    facts.check()
    return LiveRecording(
        sorted({topic if topic.startswith("/") else f"/{topic}" for topic in topics}),
        bag_path,
        distro=distro,
        wait_s=wait_s,
        keep_bag=keep_bag or output_dir is not None,
        client=client,
        facts=facts,
    )
