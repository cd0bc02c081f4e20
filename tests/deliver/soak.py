"""Producers and uploaders killed at random, with a server that fails at random; then everything is counted.

python tests/deliver/soak.py --seconds 600 --seed 1
"""

from __future__ import annotations

import argparse
import collections
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from deliver.producing import noted, start

from robotrace.config import Target
from robotrace.deliver.spool import open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.testing import FakeClock, Fault, FaultServer

__all__ = ["SoakCounts", "soak"]

_PRODUCERS = 2
_DRAIN_ROUNDS = 1000


@dataclass
class SoakCounts:
    """What happened."""

    seconds: float = 0.0
    kills_of_producers: int = 0
    kills_of_uploaders: int = 0
    requests: int = 0
    answered_503: int = 0
    cut: int = 0
    answers_lost: int = 0
    ended: int = 0
    """Episodes that were complete when their process went on."""
    salvaged_open: int = 0
    delivered: int = 0
    lost: int = 0
    doubled: int = 0
    left: int = 0
    damaged: int = 0


class _Weather:
    """5 % of the requests get a 503, 3 % are cut off, of 3 % the answer is lost."""

    def __init__(self, rng: random.Random, counts: SoakCounts) -> None:
        self._rng = rng
        self._counts = counts

    def __call__(self, method: str, path: str) -> Fault | None:
        self._counts.requests += 1
        drawn = self._rng.random()
        if drawn < 0.05:
            self._counts.answered_503 += 1
            return Fault(503, {"error": "try later"})
        if drawn < 0.08:
            self._counts.cut += 1
            return Fault(kind="cut", after=100)
        if drawn < 0.11:
            self._counts.answers_lost += 1
            return Fault(kind="lost")
        return None


class _Victim:
    """A process that is killed after a random time, and another one in its place."""

    def __init__(self, root: Path, log: Path, url: str, name: str, rng: random.Random, longest_s: float) -> None:
        self._arguments = root, log, url
        self._name = name
        self._rng = rng
        self._longest_s = longest_s
        self.kills = 0
        self._begin()

    def _begin(self) -> None:
        root, log, url = self._arguments
        prefix = "upload" if self._name == "upload" else f"{self._name}.{self.kills}"
        self._process: subprocess.Popen[str] = start(root, log, url, prefix, 0)
        self._dies_at = time.monotonic() + 0.5 + self._rng.random() * self._longest_s

    def look(self) -> None:
        if time.monotonic() >= self._dies_at:
            self.kill()
            self._begin()

    def kill(self) -> None:
        self._process.kill()
        out, err = self._process.communicate()
        if self._process.returncode != -9:
            raise RuntimeError(f"{self._name} ended by itself with {self._process.returncode}: {out}{err}")
        self.kills += 1


def soak(seconds: float, seed: int, folder: Path, *, say: bool = False) -> SoakCounts:
    """Run it for so long, bring home what is left with the same server, and count."""
    rng, counts = random.Random(seed), SoakCounts()
    root, log = folder / "spool", folder / "log"
    open_spool(root)
    with FaultServer(keep_bytes=1000) as server:
        server.fault = _Weather(random.Random(seed + 1), counts)
        producers = [_Victim(root, log, server.url, f"p{k}", rng, 4.0) for k in range(_PRODUCERS)]
        uploader = _Victim(root, log, server.url, "upload", rng, 6.0)
        began = told = time.monotonic()
        while time.monotonic() - began < seconds:
            for victim in (*producers, uploader):
                victim.look()
            if say and time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"{told - began:.0f} s: {len(noted(log))} ended, {len(server.episodes)} created", flush=True)
            time.sleep(0.02)
        for victim in (*producers, uploader):
            victim.kill()
        counts.seconds = round(time.monotonic() - began, 1)
        counts.kills_of_producers = sum(victim.kills for victim in producers)
        counts.kills_of_uploaders = uploader.kills
        _drain(root, server.url)
        _count(counts, root, log, server)
    return counts


def _drain(root: Path, url: str) -> None:
    spool, clock = open_spool(root), FakeClock()
    last = Uploader(spool, lambda: Target(url, "rt_key"), clock=clock, rng=random.Random(0))
    for _ in range(_DRAIN_ROUNDS):
        clock.now += max(61.0, last.run_once())
        if not spool.sealed_episodes() and not spool.recording_folders():
            break
    last._close()


def _count(counts: SoakCounts, root: Path, log: Path, server: FaultServer) -> None:
    spool = open_spool(root)
    stored = list(server.episodes.values())
    names = collections.Counter(episode.create["name"] for episode in stored)
    arrived = {episode.create["name"] for episode in stored if episode.finalize is not None}
    ended = noted(log)
    counts.ended = len(ended)
    counts.delivered = len(arrived)
    counts.salvaged_open = len(arrived - set(ended))
    counts.lost = len(set(ended) - arrived)
    counts.doubled = sum(count - 1 for count in names.values()) + len(ended) - len(set(ended))
    counts.left = len(spool.sealed_episodes()) + len(spool.recording_folders()) + len(spool.failed_folders())
    for episode in stored:
        claims = (episode.finalize or {}).get("artifacts", ())
        if {claim["kind"]: claim["sha256"] for claim in claims} != episode.sha256:
            counts.damaged += 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="robotrace-soak-") as temporary:
        result = soak(options.seconds, options.seed, Path(temporary), say=True)
    for name, value in asdict(result).items():
        print(f"{name.replace('_', ' '):20} {value}")
    sys.exit(1 if result.lost or result.doubled or result.left or result.damaged else 0)
