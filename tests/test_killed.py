"""What a process leaves behind: killed, ended by an exception, ended in the middle, forked."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")
np = pytest.importorskip("numpy")
av = pytest.importorskip("av")

from gymnasium_envs import read_barcode  # noqa: E402
from polling import eventually  # noqa: E402
from recorded import sealed  # noqa: E402
from trainings import run, salvaged  # noqa: E402

from robotrace.config import Target  # noqa: E402
from robotrace.deliver.spool import open_spool  # noqa: E402
from robotrace.deliver.uploader import Uploader  # noqa: E402
from robotrace.testing import FaultServer  # noqa: E402


def test_sigkill_right_after_the_last_step_loses_nothing() -> None:
    result = run("rollout(make()); kill()")
    assert result.returncode == -signal.SIGKILL, result.stderr
    (episode,) = salvaged()
    assert episode.finalize["status"] == "ready"
    assert episode.metadata["outcome"]["steps"] == 30
    assert len(episode.arrays("sensors")["observation.pose/value"]) == 31
    assert len(episode.arrays("actions")["action/value"]) == 30
    frames, _ = episode.frames()
    assert [read_barcode(frame) for frame in frames] == list(range(31))


def test_sigkill_after_many_short_episodes_loses_none_of_them() -> None:
    result = run("env = make(video=False)\nfor seed in range(40): rollout(env, seed)\nkill()")
    assert result.returncode == -signal.SIGKILL, result.stderr
    episodes = salvaged()
    assert sorted(episode.create["seed"] for episode in episodes) == list(range(40))
    assert {len(episode.arrays("actions")["action/value"]) for episode in episodes} == {30}


def test_sigkill_in_the_middle_leaves_a_failed_episode_with_what_was_handed_over() -> None:
    body = "from robotrace.capture import recording; recording._BLOCK_STEPS = 4\nrollout(make(), steps=22)\n"
    wait = "from robotrace import session; session.recording_process().drain(30)\nkill()"
    result = run(body + wait)
    assert result.returncode == -signal.SIGKILL, result.stderr
    (episode,) = salvaged()
    assert episode.finalize["status"] == "failed"
    assert episode.metadata["salvaged"] is True
    sensors = episode.arrays("sensors")
    assert len(sensors["observation.pose/value"]) == 21  # five blocks of four steps and the reset
    assert len(sensors["reward/value"]) == 20
    frames, times = episode.frames()
    assert [read_barcode(frame) for frame in frames] == list(range(23))
    assert times[-1] == pytest.approx(22 * 0.05)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ("only='failures'", ["failed"]),
        ("only='successes'", ["ready"]),
        ("keep_partial='never'", ["ready"]),
        ("keep_partial='failures'", ["ready", "failed"]),
    ],
)
def test_of_a_killed_process_those_episodes_are_kept_that_are_wanted(options: str, kept: list[str]) -> None:
    body = f"env = make({options}); rollout(env); rollout(env, steps=22)\n"
    wait = "env.recorder._current._flush(env.recorder._current._opened())\n"
    result = run(body + wait + "from robotrace import session; session.recording_process().drain(30)\nkill()")
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert [episode.finalize["status"] for episode in salvaged()] == kept


def test_the_next_uploader_brings_a_killed_runs_episodes_home() -> None:
    run("rollout(make()); kill()")
    spool = open_spool()
    with FaultServer() as server:
        uploader = Uploader(spool, lambda: Target(server.url, "rt_key"))

        def arrived() -> bool:
            uploader._next_recovery = 0.0
            uploader.run_once()
            return bool(server.episodes)

        eventually(arrived)
        uploader._close()
        (stored,) = server.episodes.values()
    assert set(stored.uploads) == {"video", "sensors", "actions"}


def test_an_uncaught_exception_keeps_its_exit_code_and_traceback_and_names_the_episodes_reason() -> None:
    result = run("env = make(); rollout(env, steps=9); raise ValueError('policy diverged')")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert "\nValueError: policy diverged\n" in result.stderr
    (episode,) = sealed()
    assert episode.finalize["status"] == "failed"
    assert episode.metadata["failure_reason"] == "ValueError: policy diverged"
    assert episode.metadata["outcome"]["steps"] == 9
    assert len(episode.frames()[0]) == 10


def test_an_episode_the_end_of_the_script_cut_off_is_kept_as_interrupted() -> None:
    result = run("env = make(); rollout(env); rollout(env, steps=3); sys.exit(7)")
    assert result.returncode == 7
    whole, cut = sealed()
    assert whole.finalize["status"] == "ready"
    assert cut.finalize["status"] == "failed"
    assert cut.metadata["failure_reason"].startswith("interrupted")


@pytest.mark.parametrize("video", [True, False])
def test_what_no_thread_has_seen_yet_is_sealed_and_uploaded_at_exit(video: bool) -> None:
    # Python 3.12 starts no thread any more when its exit hooks run.
    with FaultServer() as server:
        result = run(
            f"env = make(video={video}); rollout(env, steps=1)",
            ROBOTRACE_BASE_URL=server.url,
            ROBOTRACE_API_KEY="rt_key",
        )
        assert (result.returncode, result.stderr) == (0, "")
        (stored,) = server.episodes.values()
        assert set(stored.uploads) == {"sensors", "actions", *(["video"] if video else [])}
    assert open_spool().recording_folders() == []


def test_offline_is_said_in_one_line_and_nothing_else_is_printed() -> None:
    result = run("env = make()\nfor seed in range(3): rollout(env, seed)\nenv.close()")
    assert result.returncode == 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "no deployment is configured" in line
    assert "robotrace serve" in line
    spool = open_spool()
    assert spool.counts().sealed == 3
    assert spool.recording_folders() == []
    assert list(spool.trash.iterdir()) == []


def test_a_script_uploads_what_it_recorded_before_it_ends() -> None:
    with FaultServer() as server:
        body = "env = make()\nfor seed in range(5): rollout(env, seed)\nenv.close()"
        result = run(body, ROBOTRACE_BASE_URL=server.url, ROBOTRACE_API_KEY="rt_key")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        assert sorted(stored.create["seed"] for stored in server.episodes.values()) == list(range(5))
    assert open_spool().counts().sealed == 0


def test_half_a_configuration_still_records() -> None:
    result = run("rollout(make())", ROBOTRACE_BASE_URL="http://127.0.0.1:9")
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert "no API key" in line
    assert len(sealed()) == 1


FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of fork with threads: the user's choice
env = make()
rollout(env, 1)
env.reset(seed=2)
child = os.fork()
if child == 0:
    rollout(env, 3)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
while not any(env.step(np.zeros(2))[2:4]):
    pass
"""


def test_a_forked_child_records_its_own_and_leaves_the_parents_alone() -> None:
    result = run(FORK)
    assert result.returncode == 0, result.stderr
    episodes = sealed()
    assert sorted(episode.create["seed"] for episode in episodes) == [1, 2, 3]
    for episode in episodes:
        assert episode.finalize["status"] == "ready"
        assert [read_barcode(frame) for frame in episode.frames()[0]] == list(range(31))
    assert open_spool().recording_folders() == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="what descriptors lead to can be seen on Linux")
def test_a_forked_child_holds_nothing_of_the_parents_recording_but_the_number() -> None:
    body = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
def held():
    there = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return {path: os.readlink(path) for path in there if os.path.lexists(path)}
env = make(video=False)
rollout(env)
import robotrace
assert robotrace.flush(60)
blocks = [fd for fd, path in held().items() if path.endswith(".rtb")]
assert blocks, held()
child = os.fork()
if child == 0:
    now = held()
    assert [now[fd] for fd in blocks] == ["/dev/null"] * len(blocks), now
    assert not any(os.environ["ROBOTRACE_SPOOL_DIR"] in path for path in now.values()), now
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    result = run(body)
    assert (result.returncode, len(sealed())) == (0, 1), result.stderr


def test_a_spool_that_cannot_be_written_leaves_the_script_running(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run("rollout(make()); print('done')", ROBOTRACE_SPOOL_DIR=str(tmp_path / "file"))
    assert (result.returncode, result.stdout) == (0, "done\n")
    (line,) = result.stderr.splitlines()
    assert "cannot be written" in line
