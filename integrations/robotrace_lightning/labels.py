"""What a trainer says of the episodes while it runs: the version of the policy, the seed, the hyperparameters."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from robotrace.plugin import plain_values

__all__ = ["RunFacts", "RunLabels", "package_of"]

_SEED = "PL_GLOBAL_SEED"


def package_of(trainer: Any) -> str:
    """``lightning.pytorch`` or ``pytorch_lightning``, whichever a trainer is of."""
    homes = (kind.__module__ for kind in type(trainer).__mro__)
    return next(
        (name for home in homes for name in ("pytorch_lightning", "lightning.pytorch") if home.startswith(name)),
        "lightning",
    )


class RunFacts:
    """Of one ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        trainer: Kept weakly, as ``module`` is.
        module: The ``LightningModule``.
    """

    def __init__(self, trainer: Any, module: Any) -> None:
        self._trainer = weakref.ref(trainer)
        self._module = weakref.ref(module)
        self._static: dict[str, Any] | None = None
        self._loaded: dict[str, Any] = {}

    @property
    def phase(self) -> str | None:
        """``train``, ``validate``, ``test``, ``predict``, ``sanity_check``; None where nothing runs."""
        trainer = self._trainer()
        return None if trainer is None else getattr(trainer.state.stage, "value", None)

    def load(self, checkpoint: Mapping[str, Any]) -> None:
        """A checkpoint was loaded."""
        found = {key: checkpoint[key] for key in ("epoch", "global_step") if isinstance(checkpoint.get(key), int)}
        ours = checkpoint.get("robotrace")
        if isinstance(ours, Mapping) and isinstance(ours.get("run_id"), str):
            found["run_id"] = ours["run_id"]
        self._loaded, self._static = found, None

    def progress(self) -> dict[str, Any]:
        """``epoch`` and ``global_step`` of the policy as it is now."""
        trainer = self._trainer()
        if trainer is None:
            return {}
        if trainer.ckpt_path and getattr(trainer.state.fn, "value", None) != "fit":
            # A trainer that evaluates a checkpoint does not count on from it; the oldest do not tell what is in it.
            return {key: value for key, value in self._loaded.items() if key != "run_id"}
        return {"epoch": int(trainer.current_epoch), "global_step": int(trainer.global_step)}

    def labels(self, phase: str | None) -> dict[str, Any]:
        """What :meth:`robotrace.plugin.Labels.begin` says."""
        trainer, module = self._trainer(), self._module()
        if trainer is None or module is None:
            return {"metadata": {"phase": phase}}
        if self._static is None:
            self._static = self._describe(trainer, module)
        progress = self.progress()
        seed = global_seed()
        return {
            "policy_version": _version_of(
                module, self._static["logger"], progress, PurePath(self._static.get("checkpoint", "")).name
            ),
            **({} if seed is None else {"seed": seed}),
            "metadata": {"phase": phase, "training": {**self._static, **progress}},
        }

    def _describe(self, trainer: Any, module: Any) -> dict[str, Any]:
        package = package_of(trainer)
        checkpoint = trainer.ckpt_path
        loaded = self._loaded.get("run_id")
        datamodule = trainer.datamodule
        return {
            "framework": package,
            "framework_version": getattr(sys.modules.get(package), "__version__", None),
            "module": type(module).__name__,
            "logger": _logger_of(trainer),
            "seed": global_seed(),
            "world_size": int(trainer.world_size),
            "rank": int(trainer.global_rank),
            **({"checkpoint": str(checkpoint)} if checkpoint else {}),
            **({"checkpoint_run_id": loaded} if loaded else {}),
            "hyperparameters": _hyperparameters(module),
            **(
                {}
                if datamodule is None
                else {"datamodule": {"name": type(datamodule).__name__, **_hyperparameters(datamodule)}}
            ),
        }


class RunLabels:
    """Asked by the recorders of one environment about each recorded episode (:class:`robotrace.plugin.Labels`).

    Args:
        facts: Of the run.
        phase: Of all of its episodes; None: the trainer's when an episode begins.
        evaluation: What there is to say of an evaluation.
    """

    def __init__(self, facts: RunFacts, phase: str | None = None, evaluation: Mapping[str, Any] | None = None) -> None:
        self.begun: str | None = None
        """The phase of the latest episode."""
        self._facts = facts
        self._phase = phase
        self._evaluation = evaluation

    def begin(self) -> Mapping[str, Any]:
        """Version, seed and metadata of an episode whose first action is about to be taken."""
        self.begun = self._phase or self._facts.phase
        found = self._facts.labels(self.begun)
        if self._evaluation is not None:
            found["metadata"] = {**found["metadata"], "evaluation": dict(self._evaluation)}
        return found

    def end(self) -> Mapping[str, Any]:
        """Where the training was at the episode's last action: an episode may outlast an update of its policy."""
        return {"training_end": self._facts.progress()}


def global_seed() -> int | None:
    """What ``seed_everything`` was given, in this process or the one that started it."""
    text = os.environ.get(_SEED, "")
    return int(text) if text.isdecimal() else None


def _hyperparameters(owner: Any) -> dict[str, Any]:
    """What ``save_hyperparameters`` has kept."""
    found = getattr(owner, "hparams", None)
    return dict(plain_values(found)) if isinstance(found, Mapping) else {}


def _version_of(module: Any, logger: Mapping[str, Any] | None, progress: Mapping[str, Any], checkpoint: str) -> str:
    name = type(module).__name__
    if logger is not None:
        version = logger["version"]
        name += "".join(
            f"/{part}" for part in (logger["name"], f"v{version}" if isinstance(version, int) else version) if part
        )
    if "global_step" not in progress:
        return f"{name}@{checkpoint}"
    return f"{name}@e{progress.get('epoch')}-s{progress['global_step']}"


def _logger_of(trainer: Any) -> dict[str, Any] | None:
    """The first logger's name and version. Never ``trainer.log_dir``: all ranks would have to ask for it together."""
    logger = trainer.logger
    if logger is None:
        return None
    try:
        name, version = logger.name, logger.version
    except Exception:  # one that has to ask its server, which is away
        return None
    if not name and version in (None, ""):  # fast_dev_run's
        return None
    return {
        "name": None if name is None else str(name),
        "version": version if isinstance(version, int) or version is None else str(version),
    }
