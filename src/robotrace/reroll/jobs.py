"""What is asked of a worker process, and what it answers.

Plain values only, so that they go through a pipe, over HTTP, or to another machine. No NumPy, no framework: a
deployment handles these without importing what a worker needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from robotrace.errors import ConfigurationError

__all__ = ["Code", "Difference", "Divergence", "Job", "MadeVideo", "Outcome", "Verdict", "VideoRequest"]

Outcome = Literal["reproduced", "diverged", "not_reproducible"]
"""*reproduced*: everything compared was equal to the bit. *diverged*: the env ran, and something was not.
*not_reproducible*: it could not be run, or what it does here cannot be repeated here either."""


@dataclass(frozen=True)
class VideoRequest:
    """A video to be made of the episode while it runs again.

    Args:
        path: The file; there whole or not at all.
        max_edge: Its longer edge in pixels at the most; None leaves what the env renders.
        every_n_steps: A frame at the reset, at every nth step, and at the last one.
        fps: At the most so many frames a second of the episode's clock, instead of ``every_n_steps``.
        camera: The env's ``camera_name``, for those that have several.
        preset: Of libx264; None: that of a live recording.
    """

    path: str
    max_edge: int | None = None
    every_n_steps: int = 1
    fps: float | None = None
    camera: str | None = None
    preset: str | None = None


@dataclass(frozen=True)
class Job:
    """One episode to run again.

    Args:
        episode_id: What to call it.
        metadata: The episode's, with its ``reproduce`` block.
        sensors: Path of its ``sensors.npz``; None: nothing to compare with.
        actions: Path of its ``actions.npz``.
        fps: The episode's; how long the last frame of a video is shown.
        import_from: Folders to import the env's code from, behind the interpreter's own path.
        trusts_sources: The episode was recorded on this machine by this user, so that the folders it names may be
            imported from, too. Never for what came over a wire.
        video: Make one; None: nothing is rendered.
    """

    episode_id: str
    metadata: Mapping[str, Any]
    sensors: str | None
    actions: str | None
    fps: float | None = None
    import_from: tuple[str, ...] = ()
    trusts_sources: bool = False
    video: VideoRequest | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Job:
        """What :meth:`to_dict` gave."""
        video = value.get("video")
        return cls(
            **{
                **value,
                "import_from": tuple(value.get("import_from", ())),
                "video": None if video is None else VideoRequest(**video),
            }
        )


@dataclass(frozen=True)
class Code:
    """A piece of code that running an episode again imports and calls.

    Attributes:
        entry_point: ``module:Name`` of the env or a wrapper of it.
        what: The env's id, or the wrapper's name.
        package: The top-level module.
        version: The package's where the episode was recorded; None where nobody knows.
    """

    entry_point: str
    what: str
    package: str
    version: str | None = None


@dataclass(frozen=True)
class Difference:
    """Something that decides the numbers, and is another here than where the episode was recorded.

    Attributes:
        name: A package, ``python``, ``machine``, or a file of the env's code.
        recorded: Its version there; of a file the beginning of its SHA-256.
        here: None where it is missing here.
    """

    name: str
    recorded: str
    here: str | None


@dataclass(frozen=True)
class Divergence:
    """The first value that came out differently.

    Attributes:
        step: 0 is the reset, k the result of the kth action.
        t_s: Of that moment on the episode's clock; None where the recording has none.
        stream: ``observation``, a leaf of it (``observation.pose``), ``reward``, ``terminated``, ``truncated``, or
            ``exception``.
        recorded: The recorded value, in short.
        here: The value here, in short.
        distance: The largest absolute difference of its numbers; None where they cannot be subtracted.
    """

    step: int
    t_s: float | None
    stream: str
    recorded: str
    here: str
    distance: float | None = None


@dataclass(frozen=True)
class MadeVideo:
    """The video that was made.

    Attributes:
        path: The file.
        frames: In it.
        width: In pixels.
        height: In pixels.
        preset: Of libx264.
        size: In bytes.
    """

    path: str
    frames: int
    width: int
    height: int
    preset: str
    size: int

    def metadata(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What becomes ``metadata.video`` of the episode, in the form of a live recording's.

        Args:
            request: What ``metadata.video`` said before.
        """
        camera = {"name": "render", "track": 0, "width": self.width, "height": self.height, "frames": self.frames}
        return {**request, "deferred": True, "frames": self.frames, "preset": self.preset, "cameras": [camera]}


@dataclass(frozen=True)
class Verdict:
    """What came of running an episode again.

    Attributes:
        verdict: The answer.
        reason: Why it could not be run, or that the env is not deterministic; None where there is nothing to say.
        differences: What is another here; looked at first when something diverged.
        divergence: The first value that differs; None where none does.
        steps: How many steps were equal, from the first on.
        total_steps: How many the recording has.
        compared: The streams that were compared.
        not_compared: Streams that were not, and why.
        code: What was imported and called.
        raised: The exception that ended it here as it did there; None where none did.
        video: What was made, where one was asked for and the episode happened again.
        video_fault: Why none was made although it did (no GL, nothing rendered); None where there is nothing to say.
        checked_at: When, ISO 8601 in UTC.
        checked_by: ``robotrace`` with its version.
    """

    verdict: Outcome
    reason: str | None = None
    differences: tuple[Difference, ...] = ()
    divergence: Divergence | None = None
    steps: int = 0
    total_steps: int | None = None
    compared: tuple[str, ...] = ()
    not_compared: Mapping[str, str] = field(default_factory=dict)
    code: tuple[Code, ...] = ()
    raised: str | None = None
    video: MadeVideo | None = None
    video_fault: str | None = None
    checked_at: str | None = None
    checked_by: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Verdict:
        """What :meth:`to_dict` gave, possibly in another version: fields it does not know are left out.

        Raises:
            ConfigurationError: It is no verdict.
        """
        if value.get("verdict") not in get_args(Outcome):
            raise ConfigurationError(f"verdict is {value.get('verdict')!r}; it takes {', '.join(get_args(Outcome))}")
        try:
            divergence, video = value.get("divergence"), value.get("video")
            return cls(
                **{
                    **_known(cls, value),
                    "differences": tuple(
                        Difference(**_known(Difference, item)) for item in value.get("differences", ())
                    ),
                    "divergence": None if divergence is None else Divergence(**_known(Divergence, divergence)),
                    "compared": tuple(value.get("compared", ())),
                    "not_compared": dict(value.get("not_compared", {})),
                    "code": tuple(Code(**_known(Code, item)) for item in value.get("code", ())),
                    "video": None if video is None else MadeVideo(**_known(MadeVideo, video)),
                }
            )
        except (TypeError, AttributeError, ValueError) as exc:
            raise ConfigurationError(f"this is no verdict on an episode: {exc}") from exc

    @property
    def in_short(self) -> str:
        """One line for people."""
        if self.verdict == "reproduced":
            return f"reproduced to the bit, {self.steps} steps"
        at = None if self.divergence is None else f"step {self.divergence.step}, {self.divergence.stream}"
        if self.verdict == "diverged":
            return f"diverged at {at}"
        return f"not reproducible: {self.reason}" + ("" if at is None else f" (first at {at})")


def _known(kind: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in dataclasses.fields(kind)}
    return {name: item for name, item in value.items() if name in names}
