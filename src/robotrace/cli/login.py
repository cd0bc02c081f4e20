"""``robotrace login``, ``whoami`` and ``logout``: whose key this machine uses, and for which deployment."""

from __future__ import annotations

import os
import re
import socket
import sys
import webbrowser
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import click

from robotrace.cli.embedded import DEFAULT_PORT
from robotrace.cli.options import deployment_options, json_option
from robotrace.cli.output import ABSENT, local_time, print_facts, print_json
from robotrace.config import (
    ENV_API_KEY,
    ENV_BASE_URL,
    ENV_PROFILE,
    Source,
    Target,
    checked_key,
    checked_url,
    credentials_path,
    profile_name,
    read_profile,
    resolve_target,
    target_settings,
)
from robotrace.credentials import check_writable, delete_profile, read_profiles, write_profile
from robotrace.errors import AuthError, ConfigurationError, RobotraceError, TransportError

__all__ = ["key_prefix", "login", "logout", "whoami"]

_DEFAULT_BASE_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
_OUR_KEY = re.compile(r"(rt_[a-z0-9]{10})_")
_REVOKE_TIMEOUT_S = 15.0


@click.command()
@deployment_options
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--force", is_flag=True, help="Log in although this profile is; it gets a new key.")
def login(base_url: str | None, profile: str | None, no_browser: bool, force: bool) -> None:
    """Get an API key for this machine, approved in a browser.

    Shows a code and opens the deployment's page, which shows the same code; whoever approves it there logs this
    machine in. The browser may be on another machine. The key goes into ~/.robotrace/credentials, in a profile
    (default: "default").

    \b
    Example:
      robotrace login
      robotrace login --base-url https://robotrace.example.org --profile "my lab"
    """
    path = credentials_path()
    name = profile_name(profile)
    stored = _stored(name)
    url, asked = _login_url(base_url, stored)
    if _text(stored.get("api_key")) and not force:
        _already(name, stored, url if asked == "argument" else None)
        return
    # Before anybody is asked: the key of an approval that cannot be stored would be nobody's, and in force.
    check_writable(path)
    try:
        approval = _run(url, no_browser=no_browser)
    except TransportError as exc:
        if asked is not None:
            raise
        hint = "`robotrace serve` starts a deployment here, --base-url names another"
        raise TransportError(f"{exc}; {hint}") from exc
    kept, remark = _agreed_url(url, approval.base_url)
    write_profile(
        path,
        name,
        {
            "api_key": approval.api_key,
            "base_url": kept,
            "client_id": approval.client_id,
            "user_email": approval.user_email,
            "written_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    )
    click.echo(f"Logged in to {kept}{f' as {approval.user_email}' if approval.user_email else ''}.")
    former = _text(stored.get("base_url")) or kept if _text(stored.get("api_key")) else None
    for line in (remark, *_hints(name, kept, former)):
        if line:
            click.echo(line)


@click.command()
@click.option("--profile", metavar="NAME", help=f"Profile in the credentials file.  [env var: {ENV_PROFILE}]")
@json_option
def whoami(profile: str | None, as_json: bool) -> None:
    """Say which deployment and key are in use.

    And where each comes from. Asks nobody, and never prints the key.

    \b
    Example:
      robotrace whoami
      robotrace whoami --profile "my lab" --json
    """
    found = target_settings(profile=profile)
    if not found.api_key:
        raise ConfigurationError("not logged in; run `robotrace login`")
    target = resolve_target(profile=profile)
    # What the file says of its key says nothing of another one.
    about = found.profile if found.api_key_source == "file" else {}
    from_file = "file" in (found.api_key_source, found.base_url_source)
    facts: dict[str, Any] = {
        "profile": profile_name(profile) if from_file else None,
        "base_url": target.base_url,
        "base_url_source": found.base_url_source,
        "api_key_prefix": key_prefix(target.api_key),
        "api_key_source": found.api_key_source,
        "client_id": _text(about.get("client_id")),
        "user_email": _text(about.get("user_email")),
        "written_at": _moment(about.get("written_at")),
        "credentials": str(credentials_path()) if from_file else None,
    }
    if as_json:
        print_json(facts)
        return
    prefix = facts["api_key_prefix"]
    print_facts(
        [
            ("deployment", f"{target.base_url}  ({described(found.base_url_source, ENV_BASE_URL)})"),
            ("API key", f"{f'{prefix}_…' if prefix else 'set'}  ({described(found.api_key_source, ENV_API_KEY)})"),
            ("profile", facts["profile"] or ABSENT),
            ("user", facts["user_email"] or ABSENT),
            ("client", facts["client_id"] or ABSENT),
            ("logged in", local_time(facts["written_at"])),
        ]
    )


@click.command()
@deployment_options
@click.option("--revoke", is_flag=True, help="Have the deployment refuse the key from now on, too.")
def logout(base_url: str | None, profile: str | None, revoke: bool) -> None:
    """Forget a profile's key.

    With --revoke the deployment refuses it from now on, wherever it was copied to.

    \b
    Example:
      robotrace logout
      robotrace logout --revoke --profile "my lab"
    """
    path = credentials_path()
    name = profile_name(profile)
    # A mistyped name must not look like a logout.
    stored = read_profile(profile)
    if name not in read_profiles(path):
        click.echo("Not logged in: there is nothing to forget.")
    else:
        revoked = _revoke(base_url, stored, path=str(path), name=name) if revoke else None
        delete_profile(path, name)
        click.echo(f"Logged out: profile {name!r} is gone from {path}.{f' {revoked}' if revoked else ''}")
    if os.environ.get(ENV_API_KEY):
        click.echo(f"{ENV_API_KEY} is set in the environment and stays in force.")


def key_prefix(key: str) -> str | None:
    """The part of a key that may be shown; None where the key has not our form, so that no part is known to be."""
    match = _OUR_KEY.match(key)
    return match[1] if match else None


def described(source: Source | None, variable: str) -> str:
    """A source as people call it."""
    return {"argument": "argument", "environment": variable, "file": "credentials file", None: "nowhere"}[source]


def _stored(name: str) -> dict[str, Any]:
    """The profile as it is, which for a login may well not be there."""
    table = read_profiles(credentials_path()).get(name)
    return table if isinstance(table, dict) else {}


def _login_url(base_url: str | None, stored: dict[str, Any]) -> tuple[str, Source | None]:
    candidates: tuple[tuple[str | None, Source | None], ...] = (
        (base_url, "argument"),
        (os.environ.get(ENV_BASE_URL), "environment"),
        (_text(stored.get("base_url")), "file"),
        (_DEFAULT_BASE_URL, None),
    )
    url, source = next((url.strip(), source) for url, source in candidates if url and url.strip())
    return checked_url(url), source


def _already(name: str, stored: dict[str, Any], wanted: str | None) -> None:
    where = _text(stored.get("base_url"))
    if wanted is not None and where is not None and where.rstrip("/") != wanted:
        raise ConfigurationError(
            f"profile {name!r} is logged in to {where}; --force replaces that, --profile NAME keeps both"
        )
    email = _text(stored.get("user_email"))
    who = f"{f' to {where}' if where else ''}{f' as {email}' if email else ''}"
    click.echo(f"Already logged in{who} (profile {name!r}); --force logs in again.")


def _run(url: str, *, no_browser: bool) -> Any:
    # Here: httpx takes 70 ms, and `robotrace --help` needs none.
    from robotrace.cli.device_flow import LoginError, start_login, wait_for_approval
    from robotrace.transport import Transport

    transport = Transport(Target(url, ""))
    try:
        started = start_login(transport, socket.gethostname())
        click.echo(f"To log this machine in to {url}, open\n\n  {started.uri_complete}\n")
        click.echo(f"and approve it if the page shows this code:  {started.user_code}\n")
        if not no_browser and _has_display():
            _open_browser(started.uri_complete)
        click.echo("Waiting for the approval … (Ctrl-C ends it)")
        return wait_for_approval(transport, started)
    except KeyboardInterrupt:
        raise LoginError("the login was given up; nothing was stored") from None
    finally:
        transport.close()


def _has_display() -> bool:
    if os.environ.get("BROWSER"):
        return True
    if os.environ.get("SSH_CONNECTION"):  # a window would open where nobody sits
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_browser(url: str) -> None:
    try:
        webbrowser.open(url)
    except (webbrowser.Error, OSError):  # the address is on the screen
        pass


def _agreed_url(ours: str, theirs: str | None) -> tuple[str, str | None]:
    """Where the key is for: what the deployment calls itself, unless that is no URL or would give up encryption."""
    if theirs is None or theirs.rstrip("/") == ours:
        return ours, None
    try:
        checked = checked_url(theirs)
    except ConfigurationError:
        return ours, "The deployment calls itself by an address that is no URL; it was not taken over."
    if urlsplit(ours).scheme.lower() == "https" and urlsplit(checked).scheme.lower() != "https":
        return ours, f"The deployment calls itself {checked}, without encryption; it was not taken over."
    return checked, None


def _hints(name: str, url: str, former: str | None) -> list[str]:
    """What the person has to know to use the key; ``former``: the deployment of the key that it replaces."""
    lines = []
    if former is not None:
        keys = f"{former.rstrip('/')}/portal/api-keys"
        lines.append(f"The former key of this profile stays in force until it is revoked: {keys}")
    if name != profile_name():
        lines.append(f"To use this profile: --profile {name!r}, or {ENV_PROFILE}={name!r} in the environment.")
    for variable, other in ((ENV_API_KEY, None), (ENV_BASE_URL, url)):
        value = os.environ.get(variable, "").strip()
        if value and value.rstrip("/") != other:
            lines.append(f"{variable} is set in the environment and wins over this login.")
    return lines


def _revoke(base_url: str | None, stored: Any, *, path: str, name: str) -> str:
    """Have the deployment that made the stored key refuse it; returns what to say."""
    from robotrace.transport import Transport

    key = _text(stored.get("api_key"))
    if key is None:
        return "There was no key to revoke."
    # The stored address before the environment's: a key is only ever shown to the deployment that made it.
    url = base_url or _text(stored.get("base_url")) or os.environ.get(ENV_BASE_URL)
    if not url:
        raise ConfigurationError(f"profile {name!r} names no deployment that could revoke its key; pass --base-url")
    transport = Transport(Target(checked_url(url.strip()), checked_key(key)), timeout=_REVOKE_TIMEOUT_S)
    try:
        answer = transport.call("POST", "/api/cli/auth/revoke")
    except AuthError:
        return "The deployment did not know the key any more."
    except RobotraceError as exc:
        raise RobotraceError(
            f"the key was not revoked, and {path} keeps it: {exc}; without --revoke it is forgotten here only"
        ) from exc
    finally:
        transport.close()
    prefix = answer.get("key_prefix")
    shown = prefix if isinstance(prefix, str) and key.startswith(prefix) and len(prefix) <= 20 else None
    return f"The deployment refuses the key {f'{shown}_… ' if shown else ''}from now on."


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _moment(value: object) -> str | None:
    # Ours is text; TOML has times of its own, which somebody may have typed.
    return value.isoformat() if isinstance(value, datetime) else _text(value)
