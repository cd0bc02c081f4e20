from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("av")

import torch


@pytest.fixture(autouse=True)
def fresh_session() -> Iterator[None]:
    """Each test records as a process of its own would; sums on several threads differ in their last bit."""
    from robotrace import session

    torch.set_num_threads(1)
    session.reset()
    yield
    session.reset()
