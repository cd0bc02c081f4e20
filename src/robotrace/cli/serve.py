"""``robotrace serve``: a deployment of your own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType

import click

from robotrace.cli.embedded import DEFAULT_PORT, EmbeddedDeployment, default_data_dir
from robotrace.cli.serve_check import show_check
from robotrace.config import (
    ENV_API_KEY,
    ENV_BASE_URL,
    ENV_SERVE_DATABASE,
    ENV_SERVE_SECRET,
    ENV_SERVE_STORAGE,
)

__all__ = ["serve"]


@click.command(short_help="Start a deployment of your own, with its portal.")
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address to listen on.")
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
      robotrace serve --database postgresql://robotrace@db/robotrace --storage s3://robot-episodes --check
    """
    data_dir = data_dir or default_data_dir()
    secret = os.environ.get(ENV_SERVE_SECRET, "")
    if check:
        show_check(data_dir, host, port, database=database, storage=storage, secret=secret, as_json=as_json)
        return
    signal.signal(signal.SIGTERM, _stop)
    with EmbeddedDeployment(
        data_dir,
        host,
        port,
        drain=drain,
        render_failed=render_failed,
        import_from=import_from,
        database=database,
        storage=storage,
        secret=secret,
    ) as embedded:
        deployment = embedded.deployment
        key = deployment.first_key or (deployment.create_key("made by serve --new-key") if new_key else None)
        click.echo(f"RoboTrace is running:  {deployment.base_url}/portal/episodes")
        if key is not None:
            click.echo("\nAPI key, shown this once (for programs on this machine that upload themselves):")
            click.echo(f"  export {ENV_BASE_URL}={deployment.base_url}")
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
