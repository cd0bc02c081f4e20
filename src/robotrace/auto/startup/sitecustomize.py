"""What each Python process below ``robotrace run`` does first: its folder is in ``PYTHONPATH``, so ``site`` imports it.

It adds less than a millisecond, imports nothing of ours until a framework has been imported, and leaves no trace that a
program would meet: the folder goes from ``sys.path`` again, and another ``sitecustomize`` runs as it would have.
"""

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (pathlib takes 10 ms to import)


def _watch():
    # By its path: to import it by its name would import the whole package first.
    from importlib.machinery import SourceFileLoader

    loader = SourceFileLoader("_robotrace_imports", os.path.join(os.path.dirname(_FOLDER), "imports.py"))  # noqa: PTH118, PTH120
    module = type(sys)(loader.name)
    loader.exec_module(module)

    def imported(name):
        watch.uninstall()  # what comes now has a watch of its own
        try:
            from robotrace.auto.inherited import begin

            begin(name)
        except ImportError as exc:
            missing = "robotrace-dev" if (exc.name or "").partition(".")[0] == "robotrace" else exc.name
            _say(f"{missing} is not installed for {sys.executable}")
        except Exception as exc:
            _say(f"{type(exc).__name__}: {exc}")

    names = os.environ["ROBOTRACE_INSTRUMENT"].partition(" ")[0]
    watch = module.ImportWatch(names.split(","), imported)
    watch.install()


def _say(why):
    try:
        sys.stderr.write(f"robotrace: nothing is recorded: {why}\n")
    except Exception:
        pass


def _next():
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


sys.path[:] = [entry for entry in sys.path if not entry or os.path.abspath(entry) != _FOLDER]  # noqa: PTH100
if os.environ.get("ROBOTRACE_INSTRUMENT"):
    try:
        _watch()
    except Exception as exc:
        _say(f"{type(exc).__name__}: {exc}")
_next()
