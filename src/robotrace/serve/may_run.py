"""Whether the code of an episode may run on the deployment's machine.

What an episode says about its code came over the wire, from whoever holds a key. So nothing of it is used but names,
and of those only names of packages that the operator has installed, or put into a folder named at the start.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata as packages
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from robotrace.reroll.plan import read_plan
from robotrace.serve.schemas_reroll import RunCode

__all__ = ["may_run", "what_runs"]

_FRAMEWORK = "gymnasium"
_SCRIPT = "__main__"


def may_run(metadata: Mapping[str, Any], import_from: Sequence[Path] = ()) -> str | None:
    """Why an episode is not run again on this machine; None when it may be. Nothing is imported to find out.

    Args:
        metadata: The episode's.
        import_from: Folders of the operator's own environments.
    """
    plan = read_plan(metadata)
    if plan.reason is not None:
        return plan.reason
    if _SCRIPT in plan.local or any(code.package == _SCRIPT for code in plan.code):
        script = f" {plan.scripts[_SCRIPT]}" if _SCRIPT in plan.scripts else ""
        return f"its environment is defined in the script{script}, which no deployment runs"
    for code in plan.code:
        module, _, name = code.entry_point.partition(":")
        parts = module.split(".")
        if not name or not all(part.isidentifier() for part in (*parts, *name.split("."))):
            return f"{code.entry_point} does not name an environment"
        # A package's __main__ is a program: importing it may run it.
        if parts[0] in sys.stdlib_module_names or _SCRIPT in parts:
            return f"{module} has no environments"
    for package in dict.fromkeys((*(code.package for code in plan.code), _FRAMEWORK)):
        if not _is_there(package, import_from):
            return f"{package} is not installed here"
    return None


def what_runs(metadata: Mapping[str, Any]) -> list[RunCode]:
    """What running an episode again would import, the environment first, then its wrappers."""
    return [
        RunCode(entry_point=code.entry_point, package=code.package, recorded=code.version, here=_version(code.package))
        for code in read_plan(metadata).code
    ]


def _is_there(package: str, import_from: Sequence[Path]) -> bool:
    try:
        if importlib.util.find_spec(package) is not None:
            return True
    except (ImportError, ValueError):  # ValueError: loaded, and by something that left no trace
        pass
    return PathFinder.find_spec(package, [str(folder) for folder in import_from]) is not None


def _version(package: str) -> str | None:
    try:
        return packages.version(package)
    except (packages.PackageNotFoundError, ValueError):  # ValueError: no name at all
        return None
