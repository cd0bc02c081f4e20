"""A file larger than many a machine's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robotrace.deliver.files import write_json
from robotrace.deliver.spool import Spool
from robotrace.testing import FaultServer
from robotrace.testing.episodes import seal_one

pytest.importorskip("resource", reason="the peak of a process's memory is asked of POSIX")

SIZE_BYTES = 6 * 2**30
GROWTH_BYTES = 32 * 2**20

DELIVER = """
import json, resource, sys
from pathlib import Path
from robotrace.config import Target
from robotrace.deliver.spool import open_spool
from robotrace.deliver.uploader import Uploader

def peak_bytes():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

root, url, large = sys.argv[1:]
uploader = Uploader(open_spool(Path(root)), lambda: Target(url, "rt_key"))
uploader.run_once()  # a small episode: whatever a first upload loads is loaded
before = peak_bytes()
Path(large).rename(open_spool(Path(root)).sealed / Path(large).name)
uploader.run_once()
uploader._close()
print(json.dumps([uploader.counts.uploaded, uploader.counts.retried, peak_bytes() - before]))
"""


def test_six_gib_go_out_through_a_few_buffers(tmp_path: Path, spool: Spool) -> None:
    seal_one(spool)
    entry = seal_one(spool, video=b"small")
    with (entry.folder / "video.mp4").open("r+b") as file:
        file.truncate(SIZE_BYTES)  # sparse: it takes no room on the disk
    manifest = entry.manifest()
    assert manifest is not None
    for artifact in manifest["artifacts"]:
        if artifact["kind"] == "video":
            artifact["size"] = SIZE_BYTES
    write_json(entry.folder / "manifest.json", manifest)
    aside = tmp_path / entry.folder.name
    entry.folder.rename(aside)
    with FaultServer(keep_bytes=1) as server:
        # The hash of 6 GiB is the server's business, and no part of what is asked here.
        server.check_claims = False
        done = subprocess.run(
            [sys.executable, "-c", DELIVER, str(tmp_path / "spool"), server.url, str(aside)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        uploaded, retried, growth = json.loads(done.stdout)
        assert (uploaded, retried) == (2, 0)
        assert server.episodes[entry.uuid].sizes["video"] == SIZE_BYTES
    assert growth < GROWTH_BYTES
