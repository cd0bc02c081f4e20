"""``robotrace serve``: a deployment of your own."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from robotrace.cli.embedded import DEFAULT_PORT, EmbeddedDeployment, default_data_dir
from robotrace.cli.serve_check import show_check
from robotrace.cli.serve_logs import log_requests
from robotrace.config import (
    ENV_API_KEY,
    ENV_BASE_URL,
    ENV_SERVE_DATABASE,
    ENV_SERVE_SECRET,
    ENV_SERVE_STORAGE,
)

__all__ = ["serve"]

_ENV = "ROBOTRACE_SERVE_"

if TYPE_CHECKING:
    _RateType = click.ParamType[float]
else:
    _RateType = click.ParamType  # generic in recent versions of click only


class _Rate(_RateType):
    """A positive number, or "off", which is None."""

    name = "off|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value).strip().lower()
        if text == "off":
            return None
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if not 0.0 < rate < 1e6:
            self.fail(f"{value!r} is neither off nor a number of calls a second", param, ctx)
        return rate


_RATE = _Rate()


@click.command(short_help="Start a deployment of your own, with its portal.")
@click.option("--host", default="127.0.0.1", show_default=True, help="An address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=True, path_type=Path),
    help="Database and artifacts.  [default: ~/.robotrace/deployment]",
)
@click.option(
    "--drain/--no-drain",
    default=None,
    help="Take over the episodes in this machine's spool.  [default: unless another deployment is configured]",
)
@click.option(
    "--render-failed",
    is_flag=True,
    help="Make the video of each failed episode that has none, by running it again; one at a time.",
)
@click.option(
    "--import-from",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    multiple=True,
    help="Folder of your own environments, for episodes that run again to import.  [repeatable]",
)
@click.option(
    "--public-url",
    metavar="URL",
    envvar=f"{_ENV}PUBLIC_URL",
    help="Where others reach it: https://team.example. Its pages then ask for a key.",
)
@click.option(
    "--forwarded-allow-ips",
    metavar="IPS",
    envvar=f"{_ENV}FORWARDED_ALLOW_IPS",
    help="Proxies whose X-Forwarded-For is believed.  [default: with --public-url those on this machine]",
)
@click.option(
    "--rate-limit",
    type=_RATE,
    envvar=f"{_ENV}RATE_LIMIT",
    default="200",
    show_default=True,
    help="Calls a second and key, four times as many at once; or off.",
)
@click.option(
    "--audit-days",
    type=click.IntRange(1, 36_500),
    envvar=f"{_ENV}AUDIT_DAYS",
    default=400,
    show_default=True,
    help="How long the audit log goes back.",
)
@click.option(
    "--trace-url",
    metavar="URL",
    envvar=f"{_ENV}TRACE_URL",
    help="Where a trace is to be seen: 'https://jaeger.example/trace/{trace_id}'.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar=f"{_ENV}LOG_FORMAT",
    help="Write a line for each request to stderr.",
)
@click.option(
    "--metrics",
    type=click.Choice(["local", "key", "public"]),
    envvar=f"{_ENV}METRICS",
    default="local",
    show_default=True,
    help="Who reads /metrics: this machine (not with --public-url), whoever has a key, everybody.",
)
@click.option(
    "--reap-after",
    type=click.FloatRange(0.0, 36_500.0),
    metavar="DAYS",
    envvar=f"{_ENV}REAP_AFTER",
    default=7.0,
    show_default=True,
    help="Count an episode as failed that nothing came for in so long; 0: never.",
)
@click.option(
    "--grace",
    type=click.IntRange(0, 86_400),
    metavar="SECONDS",
    envvar=f"{_ENV}GRACE",
    default=20,
    show_default=True,
    help="What requests under way get when it stops.",
)
@click.option(
    "--database",
    metavar="URL",
    default="",
    envvar=ENV_SERVE_DATABASE,
    help="postgresql://USER@HOST/NAME.  [default: SQLite in the data folder]",
)
@click.option(
    "--storage",
    metavar="URL",
    default="",
    envvar=ENV_SERVE_STORAGE,
    help="s3://BUCKET/PREFIX, gs:// or az://; credentials come from the environment.  [default: the data folder]",
)
@click.option("--check", is_flag=True, help="Try database, storage, data folder and port, say what works, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --check: as JSON.")
@click.option("--new-key", is_flag=True, help="Make one more API key and print it.")
def serve(
    host: str,
    port: int,
    data_dir: Path | None,
    drain: bool | None,
    render_failed: bool,
    import_from: tuple[Path, ...],
    public_url: str | None,
    forwarded_allow_ips: str | None,
    rate_limit: float | None,
    audit_days: int,
    trace_url: str | None,
    log_format: str | None,
    metrics: str,
    reap_after: float,
    grace: int,
    database: str,
    storage: str,
    check: bool,
    as_json: bool,
    new_key: bool,
) -> None:
    """Start the embedded deployment: the API, the store and the portal.

    Episodes recorded on this machine arrive in it by themselves, also those recorded while it was down.

    \b
    Example:
      robotrace serve
      robotrace serve --port 9000 --data-dir /data/robotrace
      robotrace serve --render-failed --import-from ~/my_envs
      robotrace serve --public-url https://team.example
      robotrace serve --database postgresql://robotrace@db/robotrace --storage s3://robot-episodes --check
    """
    data_dir = data_dir or default_data_dir()
    settings: dict[str, Any] = {
        "data_dir": data_dir,
        "host": host,
        "port": port,
        "render_failed": render_failed,
        "import_from": import_from,
        "public_url": public_url,
        "forwarded_allow_ips": forwarded_allow_ips,
        "rate_limit": rate_limit,
        "audit_days": audit_days,
        "trace_url": trace_url or None,
        "metrics": metrics,
        "reap_after": timedelta(days=reap_after) if reap_after else None,
        "grace_s": grace,
        "database": database,
        "storage": storage,
        "secret": os.environ.get(ENV_SERVE_SECRET, ""),
    }
    if check:
        show_check(**settings, as_json=as_json)
        return
    signal.signal(signal.SIGTERM, _stop)
    if log_format is not None:
        log_requests(log_format)
    with EmbeddedDeployment(**settings, drain=drain) as embedded:
        deployment = embedded.deployment
        key = deployment.first_key or (deployment.create_key("made by serve --new-key") if new_key else None)
        click.echo(f"RoboTrace is running:  {deployment.public_url}/portal/episodes")
        if key is not None:
            use = (
                "to sign in to the pages, and for programs that upload"
                if deployment.asks_for_sign_in
                else ("for programs on this machine that upload themselves")
            )
            click.echo(f"\nAPI key, shown this once ({use}):")
            click.echo(f"  export {ENV_BASE_URL}={deployment.public_url}")
            click.echo(f"  export {ENV_API_KEY}={key}")
        if embedded.spool is not None:
            click.echo(f"\nEpisodes in {embedded.spool.root} arrive here by themselves.")
        else:
            where = f"go to {embedded.elsewhere}, as configured" if embedded.elsewhere else "stay where they are"
            click.echo(f"\nThis machine's episodes {where}; --drain takes them here.")
        click.echo(f"Data: {data_dir}    Stop: Ctrl-C")
        try:
            deployment.wait()
        except KeyboardInterrupt:
            click.echo("\nstopping …")


def _stop(number: int, frame: FrameType | None) -> None:
    # As Ctrl-C: a service manager's SIGTERM ends requests and uploads in order, too.
    raise KeyboardInterrupt
