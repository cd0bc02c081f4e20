"""``robotrace demo``: from nothing to a portal full of episodes."""

from __future__ import annotations

import os
import socket
import time
import webbrowser
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from robotrace.cli.embedded import DEFAULT_PORT, EmbeddedDeployment
from robotrace.config import ENV_ENABLED, ENV_MODE, ENV_SPOOL_DIR, home_dir
from robotrace.errors import ConfigurationError, RobotraceError

__all__ = ["demo"]

_ENTRY_POINTS = "robotrace.demos"
_NAME = "cartpole"
_ARRIVAL_TIMEOUT_S = 120.0
_POLL_S = 0.1


@click.command(short_help="Record real episodes and show them in the portal.")
@click.option("--episodes", default=36, show_default=True, type=click.IntRange(2, 2000), help="How many to record.")
@click.option("--port", type=click.IntRange(0, 65535), help=f"[default: {DEFAULT_PORT}, else any free one]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="[default: ~/.robotrace/demo]")
@click.option("--no-browser", is_flag=True, help="Do not open the portal.")
@click.option("--exit-when-done", is_flag=True, help="End when every episode has arrived, instead of serving on.")
def demo(episodes: int, port: int | None, data_dir: Path | None, no_browser: bool, exit_when_done: bool) -> None:
    """Record real episodes, upload them in the background, and show them in the portal.

    Two policies balance a pole (CartPole-v1): a good one, and a bad one that lets it fall. Everything stays in one
    folder of its own; delete it to undo the demo.

    \b
    Example:
      robotrace demo
      robotrace demo --no-browser --exit-when-done
    """
    folder = data_dir or home_dir() / "demo"
    # A spool of its own: the user's waiting episodes are none of the demo's business.
    os.environ[ENV_SPOOL_DIR] = str(folder / "spool")
    # The embedded deployment's uploader takes the episodes, whatever else is configured.
    os.environ[ENV_MODE] = "offline"
    os.environ.pop(ENV_ENABLED, None)
    rollouts = _find_rollouts()
    with _start(folder, port) as embedded:
        url = f"{embedded.deployment.base_url}/portal/episodes"
        click.echo(f"portal: {url}")
        before = _statuses(embedded)
        with click.progressbar(rollouts(episodes), length=episodes, label="recording", show_pos=True) as bar:
            for _ in bar:
                pass
        _wait_for_arrival(embedded, episodes)
        _summary(embedded, before, episodes)
        if exit_when_done:
            return
        if not no_browser:
            webbrowser.open(url)
        click.echo(f"\nopen {url}\nfiles: {folder}    stop: Ctrl-C")
        try:
            embedded.deployment.wait()
        except KeyboardInterrupt:
            click.echo("\nstopping …")


def _find_rollouts() -> Callable[[int], Iterator[Any]]:
    # By entry point: the core never imports a plugin.
    found = metadata.entry_points(group=_ENTRY_POINTS, name=_NAME)
    if not found:
        raise ConfigurationError("the demo needs the installed package; run: pip install 'robotrace-dev[demo]'")
    try:
        rollouts: Callable[[int], Iterator[Any]] = next(iter(found)).load()
    except (ModuleNotFoundError, RobotraceError) as exc:
        raise ConfigurationError(f"the demo needs more ({exc}); run: pip install 'robotrace-dev[demo]'") from exc
    return rollouts


def _start(folder: Path, port: int | None) -> EmbeddedDeployment:
    if port is None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", DEFAULT_PORT))
                port = DEFAULT_PORT
            except OSError:
                port = 0
    return EmbeddedDeployment(folder / "deployment", "127.0.0.1", port, drain=True)


def _wait_for_arrival(embedded: EmbeddedDeployment, episodes: int) -> None:
    from robotrace.session import flush

    assert embedded.spool is not None
    flush(_ARRIVAL_TIMEOUT_S)
    deadline = time.monotonic() + _ARRIVAL_TIMEOUT_S
    shown = 0
    with click.progressbar(length=episodes, label="uploading", show_pos=True) as bar:
        while True:
            arrived = episodes - embedded.spool.counts().sealed
            bar.update(max(0, arrived - shown))
            shown = max(shown, arrived)
            if arrived >= episodes:
                return
            if time.monotonic() > deadline:
                raise RobotraceError(
                    f"{episodes - arrived} episode(s) have not arrived in {_ARRIVAL_TIMEOUT_S:.0f} s; they are safe "
                    f"in {embedded.spool.root}"
                )
            time.sleep(_POLL_S)


def _statuses(embedded: EmbeddedDeployment) -> dict[str, str]:
    """Every episode the portal lists, and its status."""
    import httpx

    found: dict[str, str] = {}
    cursor: str | None = None
    with httpx.Client(base_url=embedded.deployment.base_url, trust_env=False) as client:
        while True:
            parameters = {"limit": "200", **({"cursor": cursor} if cursor else {})}
            page = client.get("/portal/episodes.json", params=parameters).raise_for_status().json()
            found.update({episode["id"]: episode["status"] for episode in page["episodes"]})
            cursor = page["next"]
            if cursor is None:
                return found


def _summary(embedded: EmbeddedDeployment, before: dict[str, str], episodes: int) -> None:
    new = [status for uuid, status in _statuses(embedded).items() if uuid not in before]
    counts = ", ".join(f"{new.count(status)} {status}" for status in sorted(set(new)))
    click.echo(f"{len(new)} episodes in the portal: {counts or 'none'}")
    if len(new) != episodes:
        raise RobotraceError(f"{episodes} were to be recorded and {len(new)} have arrived; the lines above say why")
