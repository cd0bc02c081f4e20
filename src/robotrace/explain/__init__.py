"""Why a run failed: arrays and metadata in, findings out. Knows no HTTP, no database, no file and no recorder."""

from robotrace.explain.analysis import ANALYZER_VERSION, CODES, analyze
from robotrace.explain.facts import Analysis, EpisodeFacts, Finding, Skipped, Stream

__all__ = ["ANALYZER_VERSION", "CODES", "Analysis", "EpisodeFacts", "Finding", "Skipped", "Stream", "analyze"]
