"""The running ROS 2 graph, through rclpy: all that RoboTrace asks of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from robotrace.errors import ConfigurationError

__all__ = ["Graph"]

_log = logging.getLogger("robotrace")

_QUEUE = 100
"""Messages a topic that wait for us at the most: three seconds of a camera."""
_LOOK_S = 0.1
_ROUND_S = 0.1
"""How long one wait for a message is: so long may the end take."""
_STOP_S = 5.0


class Graph:
    """A node in a context of its own: whatever else of this process is on the graph is left alone.

    Raises:
        ConfigurationError: rclpy is not there; the message says how to get it.
    """

    def __init__(self) -> None:
        try:
            import rclpy
            from rclpy.context import Context
            from rclpy.executors import SingleThreadedExecutor
            from rosidl_runtime_py.utilities import get_message
        except ImportError as exc:
            raise ConfigurationError(
                f"ros2.record() needs rclpy ({exc}), which comes with ROS 2 and not from PyPI; "
                "source /opt/ros/<distro>/setup.bash before you start Python, and use the Python it is built for"
            ) from exc
        self._get_message = get_message
        self._context = Context()
        # Of another context than the default one rclpy takes no signals; without arguments it takes none of the user's.
        rclpy.init(args=[], context=self._context)
        self._node = rclpy.create_node("robotrace_recorder", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread: threading.Thread | None = None
        self._is_over = False

    def types_of(self, topics: Collection[str], wait_s: float) -> dict[str, str]:
        """The type of each topic; a new node sees the graph after a second or so.

        Args:
            topics: Names with their ``/``.
            wait_s: How long to wait for all of them.

        Raises:
            ConfigurationError: Nobody publishes one of them, or it has two types.
        """
        deadline = time.monotonic() + wait_s
        while True:
            known = dict(self._node.get_topic_names_and_types())
            published = {name for name in topics if name in known and self._publishers(name)}
            if published >= set(topics) or time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_S)
        missing = sorted(set(topics) - published)
        if missing:
            raise ConfigurationError(
                f"nobody publishes {', '.join(missing)}; there is {', '.join(sorted(known)) or 'no topic at all'}"
            )
        for name in topics:
            if len(known[name]) > 1:
                raise ConfigurationError(f"{name} has more than one type: {', '.join(known[name])}")
        return {name: known[name][0] for name in topics}

    def subscribe(self, topic: str, msgtype: str, callback: Callable[[bytes], None]) -> None:
        """Hand each message of a topic over as it came over the wire; before :meth:`start`.

        Raises:
            ConfigurationError: The package of the type is not installed.
        """
        try:
            kind = self._get_message(msgtype)
        except (ImportError, AttributeError, ValueError) as exc:
            raise ConfigurationError(f"the type of {topic}, {msgtype}, is not installed here: {exc}") from exc
        # Raw: deserializing a 480x640 picture would hold the GIL of the user's loop for longer than copying it.
        self._node.create_subscription(kind, topic, callback, self._profile(topic), raw=True)

    def start(self) -> None:
        """Begin to hand messages over, on a thread of our own."""
        self._thread = threading.Thread(target=self._spin, name="robotrace-ros2", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more messages, once this returns."""
        self._is_over = True
        if self._thread is not None:
            # First the thread: the executor destroys what it waits for, whether somebody waits or not.
            self._thread.join(_STOP_S)
            if self._thread.is_alive():
                _log.warning("the recorder's thread hangs, in a disk that does not answer, and is left alone")
                return
        self._executor.shutdown(timeout_sec=_STOP_S)
        self._node.destroy_node()
        self._context.try_shutdown()

    def _spin(self) -> None:
        try:
            while not self._is_over and self._context.ok():
                self._executor.spin_once(timeout_sec=_ROUND_S)
        except Exception as exc:  # of a context that was shut down under it, or of rclpy
            if not self._is_over:
                _log.warning("no further message is recorded: %s: %s", type(exc).__name__, exc)

    def _publishers(self, topic: str) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(topic))

    def _profile(self, topic: str) -> Any:
        """What every publisher of a topic can serve, as ``ros2 bag record`` chooses it."""
        from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

        offered = [info.qos_profile for info in self._publishers(topic)]
        reliable = bool(offered) and all(each.reliability == ReliabilityPolicy.RELIABLE for each in offered)
        latched = bool(offered) and all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in offered)
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_QUEUE,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
