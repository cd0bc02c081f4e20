"""uPlot is served only as it was reviewed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from robotrace.errors import ConfigurationError
from robotrace.serve.vendor import VENDOR_FILES, vendor_file


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    vendor_file.cache_clear()
    yield
    vendor_file.cache_clear()


@pytest.fixture
def other_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same name that Python finds first."""
    folder = tmp_path / "youplot"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('only the files are wanted')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.parametrize("name", VENDOR_FILES)
def test_the_installed_wheel_carries_the_reviewed_files(name: str) -> None:
    assert b"uplot" in vendor_file(name).lower()


def test_a_changed_file_is_refused(other_wheel: Path) -> None:
    (other_wheel / "vendor").mkdir()
    (other_wheel / "vendor" / "uplot.iife.min.js").write_text("alert(1)")
    with pytest.raises(ConfigurationError, match=r"is not the file of youplot 1\.0\.0: pip install"):
        vendor_file("uplot.js")


def test_a_file_that_is_not_there_is_named(other_wheel: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*uplot\.min\.css: pip install"):
        vendor_file("uplot.css")


def test_a_missing_wheel_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "youplot", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'robotrace-dev\[server\]'"):
        vendor_file("uplot.js")
