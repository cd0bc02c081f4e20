"""``robotrace export``: episodes as files of other tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robotrace.cli.options import deployment_options, episode_ids, json_option
from robotrace.cli.output import CountBar, clean, print_json, size
from robotrace.cli.reruns import EpisodeFinder
from robotrace.deliver.files import is_disk_full
from robotrace.errors import ConfigurationError, RobotraceError

if TYPE_CHECKING:
    from robotrace.export import Exported
    from robotrace.reroll.episodes import FoundEpisode

__all__ = ["export"]

_FORMATS = ("mcap", "hdf5", "csv")
_UNSAFE = re.compile(r"[^\w.-]+")


@click.command(short_help="Export episodes: MCAP, HDF5, CSV.")
@click.argument("episodes", metavar="EPISODE…", nargs=-1, required=True, callback=episode_ids)
@click.option(
    "--format", "format_name", type=click.Choice(_FORMATS), default="mcap", show_default=True, help="As what."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    default=Path(),
    help="Where to: a file ID.FORMAT for each episode.  [default: the working directory]",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@deployment_options
@json_option
def export(
    base_url: str | None,
    profile: str | None,
    as_json: bool,
    force: bool,
    output: Path,
    format_name: str,
    episodes: list[str],
) -> None:
    """Write episodes as files of other tools.

    EPISODE is a folder, an entry of this machine's spool, or an id on a deployment (or the address of its page); @FILE
    has one a line.

    mcap: everything on one clock, for Foxglove and Rerun; the video is not encoded anew. hdf5: everything in one file,
    to the bit; `robotrace import` reads it back. csv: the numbers as one table, for pandas and spreadsheets.

    Each file is there whole or not at all. An episode that cannot be exported is one line, and the others are; exit
    code 1 then.

    \b
    Example:
      robotrace export 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11
      robotrace export @failures.txt --format hdf5 -o failures
    """
    from robotrace.export import FORMATS

    chosen = FORMATS[format_name]
    if chosen.missing is not None:
        raise ConfigurationError(f"{chosen.label} needs {' and '.join(chosen.packages)}; run: {chosen.missing}")
    output.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for text in episodes:
        try:
            # One finder each: what it fetched is gone before the next one comes.
            with EpisodeFinder(base_url, profile) as finder:
                if not Path(text).exists():  # a folder's file is named after what is in it
                    _free_path(output, text, format_name, force=force)  # before anything is downloaded
                found = finder.find(text, videos=format_name != "csv")
                path = _free_path(output, found.label, format_name, force=force)
                exported = _export(found, format_name, path, as_json=as_json)
        except (RobotraceError, OSError) as exc:
            if len(episodes) == 1 or is_disk_full(exc):
                raise
            failed.append({"episode": text, "error": str(exc)})
            click.echo(f"robotrace: {clean(f'{text}: {exc}')}", err=True)
            continue
        done.append(
            {
                "episode": found.label,
                "path": str(exported.path),
                "size": exported.size,
                "streams": exported.streams,
                "left_out": exported.left_out,
            }
        )
        if not as_json:
            click.echo(clean(f"{exported.path}  {exported.streams} streams, {size(exported.size)}"))
            for name, why in exported.left_out.items():
                click.echo(clean(f"  left out: {name}, {why}"), err=True)
    if as_json:
        print_json({"exported": done, "failed": failed})
    if failed:
        click.get_current_context().exit(1)


def _free_path(folder: Path, label: str, format_name: str, *, force: bool) -> Path:
    """The file of an episode; a label is an id, or the path of a folder."""
    path = folder / f"{_UNSAFE.sub('-', Path(label).resolve().name)}.{format_name}"
    if path.exists() and not force:
        raise ConfigurationError(f"{path} exists already; --force replaces it")
    return path


def _export(found: FoundEpisode, format_name: str, path: Path, *, as_json: bool) -> Exported:
    from robotrace.export import ExportedEpisode, export_episode

    episode = ExportedEpisode(found.label, {**found.described, "name": found.name}, found.metadata, found.files)
    if not found.files:
        raise RobotraceError(f"{found.label} has no files")
    with CountBar("exporting", enabled=not as_json) as bar:
        return export_episode(episode, format_name, path, on_progress=bar.show)
