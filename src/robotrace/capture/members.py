"""The environments of a vector, one by one: what can be known of each, and what is seen of it around its own resets."""

from __future__ import annotations

import copy
import dataclasses
import operator
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robotrace.capture.attributes import layers, own_attribute
from robotrace.capture.batches import MISSING
from robotrace.capture.calls import raised_in
from robotrace.capture.clock import EnvClock, find_clock, read_attribute
from robotrace.capture.decisions import Start
from robotrace.capture.environment import EnvFacts, ResetRecord
from robotrace.capture.recording import Recording
from robotrace.capture.rendering import Renderer, find_renderer
from robotrace.capture.tap import attached_recorder, call_own, check_attachable, install, uninstall

__all__ = ["Member", "is_sb3", "members_of", "single_space", "why_not_alone"]

_MAX_WRAPPERS = 64
_OF_THE_VECTOR = ("num_envs", "vectorization_mode", "vector_kwargs")
"""What ``gymnasium.make_vec`` adds to the arguments of the single environment."""
_APART = ("AsyncVectorEnv", "SyncVectorEnv", "DummyVecEnv", "SubprocVecEnv")
"""Vectors whose environments are made one by one, and know nothing of each other."""
_ELSEWHERE = (
    "the environment is in another process, where the state of its random generator before the reset is not seen"
)
_WITHIN = (
    "the environment was reset in another process, within the step that ended the episode before (SameStep), where the "
    "state of its random generator before the reset is not seen"
)
_NOT_TOLD = (
    "the environment is in another process, which says with the first step what it started from: none was taken, or it "
    "did not answer"
)
_OTHER_SEED = "the environment was reset with another seed than the vector was given"
_SHARED = "the environments of this vector are made by one program together; none of them can be made again by itself"
_ONLOOKERS = (
    "DictInfoToList",
    "HumanRendering",
    "RecordEpisodeStatistics",
    "RecordVideo",
    "VectorListInfo",
    "VectorRoboTraceRecorder",
)
"""Wrappers of vectors that leave actions, observations, rewards and flags as they are."""
_NO_PICTURES = "the environments were not made with render_mode='rgb_array'"
_PICTURES_OF_ALL = "the environments are not in this process, and one of them cannot be rendered without all others"


class Member:
    """One environment of a vector, and its present episode; the fields are the vector's recorder's.

    Args:
        index: Its place in the vector.
        env: Itself, kept weakly; None where it is not in this process.
        vector: The vector environment.
        known: The facts of its members so far; shared by all of them.
        seeds_add_up: Whether a seed for the vector is, plus its index, one for this environment.
        env_id: Of the environment, where that cannot be seen here.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_env",
        "_env_id",
        "_facts",
        "_held",
        "_kept",
        "_known",
        "_overwriting",
        "_resets",
        "_terminal",
        "_terminal_s",
        "_vector",
        "after_step",
        "before_reset",
        "before_step",
        "begun_at",
        "first",
        "index",
        "is_recorded",
        "is_seen",
        "last",
        "longest",
        "no_video",
        "passed_over",
        "recording",
        "renderer",
        "seed",
        "seeds_add_up",
        "slot",
        "start",
        "vector",
        "was_reset",
    )

    def __init__(
        self,
        index: int,
        env: Any,
        vector: Any,
        known: list[tuple[_Looks, EnvFacts]],
        *,
        seeds_add_up: bool,
        env_id: str | None = None,
    ) -> None:
        self.index = self.slot = index
        self.recording: Recording | None = None
        self.start: Start | None = None
        self.before_step: Callable[[Any], None] = _nothing
        self.after_step: Callable[[Any], None] = _nothing
        self.begun_at = self.longest = 0
        self.first: Any = None
        self.last: Any = None
        self.seed: int | None = None
        """Of the present episode's reset."""
        self.before_reset: dict[str, Any] = {}
        self.was_reset = False
        self.vector: dict[str, Any] = {}
        """What else there is to say of the vector."""
        self.passed_over = False
        """It was decided before its reset that the episode which begins there is not recorded."""
        self.seeds_add_up = seeds_add_up
        self._known = known
        self._env_id = env_id
        self.renderer: Renderer | None = None
        self.no_video: str | None = _PICTURES_OF_ALL
        self.is_seen = False
        """Whether its own resets are seen."""
        self.is_recorded = False
        """Whether it has a recorder of its own."""
        self._env = _weakly(env)
        self._vector = weakref.ref(vector)
        self._resets = ResetRecord()
        self._facts: EnvFacts | None = None
        self._clock: EnvClock | None = None
        self._terminal: Any = MISSING
        self._held: Any = MISSING
        self._kept: Any = MISSING
        self._overwriting: Any = None
        self._terminal_s: float | None = None

    def enter(self, *, films: bool) -> None:
        """See its resets from now on, and its pictures where it ``films``."""
        env = self._env()
        try:
            check_attachable(env)
        except TypeError:  # slots, or no environment at all: then it is seen from the vector only
            return
        self.is_recorded = _has_recorder(env)
        install(env, _Resets(self), names=("reset",))
        self.is_seen = True
        self.no_video = _NO_PICTURES
        if films:
            alive = self._env
            renderer = find_renderer(env, lambda: call_own(alive(), "render"))
            if renderer is not None and not renderer.collects:
                self.renderer, self.no_video = renderer, None

    def leave(self) -> None:
        """Leave the environment as it was."""
        env = self._env()
        if self.is_seen and env is not None and isinstance(attached_recorder(env), _Resets):
            uninstall(env)
        self.is_seen = False

    def expect_reset(self, seed: int | None, options: Mapping[str, Any] | None, *, within_step: bool = False) -> None:
        """The vector resets it unseen; ``within_step``: it has done so in the step that ended the episode before."""
        self.was_reset = True
        self.seed = seed
        if options:  # Gymnasium's vectors take the mask out
            options = {key: value for key, value in options.items() if key != "reset_mask"}
        self.before_reset = self._resets.before(None, seed, options)
        if not self.seeds_add_up:
            self.before_reset["reason"] = _SHARED
        elif seed is None:
            self.before_reset["reason"] = _WITHIN if within_step else _ELSEWHERE

    def expect_answer(self) -> None:
        """The process in which it is will say what its present episode's reset started from."""
        if "reason" in self.before_reset:
            self.before_reset["reason"] = _NOT_TOLD

    def told(self, found: Mapping[str, Any]) -> None:
        """What the process in which it is has seen of its present episode's reset; the counts are ours."""
        before = self.before_reset
        ours, theirs = (each["resets_since_seed"] == 0 for each in (before, found))
        counted = {"seed": before["seed"], "resets_since_seed": before["resets_since_seed"]}
        before.clear()
        before.update({**found, **counted})
        if ours is not theirs or (ours and found["seed"] != counted["seed"]):
            before["reason"] = _OTHER_SEED

    def told_facts(self, said: Mapping[str, Any]) -> None:
        """What the process in which it is says of what :meth:`facts` gives."""
        self._facts = EnvFacts.told(said)

    @property
    def has_facts(self) -> bool:
        """Whether they are known."""
        return self._facts is not None

    def reset_begins(self, seed: Any, options: Mapping[str, Any] | None) -> None:
        """It is being reset; with an episode still open, within the step that ended it."""
        if self.recording is not None:
            self._keep_last()
        self.was_reset = True
        # Emptied first: what cannot be read now must not be that of the reset before.
        self.seed, self.before_reset = None, {}
        self.seed = None if seed is None else operator.index(seed)
        self.before_reset = self._resets.before(self._env(), self.seed, options)

    def reset_ended(self, observation: Any) -> None:
        """It was reset, and returned this."""
        if self.recording is not None:
            self._overwriting = observation
        self._resets.after(self._env(), self.before_reset)

    def last_observation(self, given: Any) -> Any:
        """The last observation of the episode that a reset within the step has ended.

        Args:
            given: What the vector says it was; MISSING where the vector does not. Where the environment reuses its
                buffer, that is by now the first observation of the next episode.
        """
        if not _share_memory(given, self._overwriting):
            # What a wrapper of the vector has made of an overwritten one is no less overwritten.
            return MISSING if _share_memory(self._held, self._overwriting) else given
        return self._kept if given is self._held else MISSING

    def facts(self) -> EnvFacts:
        """What stays the same for all of its episodes."""
        if self._facts is None:
            # Read once for all that are alike (0.8 ms each), as those of a vector mostly are.
            env = self._env()
            face = _Face(self._vector()) if env is None else env
            looks = _looks(face)
            known = next((facts for seen, facts in self._known if seen.are(looks)), None)
            if known is None:
                known = EnvFacts(face, self._env_id if env is None else None)
                self._known.append((looks, known))
            self._facts = known
        return self._facts

    def clock(self, steps_per_s: float | None) -> EnvClock:
        """Its clock; after a reset within the step it tells the time before the reset, until :meth:`clear_terminal`."""
        if self._clock is None:
            env = self._env()
            base = self._vector() if env is None else env
            found = find_clock(getattr(base, "unwrapped", base), steps_per_s)
            now = found.now
            if now is not None:
                tell: Callable[[], float] = now
                found = dataclasses.replace(found, now=lambda: tell() if self._terminal_s is None else self._terminal_s)
            self._clock = found
        return self._clock

    def picture(self) -> Any:
        """The present picture of its episode."""
        if self._terminal is not MISSING:
            return self._terminal
        return None if self.renderer is None else self.renderer.picture()

    def clear_terminal(self) -> None:
        """Its episode has ended."""
        self._terminal = self._held = self._kept = MISSING
        self._terminal_s = self._overwriting = None

    def has_raised(self, error: BaseException) -> bool:
        """Whether an exception came out of this environment."""
        return raised_in(self._env(), error)

    def _keep_last(self) -> None:
        if self._kept is MISSING:
            # Gymnasium from 1.0 on: what the environments have returned, not copied yet.
            held = read_attribute(getattr(self._vector(), "unwrapped", None), "_env_obs")
            if isinstance(held, list) and held[self.index] is not None:
                self._held = held[self.index]
                self._kept = copy.deepcopy(self._held)
        clock = self._clock
        if clock is not None and clock.now is not None and self._terminal_s is None:
            self._terminal_s = clock.now()
        if self.start is not None and self.start.video and self.renderer is not None and self._terminal is MISSING:
            frame = self.renderer.picture()
            # The next picture may come in the same buffer.
            self._terminal = frame.copy() if hasattr(frame, "copy") else frame


class _Resets:
    """What :mod:`robotrace.capture.tap` calls around the resets of a member."""

    recording = False

    def __init__(self, member: Member) -> None:
        self.before_step: Callable[[Any], None] = _nothing
        self.after_step: Callable[[Any], None] = _nothing
        self._member = member

    def before_reset(self, seed: Any, options: Mapping[str, Any] | None) -> None:
        try:
            self._member.reset_begins(seed, options)
        except Exception as exc:
            self._member.before_reset = {"reason": f"the state before the reset could not be read: {exc}"}

    def after_reset(self, result: tuple[Any, Any]) -> None:
        try:
            self._member.reset_ended(result[0])
        except Exception as exc:
            self._member.before_reset["reason"] = f"the state after the reset could not be read: {exc}"

    def failed(self, error: BaseException) -> None:
        """The vector's recorder hears of it from the vector."""

    def close(self, error: BaseException | None = None) -> None:
        """So of this."""


class _Face:
    """A vector environment as one of its environments would look, for :class:`EnvFacts`."""

    def __init__(self, vector: Any) -> None:
        base = getattr(vector, "unwrapped", vector)
        self.unwrapped = base
        self.spec = _single_spec(read_attribute(vector, "spec") or read_attribute(base, "spec"))
        self.observation_space = single_space(vector, "observation_space")
        self.action_space = single_space(vector, "action_space")


def single_space(vector: Any, name: str) -> Any:
    """The ``observation_space`` or ``action_space`` of one environment of a vector; None where it is not known."""
    for env in (vector, read_attribute(vector, "unwrapped")):
        found = read_attribute(env, f"single_{name}")
        if found is not None:
            return found
    # Stable-Baselines3 calls by the plain name what Gymnasium calls single.
    return read_attribute(vector, name) if is_sb3(vector) else None


def is_sb3(vector: Any) -> bool:
    """Whether it is a vector of Stable-Baselines3's."""
    return any(kind.__name__ == "VecEnv" for kind in type(vector).__mro__)


def members_of(vector: Any, films: int, env_id: str | None = None) -> list[Member]:
    """The environments of a vector; those in this process are seen from now on.

    Args:
        vector: With ``num_envs``.
        films: So many of them, the first ones, have pictures.
        env_id: Of those in other processes, where somebody has asked.
    """
    base = getattr(vector, "unwrapped", vector)
    count = int(read_attribute(vector, "num_envs") or read_attribute(base, "num_envs"))
    found = read_attribute(base, "envs")
    inside = list(found) if isinstance(found, (list, tuple)) and len(found) == count else [None] * count
    apart = any(kind.__name__ in _APART for kind in type(base).__mro__)
    known: list[tuple[_Looks, EnvFacts]] = []
    members = [Member(index, env, vector, known, seeds_add_up=apart, env_id=env_id) for index, env in enumerate(inside)]
    for member, env in zip(members, inside, strict=True):
        if env is not None:
            member.enter(films=member.index < films)
    return members


def why_not_alone(vector: Any) -> str | None:
    """Why none of its environments shows by itself what the vector shows of it; None where each does."""
    base = read_attribute(vector, "unwrapped")
    for layer in layers(vector):
        if layer is base:
            break
        if type(layer).__name__ not in _ONLOOKERS and own_attribute(layer, "env") is not None:
            return (
                f"{type(layer).__name__}, a wrapper of the whole vector, stands between its environments and the loop"
            )
    return None


@dataclasses.dataclass(frozen=True)
class _Looks:
    """What :class:`EnvFacts` depends on; not the environment, which would hold itself."""

    kind: type
    spec: Any
    spaces: str

    def are(self, other: _Looks) -> bool:
        """Whether both are alike, as far as that can be told: arrays among the spec's arguments cannot be compared."""
        try:
            return self == other
        except Exception:
            return False


def _looks(env: Any) -> _Looks:
    base = getattr(env, "unwrapped", env)
    spaces = [str(read_attribute(env, name)) for name in ("observation_space", "action_space")]
    return _Looks(type(base), read_attribute(env, "spec") or read_attribute(base, "spec"), "; ".join(spaces))


def _single_spec(spec: Any) -> Any:
    kwargs = read_attribute(spec, "kwargs")
    if not isinstance(kwargs, Mapping):
        return spec
    single = copy.copy(spec)
    single.kwargs = {key: value for key, value in kwargs.items() if key not in _OF_THE_VECTOR}
    return single


def _has_recorder(env: Any) -> bool:
    for _ in range(_MAX_WRAPPERS):
        if env is None:
            return False
        if attached_recorder(env) is not None or hasattr(type(env), "recorder"):
            return True
        env = read_attribute(env, "env")
    return False


def _share_memory(one: Any, other: Any) -> bool:
    if isinstance(one, (Mapping, list)) and one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return any(_share_memory(one[key], other[key]) for key in one if key in other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return any(map(_share_memory, one, other))
    arrays = isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return arrays and bool(np.may_share_memory(one, other))


def _weakly(env: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(env)
    except TypeError:  # None, or what Isaac Gym has under `envs`: handles of its simulator
        return _nobody


def _nobody() -> None:
    return None


def _nothing(_: Any) -> None:
    """Between episodes."""
