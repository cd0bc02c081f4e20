"""RoboTrace for Gymnasium: ``env = RoboTraceRecorder(env)``."""

from robotrace_gymnasium.recorder import RoboTraceRecorder

__all__ = ["RoboTraceRecorder"]
