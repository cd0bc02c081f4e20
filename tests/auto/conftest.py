from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("av")


@pytest.fixture(autouse=True)
def fresh_session() -> Iterator[None]:
    """Each test records as a process of its own would, and leaves nothing instrumented."""
    from robotrace import session
    from robotrace.auto import instrumentation

    session.reset()
    yield
    assert not instrumentation._layers
    session.reset()
