from __future__ import annotations

from pathlib import Path

import pytest

from robotrace.deliver.spool import Spool, open_spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return open_spool(tmp_path / "spool")
