"""What goes to a worker and comes back survives JSON."""

from __future__ import annotations

import json

import pytest

from robotrace.errors import ConfigurationError
from robotrace.reroll.jobs import Code, Difference, Divergence, Job, MadeVideo, Verdict, VideoRequest

VERDICT = Verdict(
    "diverged",
    differences=(Difference("mujoco", "3.2.0", None),),
    divergence=Divergence(41, 0.82, "observation.pose", "0.1", "0.2", 0.1),
    steps=40,
    total_steps=200,
    compared=("observation", "reward"),
    not_compared={"observation.wrist": "kept as video only, which is lossy"},
    code=(Code("arms:Arm", "Arm-v0", "arms", None),),
    video=MadeVideo("v.mp4", 3, 64, 48, "superfast", 1000),
    checked_at="2026-11-29T00:00:00+00:00",
)


def test_a_job_comes_back_as_it_was() -> None:
    job = Job("e", {"a": [1]}, "s.npz", None, 50.0, ("/x",), True, VideoRequest("o.mp4", max_edge=64, fps=5.0))
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    plain = Job("e", {}, None, None)
    assert Job.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain


def test_a_verdict_comes_back_as_it_was_whatever_a_newer_version_adds() -> None:
    told = json.loads(json.dumps(VERDICT.to_dict()))
    told["novel"] = told["divergence"]["novel"] = 1
    assert Verdict.from_dict(told) == VERDICT


@pytest.mark.parametrize(
    "value",
    [{}, {"verdict": "fine"}, {"verdict": "diverged", "divergence": {"step": 1}}, {"verdict": "diverged", "code": 7}],
)
def test_what_is_no_verdict_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="verdict"):
        Verdict.from_dict(value)


def test_a_verdict_says_itself_in_a_line() -> None:
    assert VERDICT.in_short == "diverged at step 41, observation.pose"
    assert Verdict("reproduced", steps=7).in_short == "reproduced to the bit, 7 steps"
    assert Verdict("not_reproducible", "no seed").in_short == "not reproducible: no seed"


def test_a_rendered_video_is_described_as_a_live_one() -> None:
    request = {"deferred": True, "every_n_steps": 2, "max_edge": None}
    assert VERDICT.video is not None
    assert VERDICT.video.metadata(request) == {
        **request,
        "frames": 3,
        "preset": "superfast",
        "cameras": [{"name": "render", "track": 0, "width": 64, "height": 48, "frames": 3}],
    }
