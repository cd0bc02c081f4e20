from __future__ import annotations

import pytest

pytest.importorskip("hydra")
pytest.importorskip("gymnasium")
pytest.importorskip("av")
