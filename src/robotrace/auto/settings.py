"""What automatic recording is told, as plain values: of a command line, a YAML file, an environment variable."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["DYNAMIC", "RUN_FIELDS", "given_options", "lazily"]

RUN_FIELDS = ("policy_version", "env_version", "git_sha", "seed", "project", "name", "tags", "metadata")
"""Of the run, not of one recorder: they go into the run context."""
DYNAMIC = ("trigger", "video_trigger", "failure")
"""Options that may be a function of the user's, as ``module:function``."""
_NO_LIMIT = "none"


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options among plain values: None says nothing, ``none`` lifts ``max_per_minute``, ``module:function`` is one.

    Args:
        values: By the names of :class:`robotrace.plugin.Options`, and whatever else there is.
    """
    options = {name: value for name, value in values.items() if value is not None}
    if options.get("max_per_minute") == _NO_LIMIT:
        options["max_per_minute"] = None
    for name in DYNAMIC:
        value = options.get(name)
        if isinstance(value, str) and ":" in value:
            options[name] = lazily(value)
    return options


def lazily(name: str) -> Callable[[Any], Any]:
    """The function ``module:function``, imported when it is first called: its module may be the user's script's."""
    module, _, attribute = name.partition(":")

    def call(argument: Any) -> Any:
        function: Any = importlib.import_module(module)
        for part in attribute.split("."):
            function = getattr(function, part)
        return function(argument)

    return call
