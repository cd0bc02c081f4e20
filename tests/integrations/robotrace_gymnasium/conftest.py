from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("av")


@pytest.fixture(autouse=True)
def fresh_session() -> Iterator[None]:
    """Each test records as a process of its own would."""
    from robotrace import session

    session.reset()
    yield
    session.reset()
