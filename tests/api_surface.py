"""What users of the package may rely on, as JSON, and whether a change takes any of it away.

    python tests/api_surface.py             what differs from tests/api-surface.json
    python tests/api_surface.py --write     take the additions over; refuses where something is taken away …
    python tests/api_surface.py --write --allow-narrowing       … unless this says that it is meant

Annotations are compared as they stand in the source, so the file is the same on every Python version.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import importlib.util
import inspect
import json
import sys
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["FILE", "SECTIONS", "current", "differences", "narrowings", "stored"]

FILE = Path(__file__).with_name("api-surface.json")

SECTIONS: dict[str, tuple[str, ...]] = {
    "robotrace": (),
    "robotrace.errors": (),
    "robotrace.types": (),
    "robotrace.evals": (),
    "robotrace.verify": (),
    "robotrace.testing": (),
    "robotrace.testing.fixtures": ("pytest",),
    "robotrace.adapters.gymnasium": (),
    "robotrace.adapters.hdf5": (),
    "robotrace.adapters.lerobot": (),
    "robotrace.auto": (),
    "robotrace.adapters.ros2": (),
    "robotrace.plugin": ("numpy", "av"),
    "robotrace_gymnasium": ("numpy", "av", "gymnasium"),
    "robotrace_hydra": ("hydra",),
    "robotrace_lightning": ("numpy", "av", "lightning", "pytorch_lightning"),
    "robotrace_sb3": ("numpy", "av", "stable_baselines3"),
}
"""The public modules, and what has to be installed for each."""

_PROTOCOLS = ("__bool__", "__call__", "__contains__", "__enter__", "__exit__", "__getitem__", "__iter__", "__len__")

Surface = dict[str, Any]


# --- what is there


def current(section: str) -> Surface | None:
    """The surface of a public module as it is now; None where what it needs is not installed."""
    if not all(importlib.util.find_spec(name) for name in SECTIONS[section]):
        return None
    module = importlib.import_module(section)
    return {name: _described(module, name) for name in sorted(module.__all__)}


def stored() -> Surface:
    """The surface on file, by public module."""
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


def _described(module: types.ModuleType, name: str) -> Surface:
    value = getattr(module, name)
    if isinstance(value, types.ModuleType):
        return {"kind": "module"}
    if inspect.isclass(value) and typing.get_origin(value) is None:  # Python 3.10 takes dict[str, Any] for a class
        return _class(value)
    if inspect.isfunction(value):
        return _function(value)
    if typing.get_origin(value) is typing.Literal:
        return {"kind": "literal", "values": [repr(item) for item in typing.get_args(value)]}
    if isinstance(value, (str, int, float, bytes, tuple, frozenset)) and name != "__version__":
        return {"kind": "constant", "value": repr(value)}
    alias = _assigned(module, name)
    return {"kind": "value"} if alias is None else {"kind": "alias", "is": alias}


def _function(function: Any, *, bound: bool = False) -> Surface:
    returns = _annotation(inspect.signature(function).return_annotation)
    return {"kind": "function", "parameters": _parameters_of(function, bound=bound), "returns": returns}


def _parameters_of(function: Any, *, bound: bool) -> list[Surface]:
    parameters = list(inspect.signature(function).parameters.values())
    return [_parameter(parameter) for parameter in parameters[bound:] if not parameter.name.startswith("_")]


def _parameter(parameter: inspect.Parameter) -> Surface:
    described: Surface = {"name": parameter.name, "kind": parameter.kind.name}
    if parameter.default is not parameter.empty:
        described["default"] = repr(parameter.default)
    return {**described, "annotation": _annotation(parameter.annotation)}


def _annotation(annotation: Any) -> str | None:
    if annotation is inspect.Signature.empty:
        return None
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.ForwardRef):  # of a NamedTuple or TypedDict
        return annotation.__forward_arg__
    raise TypeError(f"{annotation!r}: a public module begins with `from __future__ import annotations`")


def _class(kind: type) -> Surface:
    ours = [base for base in kind.__mro__ if _is_ours(base)]
    members: Surface = {}
    for base in reversed(ours):
        for name, value in vars(base).items():
            if not name.startswith("_") or name in _PROTOCOLS:
                members.update(_member(name, value))
        members.update(_attributes(base))
    described: Surface = {"kind": "class", "bases": _bases(ours)}
    makers = [vars(base)[name] for base in ours for name in ("__init__", "__new__") if name in vars(base)]
    if makers:
        described["parameters"] = _parameters_of(makers[0], bound=True)
    return {**described, "members": dict(sorted(members.items()))}


def _bases(ours: list[type]) -> list[str]:
    # Of others only the package, and only what we derive from: where in it a class lies is their own affair.
    direct = [base for kind in ours for base in kind.__bases__ if base is not object and base is not typing.Generic]
    named = (f"{base.__module__.partition('.')[0]}:{base.__qualname__}" for base in dict.fromkeys(direct))
    return [name for name in named if ":_" not in name]


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0].startswith("robotrace")


def _member(name: str, value: Any) -> Surface:
    if isinstance(value, property):
        return {name: {"kind": "attribute", "annotation": _function(value.fget, bound=True)["returns"]}}
    if isinstance(value, (staticmethod, classmethod)):
        return {name: _function(value.__func__, bound=isinstance(value, classmethod))}
    if inspect.isfunction(value):
        return {name: _function(value, bound=True)}
    return {}


def _attributes(kind: type) -> Surface:
    """Fields of a dataclass, a NamedTuple or a TypedDict; of another class what its ``__init__`` sets."""
    found: Surface = {}
    init = vars(kind).get("__init__")
    if dataclasses.is_dataclass(kind):
        found = {item.name: _annotation(item.type) for item in dataclasses.fields(kind)}
    elif issubclass(kind, (tuple, dict)):
        found = {name: _annotation(annotation) for name, annotation in kind.__annotations__.items()}
    elif init is not None:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(init)))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) == "self"
            ):
                found[node.attr] = None
    return {
        name: {"kind": "attribute", "annotation": annotation}
        for name, annotation in found.items()
        if not name.startswith("_")
    }


def _assigned(module: types.ModuleType, name: str) -> str | None:
    """What stands behind ``name =`` in the module, or in the one it is imported from: its repr differs by version."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return ast.unparse(node.value)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value is not None:
            return ast.unparse(node.value)
        if isinstance(node, ast.ImportFrom) and node.module and any(name == (a.asname or a.name) for a in node.names):
            return _assigned(importlib.import_module(node.module), name)
    return None


# --- what a change takes away


def narrowings(before: Surface, after: Surface, where: str) -> list[str]:
    """What a user of ``before`` may trip over in ``after``, a text each; empty when everything still works."""
    return list(_names(before, after, where))


def differences(before: Surface, after: Surface, where: str) -> list[str]:
    """Every name at which the two differ."""
    return [f"{where}.{name}" for name in sorted({*before, *after}) if before.get(name) != after.get(name)]


def _names(before: Surface, after: Surface, where: str) -> Iterator[str]:
    for name, old in before.items():
        here = f"{where}.{name}"
        new = after.get(name)
        if new is None:
            yield f"{here} is gone"
        elif old["kind"] != new["kind"]:
            yield f"{here} was of kind {old['kind']}, is {new['kind']}"
        else:
            yield from _one(old, new, here)


def _one(old: Surface, new: Surface, here: str) -> Iterator[str]:
    for value in old.get("values", ()):
        if value not in new["values"]:
            yield f"{here} no longer takes {value}"
    for base in old.get("bases", ()):
        if base not in new["bases"]:
            yield f"{here} no longer derives from {base}"
    if "parameters" in old:
        yield from _parameters(old["parameters"], new.get("parameters", []), here)
    for key in ("value", "returns", "annotation", "is"):
        if old.get(key) != new.get(key):
            yield f"{here}: {key} was {old.get(key)}, is {new.get(key)}{_REFRESH}"
    yield from _names(old.get("members", {}), new.get("members", {}), here)


_REFRESH = " (where that only widened it, refresh the file with --allow-narrowing)"
_BY_POSITION = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")
_BY_NAME = ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")
_REST = ("VAR_POSITIONAL", "VAR_KEYWORD")


def _parameters(before: list[Surface], after: list[Surface], here: str) -> Iterator[str]:
    known = {parameter["name"]: parameter for parameter in after}
    for old in before:
        name, new = old["name"], known.get(old["name"])
        if new is None:
            yield f"{here}: parameter {name} is gone"
            continue
        if old["kind"] in _BY_NAME and new["kind"] not in _BY_NAME:
            yield f"{here}: parameter {name} can no longer be given by name"
        if old["kind"] in _BY_POSITION and new["kind"] not in _BY_POSITION:
            yield f"{here}: parameter {name} can no longer be given by position"
        if old["kind"] in _REST and new["kind"] != old["kind"]:
            yield f"{here}: parameter {name} was {old['kind']}, is {new['kind']}"
        if "default" in old and old["default"] != new.get("default"):
            now = f"is {new['default']}" if "default" in new else "is required"
            yield f"{here}: parameter {name} had the default {old['default']}, {now}"
        if old["annotation"] != new["annotation"]:
            yield f"{here}: parameter {name} was {old['annotation']}, is {new['annotation']}{_REFRESH}"
    places = [[p["name"] for p in parameters if p["kind"] in _BY_POSITION] for parameters in (before, after)]
    still = [name for name in places[0] if name in places[1]]
    if places[1][: len(still)] != still:
        yield f"{here}: the order of parameters was {', '.join(places[0])}, is {', '.join(places[1])}"
    old_names = {parameter["name"] for parameter in before}
    for new in after:
        if new["name"] not in old_names and "default" not in new and new["kind"] not in _REST:
            yield f"{here}: parameter {new['name']} is new and required"


# --- the command


def main(arguments: list[str]) -> int:
    """Print the differences, or write the file; 1 when something differs or is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--allow-narrowing", action="store_true")
    options = parser.parse_args(arguments)
    before, surfaces = stored(), {section: current(section) for section in SECTIONS}
    taken, changed = [], []
    for section, surface in surfaces.items():
        if surface is None:
            print(f"{section}: left as it is, {' or '.join(SECTIONS[section])} is not installed")
            surfaces[section] = before.get(section, {})
            continue
        taken += narrowings(before.get(section, {}), surface, section)
        changed += differences(before.get(section, {}), surface, section)
    for text in taken:
        print(f"taken away: {text}")
    for name in changed:
        print(f"differs: {name}")
    if not options.write:
        return int(bool(changed))
    if taken and not options.allow_narrowing:
        print("nothing was written: users rely on what is taken away")
        return 1
    FILE.write_text(json.dumps(surfaces, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
