"""The JSON of explaining episodes; it mirrors the plain values of :mod:`robotrace.explain`."""

from __future__ import annotations

from pydantic import BaseModel

from robotrace.serve.schemas import FindingView, Utc

__all__ = ["AnalysisView", "SkippedView"]


class SkippedView(BaseModel):
    """A rule that could not judge, or a stream that was not looked at."""

    what: str
    reason: str


class AnalysisView(BaseModel):
    """What the rules say of an episode, the likeliest cause first."""

    analyzer_version: str
    findings: list[FindingView]
    skipped: list[SkippedView]
    analyzed_at: Utc
