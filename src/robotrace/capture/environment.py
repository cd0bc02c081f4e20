"""What is known about an environment: id, version, spaces, and how to make this very episode happen again.

Looked at from outside (``env.spec``, ``env.unwrapped``): no framework is imported, and nothing is read that would
create a random generator or change one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib import metadata as packages
from typing import Any

from robotrace.capture.clock import read_attribute

__all__ = ["EnvFacts", "ResetRecord"]

_EXACT_INT = 2**53
"""Larger integers lose digits in readers that take JSON numbers for doubles; PCG64's state has 128 bits."""


class EnvFacts:
    """The facts that stay the same for all episodes of an env, read once.

    Args:
        env: The environment as the user made it, wrappers included.
    """

    def __init__(self, env: Any) -> None:
        base = getattr(env, "unwrapped", env)
        spec = read_attribute(env, "spec") or read_attribute(base, "spec")
        kind = type(base)
        package = kind.__module__.partition(".")[0]
        self.env_id: str = str(getattr(spec, "id", None) or f"{kind.__module__}.{kind.__qualname__}")
        self.package_version = package_version(package)
        kwargs = {key: value for key, value in (getattr(spec, "kwargs", None) or {}).items() if key != "render_mode"}
        self.env_version = self.env_id
        if self.package_version:
            self.env_version += f" {package}-{self.package_version}"
        digest = _kwargs_hash(kwargs)
        if digest:
            self.env_version += f" {digest}"
        self.spec_json, self.why_no_spec = _spec_json(spec)
        self.metadata: dict[str, Any] = {
            "id": self.env_id,
            "package": package,
            "package_version": self.package_version,
            "observation_space": _one_line(getattr(env, "observation_space", None)),
            "action_space": _one_line(getattr(env, "action_space", None)),
        }


class ResetRecord:
    """Counts resets since the last seed and keeps the generator's state from before each, for ``reproduce``."""

    def __init__(self) -> None:
        self._seed: int | None = None
        self._resets_since_seed = 0

    def before(self, env: Any, seed: int | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """What a reset that is about to happen starts from; call it before the env is reset."""
        if seed is not None:
            self._seed = seed
            self._resets_since_seed = 0
        else:
            self._resets_since_seed += 1
        found: dict[str, Any] = {"seed": _plain(self._seed), "resets_since_seed": self._resets_since_seed}
        if options:
            found["reset_options"] = dict(options)
        # The private name: the public property makes a generator where there is none yet.
        generator = read_attribute(read_attribute(env, "unwrapped"), "_np_random")
        state = read_attribute(read_attribute(generator, "bit_generator"), "state")
        if state is not None and seed is None:
            found["generator_state"] = _plain(state)
        return found

    @staticmethod
    def reproduce(facts: EnvFacts, before: dict[str, Any]) -> dict[str, Any]:
        """The ``reproduce`` block of the metadata."""
        reason = facts.why_no_spec
        if reason is None and before.get("seed") is None and "generator_state" not in before:
            reason = "the env was never seeded"
        block = {**before, "env_spec": facts.spec_json, "reproducible": reason is None}
        if reason is not None:
            block["reason"] = reason
        return block


def package_version(name: str) -> str | None:
    """The version of an installed distribution of that name, else the module's ``__version__``, else None."""
    try:
        return packages.version(name)
    except packages.PackageNotFoundError:
        version = getattr(sys.modules.get(name), "__version__", None)
        return version if isinstance(version, str) else None


def _one_line(space: Any) -> str:
    return " ".join(str(space).split())


def _spec_json(spec: Any) -> tuple[Any, str | None]:
    if spec is None:
        return None, "the env has no spec: it was not made by gymnasium.make"
    try:
        written = json.loads(spec.to_json())
    except Exception as exc:  # callables and arrays in the kwargs
        return None, f"the env's spec cannot be written as JSON: {exc}"
    for wrapper in written.get("additional_wrappers") or ():
        if wrapper.get("kwargs") is None:  # gymnasium.make refuses such a spec
            return written, f"the wrapper {wrapper.get('name')} kept no record of its arguments (RecordConstructorArgs)"
    return written, None


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
