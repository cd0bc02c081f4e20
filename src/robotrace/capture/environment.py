"""What is known about an environment: id, version, spaces, and how to make this very episode happen again.

Looked at from outside (``env.spec``, ``env.unwrapped``): no framework is imported, and nothing is read that would
create a random generator or change one.

What the ``reproduce`` block of an episode's metadata holds, beside the recorded actions all that another process needs:

=====================  ===============================================================================================
``reproducible``       False with a ``reason`` where it is known that the episode cannot be made to happen again
``env_spec``           the spec for ``gymnasium.make``, wrappers and arguments included; ``tuples`` are the paths of the
                       lists in it that have to be tuples, ``sources`` the files of modules no package brings
``seed``               of the last seeded reset, as text beyond 2**53, and ``resets_since_seed``: 0 when it was this one
``generator_state``    of ``env.unwrapped.np_random`` right before the reset, integers beyond 2**53 as text; absent when
                       the reset's own seed says it all. With it the env is reset without a seed, unless
                       ``resets_since_seed`` is 0
``stream_seed``        what that generator was made from, as text
``reset_options``      what the reset was given
``versions``           of Python, the processor, and of the packages that decide the numbers
=====================  ===============================================================================================

Not seen: numbers drawn from global generators (``random``, ``numpy.random``), and what an env carries over from one
episode to the next by itself.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from importlib import metadata as packages
from itertools import islice
from typing import Any

from robotrace.capture.clock import read_attribute
from robotrace.capture.generators import (
    carries_statistics,
    fresh_state,
    main_generator,
    other_generators,
    seeds_in_place,
    state_of,
    used_world,
)
from robotrace.capture.specs import describe_spec, sources

__all__ = ["EnvFacts", "ResetRecord"]

_EXACT_INT = 2**53
"""Larger integers lose digits in readers that take JSON numbers for doubles; PCG64's state has 128 bits."""
_MAX_MEANINGS = 256
_UNKNOWN_SPEC = "the environment is in another process, and its spec is not known here"
_DECIDING = ("gymnasium", "numpy", "mujoco", "Box2D", "pybullet", "ale_py", "dm_control", "robosuite", "jax", "torch")
"""Simulators and arithmetic that an env may use; only what is imported anyway is looked up."""


class EnvFacts:
    """The facts that stay the same for all episodes of an env, read once.

    Args:
        env: The environment as the user made it, wrappers included.
        env_id: Where the environment is in another process, what it has said of itself.
    """

    def __init__(self, env: Any, env_id: str | None = None) -> None:
        base = getattr(env, "unwrapped", env)
        spec = read_attribute(env, "spec") or read_attribute(base, "spec")
        kind = type(base)
        package = None if env_id else kind.__module__.partition(".")[0]
        self.env_id: str = str(env_id or getattr(spec, "id", None) or f"{kind.__module__}.{kind.__qualname__}")
        self.package_version = None if package is None else package_version(package)
        kwargs = {key: value for key, value in (getattr(spec, "kwargs", None) or {}).items() if key != "render_mode"}
        self.env_version = self.env_id
        if self.package_version:
            self.env_version += f" {package}-{self.package_version}"
        digest = _kwargs_hash(kwargs)
        if digest:
            self.env_version += f" {digest}"
        self.metadata: dict[str, Any] = {
            "id": self.env_id,
            "package": package,
            "package_version": self.package_version,
            "observation_space": _one_line(getattr(env, "observation_space", None)),
            "action_space": _one_line(getattr(env, "action_space", None)),
        }
        meanings = _action_meanings(base)
        if meanings:
            self.metadata["action_meanings"] = meanings
        described = describe_spec(spec)
        modules = (module.partition(".")[0] for module in described.modules)
        names = dict.fromkeys((*(() if package is None else (package,)), *modules, *_DECIDING))
        found = {name: package_version(name) for name in names if name in sys.modules}
        self.why_not = _UNKNOWN_SPEC if env_id else described.reason
        self.reproduce: dict[str, Any] = {
            "env_spec": described.spec,
            **({"tuples": described.tuples} if described.tuples else {}),
            "versions": {
                "python": platform.python_version(),
                "machine": platform.machine(),
                **{name: version for name, version in found.items() if version is not None},
            },
        }
        local = list(sources((kind.__module__, *described.modules), is_installed=_distribution_version))
        if local:
            self.reproduce["sources"] = local

    @classmethod
    def told(cls, said: Mapping[str, Any]) -> EnvFacts:
        """What ``vars`` of the facts were in another process, through JSON."""
        facts = cls.__new__(cls)
        vars(facts).update(said)
        return facts


class ResetRecord:
    """Counts resets since the last seed and keeps the generator's state from before each, for ``reproduce``."""

    def __init__(self) -> None:
        self._seed: int | None = None
        self._resets_since_seed = 0
        self._generator: Any = None
        self._world: Any = None
        self._look_for_others = True
        self._others: dict[str, tuple[Any, Any]] = {}

    def count(self, seed: int | None) -> None:
        """A reset is about to happen of an episode that is not recorded: instead of :meth:`before`, of 50 µs."""
        if seed is not None:
            self._seed = seed
            self._resets_since_seed = 0
        else:
            self._resets_since_seed += 1

    def before(self, env: Any, seed: int | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """What a reset that is about to happen starts from; call it before the env is reset, then :meth:`after`."""
        self.count(seed)
        found: dict[str, Any] = {"seed": _plain(self._seed), "resets_since_seed": self._resets_since_seed}
        if options:
            copied = _json_copy(dict(options))
            found["reset_options"] = dict(options) if copied is None else copied
            if copied is None:
                found["reason"] = "the reset's options cannot be written as JSON"
        self._generator = main_generator(env)
        if self._generator is not None:
            found["generator_state"] = _plain(self._generator.bit_generator.state)
        if self._look_for_others:
            others = other_generators(env)
            self._others = {name: (generator, state_of(generator)) for name, generator in others.items()}
        self._world = used_world(env)
        wrapper = carries_statistics(env)
        if wrapper is not None:
            found["reason"] = f"{wrapper} carries statistics over from the steps before this episode"
        return found

    def after(self, env: Any, found: dict[str, Any]) -> None:
        """Complete what :meth:`before` found, now that the env was reset: where its random numbers came from."""
        before, self._generator = self._generator, None
        world, self._world = self._world, None
        after = main_generator(env)
        seeded = self._resets_since_seed == 0
        stream, state = (None, None) if after is None else fresh_state(after)
        if stream is not None:
            found["stream_seed"] = str(stream)
        if before is None and state is not None and not (seeded and stream == self._seed):
            # Made in the reset: it began as one that is made from this seed now.
            found["generator_state"] = _plain(state)
        elif seeded and after is not before:
            found.pop("generator_state", None)  # replaced, as the seed says
        reason = None
        if world is not None and world is used_world(env):
            reason = "the env keeps its Box2D world, which steps differently after what was in it"
        elif not seeded and before is not None and after is not before:
            reason = "the env makes another random generator at each reset"
        elif not seeded and "generator_state" not in found:
            reason = "the reset was not seeded, and the state of the env's random generator before it is not known"
        reason = reason or self._why_others(env, seeded)
        if reason is not None:
            found.setdefault("reason", reason)

    def _why_others(self, env: Any, seeded: bool) -> str | None:
        if not self._look_for_others:
            return None
        others, self._others, before = other_generators(env), {}, self._others
        self._look_for_others = bool(others)
        for name, generator in others.items():
            if not seeded:
                return f"{name} is a random generator beside np_random, and the reset was not seeded"
            known, state = before.get(name, (None, None))
            if known is generator and (not seeds_in_place(generator) or state == state_of(generator)):
                return f"{name} is a random generator that the reset's seed does not reach"
        return None

    @staticmethod
    def reproduce(facts: EnvFacts, before: dict[str, Any]) -> dict[str, Any]:
        """The ``reproduce`` block of the metadata.

        Args:
            facts: The env's.
            before: From :meth:`before`, completed by :meth:`after`.
        """
        reset = {key: value for key, value in before.items() if key != "reason"}
        reason = facts.why_not or before.get("reason")
        if reason is None and not reset:
            reason = "the reset was not seen"
        block = {**reset, **facts.reproduce, "reproducible": reason is None}
        if reason is not None:
            block["reason"] = reason
        return block


def package_version(name: str) -> str | None:
    """The version of an installed distribution of that name, else the module's ``__version__``, else None."""
    version = _distribution_version(name) or getattr(sys.modules.get(name), "__version__", None)
    return version if isinstance(version, str) else None


def _distribution_version(name: str) -> str | None:
    try:
        return packages.version(name)
    except packages.PackageNotFoundError:
        return None


def _action_meanings(env: Any) -> list[str] | None:
    """What the discrete actions are called, where the env says it, as ALE's and MiniGrid's do."""
    try:
        found = list(islice(read_attribute(env, "get_action_meanings")(), _MAX_MEANINGS + 1))
    except Exception:  # it has none, or one that takes arguments
        return None
    return found if len(found) <= _MAX_MEANINGS and all(type(name) is str for name in found) else None


def _one_line(space: Any) -> str:
    return " ".join(str(space).split())


def _json_copy(value: Any) -> Any:
    """A copy, deep since it is written down later; None of what would come back as something else."""
    try:
        copied = json.loads(json.dumps(value, allow_nan=False))
        return copied if bool(copied == value) else None
    except (TypeError, ValueError):
        return None


def _kwargs_hash(kwargs: Mapping[str, Any]) -> str | None:
    if not kwargs:
        return None
    try:
        text = json.dumps(kwargs, sort_keys=True)
    except (TypeError, ValueError):
        return None  # a repr() would carry addresses, and differ on each run
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, int) and not -_EXACT_INT <= value <= _EXACT_INT else value
