"""RoboTrace: observability for robots that learn.

The unit is the episode: video, sensors and actions on one clock, tagged with the four things that make it
reproducible (``policy_version``, ``env_version``, ``git_sha``, ``seed``).
"""

from robotrace import evals, types, verify
from robotrace._version import __version__
from robotrace.client import Client, close, init, log_episode, start_episode
from robotrace.config import ENV_API_KEY, ENV_BASE_URL
from robotrace.context.run import Run, run
from robotrace.deliver.counters import Status
from robotrace.episode import Episode, UploadUrl
from robotrace.errors import (
    APIError,
    AuthError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    RobotraceError,
    ServerError,
    TransportError,
    ValidationError,
)
from robotrace.ingest import ArtifactKind, EpisodeFinalStatus, EpisodeSource
from robotrace.loops import attach, detach, flush, record, status
from robotrace.types import Battery, EpisodeOutcome, Imu, JointState, Pose3D, Twist

__all__ = [
    "ENV_API_KEY",
    "ENV_BASE_URL",
    "APIError",
    "ArtifactKind",
    "AuthError",
    "Battery",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Episode",
    "EpisodeFinalStatus",
    "EpisodeOutcome",
    "EpisodeSource",
    "Imu",
    "JointState",
    "NotFoundError",
    "Pose3D",
    "RateLimitError",
    "RobotraceError",
    "Run",
    "ServerError",
    "Status",
    "TransportError",
    "Twist",
    "UploadUrl",
    "ValidationError",
    "__version__",
    "attach",
    "close",
    "detach",
    "evals",
    "flush",
    "init",
    "log_episode",
    "record",
    "run",
    "start_episode",
    "status",
    "types",
    "verify",
]
