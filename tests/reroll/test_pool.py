"""Worker processes: limits, crashes, cancelling, and answers that do not depend on how many there are."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import child_environment
from polling import eventually

gym = pytest.importorskip("gymnasium")
pytest.importorskip("av")

from recorded import RecordedEpisode  # noqa: E402
from reruns import job_of, record  # noqa: E402
from unsteady_envs import ARM  # noqa: E402

from robotrace.reroll import pool as pools  # noqa: E402
from robotrace.reroll.jobs import Job, Verdict  # noqa: E402
from robotrace.reroll.pool import Cancelled, Limits, ProcessPool, run_job  # noqa: E402

pytestmark = pytest.mark.usefixtures("arm")


def arm(**kwargs: Any) -> RecordedEpisode:
    return record(gym.make(ARM, **kwargs), [{"seed": 1}])[0]


def arms() -> list[Job]:
    """Steady ones, and each kind of the others, in a row."""
    for mood in ("steady", "random", "steady", "dies", "exits", "steady"):
        record(gym.make(ARM, mood=mood, at=3), [{"seed": 1}, {}])
    from recorded import sealed

    episodes = sorted(sealed(), key=lambda episode: episode.metadata["reproduce"]["env_spec"]["kwargs"]["mood"])
    return [job_of(episode) for episode in episodes]


def without_time(verdict: Verdict) -> Verdict:
    return replace(verdict, checked_at=None)


def test_the_verdicts_do_not_depend_on_the_number_of_workers() -> None:
    jobs = arms()
    alone = [without_time(run_job(job)) for job in jobs]
    assert {verdict.verdict for verdict in alone} == {"reproduced", "not_reproducible"}
    for workers in (1, 3):
        found = dict(ProcessPool(workers).run(jobs))
        assert [_comparable(found[position]) for position in range(len(jobs))] == [_comparable(each) for each in alone]


def _comparable(verdict: Verdict) -> Any:
    # What a random environment gave is another thing each time; where it first differs is not.
    found = verdict.divergence
    return (verdict.verdict, verdict.steps, verdict.reason, None if found is None else (found.step, found.stream))


def test_a_limit_of_time_ends_an_episode_and_not_the_others() -> None:
    jobs = [job_of(arm(mood="hangs", at=4)), job_of(arm())]
    found = dict(ProcessPool(1, limits=Limits(time_s=8.0)).run(jobs))
    assert found[0].verdict == "not_reproducible"
    assert "not done within 8 s" in str(found[0].reason)
    assert found[1].verdict == "reproduced"


def test_a_limit_of_memory_ends_an_episode() -> None:
    verdict = run_job(job_of(arm(mood="eats")), limits=Limits(memory_bytes=2 * 1024**3))
    assert verdict.verdict in ("diverged", "not_reproducible")
    told = f"{verdict.reason} {verdict.divergence}"
    assert "memory" in told.lower() or "allocate" in told


def test_a_crash_is_a_reason_and_the_pool_goes_on() -> None:
    jobs = [job_of(arm(mood="dies")), job_of(arm())]
    found = dict(ProcessPool(1).run(jobs))
    assert "the process that ran it died (SIGABRT)" in str(found[0].reason)
    assert found[1].verdict == "reproduced"


def test_cancelling_ends_the_process() -> None:
    cancelled, begun = threading.Event(), threading.Event()
    job = job_of(arm(mood="hangs", at=4))
    ended: list[BaseException] = []

    def run() -> None:
        try:
            run_job(job, on_progress=lambda done, total: begun.set(), cancelled=cancelled)
        except Cancelled as exc:
            ended.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    eventually(begun.is_set)
    cancelled.set()
    thread.join(10.0)
    assert not thread.is_alive()
    assert len(ended) == 1


def test_leaving_early_ends_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    original = pools._Worker.__init__

    def spy(self: Any, *args: Any) -> None:
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(pools._Worker, "__init__", spy)
    running = ProcessPool(2).run([job_of(arm()), job_of(arm(mood="hangs", at=2))])
    assert next(running)[1].verdict == "reproduced"
    running.close()  # type: ignore[attr-defined]
    assert len(made) >= 1
    assert all(worker._process.poll() is not None for worker in made)


def test_an_error_of_whoever_makes_the_jobs_is_raised() -> None:
    def jobs() -> Iterator[Job]:
        yield job_of(arm())
        raise OSError("the download failed")

    with pytest.raises(OSError, match="the download failed"):
        list(ProcessPool(2).run(jobs()))


def test_jobs_are_taken_as_there_is_room_for_them() -> None:
    ended: set[int] = set()
    taken_after: list[set[int]] = []

    def jobs() -> Iterator[Job]:
        for _ in range(4):
            taken_after.append(set(ended))
            yield job

    def note(position: int, done: int, total: int) -> None:
        if done == total:
            ended.add(position)

    job = job_of(arm())
    assert len(list(ProcessPool(1).run(jobs(), on_progress=note))) == 4
    assert taken_after == [set(range(number)) for number in range(4)]


def test_progress_goes_from_nothing_to_all() -> None:
    told: list[tuple[int, int]] = []
    run_job(job_of(arm()), on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (12, 12)
    assert told == sorted(told)


def test_local_code_of_two_places_is_never_in_one_process(tmp_path: Path) -> None:
    first = job_of(arm())
    block = {**first.metadata["reproduce"], "sources": [{"module": "other"}]}
    second = replace(first, metadata={**first.metadata, "reproduce": block})
    worker = pools._Worker(first, Limits(), None)
    try:
        assert worker.takes(first)
        assert not worker.takes(second)
        assert not worker.takes(replace(first, import_from=(str(tmp_path),)))
        assert not worker.takes(replace(first, trusts_sources=False))
    finally:
        worker.close()
    assert not worker.takes(first)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_worker_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    job = job_of(arm(mood="hangs", at=4))
    (tmp_path / "job.json").write_text(json.dumps(job.to_dict()))
    script = textwrap.dedent(
        """
        import json, os, pathlib, sys
        from robotrace.reroll import jobs, pool

        def show_child(done, total):
            print(pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)

        job = jobs.Job.from_dict(json.loads(pathlib.Path(sys.argv[1]).read_text()))
        pool.run_job(job, on_progress=show_child)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "job.json")],
        env=child_environment({}),
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    eventually(lambda: not Path(f"/proc/{worker}").exists())
