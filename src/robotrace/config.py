"""Where settings come from: every environment variable, the credentials file, and their order.

Key and URL are resolved each on their own: argument, then environment variable, then the profile in the
credentials file (the profile named by argument, else ``$ROBOTRACE_PROFILE``, else ``default``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from robotrace.credentials import read_profiles
from robotrace.errors import ConfigurationError

__all__ = [
    "ENV_API_KEY",
    "ENV_BASE_URL",
    "ENV_DURABILITY",
    "ENV_ENABLED",
    "ENV_ENV_VERSION",
    "ENV_EXIT_TIMEOUT",
    "ENV_GIT_SHA",
    "ENV_HOME",
    "ENV_INSTRUMENT",
    "ENV_KEEP_FREE",
    "ENV_MODE",
    "ENV_POLICY_VERSION",
    "ENV_PROFILE",
    "ENV_QUIET",
    "ENV_RAISE",
    "ENV_ROBOT",
    "ENV_RUN_CONTEXT",
    "ENV_RUN_ID",
    "ENV_SEED",
    "ENV_SERVE_DATABASE",
    "ENV_SERVE_SECRET",
    "ENV_SERVE_STORAGE",
    "ENV_SPOOL_DIR",
    "ENV_SPOOL_LIMIT",
    "ENV_UPLOAD_LIMIT",
    "DeliveryLimits",
    "Durability",
    "Mode",
    "Source",
    "Target",
    "TargetSettings",
    "checked_key",
    "checked_url",
    "credentials_path",
    "delivery_limits",
    "durability",
    "find_target",
    "home_dir",
    "is_quiet",
    "is_true",
    "mode",
    "profile_name",
    "read_profile",
    "recording_enabled",
    "resolve_target",
    "spool_root",
    "target_settings",
]

ENV_API_KEY = "ROBOTRACE_API_KEY"
ENV_BASE_URL = "ROBOTRACE_BASE_URL"
ENV_PROFILE = "ROBOTRACE_PROFILE"
ENV_HOME = "ROBOTRACE_HOME"
ENV_SPOOL_DIR = "ROBOTRACE_SPOOL_DIR"
ENV_MODE = "ROBOTRACE_MODE"
ENV_ENABLED = "ROBOTRACE_ENABLED"
ENV_QUIET = "ROBOTRACE_QUIET"
ENV_POLICY_VERSION = "ROBOTRACE_POLICY_VERSION"
ENV_ENV_VERSION = "ROBOTRACE_ENV_VERSION"
ENV_GIT_SHA = "ROBOTRACE_GIT_SHA"
ENV_SEED = "ROBOTRACE_SEED"
ENV_ROBOT = "ROBOTRACE_ROBOT"
ENV_INSTRUMENT = "ROBOTRACE_INSTRUMENT"
"""Set by ``robotrace run``: the modules that are waited for, a space, and the arguments as JSON."""
ENV_RUN_ID = "ROBOTRACE_RUN_ID"
ENV_RUN_CONTEXT = "ROBOTRACE_RUN_CONTEXT"
ENV_SPOOL_LIMIT = "ROBOTRACE_SPOOL_LIMIT_GB"
ENV_KEEP_FREE = "ROBOTRACE_KEEP_FREE_GB"
ENV_UPLOAD_LIMIT = "ROBOTRACE_UPLOAD_LIMIT_MB_S"
ENV_EXIT_TIMEOUT = "ROBOTRACE_EXIT_TIMEOUT_S"
ENV_DURABILITY = "ROBOTRACE_DURABILITY"
ENV_SERVE_DATABASE = "ROBOTRACE_SERVE_DATABASE"
ENV_SERVE_STORAGE = "ROBOTRACE_SERVE_STORAGE"
ENV_SERVE_SECRET = "ROBOTRACE_SERVE_SECRET"
ENV_RAISE = "ROBOTRACE_RAISE_INTERNAL_ERRORS"
"""Set to 1 by our own test suite: faults that production swallows are raised."""

Mode = Literal["online", "offline", "disabled"]
Durability = Literal["power", "process"]
"""What a sealed episode survives: the loss of power, or only the end of the process that made it."""
Source = Literal["argument", "environment", "file"]
"""Where a key or a URL was found."""

_MODES: tuple[Mode, ...] = ("online", "offline", "disabled")
_DURABILITIES: tuple[Durability, ...] = ("power", "process")
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


@dataclass(frozen=True)
class Target:
    """A deployment and the key for it, empty before a login; ``direct``: reached without the environment's proxies."""

    base_url: str
    api_key: str = field(repr=False)
    direct: bool = False


@dataclass(frozen=True)
class TargetSettings:
    """Key and URL as far as they are known, each with its source; None and empty where nothing says."""

    api_key: str = field(repr=False)
    api_key_source: Source | None
    base_url: str
    base_url_source: Source | None
    profile: Mapping[str, Any] = field(repr=False)
    """The profile's table; empty where the file was not asked."""


def is_true(value: str | None) -> bool:
    """Whether an environment variable's text means yes (1, true, yes, on)."""
    return value is not None and value.strip().lower() in _TRUE


def is_quiet() -> bool:
    """Whether ``ROBOTRACE_QUIET`` asks for no output on stdout."""
    return is_true(os.environ.get(ENV_QUIET))


def home_dir() -> Path:
    """``$ROBOTRACE_HOME``, else ``~/.robotrace``.

    Raises:
        ConfigurationError: The user has no home directory.
    """
    home = os.environ.get(ENV_HOME)
    try:
        return Path(home).expanduser() if home else Path.home() / ".robotrace"
    except RuntimeError as exc:  # a container's made-up user has neither $HOME nor an entry in /etc/passwd
        raise ConfigurationError(f"there is no home directory; set {ENV_HOME}") from exc


def spool_root() -> Path:
    """``$ROBOTRACE_SPOOL_DIR``, else the folder ``spool`` in :func:`home_dir`."""
    root = os.environ.get(ENV_SPOOL_DIR)
    return Path(root).expanduser() if root else home_dir() / "spool"


def mode() -> Mode:
    """``$ROBOTRACE_MODE``: ``online`` (default), ``offline`` (spool only) or ``disabled`` (record nothing).

    Raises:
        ConfigurationError: The variable has another value.
    """
    value = os.environ.get(ENV_MODE, "").strip().lower()
    if not value:
        return "online"
    for known in _MODES:
        if value == known:
            return known
    raise ConfigurationError(f"{ENV_MODE} is {value!r}; it takes online, offline or disabled")


def durability() -> Durability:
    """``$ROBOTRACE_DURABILITY``: ``power`` (default; what is sealed survives a power loss) or ``process`` (no fsync).

    Raises:
        ConfigurationError: The variable has another value.
    """
    value = os.environ.get(ENV_DURABILITY, "").strip().lower()
    if not value:
        return "power"
    for known in _DURABILITIES:
        if value == known:
            return known
    raise ConfigurationError(f"{ENV_DURABILITY} is {value!r}; it takes power or process")


@dataclass(frozen=True)
class DeliveryLimits:
    """What recording and delivery may take of this machine.

    Attributes:
        spool_bytes: Of the spool; None: 20 GiB, and no more than a fifth of the disk's free space.
        keep_free_bytes: What stays free on the spool's disk.
        upload_bytes_per_s: While a training runs; None: as fast as it goes.
        exit_timeout_s: The longest wait for a process's own episodes at its end.
    """

    spool_bytes: int | None = None
    keep_free_bytes: int = 2 * 1024**3
    upload_bytes_per_s: float | None = 12.5e6
    exit_timeout_s: float = 10.0


def delivery_limits() -> DeliveryLimits:
    """The limits, with those that the environment sets.

    Raises:
        ConfigurationError: A variable is no number of 0 or more.
    """
    default = DeliveryLimits()
    spool_gb, keep_free_gb = _amount(ENV_SPOOL_LIMIT), _amount(ENV_KEEP_FREE)
    upload_mb_s, exit_s = _amount(ENV_UPLOAD_LIMIT), _amount(ENV_EXIT_TIMEOUT)
    return DeliveryLimits(
        spool_bytes=default.spool_bytes if spool_gb is None else int(spool_gb * 1e9),
        keep_free_bytes=default.keep_free_bytes if keep_free_gb is None else int(keep_free_gb * 1e9),
        # 0 for no limit, as nobody wants to upload nothing: that is what `offline` is for.
        upload_bytes_per_s=default.upload_bytes_per_s if upload_mb_s is None else upload_mb_s * 1e6 or None,
        exit_timeout_s=default.exit_timeout_s if exit_s is None else exit_s,
    )


def _amount(variable: str) -> float | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < math.inf:
        raise ConfigurationError(f"{variable} is {text!r}; it takes a number, 0 or more")
    return amount


def recording_enabled() -> bool:
    """Whether the environment leaves recording switched on (``ROBOTRACE_MODE``, ``ROBOTRACE_ENABLED``)."""
    if os.environ.get(ENV_ENABLED, "").strip().lower() in _FALSE:
        return False
    return mode() != "disabled"


def credentials_path() -> Path:
    """``credentials`` in :func:`home_dir`."""
    return home_dir() / "credentials"


def profile_name(profile: str | None = None) -> str:
    """The profile that counts: the argument, else ``$ROBOTRACE_PROFILE``, else ``default``.

    Raises:
        ConfigurationError: The argument is empty.
    """
    if profile is not None and not profile.strip():
        raise ConfigurationError("a profile needs a name that is not empty")
    return profile or os.environ.get(ENV_PROFILE) or "default"


def read_profile(profile: str | None = None) -> Mapping[str, Any]:
    """A profile's table in the credentials file; empty where there is none and none was asked for by name.

    Raises:
        ConfigurationError: A profile was named that is not there, or the credentials file cannot be used.
    """
    path = credentials_path()
    profiles = read_profiles(path)
    name = profile_name(profile)
    table = profiles.get(name)
    if not table and (profile or os.environ.get(ENV_PROFILE)):
        there = ", ".join(repr(key) for key, value in profiles.items() if isinstance(value, dict))
        raise ConfigurationError(
            f"there is no profile {name!r} in {path} (there {f'are: {there}' if there else 'is none'}); "
            "`robotrace login --profile NAME` makes one"
        )
    return table if isinstance(table, dict) else {}


def target_settings(
    *, api_key: str | None = None, base_url: str | None = None, profile: str | None = None
) -> TargetSettings:
    """Find key and URL, and where each comes from, without asking that both are there.

    Args:
        api_key: As in :func:`resolve_target`.
        base_url: As in :func:`resolve_target`.
        profile: As in :func:`resolve_target`.

    Raises:
        ConfigurationError: The named profile is not there, or the credentials file cannot be used.
    """
    key, key_source = _first(api_key, ENV_API_KEY)
    url, url_source = _first(base_url, ENV_BASE_URL)
    table: Mapping[str, Any] = {}
    # A broken file does not matter where it is not needed; a profile that was asked for is.
    if not key or not url or profile is not None:
        table = read_profile(profile)
        if not key and (key := _clean(table.get("api_key"))):
            key_source = "file"
        if not url and (url := _clean(table.get("base_url"))):
            url_source = "file"
    return TargetSettings(key, key_source, url, url_source, table)


def resolve_target(*, api_key: str | None = None, base_url: str | None = None, profile: str | None = None) -> Target:
    """The deployment to talk to.

    Args:
        api_key: Wins over everything else when given.
        base_url: Wins over everything else when given; a trailing ``/`` is dropped.
        profile: Where to look in the credentials file; wins over ``ROBOTRACE_PROFILE``.

    Raises:
        ConfigurationError: The API key or the base URL (or both) cannot be found or cannot be right, the named profile
            is not there, or the credentials file is broken or readable by others.
    """
    found = target_settings(api_key=api_key, base_url=base_url, profile=profile)
    wanted = (("API key", ENV_API_KEY, found.api_key), ("base URL", ENV_BASE_URL, found.base_url))
    missing = [(text, variable) for text, variable, value in wanted if not value]
    if missing:
        raise ConfigurationError(
            f"no {' and no '.join(text for text, _ in missing)}: run `robotrace login`, pass it as an argument, or set "
            f"{' and '.join(variable for _, variable in missing)}; "
            "`robotrace serve` starts a deployment of your own and prints both"
        )
    return Target(base_url=checked_url(found.base_url), api_key=checked_key(found.api_key))


def find_target() -> Target | None:
    """Like :func:`resolve_target`, but None where nothing at all is configured (offline)."""
    if mode() != "online":
        return None
    if not any(os.environ.get(name) for name in (ENV_API_KEY, ENV_BASE_URL)) and not read_profile():
        return None
    return resolve_target()


def _first(argument: str | None, variable: str) -> tuple[str, Source | None]:
    if text := _clean(argument):
        return text, "argument"
    if text := _clean(os.environ.get(variable)):
        return text, "environment"
    return "", None


def _clean(value: object) -> str:
    # A key read from a file brings its line break along.
    return value.strip() if isinstance(value, str) else ""


def checked_key(key: str) -> str:
    """The key, when it can be sent.

    Raises:
        ConfigurationError: It cannot; the text does not show it.
    """
    # The HTTP library would quote the whole key in its error.
    if not all("!" <= character <= "~" for character in key):
        raise ConfigurationError("the API key has a space, a line break or a non-ASCII character in it; copy it again")
    return key


def checked_url(url: str) -> str:
    """The base URL without its trailing ``/``, when it is one.

    Raises:
        ConfigurationError: It is none, or it carries a password (which is not shown).
    """
    shown = f"…@{url.rpartition('@')[2]}" if "@" in url else url
    if not url.lower().startswith(("http://", "https://")):
        raise ConfigurationError(f"the base URL {shown!r} must begin with http:// or https://")
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0) and url.isprintable() and " " not in url
    except ValueError:
        valid = False
    else:
        if parts.username is not None:  # it would take the place of the API key
            raise ConfigurationError("the base URL must not carry a user name or a password")
    if not valid:
        raise ConfigurationError(f"the base URL {shown!r} is no valid URL")
    return url.rstrip("/")
