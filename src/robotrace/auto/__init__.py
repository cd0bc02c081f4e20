"""Recording without touching the code, for a whole process: what is imported is instrumented, as it is or comes.

Process-wide, all of it: a finder before all others in ``sys.meta_path`` (:mod:`robotrace.auto.imports`), and what the
plugins of the frameworks change in them (:mod:`robotrace.auto.instrumentation`). ``robotrace run`` and the plugin for
Hydra switch it on.
"""

from robotrace.auto.importlib_bootstrap import Around, around_function, is_stood_in, stand_in
from robotrace.auto.inherited import inherited_options
from robotrace.auto.instrumentation import fail_open_episodes, instrument, seal_episodes
from robotrace.auto.settings import RUN_FIELDS, given_options

__all__ = [
    "RUN_FIELDS",
    "Around",
    "around_function",
    "fail_open_episodes",
    "given_options",
    "inherited_options",
    "instrument",
    "is_stood_in",
    "seal_episodes",
    "stand_in",
]
