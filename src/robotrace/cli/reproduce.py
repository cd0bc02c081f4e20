"""``robotrace reproduce``: does an episode happen again?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from robotrace.cli.options import deployment_options, episode_ids, json_option
from robotrace.cli.output import clean, print_json, progress_bars
from robotrace.cli.reruns import EpisodeFinder, import_folders, limits_of, rerun_options, verdict_lines
from robotrace.errors import RobotraceError
from robotrace.reroll.episodes import FoundEpisode
from robotrace.reroll.jobs import Job, Verdict
from robotrace.reroll.pool import ProcessPool

__all__ = ["reproduce"]

_OUTCOMES = {"reproduced": "reproduced", "diverged": "diverged", "not_reproducible": "not reproducible"}


@click.command(short_help="Run an episode again, and compare every value to the bit.")
@click.argument("episodes", metavar="EPISODE…", nargs=-1, required=True, callback=episode_ids)
@click.option(
    "--workers", type=click.IntRange(min=1), help="How many episodes at once.  [default: one a processor core]"
)
@rerun_options
@click.option("--no-store", is_flag=True, help="Do not store the verdict with the episode.")
@deployment_options
@json_option
def reproduce(
    base_url: str | None,
    profile: str | None,
    as_json: bool,
    no_store: bool,
    memory: float,
    timeout: float,
    import_from: tuple[Path, ...],
    workers: int | None,
    episodes: list[str],
) -> None:
    """Make recorded episodes happen again, and prove it.

    EPISODE is a folder, an entry of this machine's spool, or an id on a deployment (or the address of its page); @FILE
    has one a line. The environment is built again from what the recording says, its random state restored, the recorded
    actions applied, and every observation, reward and flag compared to the bit. That imports the environment's code: by
    name, from what is installed here, the working directory and --import-from.

    The verdict is stored with the episode. Exit code 1: an episode diverged, or cannot be reproduced.

    \b
    Example:
      robotrace reproduce 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11
      robotrace reproduce @failures.txt --workers 2 --json
    """
    found: list[FoundEpisode] = []
    rows: list[tuple[int, Verdict, str | None]] = []
    unfound: list[tuple[str, str]] = []
    folders = import_folders(import_from)
    with EpisodeFinder(base_url, profile) as finder, progress_bars("{} steps".format) as bars:

        def jobs() -> Iterator[Job]:
            for text in episodes:
                try:
                    episode = finder.find(text)
                except RobotraceError as exc:
                    if len(episodes) == 1:
                        raise
                    unfound.append((text, str(exc)))
                    continue
                found.append(episode)
                yield episode.job(import_from=folders)

        def progress(position: int, done: int, total: int) -> None:
            if len(episodes) == 1:
                bars(found[position].name or found[position].label, done, total)

        pool = ProcessPool(workers, limits=limits_of(timeout, memory))
        for position, verdict in pool.run(jobs(), on_progress=progress):
            why = "not asked to" if no_store else finder.store(found[position], verdict)
            rows.append((position, verdict, why))
            if not as_json:
                bars("", 0, None)
                _print(found[position], verdict, len(rows) + len(unfound), len(episodes), None if no_store else why)
    for text, why in unfound:
        click.echo(f"robotrace: {clean(f'{text}: {why}')}", err=True)
    counts = {name: sum(verdict.verdict == name for _, verdict, _ in rows) for name in _OUTCOMES}
    if as_json:
        print_json(
            {
                "episodes": [
                    {
                        "episode": found[position].label,
                        "name": found[position].name,
                        **verdict.to_dict(),
                        "stored": why is None,
                    }
                    for position, verdict, why in sorted(rows, key=lambda row: row[0])
                ],
                "not_found": [{"episode": text, "error": why} for text, why in unfound],
                **counts,
            }
        )
    elif len(episodes) > 1:
        told = ", ".join(
            f"{count} {_OUTCOMES[name]}" for name, count in counts.items() if count or name == "reproduced"
        )
        click.echo(f"\n{told}" + (f", {len(unfound)} not found" if unfound else ""))
    if unfound or counts["reproduced"] < len(rows):
        click.get_current_context().exit(1)


def _print(episode: FoundEpisode, verdict: Verdict, number: int, total: int, unstored: str | None) -> None:
    count = f"[{number}/{total}] " if total > 1 else ""
    name = f"  {episode.name}" if episode.name else ""
    click.echo(clean(f"{count}{episode.label}{name}  {verdict.in_short}"))
    for line in verdict_lines(verdict):
        click.echo(f"    {line}")
    if unstored is not None:
        click.echo(f"    the verdict is stored nowhere: {clean(unstored)}")
