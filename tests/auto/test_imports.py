"""Being told of imports: after the module has run, by its own loader, and once."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from robotrace.auto.imports import ImportWatch


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> Iterator[ImportWatch]:
    (tmp_path / "waited_for.py").write_text("import sys\nVALUE = 7\n")
    (tmp_path / "broken.py").write_text("raise RuntimeError('at import')\n")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("from package.inner import VALUE\n")
    (package / "inner.py").write_text("VALUE = 8\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = ("waited_for", "broken", "package", "not_there")
    watch = ImportWatch(names, lambda name: told.append(f"{name} {hasattr(sys.modules[name], 'VALUE')}"))
    watch.install()
    yield watch
    watch.uninstall()
    for name in (*names, "package.inner"):
        sys.modules.pop(name, None)


def test_it_tells_when_the_module_has_run_and_once(watch: ImportWatch, told: list[str]) -> None:
    importlib.import_module("waited_for")
    importlib.import_module("waited_for")
    importlib.import_module("package")
    assert told == ["waited_for True", "package True"]


def test_the_module_looks_as_if_nobody_had_watched(watch: ImportWatch) -> None:
    module = importlib.import_module("waited_for")
    watch.uninstall()
    sys.modules.pop("waited_for")
    bare = importlib.import_module("waited_for")
    assert type(module.__loader__) is type(module.__spec__.loader) is type(bare.__loader__)
    assert module.__spec__.origin == bare.__spec__.origin
    assert inspect.getsource(module) == inspect.getsource(bare)


def test_a_module_that_fails_or_is_not_there_fails_as_ever(watch: ImportWatch, told: list[str]) -> None:
    with pytest.raises(RuntimeError, match="at import"):
        importlib.import_module("broken")
    with pytest.raises(ModuleNotFoundError, match="not_there"):
        importlib.import_module("not_there")
    assert told == []


def test_it_is_gone_without_a_trace(watch: ImportWatch) -> None:
    assert watch in sys.meta_path
    watch.uninstall()
    watch.uninstall()
    assert watch not in sys.meta_path


def test_a_finder_that_asks_all_others_ends(watch: ImportWatch, told: list[str]) -> None:
    class Asks:
        asked = False

        def find_spec(self, name: str, path: object = None, target: object = None) -> object:
            if name != "waited_for" or self.asked:
                return None
            self.asked = True  # as such finders do: they would meet themselves
            return importlib.util.find_spec(name)

    asks = Asks()
    sys.meta_path.insert(1, asks)  # type: ignore[arg-type]
    try:
        importlib.import_module("waited_for")
    finally:
        sys.meta_path.remove(asks)  # type: ignore[arg-type]
    assert asks.asked
    assert told == ["waited_for True"]
