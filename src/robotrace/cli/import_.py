"""``robotrace import``: other people's recordings into the spool, and from there to the deployment."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

import click

from robotrace.cli.options import deployment_options, json_option, label_options
from robotrace.cli.output import CountBar, clean, episode_count, print_json, size
from robotrace.config import resolve_target
from robotrace.deliver.files import is_disk_full
from robotrace.errors import RobotraceError
from robotrace.ingest import EpisodeSource

if TYPE_CHECKING:
    from robotrace.adapters._spooling import ImportedEpisode
    from robotrace.adapters._uploading import DatasetUpload, EpisodeFailure
    from robotrace.cli.recordings import ImportOptions, Recording

__all__ = ["import_command"]

_MOST = 10_000_000
"""Numbers in one range of ``--episodes``: a slip of the finger may not fill the memory."""


def _episodes(ctx: click.Context, option: click.Parameter, text: str | None) -> list[int] | None:
    if text is None:
        return None
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.strip().isascii() and end.strip().isdigit() for end in ends):
            raise click.BadParameter(f"{part.strip()!r} is neither a number nor a range like 0-9", ctx, option)
        begin, end = int(ends[0]), int(ends[1])
        if not begin <= end < begin + _MOST:
            raise click.BadParameter(f"{part.strip()!r} is no range", ctx, option)
        numbers += range(begin, end + 1)
    return list(dict.fromkeys(numbers))


@click.command("import", short_help="Import recordings: ROS bags, LeRobot, HDF5.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Show what is there and would be imported, and do nothing.")
@click.option(
    "--episodes", metavar="LIST", callback=_episodes, help="Only these, by number: 0-9,12.  [default: all of them]"
)
@click.option("--name-template", metavar="TEXT", help='What to call them: "pick {episode_index:03d}".')
@label_options
@click.option(
    "--source",
    type=click.Choice(get_args(EpisodeSource)),
    help="Where it was recorded.  [default: as the recording says; LeRobot replay, bags real]",
)
@click.option("--camera", metavar="NAME", help="The one that is played first: a column, dataset or topic.")
@click.option("--fps", type=float, help="HDF5: steps a second, where the file does not say.")
@click.option(
    "--image-color",
    type=click.Choice(["rgb", "bgr"]),
    default="rgb",
    show_default=True,
    help="HDF5: how pictures are stored.",
)
@click.option("--revision", metavar="TEXT", help="LeRobot: a branch, tag or commit of the hub.")
@click.option("--video-topic", "video_topics", multiple=True, metavar="TOPIC", help="Bags: video.  [repeatable]")
@click.option("--sensor-topic", "sensor_topics", multiple=True, metavar="TOPIC", help="Bags: sensors.  [repeatable]")
@click.option("--action-topic", "action_topics", multiple=True, metavar="TOPIC", help="Bags: actions.  [repeatable]")
@click.option("--again", is_flag=True, help="Import once more what was imported before.")
@deployment_options
@json_option
def import_command(
    paths: tuple[str, ...],
    dry_run: bool,
    base_url: str | None,
    profile: str | None,
    as_json: bool,
    policy_version: str | None,
    env_version: str | None,
    git_sha: str | None,
    seed: int | None,
    robot: str | None,
    status: str,
    metadata: dict[str, Any],
    source: str | None,
    video_topics: tuple[str, ...],
    sensor_topics: tuple[str, ...],
    action_topics: tuple[str, ...],
    **options: Any,
) -> None:
    """Import episodes from ROS bags, LeRobot datasets and HDF5 files.

    A PATH is a rosbag2 folder, an .mcap, .db3 or .bag file; a folder of a LeRobot dataset, or its org/name on the hub;
    an .hdf5 or .h5 file in the layout of robomimic or ALOHA, or a folder of them. They are only read.

    Episodes go into the spool of this machine and to the deployment that is configured; where there is none they wait
    there. What was imported before is passed over, so an import that was interrupted goes on where it stopped. An
    episode that cannot be read is one line, and the others are imported; exit code 1 then.

    \b
    Example:
      robotrace import lerobot/pusht --dry-run
      robotrace import low_dim.hdf5 --episodes 0-9 --policy-version human --name-template "lift {episode_index:03d}"
      robotrace import bags/* --robot arm-2 --metadata 'outcome={"success": true}'
    """
    from robotrace.adapters._spooling import delivering_to
    from robotrace.cli.recordings import ImportOptions

    labels = {
        "policy_version": policy_version,
        "env_version": env_version,
        "git_sha": git_sha,
        "seed": seed,
        "robot": robot,
        "status": status,
        "metadata": metadata or None,
        "source": source,
    }
    topics = {"video_topics": video_topics, "sensor_topics": sensor_topics, "action_topics": action_topics}
    given = ImportOptions(labels=labels, topics=topics, **options)
    if dry_run:
        _show(paths, given, as_json=as_json)
        return
    target = resolve_target(base_url=base_url, profile=profile) if base_url or profile else None
    with delivering_to(target):
        _import(paths, given, as_json=as_json)


def _looked_at(paths: tuple[str, ...], options: ImportOptions) -> Iterator[tuple[str, Recording | RobotraceError]]:
    from robotrace.cli.recordings import find_recordings

    for path in paths:
        try:
            for look in find_recordings(path, options):
                try:
                    yield path, look()
                except RobotraceError as exc:
                    yield path, exc
        except RobotraceError as exc:
            yield path, exc


def _show(paths: tuple[str, ...], options: ImportOptions, *, as_json: bool) -> None:
    shown: list[dict[str, Any]] = []
    failed = False
    for path, recording in _looked_at(paths, options):
        if isinstance(recording, RobotraceError):
            failed = True
            shown.append({"path": path, "error": str(recording)})
            _complain(path, str(recording))
            continue
        shown.append(
            {
                "path": recording.path,
                "format": recording.format,
                "episodes": list(recording.episodes),
                "bytes": recording.bytes_size,
                "streams": recording.streams,
                "cameras": recording.cameras,
            }
        )
        if not as_json:
            for line in recording.report.splitlines():
                click.echo(clean(line))
            bytes_size = "" if recording.bytes_size is None else f" of {size(recording.bytes_size)}"
            click.echo(f"  -> {episode_count(len(recording.episodes))}{bytes_size} would be imported")
    if as_json:
        print_json({"recordings": shown})
    if failed:
        sys.exit(1)


def _import(paths: tuple[str, ...], options: ImportOptions, *, as_json: bool) -> None:
    told: list[dict[str, Any]] = []
    all_episodes: list[ImportedEpisode] = []
    failures = 0
    for path, recording in _looked_at(paths, options):
        if isinstance(recording, RobotraceError):
            failures += 1
            told.append({"path": path, "error": str(recording)})
            _complain(path, str(recording))
            continue
        try:
            done = _bring_in(recording, as_json=as_json)
        except (RobotraceError, OSError) as exc:
            if is_disk_full(exc):
                raise
            failures += 1
            told.append({"path": recording.path, "format": recording.format, "error": str(exc)})
            _complain(recording.path, str(exc))
            continue
        for failure in done.failures:
            _complain(f"{recording.path} episode {failure.episode_index}", failure.error)
        failures += len(done.failures)
        all_episodes += done.episodes
        told.append(
            {
                "path": recording.path,
                "format": recording.format,
                "episodes": [vars(episode) for episode in done.episodes],
                "failures": [vars(failure) for failure in done.failures],
            }
        )
    if as_json:
        print_json({"recordings": told})
    else:
        _sum_up(all_episodes, failures)
    if failures:
        sys.exit(1)


def _bring_in(recording: Recording, *, as_json: bool) -> DatasetUpload:
    with CountBar("importing", enabled=not as_json) as bar:

        def progress(done: int, total: int, _: ImportedEpisode | EpisodeFailure) -> None:
            bar.show(done, total)

        bar.show(0, len(recording.episodes))
        return recording.upload(progress)


def _sum_up(episodes: list[ImportedEpisode], failures: int) -> None:
    new = [episode for episode in episodes if episode.is_new]
    states = {
        state: list(same) for state, same in itertools.groupby(sorted(new, key=lambda e: e.state), lambda e: e.state)
    }
    click.echo(f"{episode_count(len(new))} imported")
    if states.get("delivered"):
        click.echo(f"{episode_count(len(states['delivered']))} delivered")
    if len(new) < len(episodes):
        click.echo(f"{episode_count(len(episodes) - len(new))} imported before (--again imports once more)")
    waiting = states.get("waiting")
    if waiting:  # the log has said why
        click.echo(f"! {episode_count(len(waiting))} waiting on this machine")
    if failures:
        click.echo(f"! {failures} failed")


def _complain(what: str, why: str) -> None:
    click.echo(clean(f"! {why}" if what in why else f"! {what}: {why}"), err=True)
