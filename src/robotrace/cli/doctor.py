"""``robotrace doctor``: whether recording and delivery can work on this machine, check by check."""

from __future__ import annotations

import importlib.util
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import click

from robotrace.cli.options import deployment_options, json_option
from robotrace.cli.output import Check, episode_count, print_checks, size
from robotrace.cli.status import ask_deployment
from robotrace.config import delivery_limits, durability, mode, recording_enabled
from robotrace.deliver.files import try_lock
from robotrace.deliver.overview import look_into
from robotrace.deliver.quota import why_no_room
from robotrace.deliver.spool import Spool, open_spool
from robotrace.errors import ConfigurationError

__all__ = ["doctor"]


@click.command(short_help="Check that recording and delivery can work here.")
@deployment_options
@json_option
def doctor(base_url: str | None, profile: str | None, as_json: bool) -> None:
    """Check that recording and delivery can work on this machine.

    Looks at what is installed, the spool's folder and disk, locks and renames there, what was left behind, and the
    deployment; exit code 1 when something is wrong. Makes the spool's folders where they are missing.

    \b
    Example:
      robotrace doctor
    """
    print_checks(list(_checks(base_url, profile)), as_json=as_json)


def _checks(base_url: str | None, profile: str | None) -> Iterator[Check]:
    yield from _installed()
    yield from _recording()
    try:
        spool = open_spool()
    except ConfigurationError as exc:
        yield "spool", "wrong", str(exc)
    else:
        yield "spool", "ok", str(spool.root)
        yield from _disk(spool)
        yield from _left_behind(spool)
    state, detail = ask_deployment(base_url, profile)
    if state == "none":
        yield (
            "deployment",
            "note",
            "none is configured: episodes stay here until `robotrace serve` or a login",
        )
    elif state == "ok":
        yield "deployment", "ok", "answers, and takes the key"
    else:
        yield "deployment", "wrong", f"{state}: {detail}"


def _installed() -> Iterator[Check]:
    missing = [name for name in ("numpy", "av") if importlib.util.find_spec(name) is None]
    if missing:
        yield "recording", "note", f"needs {' and '.join(missing)}: pip install 'robotrace-dev[record]'"
    else:
        yield "recording", "ok", "NumPy and PyAV are installed"


def _recording() -> Iterator[Check]:
    try:
        name, on = mode(), recording_enabled()
        delivery_limits()
        durability()
    except ConfigurationError as exc:
        yield "settings", "wrong", str(exc)
    else:
        yield "settings", "ok" if on else "note", f"mode {name}, recording {'on' if on else 'off'}"


def _disk(spool: Spool) -> Iterator[Check]:
    try:
        why = why_no_room(spool, delivery_limits())
        yield "room", "wrong" if why else "ok", why or "there is room for more episodes"
    except (ConfigurationError, OSError) as exc:
        yield "room", "wrong", str(exc)
    folder = spool.trash / f"doctor-{secrets.token_hex(4)}"
    try:
        folder.mkdir(mode=0o700)
        yield "locks", *_tried(lambda: _locks(folder), "hold between processes", "do not hold: two uploaders may work")
        yield "renames", *_tried(lambda: _renames(folder), "are whole", "do not work: no episode can be sealed")
    except OSError as exc:
        yield "spool", "wrong", f"cannot be written: {exc.strerror}"
    finally:
        spool.discard(folder)


def _tried(attempt: Callable[[], bool], good: str, bad: str) -> tuple[Literal["ok", "wrong"], str]:
    try:
        return ("ok", good) if attempt() else ("wrong", bad)
    except OSError as exc:
        return "wrong", f"{bad} ({exc.strerror})"


def _locks(folder: Path) -> bool:
    first = try_lock(folder / "lock")
    second = try_lock(folder / "lock")  # another open file: as another process's
    for descriptor in (first, second):
        if descriptor is not None:
            os.close(descriptor)
    return first is not None and second is None


def _renames(folder: Path) -> bool:
    (folder / "a").mkdir()
    (folder / "a" / "file").write_text("x")
    (folder / "a").rename(folder / "b")
    return (folder / "b" / "file").read_text() == "x"


def _left_behind(spool: Spool) -> Iterator[Check]:
    found = look_into(spool)
    waiting = found.waiting.count + found.uploading.count
    error = f"; last: {found.last_error}" if found.last_error else ""
    taken = size(found.waiting.bytes + found.uploading.bytes)
    yield "waiting", "note" if error else "ok", f"{episode_count(waiting)}, {taken}{error}"
    dead = sum(_is_dead(folder) for folder in spool.recording_folders())
    if dead:
        yield "killed", "note", f"{dead} recording(s) of killed processes; `robotrace sync` brings them back"
    if found.failed.count:
        yield "refused", "wrong", f"{episode_count(found.failed.count)}; `robotrace retry` lists them"
    yield "uploader", "ok" if found.uploader_running else "note", "running" if found.uploader_running else "not running"


def _is_dead(folder: Path) -> bool:
    try:
        lock = try_lock(folder / "owner.lock")
    except OSError:
        return False
    if lock is None:
        return False
    os.close(lock)
    return True
