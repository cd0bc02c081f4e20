"""What docs/exporting.md shows reads what is exported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from readme import ROOT, blocks

pytest.importorskip("av")

from robotrace.export import export_episode

from .exported import episode


@pytest.mark.parametrize(
    ("needs", "format_name", "says"),
    [
        ("mcap_protobuf", "mcap", "1795952791833182243 ["),
        ("h5py", "hdf5", "failed (40, 3) 1.29"),
        ("pandas", "csv", ""),
    ],
)
def test_a_snippet_reads_its_file(needs: str, format_name: str, says: str, tmp_path: Path) -> None:
    pytest.importorskip(needs)
    snippets = {name: text for text in blocks(ROOT / "docs" / "exporting.md", "py") for name in [needs] if name in text}
    export_episode(episode(tmp_path), format_name, tmp_path / f"episode.{format_name}")
    done = subprocess.run(
        [sys.executable, "-c", snippets[needs]], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(says)
