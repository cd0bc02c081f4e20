"""One rollout of a Gymnasium environment: described, written to files, or uploaded. For whole trainings there is
:class:`robotrace_gymnasium.RoboTraceRecorder`; both record with the same engine, into the same files.

Example:
    >>> import tempfile, gymnasium as gym
    >>> from robotrace.adapters.gymnasium import encode_rollout
    >>> env = gym.make("CartPole-v1")
    >>> rollout = encode_rollout(env, tempfile.mkdtemp(), policy=lambda observation, info: 0, seed=7)
    >>> rollout.metadata["steps"]
    9
"""

from robotrace.adapters._episode import EncodedArtifact
from robotrace.adapters.gymnasium._rollout import EncodedRollout, Policy, encode_rollout
from robotrace.adapters.gymnasium._scan import EnvSummary, scan_env
from robotrace.adapters.gymnasium._upload import upload_rollout

__all__ = [
    "EncodedArtifact",
    "EncodedRollout",
    "EnvSummary",
    "Policy",
    "encode_rollout",
    "scan_env",
    "upload_rollout",
]
