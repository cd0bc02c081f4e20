"""How a module is asked for an action: its own method where it has one of the field's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from robotrace.errors import ConfigurationError

__all__ = ["as_action", "batched", "find_policy"]

_RAW = "robotrace_policy"
_BATCHED = ("select_action", "predict_action", "predict", "act")


def find_policy(module: Any, given: Callable[[Any, Any], Any] | None, space: Any) -> Callable[[Any], Any]:
    """A function from an observation of the environment to an action for it.

    Args:
        module: The ``LightningModule``.
        given: The callback's ``policy``, called with the observation and the module; it goes first.
        space: The environment's action space.

    Raises:
        ConfigurationError: The module has no method for it, and its ``forward`` gives no choice.
    """
    if given is not None:
        return lambda observation: as_action(given(observation, module), space)
    own = getattr(module, _RAW, None)
    if callable(own):
        return lambda observation: as_action(own(observation), space)
    for name in _BATCHED:
        method = getattr(module, name, None)
        if callable(method):
            return lambda observation: as_action(method(batched(observation, module)), space)
    if hasattr(space, "n"):
        return lambda observation: _best(module(batched(observation, module)), space)
    raise ConfigurationError(
        f"{type(module).__name__} has none of {_RAW}, {', '.join(_BATCHED)}: give the callback "
        "policy=<a function of (observation, module) that returns an action>"
    )


def batched(observation: Any, module: Any) -> Any:
    """A batch of one, as tensors on the module's device; numbers with a fraction are in the module's own dtype."""
    if isinstance(observation, Mapping):
        return {key: batched(value, module) for key, value in observation.items()}
    if isinstance(observation, (tuple, list)) and any(hasattr(one, "shape") for one in observation):
        return tuple(batched(one, module) for one in observation)
    tensor = observation if isinstance(observation, torch.Tensor) else torch.as_tensor(np.array(observation))
    if tensor.is_floating_point():
        tensor = tensor.to(module.dtype)
    return tensor.unsqueeze(0).to(module.device)


def as_action(given: Any, space: Any) -> Any:
    """What a policy returned, as the environment takes it.

    Args:
        given: The action, alone or in a batch of one; the first of a tuple, or a mapping's ``action``. Of a chunk of
            actions to come, the first one.
        space: The environment's action space; what has neither ``n`` nor ``shape`` takes what it is given.

    Raises:
        ValueError: It does not fit.
    """
    if isinstance(given, Mapping):
        given = given["action"]
    if isinstance(given, tuple):
        given = given[0]
    shape: Any = getattr(space, "shape", None)
    if shape is None and not hasattr(space, "n"):
        return given
    values = _array(given)
    if hasattr(space, "n") and not shape:
        if values.size != 1:
            raise ValueError(f"one action of {space} was asked for, and the policy gave an array of {values.shape}")
        return int(values.reshape(()))
    shape = tuple(shape)
    while values.ndim > len(shape) and values.shape[values.ndim - len(shape) :] == shape:
        values = values[0]
    if values.size != np.prod(shape, dtype=int):
        raise ValueError(f"an action of {space} was asked for, and the policy gave an array of {values.shape}")
    return values.reshape(shape).astype(space.dtype)


def _best(scores: Any, space: Any) -> int:
    """The choice of a module whose ``forward`` gives a number for each."""
    values = _array(scores[0] if isinstance(scores, tuple) else scores)
    if values.size != int(space.n):
        raise ValueError(f"{int(space.n)} scores were asked for, and forward gave an array of {values.shape}")
    return int(getattr(space, "start", 0)) + int(values.reshape(-1).argmax())


def _array(values: Any) -> np.ndarray[Any, Any]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        if values.dtype is torch.bfloat16:
            values = values.float()
        return np.asarray(values.numpy())
    return np.asarray(values)
