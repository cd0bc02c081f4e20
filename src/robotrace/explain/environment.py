"""Another environment than the one it was recorded in, where running it again has shown that."""

from __future__ import annotations

from collections.abc import Mapping

from robotrace.explain.facts import CannotJudge, EpisodeFacts, Finding

__all__ = ["environment_changed"]


def environment_changed(episode: EpisodeFacts) -> Finding | None:
    """Running the episode again came out differently, and versions differ."""
    report = episode.reproduction
    if report is None:
        raise CannotJudge("nobody has run the episode again")
    listed = report.get("differences")
    differences = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    if report.get("verdict") != "diverged" or not differences:
        return None
    found = report.get("divergence")
    divergence = found if isinstance(found, Mapping) else {}
    onset = divergence.get("t_s")
    told = [f"{item.get('name')} {item.get('recorded')} (there {item.get('here')})" for item in differences[:5]]
    return Finding(
        "environment_changed",
        "It does not happen again with other versions",
        f"Run again, it diverged at step {divergence.get('step')} in {divergence.get('stream')}; "
        f"other versions: {', '.join(told)}.",
        # It says that the versions matter, not that they made it fail.
        0.5,
        {"differences": [dict(item) for item in differences[:10]], "step": divergence.get("step")},
        float(onset) if isinstance(onset, (int, float)) and not isinstance(onset, bool) else None,
        (str(divergence["stream"]),) if divergence.get("stream") else (),
        "Run it with the versions it was recorded with, then with one changed at a time.",
    )
