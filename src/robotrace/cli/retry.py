"""``robotrace retry``: episodes that were refused for good, and another try for them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from robotrace.cli.options import json_option
from robotrace.cli.output import Column, clean, episode_count, print_json, print_table
from robotrace.deliver.files import read_json
from robotrace.deliver.spool import find_spool

__all__ = ["retry"]


@click.command(short_help="List what was refused, and deliver it once more.")
@click.argument("uuids", metavar="[UUID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
def retry(uuids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Deliver once more what a deployment refused for good.

    Without arguments it lists those episodes, and why each was refused. The ones named go back among the waiting ones,
    and whoever uploads on this machine takes them; `robotrace sync` does it now. The beginning of a UUID is enough.

    \b
    Example:
      robotrace retry
      robotrace retry --all && robotrace sync
    """
    spool = find_spool()
    failed = {folder.name: folder for folder in spool.failed_folders()}
    if not uuids and not everything:
        _list([_described(folder) for folder in failed.values()], as_json)
        return
    chosen = list(failed) if everything else [_found(name, failed) for name in uuids]
    moved: list[str] = []
    damaged: list[str] = []
    for name in dict.fromkeys(chosen):
        (damaged if spool.retry(failed[name]) is None else moved).append(name)
    if as_json:
        print_json({"retried": moved, "damaged": damaged})
    else:
        click.echo(f"{episode_count(len(moved))} waiting again")
        for name in damaged:
            click.echo(f"! {clean(name)} has no manifest and stays where it is: {clean(str(failed[name]))}", err=True)
    if damaged:
        sys.exit(1)


def _found(name: str, failed: dict[str, Path]) -> str:
    matching = [uuid for uuid in failed if uuid.startswith(name)]
    if len(matching) != 1:
        what = "no refused episode begins" if not matching else f"{len(matching)} refused episodes begin"
        raise click.BadParameter(f"{what} with {name!r}; `robotrace retry` lists them", param_hint="UUID")
    return matching[0]


def _described(folder: Path) -> dict[str, Any]:
    create = (read_json(folder / "manifest.json") or {}).get("create", {})
    try:
        reason = (folder / "reason.txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        reason = None
    return {"uuid": folder.name, "name": create.get("name"), "reason": reason, "path": str(folder)}


def _list(episodes: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"failed": episodes})
    elif not episodes:
        click.echo("nothing was refused")
    else:
        columns = [Column("UUID"), Column("name", least=8), Column("reason", least=20)]
        print_table(columns, [[item["uuid"], item["name"] or "-", item["reason"] or "-"] for item in episodes])
