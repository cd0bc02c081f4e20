"""The soak, short; ``python tests/deliver/soak.py`` runs it for ten minutes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from deliver.soak import soak


def test_of_processes_killed_at_random_and_a_server_that_fails_at_random_every_episode_arrives_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = soak(8.0, seed=3, folder=tmp_path)
    with capsys.disabled():
        print(f"\nsoak: {asdict(counts)}")
    assert counts.kills_of_producers >= 4
    assert counts.kills_of_uploaders >= 1
    assert min(counts.answered_503, counts.cut, counts.answers_lost) > 0
    assert counts.ended > 20
    assert (counts.lost, counts.doubled, counts.left, counts.damaged) == (0, 0, 0, 0)
