"""What ``robotrace run`` has said to the processes below it, in their environment."""

from __future__ import annotations

import json
import os
from typing import Any

from robotrace.auto.instrumentation import bring_in, instrument
from robotrace.auto.settings import given_options
from robotrace.config import ENV_INSTRUMENT, recording_enabled
from robotrace.errors import ConfigurationError

__all__ = ["begin", "inherited_options"]

_begun = False


def inherited_options() -> dict[str, Any]:
    """The arguments of :func:`robotrace.auto.instrument` that the command line gave; empty where there was none.

    Raises:
        ConfigurationError: The environment's variable cannot be read.
    """
    text = os.environ.get(ENV_INSTRUMENT, "").partition(" ")[2]
    try:
        return given_options(json.loads(text)) if text else {}
    except (ValueError, AttributeError):
        raise ConfigurationError(f"{ENV_INSTRUMENT} cannot be read") from None


def begin(name: str) -> None:
    """A framework was imported, the first one or another.

    Args:
        name: Of its module.

    Raises:
        ConfigurationError: The environment's variable cannot be read, or something that recording needs is missing.
    """
    global _begun
    if not _begun and recording_enabled():
        _begun = True
        instrument(below=True, **inherited_options())
    bring_in(name)
