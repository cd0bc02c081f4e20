"""Many processes and one spool: fork, spawn, forkserver, workers of data loaders and vector envs, two uploaders."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("numpy")
pytest.importorskip("av")

from deliver.producing import noted, start
from polling import eventually
from recorded import sealed
from trainings import PREAMBLE, run, run_file, salvaged

from robotrace.config import Target
from robotrace.deliver.spool import open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.testing import FaultServer

CHILDREN = (
    PREAMBLE
    + """
import multiprocessing, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of fork with threads: the user's choice

def work(seed):
    rollout(make(video=False), seed)

if __name__ == "__main__":
    env = make(video=False)
    rollout(env, 0)
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(seed,), daemon=seed == 3) for seed in (1, 2, 3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    rollout(env, 4)
"""
)


IMPORTS = (
    PREAMBLE
    + """
import threading
from robotrace import flush
env = make(video=sys.argv[1] == "video")
env.reset()
found = []

def hook(event, arguments):
    thread = threading.current_thread()
    if event == "import" and thread is not threading.main_thread():
        found.append((thread.name, arguments[0]))

sys.addaudithook(hook)
for seed in range(3):
    rollout(env, seed)
assert flush(60)
print(found)
"""
)


@pytest.mark.parametrize("what", ["video", "none"])
def test_no_thread_of_ours_is_in_the_middle_of_an_import_when_a_training_forks(tmp_path: Path, what: str) -> None:
    # Its lock would be held in the child for ever, and whatever imports that module there waits. Seen as an episode of
    # a child that had to be salvaged: its writer waited for utf_32_le, and the child's end for the writer, for 10 s.
    with FaultServer() as server:
        variables = {"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": "rt_key"}
        result = run_file(tmp_path, IMPORTS, what, **variables)
        assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr
        assert len(server.episodes) == 3


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_every_start_method_record_their_own_and_all_arrive(tmp_path: Path, method: str) -> None:
    with FaultServer() as server:
        variables = {"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": "rt_key"}
        result = run_file(tmp_path, CHILDREN, method, **variables)
        assert (result.returncode, result.stdout) == (0, ""), result.stderr
        uploader = Uploader(open_spool(), lambda: Target(server.url, "rt_key"))
        uploader.run_once()
        uploader._close()
        assert sorted(stored.create["seed"] for stored in server.episodes.values()) == [0, 1, 2, 3, 4]
        assert {stored.finalize["status"] for stored in server.episodes.values() if stored.finalize} == {"ready"}
        assert not any("salvaged" in (stored.finalize or {})["metadata"] for stored in server.episodes.values())
    assert open_spool().recording_folders() == []


def test_a_daemon_child_that_is_killed_with_its_parent_is_salvaged_by_that_parent(tmp_path: Path) -> None:
    body = (
        PREAMBLE
        + """
import multiprocessing

def work(ready):
    env = make(video=False)
    rollout(env, 7)
    rollout(env, 8, steps=22)
    from robotrace import session
    session.recording_process().drain(30)
    ready.set()
    import time
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    context.Process(target=work, args=(ready,), daemon=True).start()
    rollout(make(video=False), 1)
    assert ready.wait(60)
"""
    )
    with FaultServer() as server:
        result = run_file(tmp_path, body, ROBOTRACE_BASE_URL=server.url, ROBOTRACE_API_KEY="rt_key")
        assert result.returncode == 0, result.stderr
        assert open_spool().recording_folders() == []
        waiting = [episode.create["seed"] for episode in sealed()]
        arrived = [stored.create["seed"] for stored in server.episodes.values()]
        assert {1, 7} <= {*waiting, *arrived}
        assert "Traceback" not in result.stderr


DATA_LOADER = (
    PREAMBLE
    + """
import torch.utils.data

class Rollouts(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        rollout(make(video=False), index)
        return index

if __name__ == "__main__":
    loader = torch.utils.data.DataLoader(Rollouts(), num_workers=2, batch_size=1)
    assert sorted(int(batch[0]) for batch in loader) == list(range(6))
"""
)


def test_workers_of_a_data_loader_record(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    result = run_file(tmp_path, DATA_LOADER)
    assert result.returncode == 0, result.stderr
    assert sorted(episode.create["seed"] for episode in salvaged()) == list(range(6))


SUBPROC = (
    PREAMBLE
    + """
from stable_baselines3.common.vec_env import SubprocVecEnv

class OneSpace(__import__("gymnasium").ObservationWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.observation_space = env.observation_space["pose"]

    def observation(self, observation):
        return observation["pose"].copy()

def one():
    return OneSpace(make(video=False))

if __name__ == "__main__":
    envs = SubprocVecEnv([one, one])
    envs.seed(3)
    envs.reset()
    for _ in range(65):
        envs.step([np.zeros(2), np.zeros(2)])
    envs.close()
"""
)


def test_workers_of_a_subproc_vec_env_record(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed")
    result = run_file(tmp_path, SUBPROC)
    assert result.returncode == 0, result.stderr
    statuses = collections.Counter(episode.finalize["status"] for episode in salvaged())
    assert statuses == {"ready": 4}


ASYNC = (
    PREAMBLE
    + """
import gymnasium as gym

def one():
    return make(video=False)

if __name__ == "__main__":
    envs = gym.vector.AsyncVectorEnv([one, one])
    envs.reset(seed=3)
    for _ in range(63):
        envs.step(np.zeros((2, 2)))
    envs.close()
"""
)


def test_recorders_in_the_workers_of_an_async_vector_env_record(tmp_path: Path) -> None:
    result = run_file(tmp_path, ASYNC)
    assert result.returncode == 0, result.stderr
    steps = sorted(
        episode.metadata["outcome"]["steps"] for episode in salvaged() if episode.finalize["status"] == "ready"
    )
    assert steps == [30, 30, 30, 30]


def test_two_uploaders_and_sixteen_writers_deliver_each_episode_once(tmp_path: Path) -> None:
    root, log, each = tmp_path / "spool", tmp_path / "log", 8
    spool = open_spool(root)
    with FaultServer() as server:
        uploaders = [Uploader(spool, lambda: Target(server.url, "rt_key")) for _ in range(2)]
        for uploader in uploaders:
            uploader.start()
        writers = [start(root, log, "", f"w{number}", each) for number in range(16)]
        for writer in writers:
            _, err = writer.communicate(timeout=120)
            assert writer.returncode == 0, err
        eventually(lambda: len(noted(log)) == 16 * each)

        def all_there() -> bool:
            for uploader in uploaders:
                uploader._next_recovery = 0.0
                uploader.wake()
            return not spool.recording_folders() and not spool.sealed_episodes()

        eventually(all_there, 120.0)
        for uploader in uploaders:
            uploader.stop(30.0)
        names = collections.Counter(stored.create["name"] for stored in server.episodes.values())
        assert set(names) == {*noted(log), *(f"w{number}-open" for number in range(16))}
        assert set(names.values()) == {1}
        assert {stored.finalizes for stored in server.episodes.values()} == {1}
        assert sum(uploader.counts.uploaded for uploader in uploaders) == 16 * (each + 1)


def test_a_vanished_spool_folder_costs_what_was_in_it_and_recording_goes_on() -> None:
    body = """
import shutil
env = make(video=False)
rollout(env, 1)
import robotrace
assert robotrace.flush(30)
shutil.rmtree(os.environ["ROBOTRACE_SPOOL_DIR"])
rollout(env, 2)
robotrace.flush(30)
rollout(env, 3)
assert robotrace.flush(30)
env.close()
print("done")
"""
    result = run(body, ROBOTRACE_RAISE_INTERNAL_ERRORS="0")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert "was deleted; recording goes on" in result.stderr
    assert [episode.create["seed"] for episode in sealed()] == [3]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_spool_that_loses_its_write_permission_leaves_the_loop_alone() -> None:
    body = """
env = make(video=False)
rollout(env, 1)
import robotrace
assert robotrace.flush(30)
os.chmod(robotrace.status().spool / "sealed", 0o500)
rollout(env, 2)
assert robotrace.flush(30)
print("done")
"""
    result = run(body, ROBOTRACE_RAISE_INTERNAL_ERRORS="0")
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_the_counters_tell_what_happened() -> None:
    body = """
import robotrace
assert robotrace.status().spool is None
env = make(video=False)
for seed in range(3): rollout(env, seed)
assert robotrace.flush(60)
told = robotrace.status()
print(told.mode, told.recorded, told.sealed, told.waiting, told.uploaded, told.uploaded_bytes > 0, dict(told.dropped))
"""
    with FaultServer() as server:
        result = run(body, ROBOTRACE_BASE_URL=server.url, ROBOTRACE_API_KEY="rt_key")
    assert (result.stdout, result.stderr) == ("online 3 3 0 3 True {}\n", "")
    result = run(body.replace("60", "5"), ROBOTRACE_MODE="offline")
    assert (result.stdout, result.stderr) == ("offline 3 3 None 0 False {}\n", "")


def test_where_there_is_no_room_nothing_is_begun_and_what_is_there_stays() -> None:
    body = """
import robotrace
env = make(video=False)
from robotrace import session
for seed in range(5):
    rollout(env, seed)
    robotrace.flush(60)
    session._current.room._next_look = 0.0  # looks are 2 s apart
print(dict(robotrace.status().dropped))
"""
    result = run(body, ROBOTRACE_SPOOL_LIMIT_GB="0", ROBOTRACE_MODE="offline")
    kept = [episode.create["seed"] for episode in sealed()]
    assert kept in ([0], [0, 1])  # the first look, asked for when 0 begins, may come when it is there already
    assert result.stdout == f"{{'there was no room': {5 - len(kept)}}}\n", result.stderr
    (line,) = result.stderr.splitlines()
    assert "no new episode is recorded: the spool" in line
