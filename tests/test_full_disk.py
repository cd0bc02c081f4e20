"""A training on a disk of 2 MiB, a real one: a tmpfs in a mount namespace of the test's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("numpy")
pytest.importorskip("av")

from trainings import PREAMBLE, environment

from robotrace.testing import FaultServer


def _mounts() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    command = [unshare, "--mount", "--map-root-user", "mount", "-t", "tmpfs", "-o", "size=2m", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not _mounts(), reason="no tmpfs can be mounted here")

SETTINGS = {
    "ROBOTRACE_KEEP_FREE_GB": "0",
    "ROBOTRACE_SPOOL_LIMIT_GB": "1",
    "ROBOTRACE_RAISE_INTERNAL_ERRORS": "0",
}

FILL = (
    PREAMBLE
    + """
import json
from pathlib import Path
import robotrace

class Big(LoggingEnv):  # 32 KiB a step
    def _observe(self):
        observation = super()._observe()
        return {**observation, "big": np.random.default_rng(self._step).random(4096)}

def big():
    from gymnasium import spaces
    env = Big(length=10)
    env.observation_space = spaces.Dict({**env.observation_space, "big": spaces.Box(-1, 1, (4096,))})
    return RoboTraceRecorder(env, video=False, max_per_minute=None)

env = big()
for seed in range(12):
    rollout(env, seed)
    robotrace.flush(20)
told = robotrace.status()
"""
)


def run(tmp_path: Path, body: str, **more: str) -> subprocess.CompletedProcess[str]:
    disk = tmp_path / "disk"
    disk.mkdir(exist_ok=True)
    (tmp_path / "training.py").write_text(body)
    script = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" "$3"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(disk), sys.executable]
    variables = environment({**SETTINGS, "ROBOTRACE_SPOOL_DIR": str(disk), **more})
    return subprocess.run(
        [*command, str(tmp_path / "training.py")],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_loop_runs_on_and_what_was_sealed_stays(tmp_path: Path) -> None:
    body = (
        FILL
        + """
from robotrace.deliver.spool import find_spool
sealed = [entry.manifest() for entry in find_spool().sealed_episodes()]
print(json.dumps([told.recorded, told.sealed, dict(told.dropped), [len(item["artifacts"]) for item in sealed]]))
"""
    )
    result = run(tmp_path, body, ROBOTRACE_MODE="offline")
    assert result.returncode == 0, result.stderr
    recorded, sealed, dropped, artifacts = json.loads(result.stdout)
    assert 0 < sealed <= recorded < 12, result.stderr
    assert dropped["there was no room"] == 12 - recorded
    assert artifacts == [2] * sealed
    assert "is full: no new episode is recorded for a minute" in result.stderr
    assert "Traceback" not in result.stderr


def test_uploads_go_on_and_give_the_room_back_and_what_was_sealed_arrives_whole(tmp_path: Path) -> None:
    body = (
        FILL.replace(
            "env = big()",
            """
from robotrace import session
from robotrace.deliver import spool as spools
spools._BALLAST_NEEDS_BYTES = 0
spools._BALLAST_BYTES = 256 * 1024
spools.open_spool().keep_ballast()
env = big()
""",
        ).replace("    robotrace.flush(20)\n", "    if seed < 2: robotrace.flush(20)\n")
        + """
for _ in range(50):  # each delivery gives room back, in which the next one is sealed
    assert robotrace.flush(60)
    told = robotrace.status()
    if told.sealed == told.recorded:
        break
print(json.dumps([told.recorded, told.sealed, spools.find_spool().counts().sealed]))
"""
    )
    with FaultServer() as server:
        result = run(tmp_path, body, ROBOTRACE_BASE_URL=server.url, ROBOTRACE_API_KEY="rt_key")
        assert result.returncode == 0, result.stderr
        recorded, sealed, waiting = json.loads(result.stdout)
        assert 2 <= sealed <= recorded  # the blocks of all of them may leave no room for the files of the last ones
        assert "is full: no new episode is recorded for a minute" in result.stderr
        assert waiting == 0
        arrived = [stored for stored in server.episodes.values() if stored.finalize is not None]
        assert len(arrived) == len(server.episodes) == sealed
        for stored in arrived:
            assert stored.finalize is not None
            assert {claim["kind"]: claim["sha256"] for claim in stored.finalize["artifacts"]} == stored.sha256
    assert "Traceback" not in result.stderr
