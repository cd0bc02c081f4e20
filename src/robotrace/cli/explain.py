"""``robotrace explain``: why did it fail?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robotrace.cli.options import deployment_options, episode_ids, json_option
from robotrace.cli.output import clean, number, print_json
from robotrace.cli.reruns import EpisodeFinder
from robotrace.errors import ConfigurationError, RobotraceError

if TYPE_CHECKING:
    from robotrace.explain import Analysis, Finding
    from robotrace.reroll.episodes import FoundEpisode

__all__ = ["analyze_found", "explain"]


@click.command(short_help="Say why an episode failed: ranked findings, each with its time.")
@click.argument("episodes", metavar="EPISODE…", nargs=-1, required=True, callback=episode_ids)
@deployment_options
@json_option
def explain(base_url: str | None, profile: str | None, as_json: bool, episodes: list[str]) -> None:
    """Say why recorded episodes failed.

    EPISODE is a folder, an entry of this machine's spool, or an id on a deployment (or the address of its page); @FILE
    has one a line. Streams and metadata are looked at here, by the same rules as on a deployment: exceptions, NaN,
    frozen and dropped sensors, clocks, actuator limits, the battery. The likeliest cause comes first.

    Exit code 0, whatever is found; 1 when an episode cannot be read.

    \b
    Example:
      robotrace explain 6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11
      robotrace explain @failures.txt --json
    """
    told: list[dict[str, Any]] = []
    unfound: list[tuple[str, str]] = []
    with EpisodeFinder(base_url, profile) as finder:
        for text in episodes:
            try:
                episode = finder.find(text)
                analysis = analyze_found(episode)
            except RobotraceError as exc:
                if len(episodes) == 1:
                    raise
                unfound.append((text, str(exc)))
                continue
            if as_json:
                told.append({"episode": episode.label, "name": episode.name, **analysis.to_dict()})
            else:
                _print(episode, analysis)
    for text, why in unfound:
        click.echo(f"robotrace: {clean(f'{text}: {why}')}", err=True)
    if as_json:
        print_json(
            {"episodes": told, "not_found": [{"episode": text, "error": why} for text, why in unfound]},
        )
    if unfound:
        click.get_current_context().exit(1)


def analyze_found(episode: FoundEpisode) -> Analysis:
    """What the rules say about an episode whose files are on this machine.

    Raises:
        ConfigurationError: NumPy is not installed.
    """
    try:
        from robotrace.explain import EpisodeFacts, Skipped, analyze
        from robotrace.serve.streams import read_streams
    except ImportError as exc:
        raise ConfigurationError("explain needs NumPy; run: pip install 'robotrace-dev[record]'") from exc
    found = read_streams(
        [(kind, path) for kind, path in sorted(episode.files.items()) if kind in ("sensors", "actions")]
    )
    described = episode.described
    frames, why = _frame_times(episode.files.get("video"))
    if why is not None:
        found.skipped.append(Skipped("video", why))
    duration, failure = (_number(described.get(name)) for name in ("duration_s", "failure_time_s"))
    source = described.get("source")
    facts = EpisodeFacts(
        metadata=episode.metadata,
        status=str(described.get("status")),
        source=source if isinstance(source, str) else None,
        failure_time_s=failure,
        duration_s=duration,
        fps=episode.fps,
        sensors=found.sensors,
        actions=found.actions,
        frames_s=frames,
        reproduction=_verdict(episode),
    )
    return analyze(facts, found.skipped)


def _frame_times(path: Path | None) -> tuple[Any, str | None]:
    """Of the video, in seconds; else why they are not looked at."""
    if path is None:
        return None, None
    try:
        from robotrace.serve.frame_times import VideoError, read_frame_times
    except ImportError:  # of PyAV
        return None, "its frames are not looked at without pip install 'robotrace-dev[record]'"
    try:
        return read_frame_times(path).times_ms[:-1] / 1000, None
    except VideoError as exc:
        return None, f"it cannot be read: {exc}"


def _verdict(episode: FoundEpisode) -> dict[str, Any] | None:
    from robotrace.deliver.files import read_json
    from robotrace.deliver.spool import VERDICT_FILE

    kept = None if episode.folder is None else read_json(episode.folder / VERDICT_FILE)
    found = episode.described.get("reproduction") if kept is None else kept
    return found if isinstance(found, dict) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _print(episode: FoundEpisode, analysis: Analysis) -> None:
    name = f"  {episode.name}" if episode.name else ""
    count = len(analysis.findings)
    found = "nothing found" if not count else f"{count} finding{'' if count == 1 else 's'}"
    click.echo(clean(f"{episode.label}{name}  {episode.described.get('status')}, {found}"))
    for place, finding in enumerate(analysis.findings, 1):
        for line in _lines(place, finding):
            click.echo(f"    {clean(line)}")
    if analysis.skipped:
        click.echo(f"    not judged: {clean(', '.join(item.what for item in analysis.skipped))} (--json says why)")


def _lines(place: int, finding: Finding) -> Iterator[str]:
    when = "" if finding.onset_s is None else f" at {number(finding.onset_s, ' s')}"
    yield f"{place}. {finding.title}{when}  [{finding.code}, {finding.likelihood} {finding.confidence:.2f}]"
    yield f"   {finding.description}"
    if finding.streams:
        yield f"   look at: {', '.join(finding.streams)}"
    yield f"   next: {finding.next_step}"
