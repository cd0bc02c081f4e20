"""Runs from their setup to their last exception: phases, limits, checkpoints, other callbacks, other recorders."""

from __future__ import annotations

import copy
import gc
import logging
import weakref
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from lightning_layouts import base_of, ended, everything, found, late_env, make_env, match, module_env, quiet
from recorded import sealed
from reruns import rerun
from trainings import run_file
from vector_envs import read_diary

import robotrace
from robotrace.errors import ConfigurationError
from robotrace.plugin import find_recorder
from robotrace_gymnasium import RoboTraceRecorder
from robotrace_lightning import RoboTraceCallback

# --- phases and limits ------------------------------------------------------------------------------------------------


def test_t42_nothing_of_the_sanity_check_is_recorded(pl: Any, tmp_path: Path) -> None:
    module, _ = module_env(pl, tmp_path / "diary")
    pl.Trainer(**quiet(callbacks=[everything()], num_sanity_val_steps=2)).fit(module)
    assert {entry[1] for entry in module.book} == {"sanity_check", "train", "validate"}
    checked = [entry for entry in module.book if entry[1] == "sanity_check"]
    assert len(checked) == 2
    assert len(found("validate")) == len(ended(tmp_path / "diary", 1)) - len(checked)
    assert len(found("train")) == len(ended(tmp_path / "diary", 0))
    assert len(found()) == len(module.book) - len(checked)


def test_t42_a_fast_dev_run_records_one_episode_of_each_phase(pl: Any, tmp_path: Path) -> None:
    module, _ = module_env(pl, tmp_path / "diary")
    callback = everything(
        eval_env=lambda: make_env(tmp_path / "eval", 0), eval_episodes=5, policy=lambda seen, _: seen[:2]
    )
    logger = import_module(f"{pl.__name__}.loggers").CSVLogger(str(tmp_path))
    trainer = pl.Trainer(**quiet(fast_dev_run=3, callbacks=[callback], logger=logger))
    trainer.fit(module)
    own = [one for one in found() if "evaluation" in one.metadata]
    others = [one.metadata["phase"] for one in found() if "evaluation" not in one.metadata]
    assert (len(own), sorted(others)) == (1, ["train", "validate"])
    assert all(one.metadata["training"]["logger"] is None for one in found())


@pytest.mark.parametrize("run", ["validate", "test", "predict"])
def test_t42_a_run_that_only_evaluates_is_recorded_under_its_own_phase(one: Any, run: str, tmp_path: Path) -> None:
    module, _ = module_env(one, tmp_path / "diary")
    trainer = one.Trainer(**quiet(callbacks=[everything()]))
    getattr(trainer, run)(module)
    assert [each.metadata["phase"] for each in found()] == [run] * 2
    match(found(), tmp_path / "diary") if run == "validate" else None


def test_only_the_phases_that_are_asked_for_are_recorded(one: Any, tmp_path: Path) -> None:
    module, _ = module_env(one, tmp_path / "diary")
    trainer = one.Trainer(**quiet(callbacks=[everything(phases="validate")]))
    trainer.fit(module)
    trainer.predict(module)
    assert {each.metadata["phase"] for each in found()} == {"validate"}


def test_by_default_every_10th_training_episode_and_20_of_each_validation_are_recorded(
    one: Any, tmp_path: Path
) -> None:
    class Plays(base_of(one)):
        def __init__(self) -> None:
            super().__init__()
            self.env, self.val_env = make_env(tmp_path / "diary", 0), make_env(tmp_path / "diary", 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for _ in range(5):
                self.rollout(self.env, 0)
            return self.learn()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            for _ in range(15):
                self.rollout(self.val_env, 1)

    one.Trainer(**quiet(callbacks=[RoboTraceCallback()], max_epochs=2)).fit(Plays())
    assert [each.metadata["episode_index"] for each in found("train")] == [0, 10, 20]
    epochs = [each.metadata["training"]["epoch"] for each in found("validate")]
    assert (epochs.count(0), epochs.count(1)) == (20, 20)
    # Numbered on, though the limit is of each validation.
    assert [each.metadata["episode_index"] for each in found("validate")] == [*range(20), *range(30, 50)]


def test_the_limit_of_training_episodes_is_of_each_epoch_unless_it_is_given(one: Any, tmp_path: Path) -> None:
    for name, option, expected in (("default", {}, [50, 50]), ("given", {"max_episodes": 7}, [7, 0])):

        class Plays(base_of(one)):
            def training_step(self, batch: Any, batch_idx: int, name: str = name) -> Any:
                for _ in range(20):
                    self.rollout(self.env, 0)
                return self.learn()

        module = Plays()
        module.env = make_env(tmp_path / name, 0)
        callback = RoboTraceCallback(every_n_episodes=1, max_per_minute=None, metadata={"which": name}, **option)
        one.Trainer(**quiet(callbacks=[callback], limit_val_batches=0)).fit(module)
        epochs = [each.metadata["training"]["epoch"] for each in found() if each.metadata["which"] == name]
        assert [epochs.count(0), epochs.count(1)] == expected


# --- endings ----------------------------------------------------------------------------------------------------------


def breaks(pl: Any, folder: Path, error: BaseException) -> Any:
    class Breaks(base_of(pl)):
        def __init__(self) -> None:
            super().__init__()
            self.env, self.val_env = make_env(folder, 0), make_env(folder, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.trainer.current_epoch == 1:
                self.env.reset()
                self.env.step(self.env.action_space.sample())
                raise error
            return self.learn(self.rollout(self.env, 0))

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.val_env.reset()
            self.val_env.step(self.val_env.action_space.sample())

    return Breaks()


@pytest.mark.filterwarnings("ignore:Detected KeyboardInterrupt")
@pytest.mark.parametrize(
    ("error", "success"), [(ValueError("the loss is nan"), False), (KeyboardInterrupt(), None)], ids=["error", "ctrl-c"]
)
def test_t43_an_exception_fails_the_open_episode_of_its_phase_and_is_passed_on(
    pl: Any, error: BaseException, success: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    monkeypatch.setattr(signal, "signal", lambda *_: None)  # Lightning ignores Ctrl-C from there on
    module = breaks(pl, tmp_path / "diary", error)
    callback = everything(keep_partial="always")
    trainer = pl.Trainer(**quiet(callbacks=[callback]))
    ends = (ValueError, SystemExit) if isinstance(error, ValueError) or pl.__version__ >= "2.4" else ()
    if ends:
        with pytest.raises(ends) as caught:
            trainer.fit(module)
        assert caught.value is error or isinstance(error, KeyboardInterrupt)
    else:  # it ends the training, and fit returns
        trainer.fit(module)
    (failed,) = [one for one in found("train") if one.metadata["training"]["epoch"] == 1]
    assert failed.finalize["status"] == "failed"
    assert failed.metadata["exception"]["type"] == type(error).__name__
    assert failed.metadata["outcome"]["success"] is success
    # The validation's was left in the middle an epoch ago.
    left = found("validate")
    assert len(left) == 2
    assert {one.finalize["status"] for one in left} == {"ready"}
    assert "step" not in vars(module.env)
    assert "step" not in vars(module.val_env)


def test_t43_the_environment_that_raised_is_the_one_that_failed(one: Any, tmp_path: Path) -> None:
    class Two(base_of(one)):
        def __init__(self) -> None:
            super().__init__()
            self.envs = [make_env(tmp_path / "diary", k, raises_at=(0, 0) if k == 1 else None) for k in range(2)]

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            for env in self.envs:
                env.reset()
            for env in self.envs:
                env.step(env.action_space.sample())

    with pytest.raises(RuntimeError, match="gripper 1 is on fire"):
        one.Trainer(**quiet(callbacks=[everything(keep_partial="always")])).fit(Two())
    by_status = {each.finalize["status"]: each for each in found()}
    assert sorted(by_status) == ["failed", "ready"]
    assert by_status["failed"].metadata["exception"]["message"] == "gripper 1 is on fire"


CTRL_C = """
import os, signal, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import importlib
pl = importlib.import_module(sys.argv[1])
from lightning_layouts import base_of, make_env, quiet
from robotrace_lightning import RoboTraceCallback

class Module(base_of(pl)):
    def __init__(self):
        super().__init__()
        self.env = make_env(Path(sys.argv[2]), 0)

    def training_step(self, batch, batch_idx):
        self.env.reset()
        self.env.step(self.env.action_space.sample())
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100000):  # a signal is handled between two steps of the interpreter
            pass

pl.Trainer(**quiet(callbacks=[RoboTraceCallback()])).fit(Module())
"""


def test_t43_ctrl_c_ends_the_program_and_its_episode(one: Any, tmp_path: Path) -> None:
    done = run_file(tmp_path, CTRL_C, one.__name__, str(tmp_path / "diary"))
    assert done.returncode == (1 if one.__version__ >= "2.4" else 0), done.stderr
    (episode,) = sealed()
    assert episode.metadata["failure_reason"] == "KeyboardInterrupt"
    assert episode.metadata["outcome"]["steps"] == 1
    assert episode.metadata["outcome"]["success"] is None


def test_what_is_open_when_a_run_is_over_was_left_in_the_middle(one: Any, tmp_path: Path) -> None:
    class Leaves(base_of(one)):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.env.reset()
            self.env.step(self.env.action_space.sample())
            return self.learn()

    module = Leaves()
    module.env = make_env(tmp_path / "diary", 0)
    one.Trainer(**quiet(callbacks=[everything()])).fit(module)
    assert found() == []


# --- what is said of an episode ---------------------------------------------------------------------------------------


def test_an_episode_says_by_which_policy_it_was_made(pl: Any, tmp_path: Path) -> None:
    loggers = import_module(f"{pl.__name__}.loggers")
    pl.seed_everything(9)
    module, _ = module_env(pl, tmp_path / "diary")
    module.save_hyperparameters({"lr": 0.1, "layers": [4, 2], "hub_token": "hf_1"})
    for version in range(2):
        logger = loggers.CSVLogger(str(tmp_path), name="arm", version=version)
        pl.Trainer(**quiet(callbacks=[everything(metadata={"run": version})], logger=logger, max_epochs=1)).fit(module)
    for one in found():
        number = one.metadata["run"]
        step = one.metadata["training"]["global_step"]
        assert one.create["policy_version"] == f"ModuleEnv/arm/v{number}@e0-s{step}"
        assert one.create["seed"] is not None
        training = one.metadata["training"]
        assert training["hyperparameters"] == {"lr": 0.1, "layers": [4, 2], "hub_token": "[redacted]"}
        assert training["logger"] == {"name": "arm", "version": number}
        assert (training["framework"], training["framework_version"]) == (pl.__name__, pl.__version__)
        assert (training["seed"], training["world_size"], training["rank"]) == (9, 1, 0)
        end = one.metadata["training_end"]
        assert end["global_step"] == step


def test_the_users_own_labels_go_before_the_trainers(one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_POLICY_VERSION", "of-this-machine")
    monkeypatch.setenv("ROBOTRACE_SEED", "4711")
    one.seed_everything(8)
    for name, options in (("mine", {"policy_version": "mine", "seed": 3}), ("trainers", {})):
        module, _ = module_env(one, tmp_path / name)
        callback = everything(metadata={"which": name}, phases="train", **options)
        one.Trainer(**quiet(callbacks=[callback], max_epochs=1)).fit(module)
    said = {(each.metadata["which"], each.create["policy_version"], each.create["seed"]) for each in found()}
    assert {entry[1:] for entry in said if entry[0] == "mine"} == {("mine", 3)}
    assert {entry[1:] for entry in said if entry[0] == "trainers"} == {(f"ModuleEnv@e0-s{k}", 8) for k in range(3)}


def test_t41_a_run_goes_on_from_a_checkpoint_which_says_where_it_comes_from(pl: Any, tmp_path: Path) -> None:
    module, _ = module_env(pl, tmp_path / "diary")
    trainer = pl.Trainer(**quiet(callbacks=[everything()], max_epochs=1))
    trainer.fit(module)
    file = tmp_path / "arm.ckpt"
    trainer.save_checkpoint(file)
    first = len(found())
    run = found()[0].metadata["run_id"]
    loaded = torch.load(file, weights_only=True)
    assert loaded.get("robotrace") is None  # the run was over by then

    class Saves(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(file)

    pl.Trainer(**quiet(callbacks=[everything(), Saves()], max_epochs=1)).fit(module)
    assert torch.load(file, weights_only=True)["robotrace"] == {"run_id": run}
    before = len(found())
    again = pl.Trainer(**quiet(callbacks=[everything(metadata={"again": True})], max_epochs=2))
    again.fit(module, ckpt_path=str(file))
    resumed = [one for one in found() if one.metadata.get("again")]
    assert len(found()) == before + len(resumed) > first
    train = [one.create["policy_version"] for one in resumed if one.metadata["phase"] == "train"]
    assert train == [f"ModuleEnv@e1-s{k}" for k in (3, 4, 5)]
    assert {one.metadata["training"]["checkpoint"] for one in resumed} == {str(file)}
    assert {one.metadata["training"]["checkpoint_run_id"] for one in resumed} == {run}
    # A trainer that has not trained evaluates the checkpoint's policy.
    tests = pl.Trainer(**quiet(callbacks=[everything(metadata={"tested": True})]))
    tests.test(module, ckpt_path=str(file), verbose=False)
    # The oldest does not tell a callback what is in it.
    version = "ModuleEnv@arm.ckpt" if pl.__version__ < "2.1" else "ModuleEnv@e0-s3"
    assert {one.create["policy_version"] for one in found() if one.metadata.get("tested")} == {version}
    # And somebody without us goes on from it.
    pl.Trainer(**quiet(max_epochs=2)).fit(module, ckpt_path=str(file))


def test_episodes_of_a_training_happen_again_to_the_bit(one: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import gymnasium as gym

    monkeypatch.chdir(tmp_path)

    class Balances(base_of(one)):
        def __init__(self) -> None:
            super().__init__()
            self.env = gym.make("CartPole-v1")

        def choose(self, observation: Any) -> Any:
            return int(torch.randint(2, ()))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn(self.rollout(self.env, 0, seed=4 if batch_idx == 0 else None))

    one.Trainer(**quiet(callbacks=[everything()], max_epochs=1)).fit(Balances())
    episodes = found()
    assert len(episodes) == 3
    for episode in episodes:
        assert rerun(episode).in_short == f"reproduced to the bit, {episode.metadata['outcome']['steps']} steps"


# --- others -----------------------------------------------------------------------------------------------------------


def test_one_line_says_what_was_found(one: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def said() -> list[str]:
        lines = [entry.getMessage() for entry in caplog.records if entry.getMessage().startswith("RoboTrace")]
        caplog.clear()
        return lines

    caplog.set_level(logging.INFO, "lightning.pytorch")
    module, _ = module_env(one, tmp_path / "diary")
    trainer = one.Trainer(**quiet(callbacks=[RoboTraceCallback()]))
    trainer.fit(module)
    assert said() == ["RoboTrace: recording TrainingEnv (module.env), TrainingEnv (module.val_env)"]
    one.Trainer(**quiet(callbacks=[RoboTraceCallback()])).fit(base_of(one)())
    assert said() == ["RoboTrace: no environment found; pass eval_env=... for episodes of its own"]
    evaluated = RoboTraceCallback(
        eval_env=lambda: make_env(tmp_path / "e", 0), policy=lambda seen, _: seen[:2], val_batches=3
    )
    late, more = late_env(one, tmp_path / "late")
    one.Trainer(**quiet(callbacks=[evaluated, *more["callbacks"]])).fit(late)
    assert said() == [
        "RoboTrace: 1 episodes of eval_env after each epoch; 3 batches of each validation",
        "RoboTrace: recording TrainingEnv (Evaluates.env) too",
    ]


@pytest.mark.parametrize("how", ["wrapped", "attached"])
def test_environments_that_are_recorded_already_have_one_record_and_our_labels(
    one: Any, how: str, tmp_path: Path
) -> None:
    module, _ = module_env(one, tmp_path / "diary")
    options: dict[str, Any] = {"max_per_minute": None, "metadata": {"whose": "user"}}
    if how == "wrapped":
        module.env = RoboTraceRecorder(module.env, **options)
    else:
        robotrace.attach(module.env, **options)
    one.Trainer(**quiet(callbacks=[RoboTraceCallback(phases="train")])).fit(module)
    assert len(found()) == len(ended(tmp_path / "diary", 0)) == 6
    assert [each.create["policy_version"] for each in found()] == [f"ModuleEnv@e{k // 3}-s{k}" for k in range(6)]
    assert {each.metadata["whose"] for each in found()} == {"user"}
    module.env.reset()
    assert (module.env if how == "wrapped" else module.env.step) is not None


def test_t45_a_module_that_is_copied_while_it_is_recorded_has_a_copy_that_nobody_records(
    one: Any, tmp_path: Path
) -> None:
    copies: list[Any] = []

    class Averages(one.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            module = copy.deepcopy(pl_module.env)
            module.index, module.diary = 9, module.diary.with_name("9.jsonl")
            module.reset()
            module.step(module.action_space.sample())
            copies.append(module)

    module, _ = module_env(one, tmp_path / "diary")
    one.Trainer(**quiet(callbacks=[everything(keep_partial="always"), Averages()], max_epochs=1)).fit(module)
    assert len(copies) == 3
    assert not any(find_recorder(each) for each in copies)
    assert len(found()) == len(ended(tmp_path / "diary", 0)) + len(ended(tmp_path / "diary", 1))


def test_of_two_callbacks_the_first_one_records(one: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module, _ = module_env(one, tmp_path / "diary")
    one.Trainer(**quiet(callbacks=[everything(tags=["first"]), everything(tags=["second"])])).fit(module)
    match(found(), tmp_path / "diary")
    assert {tuple(each.metadata["tags"]) for each in found()} == {("first",)}
    assert caplog.text.count("2 RoboTraceCallbacks are in this trainer: the first one records") == 1


def test_switched_off_nothing_is_touched(one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ({"enabled": False}, {}):
        if not option:
            monkeypatch.setenv("ROBOTRACE_MODE", "disabled")
        module, _ = module_env(one, tmp_path / "diary")
        touched: list[bool] = []
        module.on_train_start = lambda module=module, touched=touched: touched.append("step" in vars(module.env))
        callback = RoboTraceCallback(eval_env=lambda: pytest.fail("nobody may make it"), **option)
        one.Trainer(**quiet(callbacks=[callback], max_epochs=1)).fit(module)
        assert touched == [False]
    assert found() == []


def test_neither_the_module_nor_its_environments_are_kept_when_a_run_is_over(one: Any, tmp_path: Path) -> None:
    module, _ = module_env(one, tmp_path / "diary")
    callback = everything()
    trainer = one.Trainer(**quiet(callbacks=[callback], max_epochs=1))
    trainer.fit(module)
    env, dead = weakref.ref(module.env), weakref.ref(module)
    del module, trainer
    for name in ("log", "log_dict"):  # Lightning's own: bound methods of the module
        vars(callback).pop(name, None)
    gc.collect()
    assert (env(), dead()) == (None, None)


def test_a_fault_of_ours_costs_the_recording_not_the_training(
    one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    import robotrace_lightning.labels
    import robotrace_lightning.training

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError("a fault of ours")

    for target, name in (
        (robotrace_lightning.labels.RunFacts, "_describe"),
        (robotrace_lightning.training, "find_environments"),
    ):
        monkeypatch.setattr(target, name, broken)
        module, _ = module_env(one, tmp_path / name)
        trainer = one.Trainer(**quiet(callbacks=[everything()], max_epochs=1))
        trainer.fit(module)
        assert trainer.global_step == 3
    assert all("training" not in each.metadata for each in found())
    assert found()
    assert "an episode could not be labelled: OSError: a fault of ours (the run goes on)" in caplog.text
    assert "a run is not recorded: OSError: a fault of ours (the run goes on)" in caplog.text


def test_bad_input_is_one_clear_line(one: Any) -> None:
    with pytest.raises(TypeError, match="unknown option 'every_n_episode'; did you mean 'every_n_episodes'"):
        RoboTraceCallback(every_n_episode=2)  # type: ignore[call-arg]
    for arguments, message in (
        ({"phases": "eval"}, "phases is 'eval'; it takes some of 'train', 'validate', 'test', 'predict'"),
        ({"ranks": "first"}, "ranks is 'first'; it takes 'zero' or 'all'"),
        ({"discover": 1}, "discover must be True or False, got 1"),
        ({"policy": "greedy"}, "policy must be callable, got 'greedy'"),
        ({"eval_episodes": 0}, "eval_episodes must be a whole number of 1 or more, got 0"),
        ({"val_batches": -1}, "val_batches must be a whole number of 0 or more, got -1"),
        ({"max_evaluation_episodes": 2.5}, "max_evaluation_episodes must be a whole number of 0 or more, got 2.5"),
        ({"max_episodes": -1}, "max_episodes must be a whole number of 0 or more, got -1"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            RoboTraceCallback(**arguments)
        assert str(caught.value) == message


def test_an_environment_of_ones_own_may_be_named_and_nothing_else_be_looked_for(one: Any, tmp_path: Path) -> None:
    module, _ = module_env(one, tmp_path / "diary")
    one.Trainer(**quiet(callbacks=[everything(discover=False, env=module.val_env)])).fit(module)
    assert {each.metadata["phase"] for each in found()} == {"validate"}
    assert len(read_diary(tmp_path / "diary", 1)) == len(found())
