"""Trainings of two processes on the CPU, by each way that Lightning starts them, with a deployment to upload to."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from lightning_layouts import ended, everything, module_env, quiet
from recorded import sealed
from trainings import run_file, salvaged

from robotrace.testing import FaultServer
from robotrace_lightning import RoboTraceCallback

SCRIPT = """
import functools, importlib, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
pl = importlib.import_module(sys.argv[1])
from lightning_layouts import base_of, make_env, quiet
from robotrace_lightning import RoboTraceCallback

strategy, folder, ranks, dies = sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5] == "dies"

def policy(observation, module):
    return module.choose(observation)

class Module(base_of(pl)):
    def setup(self, stage):
        self.env = make_env(folder, self.trainer.global_rank)

    def training_step(self, batch, batch_idx):
        if dies and self.trainer.global_rank == 0 and self.trainer.current_epoch == 1:
            self.env.reset()
            self.env.step(self.env.action_space.sample())
            raise ValueError("the loss is nan")
        return self.learn(self.rollout(self.env, self.trainer.global_rank))

    val_dataloader = None

if __name__ == "__main__":
    folder.mkdir(exist_ok=True)
    pl.seed_everything(5)
    callback = RoboTraceCallback(
        every_n_episodes=1, max_per_minute=None, max_episodes=None, ranks=ranks, tags=["ddp"],
        eval_env=functools.partial(make_env, folder, 9), policy=policy,
    )
    pl.Trainer(**quiet(callbacks=[callback], devices=2, strategy=strategy)).fit(Module())
"""


def arrived(server: FaultServer, rank: int, *, evaluations: bool = False) -> list[Any]:
    of_rank = [one for one in server.episodes.values() if one.create["metadata"]["training"]["rank"] == rank]
    return [one for one in of_rank if ("evaluation" in one.create["metadata"]) is evaluations]


def assert_arrived(server: FaultServer, diary: Path, ranks: list[int]) -> None:
    """Every episode of these ranks is there once, with the observations and actions that its environment has."""
    assert {one.create["metadata"]["training"]["rank"] for one in server.episodes.values()} == set(ranks)
    for rank in ranks:
        logs = ended(diary, rank)
        assert len(logs) == 2 * 2  # two epochs of three batches, shared by two
        waiting = {str([entry["observation"] for entry in log]): log for log in logs}
        for stored in arrived(server, rank):
            sensors, actions = (np.load(io.BytesIO(stored.uploads[kind])) for kind in ("sensors", "actions"))
            log = waiting.pop(str(sensors["observation/value"].tolist()))
            assert actions["action/value"].tolist() == [entry["action"] for entry in log[1:]]
            training = stored.create["metadata"]["training"]
            assert (training["world_size"], stored.create["seed"]) == (2, 5)
            assert stored.finalizes == 1
        assert waiting == {}
    # The first process runs eval_env, once an epoch.
    assert [len(arrived(server, rank, evaluations=True)) for rank in (0, 1)] == [2, 0]
    assert [len(ended(diary, rank)) for rank in (0, 1)] == [4, 4]
    assert len(ended(diary, 9)) == 2


@pytest.mark.parametrize(("strategy", "ranks"), [("ddp_spawn", "zero"), ("ddp_fork", "zero"), ("ddp", "all")])
def test_t44_two_processes_record_once_upload_everything_and_exit(
    one: Any, strategy: str, ranks: str, tmp_path: Path
) -> None:
    with FaultServer() as server:
        variables = {"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": "rt_key"}
        arguments = (one.__name__, strategy, str(tmp_path / "diary"), ranks, "lives")
        done = run_file(tmp_path, SCRIPT, *arguments, **variables)
        assert done.returncode == 0, done.stderr[-3000:]
        assert_arrived(server, tmp_path / "diary", [0] if ranks == "zero" else [0, 1])
    assert sealed() == []


def test_t43_t44_an_exception_in_one_of_two_processes_fails_its_open_episode(one: Any, tmp_path: Path) -> None:
    done = run_file(tmp_path, SCRIPT, one.__name__, "ddp_fork", str(tmp_path / "diary"), "zero", "dies")
    assert done.returncode != 0
    assert "the loss is nan" in done.stderr
    episodes = salvaged()
    assert [each.metadata["phase"] for each in episodes].count("train") == 3
    (last,) = [each for each in episodes if each.metadata["training"]["epoch"] == 1]
    assert last.finalize["status"] == "failed"
    # Of an exception in such a process Lightning tells the callback of its parent, which has recorded nothing.
    assert last.metadata["failure_reason"] == "interrupted: the process ended in the middle of the episode"
    assert last.metadata["outcome"]["steps"] == 1


def test_t44_a_deployment_that_is_away_holds_up_no_process(one: Any, tmp_path: Path) -> None:
    variables = {"ROBOTRACE_BASE_URL": "http://127.0.0.1:9", "ROBOTRACE_API_KEY": "rt_key"}
    arguments = (one.__name__, "ddp_fork", str(tmp_path / "diary"), "zero", "lives")
    done = run_file(tmp_path, SCRIPT, *arguments, **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(salvaged()) == len(ended(tmp_path / "diary", 0)) + len(ended(tmp_path / "diary", 9)) == 6


def test_t44_the_callback_is_pickled_by_its_arguments_in_the_middle_of_a_run_too(one: Any, tmp_path: Path) -> None:
    copies: list[Any] = []

    class Pickles(one.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            copies.append(pickle.loads(pickle.dumps(trainer.callbacks[0])))

    module, _ = module_env(one, tmp_path / "diary")
    callback = everything(tags=["mine"], eval_episodes=3)
    trainer = one.Trainer(**quiet(callbacks=[callback, Pickles()], max_epochs=1))
    trainer.fit(module)
    assert all(isinstance(copy, RoboTraceCallback) for copy in copies)
    assert len(copies) == 3
    for copy in copies:
        assert set(vars(copy)) == set(vars(callback)) - {"log", "log_dict"}
        assert copy.settings.options.given == callback.settings.options.given
        assert copy.settings.eval_episodes == 3
        assert module not in vars(copy).values()
