"""What each Python process below ``robotrace run`` does first: its folder is in ``PYTHONPATH``, so ``site`` imports it.

It takes less than a millisecond, imports nothing of ours until a framework has been imported, and leaves nothing that a
program would meet: the folder goes from ``sys.path`` again, and another ``sitecustomize`` runs as it would have.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FOLDER = os.path.dirname(os.path.abspath(__file__))  # pathlib takes 10 ms to import


def _watch(text: str) -> None:
    # By its path: to import it by its name would import the whole package first. And with a loader of this file's own
    # class: importlib.machinery takes 2 ms to import.
    kind: Any = type(globals()["__loader__"])
    loader = kind("_robotrace_imports", os.path.join(os.path.dirname(_FOLDER), "imports.py"))
    module = type(sys)(loader.name)
    loader.exec_module(module)

    def imported(name: str) -> None:
        watch.uninstall()  # what comes now has a watch of its own
        try:
            from robotrace.auto.inherited import begin

            begin(name)
        except ImportError as exc:
            missing = "robotrace-dev" if (exc.name or "").partition(".")[0] == "robotrace" else exc.name
            _say(f"{missing} is not installed for {sys.executable}")
        except Exception as exc:
            _say(f"{type(exc).__name__}: {exc}")

    watch = module.ImportWatch(text.partition(" ")[0].split(","), imported)
    watch.install()


def _say(why: str) -> None:
    try:
        sys.stderr.write(f"robotrace: nothing is recorded: {why}\n")
    except Exception:  # a process without one
        pass


def _go_on() -> None:
    """The ``sitecustomize`` that Python would have found without this one."""
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as exc:
        if exc.name != "sitecustomize":
            raise
    finally:
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)


sys.path[:] = [entry for entry in sys.path if not entry or os.path.abspath(entry) != _FOLDER]
_text = os.environ.get("ROBOTRACE_INSTRUMENT")
if _text:
    try:
        _watch(_text)
    except Exception as exc:
        _say(f"{type(exc).__name__}: {exc}")
_go_on()
