"""One rollout, recorded into a folder by the engine that records trainings."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotrace.adapters._episode import FILES, EncodedArtifact, require
from robotrace.adapters.gymnasium._scan import EnvSummary, scan_env
from robotrace.errors import ConfigurationError, RobotraceError

if TYPE_CHECKING:
    from robotrace.capture.recorder import EpisodeRecorder

__all__ = ["NEEDED", "EncodedRollout", "Policy", "Recorded", "encode_rollout", "record_rollout"]

_log = logging.getLogger("robotrace")

Policy = Callable[[Any, dict[str, Any]], Any]
"""``policy(observation, info) -> action``."""

NEEDED = ("gymnasium", "numpy", "av")
_TIMEOUT_S = 120.0
"""For the last frames to be encoded, once the rollout is over."""


@dataclass
class EncodedRollout:
    """A rollout in files.

    Attributes:
        output_dir: Their folder.
        summary: The environment.
        video: ``video.mp4``, None without video.
        sensors: ``sensors.npz``: N + 1 observations, N rewards and flags.
        actions: ``actions.npz``: N actions.
        duration_s: On the environment's clock.
        fps: Steps a second on that clock.
        metadata: The outcome, what it takes to reproduce it, and where from it comes.
    """

    output_dir: Path
    summary: EnvSummary
    video: EncodedArtifact | None = None
    sensors: EncodedArtifact | None = None
    actions: EncodedArtifact | None = None
    duration_s: float | None = None
    fps: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class Recorded:
    """A rollout in files, whole or up to an exception.

    Attributes:
        rollout: The files.
        create: What the recorder found out for the episode's row: ``env_version``, ``git_sha``, …
        failure_time_s: When it failed.
        error: What the environment or the policy raised.
    """

    rollout: EncodedRollout
    create: dict[str, Any]
    failure_time_s: float | None
    error: BaseException | None


def encode_rollout(
    env: Any,
    output_dir: str | Path,
    *,
    policy: Policy,
    seed: int | None = None,
    max_steps: int = 10000,
    record_video: bool | None = None,
    fps: float = 30.0,
    summary: EnvSummary | None = None,
) -> EncodedRollout:
    """Run one rollout and write ``video.mp4``, ``sensors.npz`` and ``actions.npz``.

    The environment comes back as it was: neither wrapped nor closed. Files of these names in the folder are replaced.

    Args:
        env: A single Gymnasium environment.
        output_dir: The folder; made where there is none.
        policy: ``policy(observation, info) -> action``.
        seed: For ``env.reset``.
        max_steps: The rollout ends here at the latest.
        record_video: None: where the environment was made with ``render_mode="rgb_array"``.
        fps: Steps a second where the environment has no clock of its own (``dt``, ``metadata["render_fps"]``, …).
        summary: From :func:`scan_env`, where there is one already.

    Raises:
        ConfigurationError: An argument does not fit, or a package is missing; nothing was run.
        Exception: Whatever the environment or the policy raises. The files hold what was until then.
    """
    recorded = record_rollout(
        env,
        Path(output_dir),
        policy=policy,
        seed=seed,
        max_steps=max_steps,
        record_video=record_video,
        fps=fps,
        summary=summary,
    )
    if recorded.error is not None:
        raise recorded.error
    return recorded.rollout


def record_rollout(
    env: Any,
    folder: Path,
    *,
    policy: Policy,
    seed: int | None,
    max_steps: int,
    record_video: bool | None,
    fps: float,
    summary: EnvSummary | None,
    **labels: Any,
) -> Recorded:
    """:func:`encode_rollout`, with what the environment or the policy raised as a value.

    Args:
        env: As there, like every argument not listed here.
        folder: The folder.
        policy: As there.
        seed: As there.
        max_steps: As there.
        record_video: As there.
        fps: As there.
        summary: As there.
        **labels: ``policy_version`` and others of :class:`robotrace.capture.options.Options`.

    Raises:
        ConfigurationError: As there.
        Exception: ``env.reset`` raised: there is nothing to keep.
    """
    require("gymnasium", NEEDED)
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ConfigurationError(f"max_steps must be a whole number of 1 or more, got {max_steps!r}")
    if not (isinstance(fps, (int, float)) and math.isfinite(fps) and fps > 0):
        raise ConfigurationError(f"fps must be a number above 0, got {fps!r}")
    summary = scan_env(env) if summary is None else summary
    if record_video and not summary.can_record_video:
        raise ConfigurationError(
            "record_video=True needs an environment made with render_mode='rgb_array'; "
            f"this one has {summary.active_render_mode!r}"
        )
    # Here, not above: they import NumPy.
    from robotrace.capture.autoreset import single_recorder
    from robotrace.capture.clock import find_clock
    from robotrace.capture.options import resolve_options
    from robotrace.capture.process import RecordingProcess
    from robotrace.capture.rendering import find_renderer
    from robotrace.deliver.spool import SealedEpisode, open_spool

    options = resolve_options(
        {
            "source": "sim",
            "video": summary.can_record_video if record_video is None else record_video,
            "video_trigger": 1,
            "max_per_minute": None,
            "keep_partial": "always",
            "fps": fps if find_clock(getattr(env, "unwrapped", env)).source == "wall" else None,
            **labels,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    # In the same file system, so that the files need not be copied.
    private = Path(tempfile.mkdtemp(prefix=".recording-", dir=folder))
    try:
        sealed: list[SealedEpisode] = []
        process = RecordingProcess(open_spool(private), sealed.append)
        try:
            recorder = single_recorder(env, options, lambda: process, adapter="gymnasium", renderer=find_renderer(env))
            error = _run(env, recorder, policy, seed, max_steps)
        finally:
            process.close(_TIMEOUT_S)
        manifest = sealed[0].manifest() if sealed else None
        if manifest is None:
            raise RobotraceError("the rollout could not be recorded; the log says why") from error
        return _collect(manifest, sealed[0].folder, folder, summary, error)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _run(env: Any, recorder: EpisodeRecorder, policy: Policy, seed: int | None, max_steps: int) -> Exception | None:
    """One rollout; what the environment or the policy raised, where it has a first observation."""
    recorder.before_reset(seed, None)
    try:
        observation, info = env.reset(seed=seed)
    except BaseException as exc:
        recorder.failed(exc)
        raise
    recorder.after_reset((observation, info))
    try:
        for _ in range(max_steps):
            action = policy(observation, info)
            recorder.before_step(action)
            result = env.step(action)
            recorder.after_step(result)
            observation, _, terminated, truncated, info = result
            if terminated or truncated:
                break
    except Exception as exc:
        recorder.failed(exc)
        return exc
    except BaseException as exc:  # Ctrl-C: nobody waits for an upload now
        recorder.failed(exc)
        raise
    recorder.close()
    return None


def _collect(
    manifest: dict[str, Any], sealed: Path, folder: Path, summary: EnvSummary, error: Exception | None
) -> Recorded:
    create, finalize = manifest["create"], manifest["finalize"]
    metadata = {**create.get("metadata", {}), **finalize.get("metadata", {}), "gymnasium_env_id": summary.env_id}
    outcome = metadata.get("outcome", {})
    metadata["total_reward"] = outcome.get("reward_total")
    metadata |= {key: outcome.get(key) for key in ("steps", "terminated", "truncated")}
    if summary.active_render_mode is not None:
        metadata["render_mode"] = summary.active_render_mode
    files: dict[str, EncodedArtifact] = {}
    for slot, name in FILES.items():
        path = folder / name
        path.unlink(missing_ok=True)  # of an earlier rollout, and this one may have none
        if (sealed / name).exists():
            (sealed / name).replace(path)
            files[slot] = EncodedArtifact(slot, path, path.stat().st_size)
    rollout = EncodedRollout(
        folder,
        summary,
        files.get("video"),
        files.get("sensors"),
        files.get("actions"),
        duration_s=finalize.get("duration_s"),
        fps=finalize.get("fps"),
        metadata=metadata,
    )
    return Recorded(rollout, create, finalize.get("failure_time_s"), error)
