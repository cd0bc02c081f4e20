"""Where settings come from: every environment variable, the credentials file, and their order.

Key and URL are resolved each on their own: argument, then environment variable, then the profile in the
credentials file (``$ROBOTRACE_PROFILE``, else ``default``).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from robotrace.errors import ConfigurationError

__all__ = [
    "ENV_API_KEY",
    "ENV_BASE_URL",
    "ENV_ENABLED",
    "ENV_ENV_VERSION",
    "ENV_GIT_SHA",
    "ENV_HOME",
    "ENV_MODE",
    "ENV_POLICY_VERSION",
    "ENV_PROFILE",
    "ENV_QUIET",
    "ENV_RAISE",
    "ENV_ROBOT",
    "ENV_SEED",
    "ENV_SPOOL_DIR",
    "Mode",
    "Target",
    "find_target",
    "home_dir",
    "is_quiet",
    "is_true",
    "mode",
    "recording_enabled",
    "resolve_target",
    "spool_root",
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
ENV_RAISE = "ROBOTRACE_RAISE_INTERNAL_ERRORS"
"""Set to 1 by our own test suite: faults that production swallows are raised."""

Mode = Literal["online", "offline", "disabled"]

_MODES: tuple[Mode, ...] = ("online", "offline", "disabled")
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


@dataclass(frozen=True)
class Target:
    """A deployment and the key for it; ``direct``: reached without the environment's proxies."""

    base_url: str
    api_key: str = field(repr=False)
    direct: bool = False


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


def recording_enabled() -> bool:
    """Whether the environment leaves recording switched on (``ROBOTRACE_MODE``, ``ROBOTRACE_ENABLED``)."""
    if os.environ.get(ENV_ENABLED, "").strip().lower() in _FALSE:
        return False
    return mode() != "disabled"


def resolve_target(*, api_key: str | None = None, base_url: str | None = None) -> Target:
    """The deployment to talk to.

    Args:
        api_key: Wins over everything else when given.
        base_url: Wins over everything else when given; a trailing ``/`` is dropped.

    Raises:
        ConfigurationError: The API key or the base URL (or both) cannot be found or cannot be right, or the
            credentials file is broken or readable by others.
    """
    profile: Mapping[str, Any] = {}
    key = _clean(api_key) or _clean(os.environ.get(ENV_API_KEY))
    url = _clean(base_url) or _clean(os.environ.get(ENV_BASE_URL))
    if not key or not url:
        profile = _read_profile()
        key = key or _clean(profile.get("api_key"))
        url = url or _clean(profile.get("base_url"))
    missing = [text for text, value in (("API key", key), ("base URL", url)) if not value]
    if missing or not key or not url:
        raise ConfigurationError(
            f"no {' and no '.join(missing)}: pass it as an argument, or set "
            f"{' and '.join(name for name, value in ((ENV_API_KEY, key), (ENV_BASE_URL, url)) if not value)}; "
            "`robotrace serve` starts a deployment of your own and prints both"
        )
    return Target(base_url=_checked_url(url), api_key=_checked_key(key))


def find_target() -> Target | None:
    """Like :func:`resolve_target`, but None where nothing at all is configured (offline)."""
    if mode() != "online":
        return None
    if not any(os.environ.get(name) for name in (ENV_API_KEY, ENV_BASE_URL)) and not _read_profile():
        return None
    return resolve_target()


def _clean(value: object) -> str:
    # A key read from a file brings its line break along.
    return value.strip() if isinstance(value, str) else ""


def _checked_key(key: str) -> str:
    # The HTTP library would quote the whole key in its error.
    if not all("!" <= character <= "~" for character in key):
        raise ConfigurationError("the API key has a space, a line break or a non-ASCII character in it; copy it again")
    return key


def _checked_url(url: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        raise ConfigurationError(f"the base URL {url!r} must begin with http:// or https://")
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0) and url.isprintable() and " " not in url
    except ValueError:
        valid = False
    else:
        if parts.username is not None:  # it would take the place of the API key
            raise ConfigurationError("the base URL must not carry a user name or a password")
    if not valid:
        raise ConfigurationError(f"the base URL {url!r} is no valid URL")
    return url.rstrip("/")


def _read_profile() -> Mapping[str, Any]:
    path = home_dir() / "credentials"
    try:
        info = path.stat()
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise ConfigurationError(f"the credentials file {path} cannot be read: {exc.strerror}") from exc
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigurationError(f"the credentials file {path} is readable by others; run: chmod 600 {path}")
    try:
        profiles = _parse_toml(content.decode())
    except ValueError as exc:  # not UTF-8, or not TOML
        raise ConfigurationError(f"the credentials file {path} is not valid TOML: {exc}") from exc
    wanted = os.environ.get(ENV_PROFILE)
    profile = profiles.get(wanted or "default", {})
    if wanted and not profile:
        raise ConfigurationError(f"there is no profile {wanted!r} in {path}")
    return profile if isinstance(profile, dict) else {}


def _parse_toml(text: str) -> dict[str, Any]:
    # Here, not above: `import robotrace` needs httpx alone, on 3.10 too.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)
