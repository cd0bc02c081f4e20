"""What running an episode again takes, from its metadata alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from robotrace.reroll.plan import read_plan

SPEC = {
    "id": "Arm-v0",
    "entry_point": "arms.envs:Arm",
    "additional_wrappers": [{"name": "ClipAction", "entry_point": "gymnasium.wrappers:ClipAction", "kwargs": {}}],
}
BLOCK = {"reproducible": True, "env_spec": SPEC, "versions": {"python": "3.11.7", "gymnasium": "1.4.0"}}


def test_the_code_is_named_with_the_versions_it_had() -> None:
    plan = read_plan({"reproduce": BLOCK})
    assert plan.reason is None
    assert [(code.what, code.entry_point, code.package, code.version) for code in plan.code] == [
        ("Arm-v0", "arms.envs:Arm", "arms", None),
        ("ClipAction", "gymnasium.wrappers:ClipAction", "gymnasium", "1.4.0"),
    ]


def test_code_that_no_package_brought_is_named() -> None:
    source = {"module": "__main__", "file": "/home/me/train.py", "folder": "/home/me", "sha256": "0" * 64}
    plan = read_plan({"reproduce": {**BLOCK, "sources": [source]}})
    assert (plan.local, plan.scripts) == (("__main__",), {"__main__": "train.py"})


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({}, "without what is needed"),
        ({"reproduce": {}}, "without what is needed"),
        ({"reproduce": "yes"}, "without what is needed"),
        ({"reproduce": {"reproducible": False, "reason": "no seed"}}, "no seed"),
        ({"reproduce": {"reproducible": "true", "env_spec": SPEC}}, "says that it is not"),
        ({"reproduce": {"reproducible": True}}, "not known"),
        ({"reproduce": BLOCK, "last_seconds": {"dropped_steps": 9}}, "first 9 actions are missing"),
        ({"reproduce": BLOCK, "incomplete": {"action.grip": "objects"}}, "incomplete: objects"),
        ({"reproduce": BLOCK, "incomplete": {"*": "the disk was too slow"}}, "the disk was too slow"),
    ],
)
def test_what_stands_in_the_way_is_said(metadata: dict[str, Any], why: str) -> None:
    assert why in str(read_plan(metadata).reason)


@pytest.mark.parametrize("missing", [{"observation.camera": "x"}, {"video": "no GL"}])
def test_a_missing_picture_or_observation_is_no_obstacle(missing: dict[str, str]) -> None:
    assert read_plan({"reproduce": BLOCK, "incomplete": missing}).reason is None


@pytest.mark.parametrize(
    ("video", "plan"),
    [
        (None, (False, 1, None)),
        ({"frames": 3}, (False, 1, None)),
        ({"deferred": True, "every_n_steps": 4, "max_edge": 320}, (True, 4, 320)),
        ({"deferred": True, "every_n_steps": True, "max_edge": -1}, (True, 1, None)),
    ],
)
def test_a_deferred_video_says_its_frames(video: Any, plan: tuple[bool, int, int | None]) -> None:
    found = read_plan({"reproduce": BLOCK, "video": video})
    assert (found.deferred, found.every_n_steps, found.max_edge) == plan


def test_asking_for_a_rerun_imports_none_of_what_does_it() -> None:
    script = (
        "import sys; import robotrace.reroll.plan, robotrace.reroll.pool, robotrace.reroll.jobs; "
        "print([name for name in ('numpy', 'av', 'gymnasium', 'robotrace.capture') if name in sys.modules])"
    )
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=path, check=True)
    assert done.stdout.strip() == "[]"
