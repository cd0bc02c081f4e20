"""The process that measures: one request a line on stdin, one answer a line on what was its stdout.

With ``--once REQUEST`` it answers that request only, for ``perf stat`` around it.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import warnings
from typing import Any

__all__: list[str] = []


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        module = importlib.import_module(f"cases.{request['module']}")
        values = module.measure(request["contestant"], **request["size"])
    except Exception as exc:  # a peer may fail in any way: its reason goes into the results
        return {"error": f"{type(exc).__name__}: {exc}".splitlines()[0][:300]}
    finally:
        _empty_spool()
    facts = {key: value for key, value in values.items() if isinstance(value, str)}
    return {"figures": {key: float(value) for key, value in values.items() if key not in facts}, "facts": facts}


def _empty_spool() -> None:
    """Nothing uploads here, and a hundred rounds would fill the disk."""
    if "robotrace.session" not in sys.modules:
        return
    from robotrace.deliver.spool import open_spool

    for entry in open_spool().sealed_episodes():
        shutil.rmtree(entry.folder, ignore_errors=True)


def _main() -> None:
    warnings.simplefilter("ignore")
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # what a peer prints is no answer
        if sys.argv[1:2] == ["--once"]:
            print(json.dumps(_answer(json.loads(sys.argv[2]))), file=answers)
            return
        for line in sys.stdin:
            print(json.dumps(_answer(json.loads(line))), file=answers)


if __name__ == "__main__":
    _main()
