"""What a job's config says of the episodes in it: its seed, its place in a sweep, itself. Secrets do not.

Interpolations stay as they are written, since what they stand for may be a secret (``${oc.env:TOKEN}``) or not there.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from robotrace.plugin import is_secret, plain_values

__all__ = ["describe_job", "find_seed", "text_at"]

_SEEDS = ("seed", *(f"{node}.seed" for node in ("training", "train", "trainer", "experiment", "agent", "algo", "env")))
_OF_HYDRA = {
    "job": "hydra.job.name",
    "num": "hydra.job.num",
    "id": "hydra.job.id",
    "override_dirname": "hydra.job.override_dirname",
    "config_name": "hydra.job.config_name",
    "overrides": "hydra.overrides.task",
    "choices": "hydra.runtime.choices",
    "output_dir": "hydra.runtime.output_dir",
    "cwd": "hydra.runtime.cwd",
}
_OF_A_SWEEP = {"sweep_dir": "hydra.sweep.dir"}
_INT64 = 2**63
_REDACTED = "[redacted]"
_PAIR = re.compile(r"(?P<key>[^\s=,]+)=(?P<value>[^,]*)")
_SHORTEST_SECRET = 4
"""Shorter values are not looked for in other texts: they would be found everywhere."""


def find_seed(cfg: DictConfig, key: str | None = None) -> int | None:
    """The first whole number at one of the places where configs have their seed, or at ``key``."""
    for place in (key,) if key else _SEEDS:
        value = _at(cfg, place)
        if isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64:
            return value
    return None


def text_at(cfg: DictConfig, key: str) -> str | None:
    """A value as text; None where there is none, or an interpolation in it fails."""
    value = _at(cfg, key)
    return None if value is None or isinstance(value, (Mapping, list)) else str(value)


def describe_job(cfg: DictConfig, *, log_config: bool = True, redact: Sequence[str] = ()) -> dict[str, Any]:
    """The job's place in its sweep, its choices and its config, for ``metadata.hydra``.

    Args:
        cfg: The job's, Hydra's own node included.
        log_config: Whether the config itself is told; its hash is in any case.
        redact: Patterns of names that are secrets too, as ``*wandb*``.
    """
    task = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    values = OmegaConf.to_container(task, resolve=False, enum_to_str=True)
    secrets = {str(value) for value in _secrets(values, redact) if len(str(value)) >= _SHORTEST_SECRET}
    mode = str(_at(cfg, "hydra.mode") or "").rpartition(".")[2].lower()
    places = {**_OF_HYDRA, **(_OF_A_SWEEP if mode == "multirun" else {})}
    found = {name: _plain(_at(cfg, place)) for name, place in places.items()}
    said = {
        "mode": mode or None,
        **{name: _scrub(value, secrets, redact) for name, value in found.items()},
        "targets": _targets(values),
        "config_hash": hashlib.sha256(OmegaConf.to_yaml(task, resolve=False).encode()).hexdigest(),
        "config": plain_values(_scrub(_without(values, redact), secrets, redact)) if log_config else None,
    }
    return {name: value for name, value in said.items() if value is not None and value != {}}


def _at(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except Exception:  # a missing value, an interpolation that fails
        return None


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value


def _targets(values: Any) -> dict[str, str]:
    """What the nodes at the top make: the policy, the environment."""
    nodes = {str(name): node.get("_target_") for name, node in values.items() if isinstance(node, Mapping)}
    return {name: target for name, target in nodes.items() if isinstance(target, str)}


def _is_secret(name: Any, redact: Sequence[str]) -> bool:
    return is_secret(str(name)) or any(fnmatch.fnmatch(str(name).lower(), pattern.lower()) for pattern in redact)


def _secrets(value: Any, redact: Sequence[str]) -> Iterator[Any]:
    """The plain values that go by a name of a secret."""
    for name, item in value.items() if isinstance(value, Mapping) else ():
        if _is_secret(name, redact):
            yield from _leaves(item)
        else:
            yield from _secrets(item, redact)
    for item in value if isinstance(value, list) else ():
        yield from _secrets(item, redact)


def _leaves(value: Any) -> Iterator[Any]:
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    if inside is None:
        if isinstance(value, str) and not value.startswith("${"):
            yield value
        return
    for item in inside:
        yield from _leaves(item)


def _without(value: Any, redact: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _REDACTED if _is_secret(name, redact) else _without(item, redact) for name, item in value.items()}
    return [_without(item, redact) for item in value] if isinstance(value, list) else value


def _scrub(value: Any, secrets: set[str], redact: Sequence[str]) -> Any:
    """Texts without the values of secrets, wherever a secret has got to: an override, the name of a folder."""
    if isinstance(value, Mapping):
        return {name: _scrub(item, secrets, redact) for name, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item, secrets, redact) for item in value]
    if not isinstance(value, str):
        return value
    for secret in sorted(secrets, key=len, reverse=True):
        value = value.replace(secret, _REDACTED)

    def pair(found: re.Match[str]) -> str:
        return f"{found['key']}={_REDACTED}" if _is_secret(found["key"], redact) else found[0]

    return _PAIR.sub(pair, value)
