"""``robotrace status``: where episodes go, whether they can get there, and what still waits."""

from __future__ import annotations

import sys
import time
import uuid
from dataclasses import asdict
from typing import Any

import click

from robotrace.cli.login import described, key_prefix
from robotrace.cli.options import deployment_options, json_option
from robotrace.cli.output import ABSENT, clean, episode_count, print_facts, print_json, size
from robotrace.config import (
    ENV_API_KEY,
    ENV_BASE_URL,
    Target,
    checked_url,
    mode,
    profile_name,
    recording_enabled,
    resolve_target,
    target_settings,
)
from robotrace.deliver.overview import SpoolOverview, StateOverview, look_into
from robotrace.deliver.spool import find_spool
from robotrace.errors import APIError, AuthError, ConfigurationError, NotFoundError, ServerError, TransportError

__all__ = ["ask_deployment", "status"]

_TIMEOUT_S = 5.0
_SPOOL_STATES = ("recording", "waiting", "uploading", "failed")


@click.command()
@deployment_options
@json_option
@click.option("--check", is_flag=True, help="Exit with 1 when something is wrong.")
def status(base_url: str | None, profile: str | None, as_json: bool, check: bool) -> None:
    """Show where episodes go and what waits.

    Which deployment is configured, whether it answers and takes the key, and what is in this machine's spool.
    Asks the deployment one question; changes nothing.

    \b
    Example:
      robotrace status
      robotrace status --check --json
    """
    configuration = _configuration(base_url, profile)
    deployment = _deployment(base_url, profile, configured=configuration["configured"])
    spool = find_spool()
    overview = look_into(spool)
    problems = _problems(deployment, overview)
    if as_json:
        print_json(
            {
                "mode": configuration["mode"],
                "recording": configuration["recording"],
                "profile": configuration["profile"],
                "base_url": configuration["base_url"],
                "base_url_source": configuration["base_url_source"],
                "api_key_prefix": configuration["api_key_prefix"],
                "api_key_source": configuration["api_key_source"],
                "deployment": deployment,
                "spool": {"path": str(spool.root), **asdict(overview)},
                "problems": problems,
            }
        )
    else:
        _print(configuration, deployment, str(spool.root), overview, problems)
    if check and problems:
        sys.exit(1)


def ask_deployment(base_url: str | None, profile: str | None) -> tuple[str, str | None]:
    """How the configured deployment is: its state, as in ``status --json``, and a detail."""
    found = _deployment(base_url, profile, configured=_configuration(base_url, profile)["configured"])
    return found["state"], found["detail"]


def _configuration(base_url: str | None, profile: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "mode": mode(),
        "recording": recording_enabled(),
        "profile": None,
        "base_url": None,
        "base_url_source": None,
        "api_key_prefix": None,
        "api_key_source": None,
        "configured": True,
    }
    try:
        found = target_settings(base_url=base_url, profile=profile)
    except ConfigurationError:  # said by what asks the deployment
        return facts
    facts["configured"] = bool(found.api_key or found.base_url)
    if "file" in (found.api_key_source, found.base_url_source):
        facts["profile"] = profile_name(profile)
    facts["base_url"], facts["base_url_source"] = _usable(found.base_url), found.base_url_source
    facts["api_key_prefix"], facts["api_key_source"] = key_prefix(found.api_key), found.api_key_source
    return facts


def _usable(url: str) -> str | None:
    # What cannot be used is not shown: it may carry a password. What asks the deployment says what is wrong with it.
    try:
        return checked_url(url) if url else None
    except ConfigurationError:
        return None


def _deployment(base_url: str | None, profile: str | None, *, configured: bool) -> dict[str, Any]:
    """``state``: ok, none (nothing is configured), configuration, key refused, unreachable, failing, unexpected."""
    if not configured:
        return {"state": "none", "detail": None}
    try:
        target = resolve_target(base_url=base_url, profile=profile)
        return _ask(target)
    except ConfigurationError as exc:
        return {"state": "configuration", "detail": str(exc)}


def _ask(target: Target) -> dict[str, Any]:
    from robotrace.transport import Transport

    transport = Transport(target, timeout=_TIMEOUT_S)
    try:
        # The one question every deployment answers without changing anything: an episode that nobody has.
        transport.call("GET", f"/api/episodes/{uuid.UUID(int=0)}")
    except NotFoundError as exc:
        if isinstance(exc.response_body, dict):
            return {"state": "ok", "detail": None}
        return {"state": "unexpected", "detail": "what answers there is no RoboTrace deployment (HTTP 404)"}
    except AuthError as exc:
        return {"state": "key refused", "detail": clean(str(exc))}
    except TransportError as exc:
        return {"state": "unreachable", "detail": clean(str(exc))}
    except ServerError as exc:
        return {"state": "failing", "detail": clean(str(exc))}
    except APIError as exc:
        if exc.status_code == 403:
            return {"state": "key refused", "detail": clean(str(exc))}
        return {"state": "unexpected", "detail": clean(f"HTTP {exc.status_code}: {exc}")}
    finally:
        transport.close()
    return {"state": "ok", "detail": None}


def _problems(deployment: dict[str, Any], overview: SpoolOverview) -> list[str]:
    problems = []
    state = deployment["state"]
    if state == "configuration":
        problems.append(str(deployment["detail"]))
    elif state == "key refused":
        problems.append("the deployment refuses the API key; run `robotrace login --force`")
    elif state not in ("ok", "none"):
        problems.append(f"the deployment cannot be used: {deployment['detail']}")
    waiting = overview.waiting.count + overview.uploading.count
    if state == "none" and waiting and not overview.uploader_running:
        problems.append(
            f"{episode_count(waiting)} in the spool, and nothing takes them; run `robotrace serve` or log in"
        )
    if overview.failed.count:
        problems.append(f"{episode_count(overview.failed.count)} refused for good; `robotrace retry` says why")
    return problems


def _print(
    configuration: dict[str, Any],
    deployment: dict[str, Any],
    root: str,
    overview: SpoolOverview,
    problems: list[str],
) -> None:
    url, prefix = configuration["base_url"], configuration["api_key_prefix"]
    url_source = described(configuration["base_url_source"], ENV_BASE_URL)
    key_source = described(configuration["api_key_source"], ENV_API_KEY)
    key = f"{f'{prefix}_…' if prefix else 'set'}  ({key_source})" if configuration["api_key_source"] else "none"
    detail = f": {deployment['detail']}" if deployment["detail"] else ""
    recording = "on" if configuration["recording"] else "off"
    print_facts(
        [
            ("deployment", f"{url or 'no valid URL'}  ({url_source})" if configuration["base_url_source"] else "none"),
            ("API key", key),
            ("profile", configuration["profile"] or ABSENT),
            ("mode", f"{configuration['mode']}, recording {recording}"),
            ("answers", ABSENT if deployment["state"] == "none" else f"{deployment['state']}{detail}"),
            ("spool", root),
            *((f"  {name}", _state_line(name, getattr(overview, name))) for name in _SPOOL_STATES),
            ("  delivered", f"{overview.done} (by receipt)"),
            ("  uploader", _uploader_line(overview)),
            *([("  last error", overview.last_error)] if overview.last_error else []),
        ]
    )
    for problem in problems:
        click.echo(clean(f"! {problem}"))


def _uploader_line(overview: SpoolOverview) -> str:
    if not overview.uploader_running:
        return "not running"
    told = overview.uploader or {}
    counts = ", ".join(
        f"{told[name]} {name}" for name in ("uploaded", "retried", "failed", "salvaged") if told.get(name)
    )
    waits = "".join(f", {host} left alone for {seconds:.0f} s" for host, seconds in told.get("waits_s", {}).items())
    paused = ", paused" if told.get("paused") else ""
    return f"running{f': {counts}' if counts else ''}{paused}{waits}"


def _state_line(name: str, state: StateOverview) -> str:
    if not state.count:
        return "0"
    what = (
        ("process" if state.count == 1 else "processes")
        if name == "recording"
        else "episodes"
        if state.count > 1
        else "episode"
    )
    age = "" if state.oldest_unix_s is None else f", oldest {_age(time.time() - state.oldest_unix_s)} ago"
    return f"{state.count} {what}, {size(state.bytes)}{age}"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
