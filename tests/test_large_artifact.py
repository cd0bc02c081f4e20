"""An artifact larger than many a robot's memory goes out through a few buffers."""

import json
import os
import subprocess
import sys

import pytest
from wire_server import API_KEY

pytest.importorskip("resource", reason="the peak of a process's memory is asked of POSIX")

SIZE_BYTES = 3 * 2**30
"""Beyond 2 GiB, where a signed 32-bit length ends, and beyond what a small machine could hold at once."""
GROWTH_BYTES = 64 * 2**20

UPLOAD = """
import json, resource, sys, robotrace
base_url, api_key, path = sys.argv[1:]

def peak_bytes():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

with robotrace.Client(base_url=base_url, api_key=api_key) as client:
    client.log_episode(sensors=path + ".npz")  # whatever a first upload loads is loaded
    before = peak_bytes()
    status = client.log_episode(sensors=path).status
print(json.dumps([status, peak_bytes() - before]))
"""


@pytest.fixture
def large_file(tmp_path):
    path = tmp_path / "sensors.bin"
    with path.open("wb") as file:
        file.truncate(SIZE_BYTES)  # sparse: it takes no room on the disk
    (tmp_path / "sensors.bin.npz").write_bytes(b"small")
    return path


def test_three_gib_are_uploaded_with_flat_memory(deployment, large_file):
    done = subprocess.run(
        [sys.executable, "-c", UPLOAD, deployment.url, API_KEY, str(large_file)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, growth = json.loads(done.stdout)
    put = deployment.received("PUT", "/store/sensors")[-1]
    assert status == "ready"
    assert put.size == SIZE_BYTES
    assert put.header("Content-Length") == str(SIZE_BYTES)
    assert put.header("Transfer-Encoding") is None
    assert deployment.requests[-1].json["bytes_total"] == SIZE_BYTES
    assert growth < GROWTH_BYTES
