"""What is recorded of one ``fit``, ``validate``, ``test`` or ``predict``: the environments it holds, while it runs."""

from __future__ import annotations

import logging
import weakref
from dataclasses import dataclass, replace
from typing import Any

from robotrace.config import is_quiet
from robotrace.errors import ConfigurationError
from robotrace.plugin import Attached, Options, Sampling, Series, attach_recorder, find_recorders
from robotrace_lightning.discovery import Found, find_environments
from robotrace_lightning.labels import RunFacts, RunLabels, package_of
from robotrace_lightning.openloop import OpenLoop
from robotrace_lightning.rollouts import Rollouts
from robotrace_lightning.settings import Settings

__all__ = ["Run", "SeriesOfRuns"]

_log = logging.getLogger("robotrace")

_ADAPTER = "lightning"


class SeriesOfRuns:
    """The series of one callback's episodes, which go on from run to run."""

    def __init__(self) -> None:
        self.train, self.evaluation, self.rollouts = Series(), Series(), Series()


@dataclass
class _Held:
    where: str
    env: weakref.ref[Any]
    attached: Attached
    labels: RunLabels


class Run:
    """Of one callback.

    Args:
        settings: The callback's.
        series: The callback's.
        trainer: Kept weakly.
        module: Kept weakly.
        ours: The class of callbacks that are not looked through.

    Raises:
        ConfigurationError: ``eval_env`` cannot be used.
    """

    def __init__(self, settings: Settings, series: SeriesOfRuns, trainer: Any, module: Any, ours: type) -> None:
        self.facts = RunFacts(trainer, module)
        self._ours = ours
        self._settings = settings
        self._series = series
        self._trainer = weakref.ref(trainer)
        self._smoke_test = bool(trainer.fast_dev_run)
        self._train = Sampling(self._limited(settings.options.train), series.train)
        self._evaluation = Sampling(self._limited(settings.options.evaluation), series.evaluation)
        self._held: list[_Held] = []
        self._refused: set[str] = set()
        self._said = False
        self._evaluated_epoch: int | None = None
        self._rollouts: Rollouts | None = None
        self._module = weakref.ref(module)
        fn = getattr(trainer.state.fn, "value", None)
        if settings.eval_env is not None and fn in ("fit", "validate") and trainer.is_global_zero:
            options = replace(settings.options.evaluation, max_episodes=None, keep_partial="always")
            self._rollouts = Rollouts(settings, options, series.rollouts, self.facts, module)
        self.open_loop = OpenLoop(settings, self.facts) if settings.val_batches else None
        self._begun = False
        try:
            self.look()
        except Exception:
            self.leave()
            raise
        self._begun = True

    def look(self) -> None:
        """Look for environments that there were not before."""
        trainer, module = self._trainer(), self._module()
        if trainer is None or module is None:
            return
        self._forget_the_dead()
        given = self._settings.env
        given = list(given) if isinstance(given, (list, tuple)) else [given]
        found = [Found("env", one) for one in given if one is not None]
        if self._settings.discover:
            others = [one for one in trainer.callbacks if not isinstance(one, self._ours)]
            found += find_environments(module, trainer.datamodule, _loaders(trainer), others)
        fresh = [one for one in found if self._attach(one)]
        if fresh and self._said:
            _say(trainer, "recording " + _named(fresh) + " too")

    def say(self, *, nothing: bool = False) -> None:
        """One line: what was found.

        Args:
            nothing: Whether to say so where there is nothing; too early before somebody has had the time to make it.
        """
        trainer = self._trainer()
        if trainer is None or self._said:
            return
        held = [Found(one.where, env) for one in self._held if (env := one.env()) is not None]
        parts = [f"recording {_named(held)}"] if held else []
        if self._rollouts is not None:
            n = self._settings.eval_every_n_epochs
            when = "each epoch" if n == 1 else f"every {n} epochs"
            parts.append(f"{self._settings.eval_episodes} episodes of eval_env after {when}")
        if self.open_loop is not None:
            parts.append(f"{self._settings.val_batches} batches of each validation")
        if parts or nothing:
            self._said = True
            _say(trainer, "; ".join(parts) or "no environment found; pass eval_env=... for episodes of its own")

    def begin_epoch(self) -> None:
        """A training's epoch begins."""
        if self._settings.renews_training and not self._smoke_test:
            self._series.train.renew()

    def begin_evaluation(self) -> None:
        """A validation, test or prediction begins."""
        if not self._smoke_test:
            self._series.evaluation.renew()

    def evaluate(self) -> None:
        """A validation, or an epoch without one, is over: run ``eval_env`` where it is due, once an epoch."""
        trainer, module = self._trainer(), self._module()
        if self._rollouts is None or trainer is None or module is None:
            return
        epoch = int(trainer.current_epoch)
        in_fit = getattr(trainer.state.fn, "value", None) == "fit"
        if in_fit and ((epoch + 1) % self._settings.eval_every_n_epochs or self._evaluated_epoch == epoch):
            return
        self._evaluated_epoch = epoch
        self._rollouts.run(trainer, module, 1 if self._smoke_test else self._settings.eval_episodes)

    def fail(self, error: BaseException) -> None:
        """The run was left by an exception: the episodes of its phase have failed, the others were left."""
        guilty = [one.attached.raised(error) for one in self._held]
        now = self.facts.phase
        for one, own in zip(self._held, guilty, strict=True):
            if own or (not any(guilty) and one.labels.begun == now):
                one.attached.failed(error)
            else:
                one.attached.close()

    def leave(self) -> None:
        """Leave all environments as they were; what is still open was left in the middle."""
        held, self._held = self._held, []
        for one in held:
            one.attached.detach()
        self._leave_rollouts()

    def _leave_rollouts(self) -> None:
        rollouts, self._rollouts = self._rollouts, None
        module = self._module()
        if rollouts is not None and module is not None:
            rollouts.leave(module)

    def _forget_the_dead(self) -> None:
        """Of environments that somebody makes anew for each validation."""
        for one in self._held:
            if one.env() is None:
                one.attached.close()
        self._held = [one for one in self._held if one.env() is not None]

    def _limited(self, options: Options) -> Options:
        return replace(options, max_episodes=1) if self._smoke_test else options

    def _sampling(self) -> Sampling | None:
        phase = self.facts.phase
        if phase not in self._settings.phases:
            return None
        return self._train if phase == "train" else self._evaluation

    def _attach(self, found: Found) -> bool:
        env = found.env
        if any(one.env() is env for one in self._held) or found.where in self._refused:
            return False
        if self._rollouts is not None and self._rollouts.shares(env):
            why = f"eval_env is {found.where}, which the run itself uses; give it one of its own"
            if not self._begun:
                raise ConfigurationError(why)
            _log.warning("%s: it is not run any more", why)
            self._leave_rollouts()
        attached = Attached()
        ours = {id(recorder) for one in self._held for recorder in one.attached.recorders}
        try:
            for layer, recorder in find_recorders(env):
                if id(recorder) in ours:  # the same environment, in a wrapper that is new
                    return False
                attached.add(layer, recorder, ours=False)
            if not attached:
                recorder = attach_recorder(
                    env, self._settings.options.train, adapter=_ADAPTER, series=self._series.train
                )
                attached.add(env, recorder, ours=True)
        except (TypeError, ConfigurationError) as exc:
            self._refused.add(found.where)
            _log.warning("%s is not recorded: %s", found.where, exc)
            return False
        labels = RunLabels(self.facts)
        attached.ask(labels)
        attached.sample_by(self._sampling)
        self._held.append(_Held(found.where, weakref.ref(env), attached, labels))
        if found.workers:
            _log.warning(
                "%s is stepped in the %d worker processes of a data loader: those episodes are not recorded "
                "(num_workers=0 steps it in this process)",
                found.where,
                found.workers,
            )
        return True


def _named(found: list[Found]) -> str:
    return ", ".join(f"{_id_of(one.env)} ({one.where})" for one in found)


def _id_of(env: Any) -> str:
    spec = getattr(env, "spec", None)
    return str(getattr(spec, "id", None) or type(getattr(env, "unwrapped", env)).__name__)


def _say(trainer: Any, text: str) -> None:
    """Where the trainer says which GPU it has; ``ROBOTRACE_QUIET`` silences it."""
    if trainer.is_global_zero and not is_quiet():
        logging.getLogger(package_of(trainer)).info("RoboTrace: %s", text)


def _loaders(trainer: Any) -> list[Any]:
    """The data loaders that the trainer has, or is going to have: given to it, or made by now."""
    found: list[Any] = []
    fit = trainer.fit_loop
    loops = (fit, fit.epoch_loop.val_loop, trainer.validate_loop, trainer.test_loop, trainer.predict_loop)
    for loop in loops:
        # A module's own train_dataloader() is not called for it.
        source = getattr(getattr(loop, "_data_source", None), "instance", None)
        made = getattr(getattr(loop, "_combined_loader", None), "flattened", None)
        for loaders in (source, made):
            values = list(loaders.values()) if isinstance(loaders, dict) else loaders
            for loader in values if isinstance(values, (list, tuple)) else [values]:
                if hasattr(loader, "dataset") and not any(loader is one for one in found):
                    found.append(loader)
    return found
