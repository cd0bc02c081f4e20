"""``robotrace episodes``: what a deployment holds, and its files on this machine."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from robotrace.cli.options import EPISODE, CommandGroup, deployment_options, json_option, open_client, page_url
from robotrace.cli.output import (
    ABSENT,
    Column,
    local_time,
    number,
    print_facts,
    print_json,
    print_table,
    progress_bars,
    size,
    yes_no,
)
from robotrace.errors import ConfigurationError, NotFoundError, RobotraceError
from robotrace.ingest import ArtifactKind, EpisodeSource, is_camera_kind
from robotrace.reading import file_sha256

if TYPE_CHECKING:
    from robotrace.client import Client

__all__ = ["episodes"]

_STATUSES = ("recording", "ready", "failed", "archived")
_KINDS: tuple[ArtifactKind, ...] = get_args(ArtifactKind)
_PAGE_SIZE = 200  # the most that one answer holds
_COLUMNS = (
    Column("ID"),
    Column("RECORDED"),
    Column("STATUS"),
    Column("POLICY", least=8),
    Column("ENV", least=8, rank=3),
    Column("SEED", right=True, rank=2),
    Column("SUCCESS", rank=1),
    Column("REWARD", right=True, rank=4),
    Column("STEPS", right=True, rank=6),
    Column("DURATION", right=True, rank=5),
)


@click.group(cls=CommandGroup)
def episodes() -> None:
    """List, show and download the episodes of a deployment.

    An ID may be the address of the episode's page as well.
    """


@episodes.command("list")
@click.option("--status", type=click.Choice(_STATUSES), help="How it ended.")
@click.option("--policy-version", metavar="TEXT", help="What acted.")
@click.option("--env-version", metavar="TEXT", help="What it acted in.")
@click.option("--git-sha", metavar="TEXT", help="The beginning of the code's commit.")
@click.option("--seed", type=int, help="The seed of the episode's reset.")
@click.option("--robot", metavar="TEXT", help="The robot.")
@click.option("--source", type=click.Choice(get_args(EpisodeSource)), help="Where it was recorded.")
@click.option("--name", metavar="TEXT", help="A part of the name.")
@click.option("--failure-reason", metavar="TEXT", help="A part of the reason.")
@click.option("--has-video/--no-video", default=None, help="With or without a video.")
@click.option("--success/--no-success", default=None, help="Its outcome.")
@click.option("--created-after", metavar="TIME", help="Not older: 2026-01-31 or 2026-01-31T12:00:00Z.")
@click.option("--created-before", metavar="TIME", help="Older.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most to list.")
@click.option("--all", "everything", is_flag=True, help="List all of them, whatever --limit says.")
@deployment_options
@json_option
def list_command(
    base_url: str | None, profile: str | None, as_json: bool, limit: int, everything: bool, **filters: Any
) -> None:
    """List episodes, the newest first.

    \b
    Example:
      robotrace episodes list --status failed --policy-version act-v7
      robotrace episodes list --all --json | jq -r '.episodes[].episode_id'
    """
    with open_client(base_url, profile) as client:
        found, following = _listed(client, None if everything else limit, filters)
    if as_json:
        print_json({"episodes": found, "next": following})
        return
    if not found:
        click.echo("no episodes" + (" that match" if any(value is not None for value in filters.values()) else ""))
        return
    print_table(_COLUMNS, [_row(episode) for episode in found])
    if following is not None:
        click.echo("(there are more: --limit N, --all)", err=True)


@episodes.command()
@click.argument("episode_id", metavar="ID", type=EPISODE)
@deployment_options
@json_option
def show(base_url: str | None, profile: str | None, as_json: bool, episode_id: str) -> None:
    """Show what is known about an episode.

    \b
    Example:
      robotrace episodes show 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11
      robotrace episodes show http://127.0.0.1:8321/portal/episodes/6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11
    """
    with open_client(base_url, profile) as client:
        try:
            episode = client.get_episode(episode_id)
        except NotFoundError as exc:
            raise _not_found(client, episode_id) from exc
        url = page_url(client, "episodes", episode_id)
    if as_json:
        print_json({**episode, "url": url})
        return
    print_facts([("id", episode_id), ("page", url), *_facts(episode)])
    metadata = episode.get("metadata")
    if metadata:
        click.echo("metadata")
        # The escapes of JSON keep a terminal from obeying what a robot's code has put there.
        click.echo(json.dumps(metadata, indent=2))


def _kinds(ctx: click.Context, option: click.Parameter, kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        if kind not in _KINDS and not is_camera_kind(kind):
            raise click.BadParameter(f"{kind!r} is none of {', '.join(_KINDS)}, video.CAMERA", ctx, option)
    return kinds


@episodes.command()
@click.argument("episode_ids", metavar="ID...", type=EPISODE, nargs=-1, required=True)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    callback=_kinds,
    help="Only this file: video, sensors, actions, video.CAMERA.  [repeatable]",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where to; of several episodes each gets a folder in it.  [default: ./ID]",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--resume", is_flag=True, help="Keep files that are there and whole, and fetch the others.")
@deployment_options
@json_option
def download(
    base_url: str | None,
    profile: str | None,
    as_json: bool,
    episode_ids: tuple[str, ...],
    kinds: tuple[str, ...],
    output: Path | None,
    force: bool,
    resume: bool,
) -> None:
    """Download the files of episodes.

    All of them, and metadata.json with everything the deployment says about the episode; with --kind just the files
    named. Each is there whole or not at all, and is checked against its SHA-256 where the deployment tells it.

    \b
    Example:
      robotrace episodes download 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11
      robotrace episodes download 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11 --kind sensors --output data --force
      robotrace episodes download $(robotrace episodes list --json | jq -r '.episodes[].episode_id') --resume
    """
    if force and resume:
        raise click.UsageError("--force and --resume exclude each other")
    several = len(episode_ids) > 1
    done = []
    with open_client(base_url, profile) as client:
        for episode_id in dict.fromkeys(episode_ids):
            own = Path(episode_id)
            if (output is None or several) and (own.is_absolute() or len(own.parts) != 1 or own.name in ("", "..")):
                raise ConfigurationError(f"{episode_id!r} is no name for a folder; use --output")
            folder = own if output is None else output / own if several else output
            files = _download(client, episode_id, kinds, folder, force=force, resume=resume)
            done.append({"episode_id": episode_id, "files": files})
            if not as_json:
                for file in files.values():
                    click.echo(f"{file['path']}  {size(file['size'])}")
    if as_json:
        print_json({"episodes": done} if several else done[0])


def _download(
    client: Client, episode_id: str, kinds: Sequence[str], folder: Path, *, force: bool, resume: bool
) -> dict[str, dict[str, Any]]:
    """Path and size of what was downloaded, by slot."""
    episode: dict[str, Any] | None
    try:
        episode = client.get_episode(episode_id)
    except NotFoundError:  # a deployment of another make may have the files without this route
        episode = None
    slots, certain = _slots(episode, kinds, episode_id)
    about = None if kinds or episode is None else folder / "metadata.json"
    targets = [*(folder / name for _, name, _ in slots), *([] if about is None else [about])]
    there = [str(target) for target in targets if target.exists()]
    if there and not (force or resume):
        raise ConfigurationError(
            f"{', '.join(there)} exists already; --force replaces it, --resume keeps what is there"
        )
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, dict[str, Any]] = {}
    try:
        with progress_bars() as bars:
            for kind, name, sha256 in slots:
                if resume and _is_whole(folder / name, sha256):
                    files[kind] = {"path": str(folder / name), "size": (folder / name).stat().st_size}
                    continue
                progress = functools.partial(bars, kind)
                try:
                    taken = client.download_artifact(episode_id, kind, folder / name, sha256=sha256, progress=progress)
                except NotFoundError:
                    if certain:
                        raise
                    continue
                files[kind] = {"path": str(folder / name), "size": taken}
        if not files and episode is None:
            raise _not_found(client, episode_id)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()
        raise
    if about is not None:
        about.write_text(json.dumps(episode, indent=2) + "\n", encoding="utf-8")
        files["metadata"] = {"path": str(about), "size": about.stat().st_size}
    return files


def _is_whole(path: Path, sha256: str | None) -> bool:
    if sha256 is None or not path.is_file():
        return False
    with path.open("rb") as file:
        return file_sha256(file) == sha256.lower()


def _listed(client: Client, limit: int | None, filters: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        wanted = _PAGE_SIZE if limit is None else min(limit - len(found), _PAGE_SIZE)
        try:
            page = client.list_episodes(limit=wanted, cursor=cursor, **filters)
        except NotFoundError as exc:
            raise RobotraceError(f"{client.base_url}: this deployment does not list episodes") from exc
        listed = page.get("episodes")
        if not isinstance(listed, list) or not all(isinstance(episode, dict) for episode in listed):
            raise RobotraceError(f"{client.base_url}: this deployment's list of episodes is none that can be read")
        found += listed
        cursor = page.get("next")
        if cursor is None or (limit is not None and len(found) >= limit):
            return found, cursor


def _row(episode: Mapping[str, Any]) -> list[str]:
    return [
        _text(episode.get("episode_id")),
        local_time(episode.get("created_at")),
        _text(episode.get("status")),
        _text(episode.get("policy_version")),
        _text(episode.get("env_version")),
        number(episode.get("seed")),
        yes_no(episode.get("success")),
        number(episode.get("reward_total")),
        number(episode.get("steps")),
        number(episode.get("duration_s"), " s"),
    ]


def _facts(episode: Mapping[str, Any]) -> list[tuple[str, str]]:
    from robotrace.evals import extract_outcome

    metadata = episode.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    outcome = extract_outcome(metadata)
    names = ("name", "status", "source", "robot", "policy_version", "env_version", "git_sha")
    artifacts = episode.get("artifacts")
    artifacts = [item for item in artifacts if isinstance(item, dict)] if isinstance(artifacts, list) else []
    return [
        *((name, _text(episode.get(name))) for name in names),
        ("seed", number(episode.get("seed"))),
        ("recorded", local_time(episode.get("created_at"))),
        ("duration", number(episode.get("duration_s"), " s")),
        ("rate", number(episode.get("fps"), " fps")),
        ("failed at", number(episode.get("failure_time_s"), " s")),
        ("failure", _text(metadata.get("failure_reason"))),
        ("success", yes_no(outcome.get("success"))),
        ("reward", number(outcome.get("reward_total"))),
        ("collisions", number(outcome.get("collision_count"))),
        ("time to goal", number(outcome.get("time_to_goal_s"), " s")),
        *((str(item.get("kind")), _described(item)) for item in artifacts),
    ]


def _described(artifact: Mapping[str, Any]) -> str:
    return (
        f"{artifact.get('file_name') or ABSENT}, {size(artifact.get('size'))}, SHA-256 {_text(artifact.get('sha256'))}"
    )


def _slots(
    episode: Mapping[str, Any] | None, kinds: Sequence[str], episode_id: str
) -> tuple[list[tuple[str, str, str | None]], bool]:
    """Slot, file name and hash of what to download, and whether each has to be there."""
    stored = None if episode is None else episode.get("artifacts")
    if not isinstance(stored, list):  # the deployment does not say which slots are filled
        return [(kind, _file_name(kind, None), None) for kind in kinds or _KINDS], bool(kinds)
    filled = {
        item["kind"]: item
        for item in stored
        if isinstance(item, dict) and (item.get("kind") in _KINDS or is_camera_kind(item.get("kind")))
    }
    for kind in kinds:
        if kind not in filled:
            raise RobotraceError(f"episode {episode_id} has no {kind}")
    return [
        (kind, _file_name(kind, filled[kind].get("file_name")), filled[kind].get("sha256"))
        for kind in kinds or (*_KINDS, *sorted(filled.keys() - set(_KINDS)))
        if kind in filled
    ], True


def _file_name(kind: str, told: Any) -> str:
    # Only its extension: where a file goes is not for a server to say.
    found = re.search(r"\.[a-z0-9]{1,10}$", told) if isinstance(told, str) else None
    return f"{kind}{found[0]}" if found else f"{kind}{'.mp4' if kind.partition('.')[0] == 'video' else '.npz'}"


def _text(value: Any) -> str:
    return ABSENT if value is None or value == "" else str(value)


def _not_found(client: Client, episode_id: str) -> RobotraceError:
    return RobotraceError(f"{client.base_url} has no episode {episode_id}")
