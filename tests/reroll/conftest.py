"""An environment of the tests' own, registered under its name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``RoboTraceArm-v0`` can be made, here and in workers."""
    gym = pytest.importorskip("gymnasium")
    pytest.importorskip("av")
    from unsteady_envs import ARM

    from robotrace import session

    session.reset()  # each test records as a process of its own would
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gym.register(ARM, entry_point="unsteady_envs:Arm")
    yield
    gym.registry.pop(ARM)
    session.reset()
