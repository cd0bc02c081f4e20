"""What a model says of the episodes it makes: the version of its policy, its seed, its hyperparameters."""

from __future__ import annotations

import hashlib
import inspect
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnvWrapper

from robotrace.plugin import plain_values

__all__ = ["ModelLabels", "hyperparameters", "parameters_hash"]

_NO_HYPERPARAMETERS = frozenset(
    {"self", "env", "policy", "seed", "device", "verbose", "tensorboard_log", "monitor_wrapper", "_init_setup_model"}
)


class ModelLabels:
    """Asked by the recorder about each recorded episode (:class:`robotrace.plugin.Labels`).

    Args:
        model: Kept weakly.
        phase: ``train`` or ``eval``.
        hash_policy: Whether the policy's version has a hash of its parameters.
        evaluation: What there is to say of an evaluation.
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        phase: str,
        *,
        hash_policy: bool,
        evaluation: Mapping[str, Any] | None = None,
    ) -> None:
        self._model = weakref.ref(model)
        self._phase = phase
        self._hash_policy = hash_policy
        self._evaluation = evaluation
        self._static: dict[str, Any] | None = None
        self._hashed: tuple[Any, str] | None = None

    def begin(self) -> Mapping[str, Any]:
        """Version, seed and metadata of an episode whose first action is about to be taken."""
        model = self._model()
        if model is None:
            return {"metadata": {"phase": self._phase}}
        if self._static is None:
            self._static = _static(model)
        progress = _progress(model)
        version = f"{type(model).__name__}@{model.num_timesteps}"
        if self._hash_policy:
            digest = self._hash(model, tuple(progress.values()))
            version += f"#{digest[:12]}"
            progress = {**progress, "policy_sha256": digest}
        evaluation = {} if self._evaluation is None else {"evaluation": dict(self._evaluation)}
        training = {**self._static, **progress}
        seed = model.seed
        return {
            "policy_version": version,
            **({"seed": int(seed)} if seed is not None else {}),
            "metadata": {"phase": self._phase, "training": training, **evaluation},
        }

    def end(self) -> Mapping[str, Any]:
        """Where the training was at the episode's last action: an episode may outlast an update of its policy."""
        model = self._model()
        return {} if model is None else {"training_end": _progress(model)}

    def _hash(self, model: BaseAlgorithm, now: Any) -> str:
        # Of eight environments that begin at the same time the parameters are hashed once.
        if self._hashed is None or self._hashed[0] != now:
            self._hashed = now, parameters_hash(model)
        return self._hashed[1]


def parameters_hash(model: BaseAlgorithm) -> str:
    """SHA-256 of the policy's parameters and buffers: names, dtypes, shapes and bytes. 0.2 ms for two layers of 64."""
    digest = hashlib.sha256()
    for name, value in sorted(model.policy.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hyperparameters(model: BaseAlgorithm) -> dict[str, Any]:
    """The arguments of the algorithm that the model still has as attributes, as plain values.

    What looks like a secret by its name is left out, whatever it is; functions are told by their name.
    """
    found: dict[str, Any] = {}
    for name in _argument_names(type(model)):
        if name not in _NO_HYPERPARAMETERS and name in model.__dict__:
            found[name] = model.__dict__[name]
    return dict(plain_values(found, _special))


def _progress(model: BaseAlgorithm) -> dict[str, Any]:
    return {"num_timesteps": int(model.num_timesteps), "n_updates": int(getattr(model, "_n_updates", 0))}


def _static(model: BaseAlgorithm) -> dict[str, Any]:
    wrappers: list[str] = []
    venv: Any = model.env
    while venv is not None:
        wrappers.append(type(venv).__name__)
        venv = venv.venv if isinstance(venv, VecEnvWrapper) else None
    seed = model.seed
    return {
        "framework": "stable_baselines3",
        "algorithm": type(model).__name__,
        "policy": model.policy_class.__name__ if isinstance(model.policy_class, type) else str(model.policy_class),
        "seed": None if seed is None else int(seed),
        "n_envs": int(model.n_envs),
        "vec_env": wrappers,
        "hyperparameters": hyperparameters(model),
    }


def _argument_names(kind: type) -> list[str]:
    names: dict[str, None] = {}
    for base in kind.__mro__:
        if base in (BaseAlgorithm, object):
            break
        if "__init__" in base.__dict__:
            names.update(dict.fromkeys(inspect.signature(base.__dict__["__init__"]).parameters))
    return [*names, *(name for name in ("policy_kwargs",) if name not in names)]


def _special(value: Any) -> Any:
    # SB3's own schedules say what they are; earlier ones are closures around a number.
    if hasattr(value, "value_schedule"):
        return value.value_schedule
    if type(value).__name__ == "ConstantSchedule":
        return value.val
    if getattr(value, "__module__", None) == "stable_baselines3.common.utils":
        cells: Any = getattr(value, "__closure__", None) or ()
        if len(cells) == 1:
            return cells[0].cell_contents
    return value
