"""RoboTrace for Stable-Baselines3: ``model.learn(100_000, callback=RoboTraceCallback())``.

Importing it prepares ``learn`` and ``evaluate_policy`` for a callback that may come (:mod:`robotrace_sb3.patches`); a
training without one is not touched.
"""

from robotrace_sb3.callback import RoboTraceCallback
from robotrace_sb3.patches import instrument, uninstrument

__all__ = ["RoboTraceCallback", "instrument", "uninstrument"]
