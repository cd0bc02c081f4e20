"""The credentials file: TOML, one table per profile; written by ``robotrace login``, read by everything else.

::

    [default]
    api_key = "rt_…"
    base_url = "http://127.0.0.1:8321"
    client_id = "…"
    user_email = "…"
    written_at = "2030-01-01T00:00:00Z"

Functions over a path; where the file is and which profile counts is the business of :mod:`robotrace.config`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robotrace.errors import ConfigurationError

__all__ = ["check_writable", "delete_profile", "read_profiles", "write_profile"]


def read_profiles(path: Path) -> dict[str, Any]:
    """Everything in the file, by profile name; empty where there is no file.

    Raises:
        ConfigurationError: The file cannot be read, is no TOML, or others can reach it.
    """
    try:
        info = path.stat()
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise ConfigurationError(f"the credentials file {path} cannot be read: {exc.strerror}") from exc
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigurationError(
            f"the credentials file {path} is readable by others; run: chmod 600 {shlex.quote(str(path))}"
        )
    try:
        return _parse_toml(content.decode())
    except ValueError as exc:  # not UTF-8, or not TOML
        raise ConfigurationError(f"the credentials file {path} is not valid TOML: {exc}") from exc


def check_writable(path: Path) -> None:
    """See that a profile can be written, as far as that can be seen without writing one; makes the folder.

    Raises:
        ConfigurationError: The file's folder cannot be made or written into.
    """
    with _locked(path):
        pass


def write_profile(path: Path, name: str, values: Mapping[str, str | None]) -> None:
    """Put values into a profile; its other values, and all other profiles, stay as they are.

    Args:
        path: The file; made, with its folder, when it is not there. Behind a symbolic link the target is replaced.
        name: The profile: any text but the empty one.
        values: None takes a value out.

    Raises:
        ConfigurationError: The name cannot be stored, the file is broken, or it cannot be written.
    """
    if not name.strip():
        raise ConfigurationError("a profile needs a name that is not empty")
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise ConfigurationError(f"the profile name {name!r} is not valid Unicode") from exc
    with _locked(path):
        profiles = read_profiles(path)
        former = profiles.get(name)
        merged = {**(former if isinstance(former, dict) else {}), **values}
        profiles[name] = {key: value for key, value in merged.items() if value is not None}
        _replace(path, profiles)


def delete_profile(path: Path, name: str) -> bool:
    """Take a profile out of the file; the file goes with the last one.

    Returns:
        Whether it was there.

    Raises:
        ConfigurationError: The file is broken or cannot be written.
    """
    if not path.exists():  # no lock file, and no folder, for nothing
        return False
    with _locked(path):
        profiles = read_profiles(path)
        if name not in profiles:
            return False
        del profiles[name]
        if profiles:
            _replace(path, profiles)
        else:
            # Behind a link the target, and the link stays.
            path.resolve().unlink(missing_ok=True)
        return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of all writers of the file, and name the file in what the system refuses."""
    import fcntl  # here: reading works where there is none

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.parent.stat().st_mode
        # A folder with the sticky bit, as /tmp, is everybody's on purpose.
        if mode & 0o077 and not mode & stat.S_ISVTX:
            with contextlib.suppress(PermissionError):  # somebody else's folder; the file is private all the same
                path.parent.chmod(0o700)
        # Never unlinked: a second writer could lock a new file of the same name while the first holds the old one.
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
    except OSError as exc:
        raise ConfigurationError(f"the credentials file {path} cannot be written: {exc.strerror}") from exc


def _replace(path: Path, profiles: Mapping[str, Any]) -> None:
    import tomli_w  # here: `import robotrace` needs httpx alone

    content = tomli_w.dumps(profiles).encode()
    # Dotfile managers keep the file elsewhere and link to it; a rename onto the link would replace the link.
    target = path.resolve()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp")
    temporary.unlink(missing_ok=True)  # of a writer that was killed; its mode is not ours
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _parse_toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)
