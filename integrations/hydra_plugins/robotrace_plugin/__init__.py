"""What Hydra finds by itself, in every app: RoboTrace's config groups and its callback, switched off.

Imported at the start of each app: it imports Hydra and nothing else.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin

__all__ = ["NODE", "RoboTraceSearchPathPlugin"]

NODE: dict[str, Any] = {
    "_target_": "robotrace_hydra.RoboTraceCallback",
    "enabled": None,
    # Of the run.
    "policy_version": None,
    "env_version": None,
    "git_sha": None,
    "seed": None,
    "project": None,
    "name": None,
    "tags": None,
    "metadata": None,
    # Where in the app's config they are, where they are not said here.
    "policy_key": None,
    "env_key": None,
    "seed_key": None,
    # What is recorded: robotrace.plugin.Options.
    "frameworks": None,
    "phases": None,
    "robot": None,
    "source": None,
    "every_n_episodes": None,
    "trigger": None,
    "max_per_minute": None,
    "max_episodes": None,
    "only": None,
    "success_key": None,
    "failure": None,
    "keep_partial": None,
    "video": None,
    "video_trigger": None,
    "video_every_n_steps": None,
    "video_size": None,
    "video_envs": None,
    "env_indices": None,
    "fps": None,
    "images": None,
    "infos": None,
    "last_seconds": None,
    "realtime": None,
    "otel_spans": None,
    # Of the job.
    "log_config": True,
    "redact": [],
    "flush_timeout_s": 30.0,
}
"""``hydra.callbacks.robotrace`` of every app. None: not said."""


class RoboTraceSearchPathPlugin(SearchPathPlugin):
    """Adds the config group ``robotrace`` and ``hydra/callbacks=robotrace``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put it last: a group of the app's own goes first."""
        search_path.append(provider="robotrace", path="pkg://robotrace_hydra.conf")


def _add_node() -> None:
    # There before the command line is read, so that its keys can be set without a "+".
    store = ConfigStore.instance()
    config = store.load("hydra/config.yaml")
    config.node.callbacks["robotrace"] = NODE
    store.store(group="hydra", name="config", node=config.node, provider=config.provider)


_add_node()
