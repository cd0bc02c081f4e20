"""Applying the recorded actions again, and comparing everything that comes of them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robotrace.capture.rows import read_arrays, read_rows
from robotrace.reroll.comparison import Mismatch, first_mismatch, unrecorded
from robotrace.reroll.environments import NotReproducible, RecordedEnvironment
from robotrace.reroll.jobs import Divergence, Job

__all__ = ["Moment", "Recorded", "Rerun", "happen", "read_recorded", "rerun", "why_not_deterministic"]

_STREAMS = ("observation", "reward", "terminated", "truncated")
_NO_ENV_FAULT = ("KeyboardInterrupt", "SystemExit", "GeneratorExit")


@dataclass(frozen=True)
class Moment:
    """What one call of the env gave: of the reset at step 0, of the kth action at step k.

    Attributes:
        step: Its number.
        values: By stream: ``observation``, and behind an action ``reward``, ``terminated``, ``truncated``.
        error: What the call raised instead.
    """

    step: int
    values: Mapping[str, Any]
    error: Exception | None = None


@dataclass(frozen=True)
class Recorded:
    """What happened when the episode was recorded.

    Attributes:
        actions: In order; one more than results when the last one raised.
        rows: By stream, as far as it was recorded: observations N + 1, the others N.
        steps: N.
        stamps_ns: Of each observation on the episode's clock (N + 1); empty where it is not known.
        raises: The type of the exception that the last action ended with; None where it ended otherwise.
        cast: Values went through arrays of the space's dtypes (a vector env), and are compared in those.
        missing: Streams, or leaves of one, that are in no array, and why.
    """

    actions: Sequence[Any]
    rows: Mapping[str, Sequence[Any]]
    steps: int
    stamps_ns: Sequence[int]
    raises: str | None
    cast: bool
    missing: Mapping[str, str]


@dataclass
class Rerun:
    """What came of running it again.

    Attributes:
        divergence: The first value that differs.
        steps: How many steps were equal.
        raised: The exception it ended with, as it had when it was recorded.
        extra: Leaves that the env returned and nobody had recorded.
    """

    divergence: Divergence | None = None
    steps: int = 0
    raised: str | None = None
    extra: set[str] = field(default_factory=set)


def read_recorded(job: Job) -> Recorded:
    """Read an episode's files.

    Raises:
        NotReproducible: A file cannot be read, or there is nothing to do or to compare.
    """
    sensors = _arrays(job.sensors, "sensors")
    actions = _rows(_arrays(job.actions, "actions"), "action") or []
    metadata = job.metadata
    rows = {name: found for name in _STREAMS if (found := _rows(sensors, name)) is not None}
    if not rows:
        raise NotReproducible("it has no observation, reward or flag to compare with")
    steps = min([len(actions), *(len(found) - (name == "observation") for name, found in rows.items())])
    exception = metadata.get("exception")
    kind = exception.get("type") if isinstance(exception, Mapping) else None
    # An action that raised has no result. One that Ctrl-C cut off did not raise: nobody knows what it gave.
    raises = str(kind) if kind is not None and kind not in _NO_ENV_FAULT and len(actions) == steps + 1 else None
    clock = sensors.get("wall_clock/_t_ns")
    stamps = [] if clock is None else [int(stamp) for stamp in clock[: steps + 1]]
    return Recorded(
        actions=actions[: steps + (raises is not None)],
        rows=rows,
        steps=steps,
        stamps_ns=stamps if len(stamps) == steps + 1 else [],
        raises=raises,
        cast="vector" in metadata,
        missing=_missing(metadata, rows),
    )


def happen(environment: RecordedEnvironment, env: Any, actions: Sequence[Any]) -> Iterator[Moment]:
    """Reset the env and apply the actions, a moment each; ends with the first exception.

    Raises:
        NotReproducible: The reset raised.
    """
    yield Moment(0, {"observation": environment.reset(env)})
    for step, action in enumerate(actions, 1):
        try:
            # An env may do anything to its arguments.
            observation, reward, terminated, truncated, _ = env.step(copy.deepcopy(action))
        except Exception as exc:
            yield Moment(step, {}, exc)
            return
        yield Moment(
            step,
            {"observation": observation, "reward": reward, "terminated": terminated, "truncated": truncated},
        )


def rerun(
    environment: RecordedEnvironment,
    env: Any,
    recorded: Recorded,
    *,
    on_step: Callable[[int], None],
    picture: Callable[[int], None] | None = None,
) -> Rerun:
    """Run the episode again up to the first value that differs.

    Args:
        environment: How to reset it.
        env: Built by it; closed by the caller.
        recorded: What happened before.
        on_step: Called with the number of each step that was equal.
        picture: Called with the step while the env shows what was just found equal.

    Raises:
        NotReproducible: The reset raised.
    """
    result = Rerun()
    for moment in happen(environment, env, recorded.actions):
        result.divergence = _compare(moment, recorded, result.extra)
        if result.divergence is not None:
            return result
        if moment.error is not None:
            result.raised = f"{type(moment.error).__name__}: {moment.error}"
            return result
        result.steps = moment.step
        if picture is not None:
            picture(moment.step)
        on_step(moment.step)
    return result


def why_not_deterministic(environment: RecordedEnvironment, recorded: Recorded) -> str | None:
    """Whether two executions here differ from each other, too, and where; None where they do not."""
    envs = [environment.build(), environment.build()]
    try:
        pair = [happen(environment, env, recorded.actions) for env in envs]
        for one, other in itertools.zip_longest(*pair):
            found = _difference(one, other)
            if found is not None:
                return f"the environment is not deterministic: two executions here differ at step {found}"
    finally:
        for env in envs:
            env.close()
    return None


def _difference(one: Moment | None, other: Moment | None) -> str | None:
    if one is None or other is None:
        present = one or other
        return None if present is None else f"{present.step}, where one of them ended"
    if (one.error is None) != (other.error is None):
        return f"{one.step}, where one of them raised"
    for name, value in one.values.items():
        found = first_mismatch(value, other.values[name], name)
        if found is not None:
            return f"{one.step} ({found.name})"
    return None


def _compare(moment: Moment, recorded: Recorded, extra: set[str]) -> Divergence | None:
    raises = recorded.raises if moment.step == recorded.steps + 1 else None
    if moment.error is not None:
        kind = type(moment.error).__name__
        if kind == raises:
            return None
        return _divergence(moment, recorded, Mismatch("exception", raises or "none", f"{kind}: {moment.error}"))
    if raises is not None:
        return _divergence(moment, recorded, Mismatch("exception", raises, "none"))
    for name, value in moment.values.items():
        rows = recorded.rows.get(name)
        if rows is None:
            continue
        row = rows[moment.step if name == "observation" else moment.step - 1]
        cast = recorded.cast or name == "reward"
        found = first_mismatch(row, value, name, cast=cast)
        if found is not None:
            return _divergence(moment, recorded, found)
        if moment.step == 0:
            extra.update(unrecorded(row, value, name))
    return None


def _divergence(moment: Moment, recorded: Recorded, found: Mismatch) -> Divergence:
    stamps = recorded.stamps_ns
    t_s = stamps[moment.step] / 1e9 if moment.step < len(stamps) else None
    return Divergence(moment.step, t_s, found.name, found.recorded, found.here, found.distance)


def _arrays(path: str | None, kind: str) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return read_arrays(path)
    except MemoryError:
        raise
    except Exception as exc:  # damaged bytes come out of three parsers as nearly anything
        raise NotReproducible(f"its {kind} cannot be read: {exc or type(exc).__name__}") from exc


def _rows(arrays: Mapping[str, Any], stream: str) -> Sequence[Any] | None:
    try:
        return read_rows(arrays, stream)
    except KeyError:
        return None
    except (ValueError, IndexError, TypeError) as exc:
        raise NotReproducible(f"its {stream} cannot be read: {exc or type(exc).__name__}") from exc


def _missing(metadata: Mapping[str, Any], rows: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    missing: dict[str, str] = {}
    video = metadata.get("video")
    cameras = video.get("cameras") if isinstance(video, Mapping) else None
    for camera in cameras if isinstance(cameras, list) else ():
        lossy = camera.get("lossy_of") if isinstance(camera, Mapping) else None
        if lossy:
            missing[str(lossy)] = "kept as video only, which is lossy"
    incomplete = metadata.get("incomplete")
    for key, why in incomplete.items() if isinstance(incomplete, Mapping) else ():
        if key.partition(".")[0] in _STREAMS:
            missing[key] = str(why)
    for name in _STREAMS:
        if name not in rows and name not in missing:
            missing[name] = "not recorded"
    return missing
