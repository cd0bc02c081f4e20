"""``robotrace render``: the video of an episode that was recorded without one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from robotrace.cli.options import EPISODE, deployment_options, json_option, page_url
from robotrace.cli.output import clean, print_json, progress_bars, size
from robotrace.cli.reruns import EpisodeFinder, import_folders, limits_of, rerun_options, verdict_lines
from robotrace.errors import ConfigurationError, RobotraceError
from robotrace.reroll.episodes import FoundEpisode, upload_video
from robotrace.reroll.jobs import Verdict, VideoRequest
from robotrace.reroll.plan import read_plan
from robotrace.reroll.pool import run_job

__all__ = ["render"]

_LEAST_EDGE = 16


@click.command(short_help="Make the video of an episode that was recorded without one.")
@click.argument("episode", metavar="EPISODE", type=EPISODE)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file.  [default: ID.mp4; with --upload none is kept]",
)
@click.option(
    "--size", "edge", type=click.IntRange(min=_LEAST_EDGE), metavar="PIXELS", help="The longer edge at the most."
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0, min_open=True),
    help="At the most so many frames a second of the episode.  [default: as a live recording]",
)
@click.option("--camera", metavar="NAME", help="The environment's camera_name, for those that have several.")
@click.option("--upload", is_flag=True, help="Put it into the episode's empty video slot on the deployment.")
@click.option("--force", is_flag=True, help="Replace the output file.")
@rerun_options
@deployment_options
@json_option
def render(
    base_url: str | None,
    profile: str | None,
    as_json: bool,
    import_from: tuple[Path, ...],
    timeout: float,
    memory: float,
    force: bool,
    upload: bool,
    camera: str | None,
    fps: float | None,
    edge: int | None,
    output: Path | None,
    episode: str,
) -> None:
    """Run a recorded episode again, and make its video.

    EPISODE is a folder, an entry of this machine's spool, or an id on a deployment. Every value is compared to the bit
    on the way, as by `robotrace reproduce`: of an episode that comes out differently there is no video, since it would
    show something else. Format and clock are those of a video recorded live.

    \b
    Example:
      robotrace render 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11 -o fall.mp4
      robotrace render 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11 --upload
    """
    if output is not None:
        _check_output(output, force=force)
    with EpisodeFinder(base_url, profile) as finder:
        found = finder.find(episode)
        if upload:
            _check_slot(found)
        if output is None and not upload:
            output = Path(f"{Path(found.label).name}.mp4")
            _check_output(output, force=force)
        verdict = _rendered(
            found,
            VideoRequest(
                str((output or finder.temporary() / "video.mp4").absolute()),
                max_edge=edge or read_plan(found.metadata).max_edge,
                every_n_steps=read_plan(found.metadata).every_n_steps,
                fps=fps,
                camera=camera,
            ),
            import_folders(import_from),
            timeout=timeout,
            memory=memory,
        )
        made = verdict.video
        if made is None:
            if found.folder is None or found.own:
                finder.store(found, verdict)
            for line in verdict_lines(verdict):
                click.echo(line, err=True)
            raise RobotraceError(f"no video: {verdict.video_fault or verdict.in_short}")
        if upload:
            assert found.episode_id is not None
            with progress_bars() as bars:
                upload_video(
                    finder.client(),
                    found.episode_id,
                    Path(made.path),
                    progress=lambda done, total: bars("video", done, total),
                )
        # Behind the upload: a deployment believes in a video that has arrived.
        unstored = finder.store(found, verdict if upload else dataclasses.replace(verdict, video=None))
        url = page_url(finder.client(), "episodes", found.episode_id) if upload and found.episode_id else None
    if as_json:
        print_json(
            {
                "episode": found.label,
                "path": None if output is None else str(output),
                **verdict.to_dict(),
                "uploaded": upload,
                "stored": unstored is None,
                "url": url,
            }
        )
        return
    where = f"{output}  " if output is not None else ""
    click.echo(f"{where}{made.frames} frames, {made.width} × {made.height}, {size(made.size)}; {verdict.in_short}")
    if unstored is not None:
        click.echo(f"the verdict is stored nowhere: {clean(unstored)}", err=True)
    if url is not None:
        click.echo(url)


def _rendered(
    found: FoundEpisode, request: VideoRequest, folders: tuple[str, ...], *, timeout: float, memory: float
) -> Verdict:
    with progress_bars("{} steps".format) as bars:
        return run_job(
            found.job(import_from=folders, video=request),
            limits=limits_of(timeout, memory),
            on_progress=lambda done, total: bars(found.name or found.label, done, total),
        )


def _check_output(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigurationError(f"{path} exists already; --force replaces it")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"the folder {path.parent} does not exist")


def _check_slot(found: FoundEpisode) -> None:
    if found.episode_id is None:
        raise ConfigurationError(f"{found.label} is on no deployment yet, so there is no slot to upload into")
    if "video" in found.slots:
        raise ConfigurationError(f"episode {found.label} has a video already")
