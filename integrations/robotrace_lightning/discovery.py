"""Which environments a training holds: those of its module, its data and its other callbacks.

A module may have a thousand submodules and is looked through a few times an epoch, so that this goes two attributes
deep and no deeper: ``module.env``, ``module.agent.env``, ``datamodule.gyms[0]._env``.
"""

from __future__ import annotations

import collections
import gc
import itertools
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from robotrace.plugin import layers, own_attribute

__all__ = ["Found", "find_environments"]

_DATASET = "dataset"
_DEPTH = 2
_MAX_ITEMS = 64
"""Of a list or a mapping: a replay buffer may be one of a million."""
_MAX_ATTRIBUTES = 256
_CONTAINERS = (list, tuple, dict, set, frozenset, collections.deque)
_INNER = ("env", "_env")
_OF_MODULES = frozenset({*vars(torch.nn.Module()), "_trainer", "_fabric"})
_HOLDS_NONE = (
    str,
    bytes,
    int,
    float,
    complex,
    type,
    torch.Tensor,
    types.FunctionType,
    types.MethodType,
    types.ModuleType,
)
_FOREIGN = frozenset({"builtins", "lightning", "lightning_fabric", "logging", "numpy", "pathlib", "pytorch_lightning"})
"""Whose own objects hold no environment, and much else."""
_NAMES = ("env", "_env", "envs", "train_env", "val_env", "eval_env", "test_env", "gym", "gyms")


@dataclass(frozen=True)
class Found:
    """An environment, and where it was found.

    Attributes:
        where: ``module.agent.env``, for a message.
        env: The environment.
        workers: How many processes a data loader steps copies of it in; 0: it is stepped in this one.
    """

    where: str
    env: Any
    workers: int = 0


def find_environments(module: Any, datamodule: Any, loaders: list[Any], callbacks: list[Any]) -> list[Found]:
    """Look for environments; nothing is called but properties named ``action_space`` and ``action_spec``.

    Args:
        module: The ``LightningModule``.
        datamodule: None where there is none.
        loaders: The data loaders that are known by now.
        callbacks: The trainer's others.

    Returns:
        Each once, however many names it has, and none that is inside another one of them.
    """
    found: dict[int, Found] = {}
    datasets = [_dataset_of(loader) for loader in loaders]
    roots = [("module", module, 0), ("datamodule", datamodule, 0)]
    roots += [(type(one).__name__, one, 0) for one in callbacks]
    roots += [(_DATASET, one, workers) for one, workers in datasets]
    for where, root, workers in roots:
        if root is None:
            continue
        for place, env in _inside(where, root):
            found.setdefault(id(env), Found(place, env, workers))
    inner = {id(one) for each in found.values() for one in _wrapped_in(each.env)}
    return [each for key, each in found.items() if key not in inner]


def _inside(where: str, root: Any) -> Iterator[tuple[str, Any]]:
    if _is_env(root):  # a dataset may be one
        yield where, _innermost_real(root)
        return
    queue = collections.deque([(where, root, 0)])
    seen = {id(root)}
    while queue:
        place, holder, depth = queue.popleft()
        for name, attribute in _attributes(holder, is_root=holder is root, named=where != _DATASET):
            for below, value in _each(f"{place}.{name}" if name else place, attribute):
                if isinstance(value, _HOLDS_NONE) or value is None or id(value) in seen:
                    continue
                seen.add(id(value))
                if _is_env(value):
                    yield below, _innermost_real(value)
                elif depth + 1 < _DEPTH and _may_hold(value):
                    queue.append((below, value, depth + 1))


def _attributes(holder: Any, *, is_root: bool, named: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(holder, DataLoader):
        holder, _ = _dataset_of(holder)
    if isinstance(holder, _CONTAINERS):  # a dataset that is a list of its items
        yield "", holder
        return
    if isinstance(holder, torch.nn.Module) or (is_root and named and hasattr(holder, "__dict__")):
        values = vars(holder)
        for name in [name for name in values if name not in _OF_MODULES]:
            yield name, values[name]
        # Modules hold environments and are none: those on the last level are of no interest.
        yield from list(values.get("_modules", {}).items()) if is_root else ()
        return
    # Not by its __dict__: the own reads of an agent or a dataset would be slower from then on.
    known = {id(value): name for name in _NAMES if (value := own_attribute(holder, name)) is not None}
    for value in gc.get_referents(holder):
        for one in list(itertools.islice(value.values(), _MAX_ATTRIBUTES)) if isinstance(value, dict) else (value,):
            yield known.get(id(one), ""), one


def _each(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The value, or what is in it where it is a list or a mapping."""
    if isinstance(value, Mapping):
        pairs = list(value.items()) if type(value) is dict else []
        for key, item in pairs[:_MAX_ITEMS]:
            yield f"{where}[{key!r}]", item
    elif isinstance(value, (list, tuple, torch.nn.ModuleList)):
        for number, item in enumerate(list(value)[:_MAX_ITEMS]):
            yield f"{where}[{number}]", item
    else:
        yield where, value


def _may_hold(value: Any) -> bool:
    if isinstance(value, torch.nn.Module):
        return not type(value).__module__.startswith("torch.")  # a layer holds nothing, and there may be a thousand
    if isinstance(value, DataLoader):
        return True
    if isinstance(value, _CONTAINERS):
        return False
    top = type(value).__module__.partition(".")[0]
    return top not in _FOREIGN and not top.startswith("torch")


def _is_env(value: Any) -> bool:
    kind = type(value)
    if isinstance(value, torch.nn.Module) or not all(callable(getattr(kind, name, None)) for name in ("reset", "step")):
        return False
    if _is_gymnasium(value):
        return True
    # dm_control's, whose steps are of another form: (step type, reward, discount, observation).
    if hasattr(kind, "discount_spec"):
        return False
    return any(own_attribute(value, name) is not None for name in ("action_space", "action_spec"))


def _is_gymnasium(value: Any) -> bool:
    gymnasium: Any = sys.modules.get("gymnasium")
    if gymnasium is None:
        return False
    vector = getattr(gymnasium.vector, "VectorEnv", gymnasium.Env)
    return isinstance(value, (gymnasium.Env, vector))


def _innermost_real(env: Any) -> Any:
    """What is to be recorded: Gymnasium's own inside a holder that only looks like one; below SB3's wrappers."""
    while (inner := own_attribute(env, "venv")) is not None:
        env = inner
    if _is_gymnasium(env):
        return env
    return next((inner for name in _INNER if _is_gymnasium(inner := own_attribute(env, name))), env)


def _wrapped_in(env: Any) -> Iterator[Any]:
    own = list(layers(env))
    yield from own[1:]
    members = own_attribute(own[-1], "envs")
    if isinstance(members, (list, tuple)):
        for member in members:
            yield from layers(member)


def _dataset_of(loader: Any) -> tuple[Any, int]:
    """The dataset of a loader, and how many processes work for it."""
    return own_attribute(loader, "dataset"), int(own_attribute(loader, "num_workers") or 0)
