"""What Hydra finds by itself, in every app: RoboTrace's config groups and its callback, switched off.

Imported at the start of each app: it imports Hydra and OmegaConf, and nothing else.
"""

from __future__ import annotations

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

__all__ = ["NODE", "RoboTraceSearchPathPlugin"]

NODE: dict[str, Any] = {"_target_": "robotrace_hydra.RoboTraceCallback", "enabled": None}
"""``hydra.callbacks.robotrace`` of every app: each key costs each app 0.5 ms, which is why the others are not there."""


class RoboTraceSearchPathPlugin(SearchPathPlugin):
    """Adds the config group ``robotrace`` and ``hydra/callbacks=robotrace``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put it last: a group of the app's own goes first."""
        search_path.append(provider="robotrace", path="pkg://robotrace_hydra.conf")


def _add_node() -> None:
    # There before the command line is read, and open to other keys, so that they can be set without a "+". In place:
    # ConfigStore.load and store copy all of Hydra's config, which takes 4 ms.
    config = ConfigStore.instance().repo["hydra"]["config.yaml"].node
    config.callbacks["robotrace"] = OmegaConf.create(NODE, flags={"struct": False})


try:
    _add_node()
except Exception:  # a Hydra of another make, whose apps must start all the same: there the config groups switch it on
    pass
