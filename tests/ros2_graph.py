"""A stand-in for rclpy, which is in no registry: the calls that a recorder makes, with their signatures of Humble to
Jazzy, over a graph in this process. A subscription with ``raw=True`` is handed serialized bytes, on the thread that
spins; an executor that is shut down while a thread waits in it is an error here, where it would crash there.
"""

from __future__ import annotations

import enum
import queue
import sys
import threading
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ros2_bags import BagMaker

__all__ = ["DurabilityPolicy", "Graph", "ReliabilityPolicy", "installed_graph", "serialized"]


class ReliabilityPolicy(enum.IntEnum):
    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3


class DurabilityPolicy(enum.IntEnum):
    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3


class HistoryPolicy(enum.IntEnum):
    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3


@dataclass(kw_only=True)
class QoSProfile:
    history: HistoryPolicy = HistoryPolicy.KEEP_LAST
    depth: int = 10
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE


@dataclass
class _Endpoint:
    node_name: str
    topic_type: str
    qos_profile: QoSProfile


@dataclass
class _Subscription:
    msg_type: Any
    topic: str
    callback: Any
    qos_profile: QoSProfile
    raw: bool


@dataclass
class Graph:
    """What is on the graph.

    Attributes:
        publishers: Of each topic.
        hidden_looks: So many times a new node sees nothing.
        subscriptions: Made by the recorder.
        threads: Those that called back.
        contexts: Every context that was made.
        nodes: Every node that was made.
    """

    publishers: dict[str, list[_Endpoint]] = field(default_factory=dict)
    hidden_looks: int = 0
    subscriptions: list[_Subscription] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    contexts: list[Any] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    installed: set[str] = field(default_factory=set)
    waiting: queue.Queue[tuple[str, bytes]] = field(default_factory=queue.Queue)

    def advertise(self, topic: str, msgtype: str, **qos: Any) -> None:
        self.publishers.setdefault(topic, []).append(_Endpoint("robot", msgtype, QoSProfile(**qos)))
        self.installed.add(msgtype)

    def publish(self, topic: str, data: bytes) -> None:
        self.waiting.put((topic, data))


def installed_graph(monkeypatch: pytest.MonkeyPatch, share: Path) -> Graph:
    """Put the stand-in where ``import rclpy`` finds it.

    Args:
        monkeypatch: Takes it away again.
        share: Where the packages' ``share`` folders are, for message definitions.
    """
    graph = Graph()

    class Context:
        def __init__(self) -> None:
            self.is_valid = False
            graph.contexts.append(self)

        def ok(self) -> bool:
            return self.is_valid

        def try_shutdown(self) -> None:
            self.is_valid = False

    class Node:
        def __init__(self, node_name: str, *, context: Context) -> None:
            assert context.is_valid
            self.node_name, self.context, self.destroyed, self.looks = node_name, context, False, 0
            graph.nodes.append(self)

        def get_topic_names_and_types(self, no_demangle: bool = False) -> list[tuple[str, list[str]]]:
            self.looks += 1
            if self.looks <= graph.hidden_looks:
                return []
            return [
                (topic, sorted({endpoint.topic_type for endpoint in endpoints}))
                for topic, endpoints in graph.publishers.items()
            ]

        def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[_Endpoint]:
            return list(graph.publishers.get(topic_name, []))

        def create_subscription(
            self,
            msg_type: Any,
            topic: str,
            callback: Any,
            qos_profile: QoSProfile | int,
            *,
            callback_group: Any = None,
            event_callbacks: Any = None,
            qos_overriding_options: Any = None,
            raw: bool = False,
        ) -> _Subscription:
            assert isinstance(qos_profile, QoSProfile)
            made = _Subscription(msg_type, topic, callback, qos_profile, raw)
            graph.subscriptions.append(made)
            return made

        def destroy_node(self) -> None:
            self.destroyed = True

    class SingleThreadedExecutor:
        def __init__(self, *, context: Context) -> None:
            self.context, self.nodes, self.spinning = context, [], False

        def add_node(self, node: Node) -> bool:
            self.nodes.append(node)
            return True

        def spin_once(self, timeout_sec: float | None = None) -> None:
            self.spinning = True
            try:
                topic, data = graph.waiting.get(timeout=timeout_sec)
            except queue.Empty:
                return
            finally:
                self.spinning = False
            graph.threads.add(threading.current_thread().name)
            for subscription in graph.subscriptions:
                if subscription.topic == topic:
                    assert subscription.raw
                    subscription.callback(data)

        def shutdown(self, timeout_sec: float | None = None) -> bool:
            assert not self.spinning
            return True

    def init(*, args: list[str] | None = None, context: Context | None = None, domain_id: int | None = None) -> None:
        assert context is not None, "the default context is the user's"
        assert args == []
        context.is_valid = True

    def create_node(node_name: str, *, context: Context) -> Node:
        return Node(node_name, context=context)

    def get_message(identifier: str) -> Any:
        if identifier not in graph.installed:
            raise ModuleNotFoundError(f"No module named {identifier.partition('/')[0]!r}")
        return type(identifier.rpartition("/")[2], (), {})

    def get_package_share_directory(package: str) -> str:
        if not (share / package).is_dir():
            raise LookupError(package)
        return str(share / package)

    contents: dict[str, dict[str, Any]] = {
        "rclpy": {"init": init, "create_node": create_node},
        "rclpy.context": {"Context": Context},
        "rclpy.executors": {"SingleThreadedExecutor": SingleThreadedExecutor},
        "rclpy.qos": {
            "DurabilityPolicy": DurabilityPolicy,
            "HistoryPolicy": HistoryPolicy,
            "QoSProfile": QoSProfile,
            "ReliabilityPolicy": ReliabilityPolicy,
        },
        "rosidl_runtime_py": {},
        "rosidl_runtime_py.utilities": {"get_message": get_message},
        "ament_index_python": {},
        "ament_index_python.packages": {"get_package_share_directory": get_package_share_directory},
    }
    for name, members in contents.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return graph


def serialized(bag: BagMaker, message: Any) -> bytes:
    """A message as it comes over the wire."""
    return bytes(bag.store.serialize_cdr(message, message.__msgtype__))
