"""Which frameworks of this process are instrumented, and with what.

A framework's plugin is found by an entry point of the group ``robotrace.instrument``: its name is the module whose
import it waits for, its value a module (or any object) with ``instrument(**arguments)``, which may be called again with
others, and ``uninstrument()``. The arguments are those of :class:`robotrace.plugin.Options`, and ``phases``. Nothing is
imported that the process does not import by itself.

What is asked for comes in layers, and the last one counts: a Hydra job in a program below ``robotrace run``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import metadata as packages
from typing import Any

from robotrace import faults
from robotrace.auto.imports import ImportWatch
from robotrace.deliver.guards import is_child_of_multiprocessing
from robotrace.errors import ConfigurationError, RobotraceError

__all__ = ["GROUP", "bring_in", "fail_open_episodes", "instrument", "modules", "seal_episodes"]

_log = logging.getLogger("robotrace")

GROUP = "robotrace.instrument"


@dataclass(frozen=True, eq=False)
class _Layer:
    frameworks: frozenset[str] | None
    arguments: Mapping[str, Any]

    def wants(self, name: str) -> bool:
        return self.arguments.get("enabled") is not False and (self.frameworks is None or name in self.frameworks)


_layers: list[_Layer] = []
_active: dict[str, tuple[Any, _Layer]] = {}
"""By module, its plugin and what it was told last."""
_watch: ImportWatch | None = None


def modules() -> dict[str, Any]:
    """The entry points by the module that each waits for."""
    return {found.name: found for found in packages.entry_points(group=GROUP)}


def instrument(
    *, frameworks: Collection[str] | None = None, below: bool = False, **arguments: Any
) -> Callable[[], None]:
    """Record what the frameworks of this process do from here on.

    Args:
        frameworks: Of these only, by the names of their modules; None for all that have a plugin.
        below: Under what is asked for already, which goes before it.
        **arguments: See :class:`robotrace.plugin.Options`; ``phases``, of trainings: ``train``, ``eval`` or both.

    Returns:
        Undoes it: recorders that nobody has asked for go, and their open episodes end as closed in the middle.

    Raises:
        TypeError: An argument is unknown.
        ConfigurationError: A value does not fit, there is no such framework, or recording is not installed.

    Example:
        >>> import robotrace.auto
        >>> undo = robotrace.auto.instrument(only="failures")
        >>> undo()
    """
    global _watch
    from robotrace.plugin import resolve_options

    resolve_options({name: value for name, value in arguments.items() if name != "phases"})
    _check_phases(arguments.get("phases"))
    known = modules()
    chosen = None if frameworks is None else frozenset(frameworks)
    unknown = sorted((chosen or frozenset()) - known.keys())
    if unknown:
        raise ConfigurationError(f"there is no framework {unknown[0]!r}; there are {', '.join(sorted(known))}")
    if chosen is not None:  # the same plugin may wait for several modules
        plugins = {known[name].value for name in chosen}
        chosen = frozenset(name for name, entry in known.items() if entry.value in plugins)
    layer = _Layer(chosen, arguments)
    _layers.insert(0 if below else len(_layers), layer)
    if _watch is None:
        _watch = ImportWatch(known, bring_in)
        _watch.install()
    for name in known:
        if _is_imported(name):
            bring_in(name)
    return lambda: _undo(layer)


def bring_in(name: str, *, leaves: bool = False) -> None:
    """A framework has been imported, or the layers have changed: its plugin is told. Never raises.

    Args:
        name: Of the module.
        leaves: A layer has gone, and what was recorded for it goes too.
    """
    layer = _layers[-1] if _layers else None
    plugin, told = _active.get(name, (None, None))
    if plugin is not None and told is layer:
        return
    try:
        wanted = layer is not None and layer.wants(name)
        if plugin is not None:
            _active.pop(name)
            if leaves or not wanted:  # else what was made before, by a module of the job's for example, goes on
                plugin.uninstrument()
        if layer is not None:
            plugin = plugin or modules()[name].load()
            # One that is not wanted is told so: by itself it may go by the environment's variables.
            plugin.instrument(**(layer.arguments if wanted else {"enabled": False}))
            _active[name] = plugin, layer
    except RobotraceError as exc:
        _log.warning("nothing of %s is recorded: %s", name, exc)
    except Exception as exc:
        faults.report(f"nothing of {name} is recorded", exc)


def fail_open_episodes(error: BaseException) -> None:
    """An exception ends what this process was doing: every episode that is open in it has failed. Never raises."""
    recorder = sys.modules.get("robotrace.capture.recorder")
    for one in () if recorder is None else recorder.open_recorders():
        one.interrupt(error)


def seal_episodes(timeout_s: float) -> None:
    """In a process that somebody else may end at any time: have what it recorded on the disk, and delivered. No raise.

    Where the deployment does not answer, it is not waited for. In a process that ends by itself nothing is done here.

    Args:
        timeout_s: The longest wait.
    """
    session = sys.modules.get("robotrace.session")
    if session is None or not is_child_of_multiprocessing():
        return
    try:
        session.flush(timeout_s, give_up=True)
    except Exception as exc:
        faults.report("the episodes could not be delivered", exc)


def _undo(layer: _Layer) -> None:
    global _watch
    if layer not in _layers:
        return
    _layers.remove(layer)
    for name in list(_active):
        bring_in(name, leaves=True)
    if not _layers and _watch is not None:
        _watch.uninstall()
        _watch = None


def _is_imported(name: str) -> bool:
    """Whether a module is there in full: of one that is half way the loader tells."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return name in sys.modules and not getattr(spec, "_initializing", False)


def _check_phases(phases: Any) -> None:
    if phases is not None and (isinstance(phases, str) or not set(phases) or not set(phases) <= {"train", "eval"}):
        raise ConfigurationError(f"phases is {phases!r}; it takes a list of 'train' and 'eval'")
