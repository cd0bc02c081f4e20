"""Files that were PUT into the bucket after their episode had ended, and of which no call has told us since."""

from __future__ import annotations

import logging
import threading

from robotrace.serve.arrivals import collect_arrivals
from robotrace.serve.artifacts import episodes_folder, split_artifact_key
from robotrace.serve.models import Episode
from robotrace.serve.reproductions import describe_video
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError

__all__ = ["Collector", "collect_late"]

_logger = logging.getLogger(__name__)

_EVERY_S = 60.0
_STOP_TIMEOUT_S = 0.1


class Collector:
    """A thread that looks for such files now and then; each replica has one, and of several one takes a file.

    Args:
        services: The deployment's parts.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="robotrace-collector", daemon=True)

    def start(self) -> None:
        """Begin, where there is a bucket."""
        if self._services.store.origin:
            self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way gets a moment, and is done again later where that was too short."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def _work(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            try:
                collect_late(self._services)
            except Exception:
                _logger.exception("late files are not collected")


def collect_late(services: Services) -> None:
    """Give late files their slots; those of an episode that is recording wait for its finalize."""
    waiting = [split_artifact_key(key) for key in services.store.waiting(episodes_folder())]
    for episode_id in dict.fromkeys(slot[0] for slot in waiting if slot is not None):
        with services.database.read() as session:
            episode = session.get(Episode, episode_id)
            ended = episode is not None and episode.status in ("ready", "failed")
        if ended:
            try:
                collect_arrivals(services, episode_id)
            except StoreError as error:
                _logger.warning("what has arrived for episode %s is not taken: %s", episode_id, error)
            describe_video(services, episode_id)
