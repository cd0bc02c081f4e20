"""What ``robotrace run`` has said to the processes below it, in their environment."""

from __future__ import annotations

import json
import os

from robotrace.auto.instrumentation import bring_in, instrument
from robotrace.auto.settings import given_options
from robotrace.config import ENV_INSTRUMENT, recording_enabled
from robotrace.errors import ConfigurationError

__all__ = ["begin"]

_begun = False


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
        text = os.environ.get(ENV_INSTRUMENT, "").partition(" ")[2]
        try:
            arguments = json.loads(text)
        except ValueError:
            raise ConfigurationError(f"{ENV_INSTRUMENT} cannot be read") from None
        instrument(below=True, **given_options(arguments))
    bring_in(name)
