"""What the times of the video's frames tell, without decoding one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.explain.facts import CannotJudge, EpisodeFacts, Finding

__all__ = ["dropped_frames", "frozen_video"]

_MIN_FRAMES = 5
_STOPPED = 5.0
"""Usual intervals without a frame, and at least a second: a camera's exposure may change, its rate with it."""
_STOPPED_S = 1.0
_GAP = 2.5
_GAP_SHARE = 0.02
_DROPPED_SHARE = 0.02
_FEWEST = 3


def frozen_video(episode: EpisodeFacts) -> Finding | None:
    """No frame comes any more, or not for a second and more, while the streams go on."""
    lost = sum(count for count, _ in _accounts(episode).values())
    if lost:
        raise CannotJudge(f"the recorder itself left out {lost} frames: a gap says nothing of the camera")
    frames, end = _frames(episode), episode.end_s
    if end is None:
        raise CannotJudge("the episode's length is not known")
    intervals = np.diff(frames)
    usual = float(np.median(intervals))
    widest = int(intervals.argmax())
    last = end - float(frames[-1])
    until_the_end = last >= float(intervals[widest])
    onset, gap = (float(frames[-1]), last) if until_the_end else (float(frames[widest]), float(intervals[widest]))
    if gap < max(_STOPPED * usual, _STOPPED_S) or not _rows_within(episode, onset, onset + gap):
        return None
    return Finding(
        "frozen_video",
        "The camera stopped" if until_the_end else "The camera stood still",
        f"A frame came every {usual * 1000:.3g} ms until {onset:.3f} s, then none for {gap:.3f} s, while the streams "
        "went on.",
        0.75 if until_the_end else 0.6,
        {"frames": len(frames), "usual_s": usual, "gap_s": gap, "until_the_end": until_the_end},
        onset,
        ("video",),
        "Check the camera and its driver; if the policy sees this camera, it acted on an old picture.",
    )


def dropped_frames(episode: EpisodeFacts) -> Finding | None:
    """Frames that are missing here and there: by the recorder's own count, or as gaps between their times."""
    counted = _accounts(episode)
    lost = {name: count for name, (count, of) in counted.items() if count >= max(_FEWEST, _DROPPED_SHARE * of)}
    try:
        frames = _frames(episode)
    except CannotJudge:
        if not counted:
            raise
        frames = np.zeros(0)
    intervals = np.diff(frames)
    gaps = (
        np.flatnonzero(intervals > _GAP * np.median(intervals)) if len(intervals) >= _MIN_FRAMES else np.zeros(0, int)
    )
    many = len(gaps) >= max(_FEWEST, _GAP_SHARE * len(intervals))
    if not lost and not many:
        return None
    told = [f"{count} frames of {name} were not kept" for name, count in lost.items()]
    if many:
        told.append(f"{len(gaps)} times a frame came more than {_GAP:g} times later than usual")
    return Finding(
        "dropped_frames",
        "Frames are missing in the video",
        f"{'; '.join(told)}. The streams are not affected, and the frames that are there have their own times.",
        0.5,
        {"not_kept": lost, "gaps": len(gaps)},
        float(frames[gaps[0]]) if many else None,
        ("video",),
        "Give the encoder a processor of its own, film fewer steps, or check the camera's link.",
    )


def _accounts(episode: EpisodeFacts) -> dict[str, tuple[int, int]]:
    """Of each camera by name: the frames that are not in the video, and all there were."""
    cameras = episode.part("video").get("cameras")
    listed = cameras if isinstance(cameras, list) else []
    return {str(item.get("name")): _lost(item) for item in listed if isinstance(item, dict)}


def _lost(account: dict[str, Any]) -> tuple[int, int]:
    numbers = [account.get(name) for name in ("dropped", "missing", "frames_submitted", "frames")]
    dropped, missing, submitted, frames = (item if type(item) is int and item >= 0 else 0 for item in numbers)
    return dropped + missing + max(0, submitted - frames), dropped + missing + submitted


def _frames(episode: EpisodeFacts) -> NDArray[np.float64]:
    if episode.frames_s is None:
        raise CannotJudge("there is no video whose frames have times")
    frames = np.sort(np.asarray(episode.frames_s, dtype=np.float64).ravel())
    frames = frames[np.isfinite(frames)]
    if len(frames) < _MIN_FRAMES:
        raise CannotJudge(f"the video has fewer than {_MIN_FRAMES} frames")
    return frames


def _rows_within(episode: EpisodeFacts, begin_s: float, end_s: float) -> bool:
    streams = [stream.stamps for stream in (*episode.measured, *episode.actions) if stream.stamps is not None]
    return any(np.count_nonzero((stamps > begin_s * 1e9) & (stamps <= end_s * 1e9)) >= _FEWEST for stamps in streams)
