"""A long bag takes no more memory than a short one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("av")

import numpy as np
from ros2_bags import BagMaker, arrays

MS = 1_000_000
SHORT, LONG = 500, 10_000
MOST_GROWTH_MB = 24
"""The pictures of the long bag are 92 MB, the depths 61 MB. Measured: 4 MB, for the index of the video."""

# Not ru_maxrss: a process inherits that of the one that started it.
ENCODE = """
import re, sys
from pathlib import Path
from robotrace.adapters.ros2 import encode_bag
def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
for number, bag in enumerate(sys.argv[2:]):
    encode_bag(bag, f"{sys.argv[1]}/{number}")
    print(peak_mb())
"""


def write_bag(path: Path, count: int, storage: str) -> Path:
    pictures = np.random.default_rng(1).integers(0, 256, (7, 6, 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    depths = np.random.default_rng(2).integers(0, 4000, (7, 48, 64)).astype(np.uint16)
    with BagMaker(path, storage) as bag:
        for number in range(count):
            t = number * 33 * MS
            header = bag.header(t)
            bag.add("/camera", bag.image(pictures[number % 7], "rgb8", header), t)
            bag.add("/depth", bag.image(depths[number % 7], "16UC1", header), t)
            position = np.full(6, float(number))
            names = [f"j{joint}" for joint in range(6)]
            bag.add("/joints", bag.make("sensor_msgs/msg/JointState", header=header, name=names, position=position), t)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_ten_thousand_frames_take_the_memory_of_five_hundred(tmp_path: Path) -> None:
    bags = [write_bag(tmp_path / f"bag-{count}", count, "mcap") for count in (SHORT, LONG)]
    command = [sys.executable, "-c", ENCODE, str(tmp_path / "out"), *map(str, bags)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    short, long = map(float, result.stdout.split())
    found = arrays(tmp_path / "out" / "1")
    assert found["/depth/image"].shape == (LONG, 48, 64)
    assert len(found["/camera/_t_ns"]) == LONG
    np.testing.assert_array_equal(found["/joints/position"][:, 0], np.arange(LONG))
    assert long - short < MOST_GROWTH_MB, f"{short:.0f} MB, then {long:.0f} MB"
