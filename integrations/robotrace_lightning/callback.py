"""The callback: which hook tells :mod:`robotrace_lightning.training` what."""

from __future__ import annotations

import functools
import importlib
import logging
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import Unpack

from robotrace.config import delivery_limits
from robotrace.errors import ConfigurationError
from robotrace.plugin import CaptureOptions, flush, report_fault, run_id
from robotrace_lightning.settings import Phase, Ranks, resolve_settings
from robotrace_lightning.training import Run, SeriesOfRuns

__all__ = ["RoboTraceCallback"]

_log = logging.getLogger("robotrace")

_F = TypeVar("_F", bound=Callable[..., Any])

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _bases() -> tuple[type, ...]:
    """``Callback`` of the packages that are imported by now; where none is, of those that are installed.

    Both may be there, and in different versions: ``lightning`` depends on any ``pytorch_lightning``. Which of them is
    imported is not for us to say.
    """
    names = [name for name in _PACKAGES if name in sys.modules] or list(_PACKAGES)
    found = []
    for name in names:
        try:
            found.append(importlib.import_module(name).Callback)
        except Exception as exc:  # it may not fit the other packages that are installed
            _log.debug("%s cannot be imported", name, exc_info=exc)
    if not found:
        raise ConfigurationError("robotrace_lightning needs lightning; run: pip install 'robotrace-dev[lightning]'")
    return tuple(found)


if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    Callback = type("Callback", _bases(), {})


def _contained(hook: _F) -> _F:
    """Our fault costs the recording, not the run."""

    @functools.wraps(hook)
    def call(self: RoboTraceCallback, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception as exc:
            report_fault("a run is not recorded as it should be", exc)

    return call  # type: ignore[return-value]


class RoboTraceCallback(Callback):
    """Records the episodes of the environments that a training holds, each under the policy that made it.

    The training is as without it: same weights, same metrics, same random streams. Environments are looked for in the
    module, the datamodule, the datasets and the other callbacks (two attributes deep), and not changed. Every 10th
    training episode is recorded (30 a minute and 50 an epoch at the most), and the first 20 episodes of each
    validation and test; nothing of the sanity check. What trains on recorded data has no environment: give it one with
    ``eval_env``.

    Args:
        discover: Look for environments.
        env: An environment, or a list of them, to be recorded beside those that are found.
        phases: Which episodes: some of ``train``, ``validate``, ``test`` and ``predict``.
        ranks: ``zero``: of a distributed training the first process records. ``all``: each records its own.
        eval_env: An environment for episodes of the module's own: an id of Gymnasium's, a function that makes it, or
            the environment itself. It is run on the first process, at the end of an epoch (in its validation, where
            there is one), from the same seeds each time.
        eval_every_n_epochs: How often.
        eval_episodes: How many episodes each time.
        policy: A function of the observation and the module that returns an action. None: the first of the module's
            ``robotrace_policy`` (which gets the observation), ``select_action``, ``predict_action``, ``predict``,
            ``act`` (which get a batch of one, as tensors on its device), or the highest of ``forward``'s scores.
        max_eval_steps: A longer episode of ``eval_env`` is cut there.
        max_evaluation_episodes: Of each validation, test and prediction no more than so many are recorded; None: all.
        val_batches: Record so many batches of each validation, the predicted actions beside those in the data.
        **options: See :class:`robotrace.plugin.Options`. ``every_n_episodes``, ``trigger``, ``max_per_minute`` and
            ``max_episodes`` are of the training's episodes.

    Raises:
        TypeError: An option is unknown.
        ConfigurationError: An option's value does not fit.

    Example:
        >>> import lightning
        >>> from robotrace_lightning import RoboTraceCallback
        >>> trainer = lightning.Trainer(callbacks=[RoboTraceCallback(tags=["first"])], logger=False)
    """

    def __init__(
        self,
        *,
        discover: bool = True,
        env: Any = None,
        phases: Sequence[Phase] = ("train", "validate", "test"),
        ranks: Ranks = "zero",
        eval_env: Any = None,
        eval_every_n_epochs: int = 1,
        eval_episodes: int = 1,
        policy: Callable[[Any, Any], Any] | None = None,
        max_eval_steps: int = 1000,
        max_evaluation_episodes: int | None = 20,
        val_batches: int = 0,
        **options: Unpack[CaptureOptions],
    ) -> None:
        super().__init__()
        self._begin(
            {
                "discover": discover,
                "env": env,
                "phases": phases,
                "ranks": ranks,
                "eval_env": eval_env,
                "eval_every_n_epochs": eval_every_n_epochs,
                "eval_episodes": eval_episodes,
                "policy": policy,
                "max_eval_steps": max_eval_steps,
                "max_evaluation_episodes": max_evaluation_episodes,
                "val_batches": val_batches,
            },
            dict(options),
        )

    def _begin(self, arguments: dict[str, Any], options: dict[str, Any], automatic: bool = False) -> None:
        self._given = arguments, options
        self.automatic = automatic
        """Nobody has written this callback down: a trainer that has one of the user's goes by that one."""
        self.settings = resolve_settings(options, **arguments)
        self._series = SeriesOfRuns()
        self._run: Run | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Its arguments: a process that is spawned begins with these."""
        arguments, options = self._given
        return {"arguments": arguments, "options": options, "automatic": self.automatic}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin(**state)

    # --- the life of a run -------------------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """A run begins: look for environments before anybody resets one.

        Raises:
            ConfigurationError: What the user has asked for cannot be had; later nothing is raised.
        """
        self._leave()
        settings = self.settings
        if not settings.options.enabled or (settings.ranks == "zero" and trainer.global_rank != 0):
            return
        if self._is_another_ones(trainer):
            return
        try:
            self._run = Run(settings, self._series, trainer, pl_module, RoboTraceCallback)
        except ConfigurationError as exc:
            if not self.automatic:
                raise
            _log.warning("this run is not recorded: %s", exc)
        except Exception as exc:
            report_fault("a run is not recorded", exc)

    def _is_another_ones(self, trainer: Any) -> bool:
        ours = [one for one in trainer.callbacks if isinstance(one, RoboTraceCallback)]
        written = [one for one in ours if not one.automatic] or ours
        if len(written) > 1 and written[0] is self:
            _log.warning("%d RoboTraceCallbacks are in this trainer: the first one records", len(written))
        return bool(written) and written[0] is not self

    @_contained
    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """The policy is that of a checkpoint."""
        if self._run is not None:
            self._run.facts.load(checkpoint)

    @_contained
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Which run it comes from: a text, which ``weights_only`` loads too."""
        if self._run is not None:
            checkpoint["robotrace"] = {"run_id": run_id()}

    @_contained
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The run ends here: Lightning calls no teardown after it."""
        run, self._run = self._run, None
        if run is not None:
            try:
                run.fail(exception)
            finally:
                run.leave()
        _flush_worker(trainer)

    @_contained
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """The run is over."""
        self._leave()
        _flush_worker(trainer)

    def _leave(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.leave()

    # --- looking for environments ------------------------------------------------------------------------------------

    @_contained
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """The module has been set up."""
        self._look()

    @_contained
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The sanity check is over, the data loaders are there."""
        self._look(say=True)

    @_contained
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch begins."""
        if self._run is not None:
            self._run.begin_epoch()
        self._look()

    @_contained
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The module's own hooks are called after ours: here it has made what it makes at an epoch's start."""
        if batch_idx == 0:
            self._look()

    @_contained
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """A validation begins."""
        self._begin_evaluation(trainer)

    @_contained
    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """A test begins."""
        self._begin_evaluation(trainer)

    @_contained
    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """A prediction begins."""
        self._begin_evaluation(trainer)

    @_contained
    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Another callback may have made its environment since the validation began."""
        if batch_idx == 0:
            self._look()

    @_contained
    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """As in a validation."""
        if batch_idx == 0:
            self._look()

    @_contained
    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """As in a validation."""
        if batch_idx == 0:
            self._look()

    def _begin_evaluation(self, trainer: Any) -> None:
        if self._run is None or trainer.sanity_checking:
            return
        self._run.begin_evaluation()
        self._look(say=True)

    def _look(self, *, say: bool = False) -> None:
        if self._run is not None:
            self._run.look()
            if say:
                self._run.say()

    # --- evaluation --------------------------------------------------------------------------------------------------

    @_contained
    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Predictions beside what is in the data."""
        run = self._run
        if run is not None and run.open_loop is not None and not trainer.sanity_checking:
            run.open_loop.add(outputs, batch, batch_idx, dataloader_idx)

    @_contained
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """The module is in evaluation mode, and gradients are off."""
        run = self._run
        if run is None or trainer.sanity_checking:
            return
        if run.open_loop is not None:
            run.open_loop.end()
        if trainer.is_last_batch or trainer.state.fn.value == "validate":  # not in the middle of an epoch
            run.evaluate()
        run.say(nothing=True)

    @_contained
    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """A test is over."""
        if self._run is not None:
            self._run.say(nothing=True)

    @_contained
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch without a validation at its end has had no evaluation."""
        if self._run is not None:
            self._run.evaluate()
            self._run.say(nothing=True)


def _flush_worker(trainer: Any) -> None:
    """In a process that a strategy has spawned or forked, which leaves the uploading to a parent that has nothing.

    Not in another child of multiprocessing, a sweep's worker: there fit may be called a hundred times.
    """
    launcher = getattr(trainer.strategy, "launcher", None)
    if multiprocessing.parent_process() is not None and hasattr(launcher, "_start_method"):
        flush(delivery_limits().exit_timeout_s, give_up=True)
