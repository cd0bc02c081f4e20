"""Being told that a module has been imported. Nothing is imported for it.

Loaded by itself at the start of processes that may never record anything, so it needs ``sys`` and nothing else.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing takes 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["ImportWatch"]


class ImportWatch:
    """A finder for ``sys.meta_path`` that asks the others, and has itself told when the module has run.

    Args:
        names: Of modules, in full.
        imported: Called with the name of each, after its code has run and before anybody else has it. It may not raise.
    """

    def __init__(self, names: Iterable[str], imported: Callable[[str], None]) -> None:
        self._names = frozenset(names)
        self._imported = imported
        self._finding: set[str] = set()

    def install(self) -> None:
        """Before the others, since one that finds the module ends the search."""
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Leave ``sys.meta_path`` as it was."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """What another finder finds, with a loader that tells."""
        # A finder that asks all the others asks this one, too.
        if name not in self._names or name in self._finding:
            return None
        self._finding.add(name)
        try:
            finders = (getattr(finder, "find_spec", None) for finder in list(sys.meta_path) if finder is not self)
            specs = (find(name, path, target) for find in finders if find is not None)
            spec = next((spec for spec in specs if spec is not None), None)
        finally:
            self._finding.discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _TellingLoader(spec.loader, self._imported)
        return spec


class _TellingLoader:
    """The module's own loader, until it has loaded."""

    def __init__(self, loader: Any, imported: Callable[[str], None]) -> None:
        self._loader = loader
        self._imported = imported

    def create_module(self, spec: Any) -> Any:
        create = getattr(self._loader, "create_module", None)
        return None if create is None else create(spec)

    def exec_module(self, module: Any) -> None:
        # Whoever looks at the module finds the loader it always had.
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._imported(module.__spec__.name)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # a half-built one
            raise AttributeError(name)
        return getattr(self._loader, name)
