"""``robotrace log``: a finished episode into a deployment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO, cast, get_args

import click

from robotrace.cli.options import deployment_options, json_option, label_options, open_client, page_url
from robotrace.cli.output import print_json, progress_bars
from robotrace.ingest import EpisodeFinalStatus, EpisodeSource

__all__ = ["log"]


def _object(ctx: click.Context, option: click.Parameter, file: TextIO | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        value = json.load(file)
    except (ValueError, RecursionError) as exc:
        raise click.BadParameter(f"{file.name} is not JSON: {exc}", ctx, option) from exc
    if not isinstance(value, dict):
        raise click.BadParameter(f"{file.name} holds no JSON object", ctx, option)
    return value


@click.command(short_help="Log one finished episode, its files included.")
@click.option("--name", metavar="TEXT", help="What to call it.")
@label_options
@click.option(
    "--source",
    type=click.Choice(get_args(EpisodeSource)),
    default="real",
    show_default=True,
    help="Where it was recorded.",
)
@click.option("--fps", type=float, help="Frames (or steps) a second.")
@click.option("--duration", type=float, metavar="SECONDS", help="From its start to its end.")
@click.option("--failure-time", type=float, metavar="SECONDS", help="When it failed, from its start.")
@click.option(
    "--metadata-file",
    type=click.File(encoding="utf-8"),
    metavar="FILE.json",
    callback=_object,
    help="A JSON object; --metadata goes on top.  [-: standard input]",
)
@click.option("--video", type=click.Path(path_type=Path), metavar="FILE", help="A video: .mp4 .webm .mov .m4v .mkv")
@click.option("--sensors", type=click.Path(path_type=Path), metavar="FILE", help="Arrays: .npz, .h5, .parquet, …")
@click.option("--actions", type=click.Path(path_type=Path), metavar="FILE", help="Arrays: .npz, .h5, .parquet, …")
@deployment_options
@json_option
def log(
    base_url: str | None,
    profile: str | None,
    as_json: bool,
    source: str,
    status: str,
    duration: float | None,
    failure_time: float | None,
    metadata: dict[str, Any],
    metadata_file: dict[str, Any],
    **fields: Any,
) -> None:
    """Log one finished episode: open it, upload the files given, close it.

    Prints the address of its page. What is not given stays empty.

    \b
    Example:
      robotrace log --name "pick 7" --policy-version act-v7 --video rollout.mp4 --sensors sensors.npz
      robotrace log --status failed --failure-time 3.2 --metadata task=pick --metadata 'outcome={"success": false}'
    """
    if failure_time is not None and status != "failed":
        raise click.UsageError("--failure-time goes with --status failed only")
    with open_client(base_url, profile) as client, progress_bars() as progress:
        episode = client.log_episode(
            source=cast("EpisodeSource", source),
            status=cast("EpisodeFinalStatus", status),
            duration_s=duration,
            failure_time_s=failure_time,
            metadata={**metadata_file, **metadata} or None,
            progress=progress,
            **fields,
        )
        url = page_url(client, "episodes", episode.id)
    if as_json:
        print_json({"episode_id": episode.id, "status": episode.status, "url": url})
    else:
        click.echo(url)
