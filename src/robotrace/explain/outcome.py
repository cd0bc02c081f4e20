"""What the recording says of its end in words: an outcome, a reason, an exception; and that nothing says anything."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from robotrace.explain.facts import EpisodeFacts, Finding

__all__ = ["exception", "explicit_outcome", "failure_reason_in_metadata", "unexplained"]

_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<where>.+)')
_LIBRARY = re.compile(r"/(site|dist)-packages/|/lib/python3\.\d+/|^<|/(src|integrations)/robotrace[a-z0-9_]*/")
"""Code that is not the user's: installed, of Python itself, or ours."""
_RAISED = re.compile(
    r"(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Timeout)): ?(?P<message>.*)", re.S
)
"""What ``Episode`` as a context manager writes into ``failure_reason``."""
_STOPPED = ("KeyboardInterrupt", "SystemExit", "GeneratorExit")
_SAYS_NOTHING = re.compile(
    r"outcome\(success=False\)|failure\(\) said so at step \d+|\S+ is false at the end \(\w+ at step \d+\)|"
    r"failed|failure",
    re.IGNORECASE,
)
"""Reasons that the recorder fills in where it knows only that the episode failed."""


def explicit_outcome(episode: EpisodeFacts) -> Finding | None:
    """The recording says that the task was not accomplished, or that there were collisions."""
    outcome = _outcome(episode.metadata)
    collisions = outcome.get("collision_count")
    hit = _is_number(collisions) and float(collisions or 0) > 0
    missed = outcome.get("success") is False
    if not missed and not (hit and episode.failed):
        return None
    told = ["The recorded outcome is success: false." if missed else "The episode was recorded as failed."]
    if hit:
        told.append(f"It counts {collisions:g} collision{'' if collisions == 1 else 's'}.")
    for flag, text in (("terminated", "The environment ended it."), ("truncated", "It ran into its time limit.")):
        if outcome.get(flag) is True:
            told.append(text)
    fields = ("success", "collision_count", "reward_total", "time_to_goal_s", "steps", "terminated", "truncated")
    return Finding(
        "explicit_outcome",
        "Collisions were counted" if hit else "Recorded as not successful",
        " ".join(told),
        1.0,
        {name: outcome[name] for name in fields if isinstance(outcome.get(name), (bool, int, float))},
        episode.failed_at_s,
        (),
        "Look at the last seconds before the end; the outcome says that it failed, not why.",
    )


def failure_reason_in_metadata(episode: EpisodeFacts) -> Finding | None:
    """Whoever recorded the episode said why."""
    reason = episode.metadata.get("failure_reason")
    if not episode.failed or not isinstance(reason, str) or not reason.strip():
        return None
    if _SAYS_NOTHING.fullmatch(reason.strip()) or _raised(episode) is not None:
        return None
    first, _, _ = reason.strip().partition("\n")
    return Finding(
        "failure_reason_in_metadata",
        f"Reason given: {first[:120]}",
        f"The recording gives a reason itself: {reason.strip()}",
        0.9,
        {"failure_reason": reason},
        episode.failed_at_s,
        (),
        "Compare what was said with the findings that are earlier than it.",
    )


def exception(episode: EpisodeFacts) -> Finding | None:
    """The environment, the policy or the loop raised."""
    raised = _raised(episode)
    if raised is None:
        return None
    kind, message, traceback = raised
    frame = _innermost(traceback)
    stopped = kind in _STOPPED
    where = "" if frame is None else f" at {frame['file']}:{frame['line']}, in {frame['function']}"
    evidence = {"type": kind, "message": message} | ({} if frame is None else {"frame": frame})
    return Finding(
        "exception",
        f"Stopped by {kind}" if stopped else f"{kind} was raised",
        f"{kind}{f': {message}' if message else ''}{where}.",
        # Ctrl-C is how somebody ended what had gone wrong before, or just an end.
        0.4 if stopped else 0.98,
        evidence,
        episode.failed_at_s,
        (),
        "It was ended from outside: look at what happened before."
        if stopped
        else "Read the traceback in the metadata, then what the streams do in the steps before it.",
    )


def unexplained(episode: EpisodeFacts, skipped: Sequence[str]) -> Finding:
    """No rule found a cause in a failed episode."""
    unable = f" {len(skipped)} of the rules could not judge: {', '.join(skipped)}." if skipped else ""
    return Finding(
        "unexplained",
        "Failed, and nothing in the recording says why",
        f"No rule found a fault in what was recorded; the policy itself may not be good enough.{unable}",
        1.0,
        {"not_judged": list(skipped)},
        episode.failed_at_s,
        (),
        "Watch the end of the video, and compare with an episode of the same seed that succeeded.",
    )


def _outcome(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The first hit per field over the places where outcomes are kept."""
    places = [metadata, metadata.get("outcome"), metadata.get("lerobot_episode_outcome")]
    found: dict[str, Any] = {}
    for place in places:
        if isinstance(place, Mapping):
            for name, value in place.items():
                found.setdefault(str(name).removeprefix("next."), value)
    return found


def _raised(episode: EpisodeFacts) -> tuple[str, str, Sequence[Any]] | None:
    """Type, message, and the lines of the traceback."""
    recorded = episode.part("exception")
    kind = recorded.get("type")
    if isinstance(kind, str) and kind:
        traceback = recorded.get("traceback")
        lines = traceback if isinstance(traceback, list) else str(traceback or "").splitlines()
        message = recorded.get("message")
        return kind, message if isinstance(message, str) else "", lines
    reason = episode.metadata.get("failure_reason")
    match = _RAISED.fullmatch(reason.strip()) if episode.failed and isinstance(reason, str) else None
    return None if match is None else (match["type"], match["message"], ())


def _innermost(traceback: Sequence[Any]) -> dict[str, Any] | None:
    """The innermost frame of the user's own code, else the innermost of all."""
    frames = [match for line in traceback if isinstance(line, str) and (match := _FRAME.match(line)) is not None]
    own = [match for match in frames if _LIBRARY.search(match["file"]) is None]
    if not frames:
        return None
    last = (own or frames)[-1]
    return {"file": last["file"], "line": int(last["line"]), "function": last["where"].strip()}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
