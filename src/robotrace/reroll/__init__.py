"""Making an episode happen again: re-execution, its verdict, and the video that was left for later.

An episode of a simulator is a program: environment, seed, actions. ``plan.py`` reads off its metadata what running it
takes, ``pool.py`` has a worker process do it (``worker.py``): ``environments.py`` builds the environment again,
``execution.py`` applies the recorded actions and compares, ``rendering.py`` makes the video. ``episodes.py`` finds the
episode: a folder, an entry of the spool, or an id on a deployment.
"""

from __future__ import annotations
