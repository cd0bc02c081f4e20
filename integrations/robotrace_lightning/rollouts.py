"""Episodes of a module's own in an environment that is there for nothing else: how imitation learning gets any."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from typing import Any

from robotrace.errors import ConfigurationError
from robotrace.plugin import Attached, Options, Series, attach_recorder, find_recorders, is_vector, layers
from robotrace_lightning.labels import RunFacts, RunLabels, global_seed
from robotrace_lightning.policy import find_policy
from robotrace_lightning.settings import Settings
from robotrace_lightning.untouched import evaluating, random_streams

__all__ = ["Rollouts"]

_log = logging.getLogger("robotrace")

_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy", "XLAFSDPStrategy")
"""No process has all of the parameters: one that acts alone would wait for the others for ever."""
_MOST_TOLD = 20


class Rollouts:
    """Of one callback in one run.

    Args:
        settings: Of the callback; it has an ``eval_env``.
        options: Of the episodes.
        series: Numbers them.
        facts: Of the run.
        module: The ``LightningModule``, to be asked for its policy now and not in an hour.

    Raises:
        ConfigurationError: The environment cannot be made, or the module does not act.
    """

    def __init__(self, settings: Settings, options: Options, series: Series, facts: RunFacts, module: Any) -> None:
        self._settings = settings
        self._facts = facts
        self._evaluations = 0
        self._told: set[str] = set()
        self._attached = Attached()
        with random_streams(module.device):
            self.env, self._is_ours = _make(settings.eval_env)
        try:
            find_policy(module, settings.policy, getattr(self.env, "action_space", None))
        except ConfigurationError:
            self.leave(module)
            raise
        for layer, recorder in find_recorders(self.env):
            self._attached.add(layer, recorder, ours=False)
        if not self._attached:
            self._attached.add(
                self.env, attach_recorder(self.env, options, adapter="lightning", series=series), ours=True
            )

    def shares(self, env: Any) -> bool:
        """Whether its environment is this one, or in it, or around it."""
        return not {id(one) for one in layers(env)}.isdisjoint(id(one) for one in layers(self.env))

    def run(self, trainer: Any, module: Any, episodes: int) -> None:
        """Some episodes from the same seeds each time. What the policy or the environment raises is told, no more."""
        if trainer.world_size > 1 and type(trainer.strategy).__name__ in _SHARDED:
            _log.warning("%s shards the policy: eval_env is not run", type(trainer.strategy).__name__)
            return
        seed = global_seed() or 0
        number, self._evaluations = self._evaluations, self._evaluations + 1
        for k in range(episodes):
            facts = {"index": number, "episode": k, "n_eval_episodes": episodes}
            self._attached.ask(RunLabels(self._facts, "validate", facts))
            try:
                with (
                    random_streams(module.device, seed + k),
                    evaluating(module),
                    trainer.precision_plugin.forward_context(),
                ):
                    self._episode(module, seed + k)
            except Exception as exc:
                self._attached.failed(exc)
                why = f"{type(exc).__name__}: {exc}"
                if why not in self._told and len(self._told) < _MOST_TOLD:
                    self._told.add(why)
                    _log.warning("an episode of eval_env was ended by %s (the training goes on)", why)
            except BaseException as exc:
                self._attached.failed(exc)
                raise

    def _episode(self, module: Any, seed: int) -> None:
        env = self.env
        policy = find_policy(module, self._settings.policy, getattr(env, "action_space", None))
        for one in (module, self._settings.policy):
            reset = getattr(one, "reset", None)
            if callable(reset):
                reset()
        observation = _reset(env, seed)
        for _ in range(self._settings.max_eval_steps):
            observation, _, *ends, _ = env.step(policy(observation))
            if any(ends):
                return
        self._attached.close()

    def leave(self, module: Any) -> None:
        """Leave the environment as it was; one that was made here is closed."""
        self._attached.detach()
        if self._is_ours:
            with random_streams(module.device):
                self.env.close()


def _make(given: Any) -> tuple[Any, bool]:
    """The environment that ``eval_env`` is or means, and whether it was made here."""
    made = given
    try:
        if isinstance(given, str):
            import gymnasium

            made = gymnasium.make(given)
        elif isinstance(given, type) or (callable(given) and not hasattr(given, "reset")):
            made = given()
    except Exception as exc:
        raise ConfigurationError(f"eval_env={given!r} cannot be made: {type(exc).__name__}: {exc}") from exc
    if not all(callable(getattr(made, name, None)) for name in ("reset", "step")) or is_vector(made):
        raise ConfigurationError(
            f"eval_env takes one environment, its id or a function that makes it; got {type(made).__name__}"
        )
    return made, made is not given


def _reset(env: Any, seed: int) -> Any:
    if _takes_seed(env.reset):
        result = env.reset(seed=seed)
    else:
        if callable(getattr(env, "seed", None)):
            env.seed(seed)
        result = env.reset()
    return result[0] if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict) else result


def _takes_seed(reset: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(reset).parameters.values()
    except (TypeError, ValueError):
        return "gymnasium" in sys.modules
    return any(one.name == "seed" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
