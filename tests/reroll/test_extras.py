"""Without what a worker needs there is one line that says so, and no verdict."""

from __future__ import annotations

import pytest

from robotrace.errors import ConfigurationError
from robotrace.reroll import pool
from robotrace.reroll.jobs import Job


def test_what_is_not_installed_is_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_NEEDED", ("json", "nosuchpackage"))
    line = r"needs nosuchpackage; run: pip install 'robotrace-dev\[gymnasium\]'"
    with pytest.raises(ConfigurationError, match=line):
        pool.run_job(Job("e", {}, None, None))
    with pytest.raises(ConfigurationError, match=line):
        next(pool.ProcessPool(1).run([]))
