"""An environment's spec as JSON from which another process builds the environment again, or why there is none.

Gymnasium's own ``EnvSpec.to_json`` gives up at the first callable, copies everything deeply and turns tuples into
lists, which wrappers such as ``ReshapeObservation`` then refuse. This one names what stands in the way, keeps a list of
what was a tuple, and leaves out what shows or records pictures: neither changes an observation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["SpecText", "describe_spec", "sources"]

_ONLOOKERS = ("HumanRendering", "RecordVideo", "RenderCollection", "RoboTraceRecorder")
"""Wrappers that leave observations, rewards and flags as they are. ``RecordVideo`` takes callables, too."""
_ONLOOKER_POINTS = ("stable_baselines3.common.monitor:Monitor",)
"""Others of that kind, of names that anybody's wrapper may have. SB3's keeps no record of its arguments."""
_RENDERED = ("AddRenderObservation", "PixelObservationWrapper")
"""Wrappers whose observation is the picture: they need the render mode."""
_MAIN = "__main__"


@dataclasses.dataclass(frozen=True)
class SpecText:
    """How to build the env again.

    Attributes:
        spec: As ``EnvSpec.from_json`` takes it; None without one.
        tuples: Paths into ``spec`` of lists that were tuples.
        modules: Names of the modules that the env and its wrappers come from.
        reason: Why the env cannot be built from it; None where it can.
    """

    spec: dict[str, Any] | None
    tuples: list[list[str | int]] = dataclasses.field(default_factory=list)
    modules: tuple[str, ...] = ()
    reason: str | None = None


class _NotJson(ValueError):
    """A value that comes back as something else, or not at all."""


def describe_spec(spec: Any) -> SpecText:
    """Write a spec down.

    Args:
        spec: Gymnasium's ``EnvSpec``, wrappers included; None where the env has none.
    """
    if spec is None:
        return SpecText(None, reason="the env has no spec: it was not made by gymnasium.make")
    try:
        return _describe(spec)
    except _NotJson as exc:
        return SpecText(None, reason=str(exc))
    except Exception as exc:  # not a spec as Gymnasium's
        return SpecText(None, reason=f"the env's spec cannot be read: {type(exc).__name__}: {exc}")


def _describe(spec: Any) -> SpecText:
    wrappers = [
        wrapper
        for wrapper in spec.additional_wrappers or ()
        if wrapper.name not in _ONLOOKERS and wrapper.entry_point not in _ONLOOKER_POINTS
    ]
    shows = any(wrapper.name in _RENDERED for wrapper in wrappers)
    fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.init}
    fields.pop("additional_wrappers", None)
    kwargs = {key: value for key, value in (fields.pop("kwargs", None) or {}).items() if shows or key != "render_mode"}
    fields["vector_entry_point"] = None  # a single env is made
    reason = "the spec says that the env is not deterministic" if fields.get("nondeterministic") else None
    tuples: list[list[str | int]] = []
    entry_point, why = _entry_point(fields.pop("entry_point", None), spec.id)
    written: dict[str, Any] = {"entry_point": entry_point}
    for key, value in fields.items():
        written[key] = _json(value, f"{spec.id}: {key}", [key], tuples)
    written["kwargs"] = _json_kwargs(kwargs, spec.id, ["kwargs"], tuples)
    written["additional_wrappers"] = []
    modules = [] if entry_point is None else [entry_point.partition(":")[0]]
    for index, wrapper in enumerate(wrappers):
        at: list[str | int] = ["additional_wrappers", index, "kwargs"]
        if wrapper.kwargs is None:  # gymnasium.make refuses such a spec
            why = why or f"the wrapper {wrapper.name} kept no record of its arguments (RecordConstructorArgs)"
        point, unreachable = _entry_point(wrapper.entry_point, wrapper.name)
        why = why or unreachable
        modules.append(str(point).partition(":")[0])
        values = None if wrapper.kwargs is None else _json_kwargs(wrapper.kwargs, wrapper.name, at, tuples)
        written["additional_wrappers"].append({"name": wrapper.name, "entry_point": point, "kwargs": values})
    return SpecText(written, tuples, tuple(dict.fromkeys(modules)), why or reason)


def _entry_point(point: Any, of_what: str) -> tuple[str | None, str | None]:
    """The entry point as ``module:name``, and why another process cannot import it."""
    if point is None:
        return None, f"{of_what} has no entry point"
    if callable(point):
        text = f"{getattr(point, '__module__', None)}:{getattr(point, '__qualname__', None)}"
        loaded: Any = point
    else:
        text, loaded = str(point), None
    module, _, name = text.partition(":")
    present = sys.modules.get(module)
    found = getattr(present, name, None)
    if found is None or (loaded is not None and found is not loaded):
        return text, f"{of_what} comes from {text}, which another process cannot import"
    if module == _MAIN and not _file_of(present):
        return text, f"{of_what} was defined in an interactive session"
    return text, None


def _json_kwargs(
    kwargs: Mapping[str, Any], of_what: str, at: list[str | int], tuples: list[list[str | int]]
) -> dict[str, Any]:
    return {key: _json(value, f"{of_what}: {key}", [*at, key], tuples) for key, value in kwargs.items()}


def _json(value: Any, what: str, at: list[str | int], tuples: list[list[str | int]]) -> Any:
    plain = _lists(value, at, tuples)
    try:
        same = bool(json.loads(json.dumps(plain, allow_nan=False)) == plain)
    except (TypeError, ValueError) as exc:
        raise _NotJson(f"the env's spec cannot be written as JSON: {what} ({type(value).__name__}): {exc}") from exc
    if not same:
        raise _NotJson(f"the env's spec cannot be written as JSON: {what} comes back as something else")
    return plain


def _lists(value: Any, at: list[str | int], tuples: list[list[str | int]]) -> Any:
    if isinstance(value, tuple):
        tuples.append(at)
    if isinstance(value, (list, tuple)):
        return [_lists(item, [*at, index], tuples) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {key: _lists(item, [*at, key], tuples) for key, item in value.items()}
    return value


def sources(modules: Iterable[str], is_installed: Callable[[str], object]) -> Iterator[dict[str, str]]:
    """The files of those modules that no installed package brings: name, file, folder to import from, and SHA-256."""
    for name in dict.fromkeys(modules):
        file = _file_of(sys.modules.get(name))
        if file is None or is_installed(name.partition(".")[0]):
            continue
        path = Path(file).resolve()
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            continue
        up = name.count(".") + (path.name == "__init__.py")
        yield {"module": name, "file": str(path), "folder": str(path.parents[up]), "sha256": digest}


def _file_of(module: Any) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None
