"""Where ``robotrace serve`` writes what it does: a line a request on stderr, as text or as JSON."""

from __future__ import annotations

import logging

from robotrace.cli.embedded import needs_server

__all__ = ["log_requests"]


def log_requests(log_format: str) -> None:
    """Write each request and every message of ours to stderr.

    Args:
        log_format: ``text`` or ``json``.
    """
    with needs_server():
        from robotrace.serve.requests import JsonFormatter

    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    # uvicorn's own errors are in ``uvicorn.error``; its access log, which has query strings, stays off.
    for name in ("robotrace", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
