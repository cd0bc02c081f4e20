"""RoboTrace for Hydra: installed, it is there in every app, and does nothing until it is switched on.

``python train.py +robotrace=default``. Hydra imports :mod:`hydra_plugins.robotrace_plugin` in every app, and makes the
callback: until a job is recorded neither of them imports anything but Hydra.
"""

from robotrace_hydra.callback import RoboTraceCallback

__all__ = ["RoboTraceCallback"]
