"""``robotrace clean``: give back what the spool takes."""

from __future__ import annotations

import time
from pathlib import Path

import click

from robotrace.cli.options import json_option
from robotrace.cli.output import episode_count, print_json, size
from robotrace.deliver.files import folder_bytes
from robotrace.deliver.spool import find_spool

__all__ = ["clean"]


@click.command(short_help="Delete what is no longer needed on this machine.")
@click.option("--failed", is_flag=True, help="Also the episodes that were refused for good.")
@click.option("--waiting", is_flag=True, help="Also the episodes that were never delivered.")
@click.option(
    "--older-than", metavar="DAYS", type=click.FloatRange(min=0), default=0.0, help="Only what is older.  [default: 0]"
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def clean(failed: bool, waiting: bool, older_than: float, yes: bool, as_json: bool) -> None:
    """Delete what is no longer needed on this machine.

    Half-deleted folders and old receipts go; episodes only where that is asked for, after a question, since they are
    nowhere else. What a process is recording is left alone.

    \b
    Example:
      robotrace clean
      robotrace clean --failed --older-than 30
    """
    spool = find_spool()
    before = folder_bytes(spool.root)
    limit = time.time() - older_than * 86400
    chosen: list[Path] = []
    if failed:
        chosen += [folder for folder in spool.failed_folders() if _is_older(folder, limit)]
    if waiting:
        chosen += [entry.folder for entry in spool.sealed_episodes() if _is_older(entry.folder, limit)]
    if chosen and not yes:
        taken = size(sum(folder_bytes(folder) for folder in chosen))
        question = f"Delete {episode_count(len(chosen))} ({taken}) that no deployment has?"
        click.confirm(question, abort=True, err=True)
    for folder in chosen:
        spool.discard(folder)
    spool.tidy()
    freed = max(0, before - folder_bytes(spool.root))
    if as_json:
        print_json({"episodes": len(chosen), "bytes": freed})
    else:
        click.echo(f"{episode_count(len(chosen))} deleted, {size(freed)} given back")


def _is_older(folder: Path, limit: float) -> bool:
    try:
        return folder.stat().st_mtime <= limit
    except OSError:  # delivered in this moment
        return False
