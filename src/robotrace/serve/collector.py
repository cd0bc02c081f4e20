"""Files that were PUT into the bucket after their episode had ended, and of which no call has told us since."""

from __future__ import annotations

import logging

from robotrace.serve.arrivals import collect_arrivals
from robotrace.serve.artifacts import episodes_folder, split_artifact_key
from robotrace.serve.models import Episode
from robotrace.serve.reproductions import describe_video
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError

__all__ = ["collect_late"]

_logger = logging.getLogger(__name__)


def collect_late(services: Services) -> int:
    """Give late files their slots; those of an episode that is recording wait for its finalize.

    Returns:
        Of how many episodes.
    """
    collected = 0
    waiting = [split_artifact_key(key) for key in services.store.waiting(episodes_folder())]
    for episode_id in dict.fromkeys(slot[0] for slot in waiting if slot is not None):
        with services.database.read() as session:
            episode = session.get(Episode, episode_id)
            ended = episode is not None and not episode.is_open and episode.status != "archived"
        if ended:
            try:
                collect_arrivals(services, episode_id)
            except StoreError as error:
                _logger.warning("what has arrived for episode %s is not taken: %s", episode_id, error)
            else:
                collected += 1
            describe_video(services, episode_id)
    return collected
