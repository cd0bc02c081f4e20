"""The traps of Lightning that no other test has in its name, and that every one of T39 to T47 and T63 has a test."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from lightning_layouts import base_of, ended, everything, found, late_env, make_env, match, module_env, quiet
from torch.utils.data import DataLoader

import robotrace_lightning
from robotrace.errors import ConfigurationError
from robotrace_lightning import RoboTraceCallback, factory
from robotrace_lightning.discovery import find_environments

HERE = Path(__file__).parent
GROUPS = {
    "lightning.pytorch": "lightning.pytorch.callbacks_factory",
    "pytorch_lightning": "pytorch_lightning.callbacks_factory",
}


def test_every_trap_of_lightning_has_a_test_that_names_it() -> None:
    named = set()
    for file in HERE.glob("test_*.py"):
        for name in re.findall(r"^ *def test_((?:t\d+_)+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            named.update(int(number) for number in re.findall(r"t(\d+)_", name))
    assert {*range(39, 48), 63} - named == set()


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


# --- T39, T63: two packages -------------------------------------------------------------------------------------------


def test_t39_one_callback_is_one_of_both_packages_and_may_be_given_bare(pl: Any, tmp_path: Path) -> None:
    callback = everything()
    assert isinstance(callback, pl.Callback)
    module, _ = module_env(pl, tmp_path / "diary")
    pl.Trainer(**quiet(callbacks=callback)).fit(module)
    match(found(), tmp_path / "diary")


def test_t39_t63_it_is_made_of_the_package_that_is_imported_and_does_not_import_the_other(pl: Any) -> None:
    other = ({"lightning.pytorch", "pytorch_lightning"} - {pl.__name__}).pop()
    done = python(
        f"""
import sys, {pl.__name__} as pl
sys.modules[{other!r}] = None  # it cannot be imported
before = set(sys.modules)
from robotrace_lightning import RoboTraceCallback
assert isinstance(RoboTraceCallback(), pl.Callback)
assert not [name for name in set(sys.modules) - before if name.startswith(("lightning", "pytorch_lightning"))]
pl.Trainer(callbacks=RoboTraceCallback(), logger=False, accelerator="cpu")
"""
    )
    assert done.returncode == 0, done.stderr


def test_t63_a_package_that_does_not_fit_what_is_installed_is_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "pytorch_lightning"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise AttributeError('written for another torchmetrics')")
    code = """
import sys
sys.path.insert(0, {folder!r})
from robotrace_lightning import RoboTraceCallback
import lightning.pytorch
assert isinstance(RoboTraceCallback(), lightning.pytorch.Callback)
"""
    done = python(code.format(folder=str(tmp_path)))
    assert done.returncode == 0, done.stderr


def test_t63_without_lightning_there_is_one_clear_line() -> None:
    code = """
import sys
sys.modules["lightning"] = sys.modules["lightning.pytorch"] = sys.modules["pytorch_lightning"] = None
import robotrace_lightning
robotrace_lightning.RoboTraceCallback
"""
    done = python(code)
    assert done.stderr.splitlines()[-1] == (
        "robotrace.errors.ConfigurationError: robotrace_lightning needs lightning; "
        "run: pip install 'robotrace-dev[lightning]'"
    )


# --- T40: entry points ------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _switched_off() -> Any:
    yield
    robotrace_lightning.uninstrument()


def needs_entry_points() -> None:
    for group in GROUPS.values():
        if not any(one.value.startswith("robotrace_lightning") for one in importlib.metadata.entry_points(group=group)):
            pytest.skip("this tree is not installed with its entry points")


def ours_in(trainer: Any) -> list[RoboTraceCallback]:
    return [one for one in trainer.callbacks if isinstance(one, RoboTraceCallback)]


def test_t40_a_trainer_is_given_nothing_unless_it_is_switched_on(pl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_entry_points()
    assert ours_in(pl.Trainer(**quiet())) == []
    monkeypatch.setenv("ROBOTRACE_ENABLED", "false")
    assert ours_in(pl.Trainer(**quiet())) == []
    monkeypatch.setenv("ROBOTRACE_ENABLED", "true")
    assert len(ours_in(pl.Trainer(**quiet()))) == 1
    monkeypatch.delenv("ROBOTRACE_ENABLED")
    robotrace_lightning.instrument(tags=["nightly"])
    assert len(ours_in(pl.Trainer(**quiet()))) == 1
    robotrace_lightning.uninstrument()
    assert ours_in(pl.Trainer(**quiet())) == []


def test_t40_instrumented_every_training_is_recorded_with_its_arguments(pl: Any, tmp_path: Path) -> None:
    needs_entry_points()
    arguments = {"every_n_episodes": 1, "max_per_minute": None, "tags": ["nightly"]}
    robotrace_lightning.instrument(**arguments)
    module, _ = module_env(pl, tmp_path / "diary")
    pl.Trainer(**quiet()).fit(module)
    match(found(), tmp_path / "diary")
    assert {tuple(one.metadata["tags"]) for one in found()} == {("nightly",)}


def test_t40_a_callback_of_the_users_goes_before_the_one_that_was_added(
    pl: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    needs_entry_points()
    robotrace_lightning.instrument(every_n_episodes=1, tags=["nightly"])
    module, _ = module_env(pl, tmp_path / "diary")
    trainer = pl.Trainer(**quiet(callbacks=[everything(tags=["mine"])]))
    assert len(ours_in(trainer)) == 2
    trainer.fit(module)
    match(found(), tmp_path / "diary")
    assert {tuple(one.metadata["tags"]) for one in found()} == {("mine",)}
    assert "RoboTraceCallbacks are in this trainer" not in caplog.text


def test_t40_a_module_may_bring_the_callback_itself(one: Any, tmp_path: Path) -> None:
    module, _ = module_env(one, tmp_path / "diary")
    module.configure_callbacks = lambda: [everything(tags=["modules"])]
    one.Trainer(**quiet()).fit(module)
    match(found(), tmp_path / "diary")


def test_t40_bad_arguments_are_told_when_it_is_switched_on() -> None:
    with pytest.raises(TypeError, match="unknown option 'every'"):
        robotrace_lightning.instrument(every=2)
    with pytest.raises(ConfigurationError, match="ranks is 'one'"):
        robotrace_lightning.instrument(ranks="one")
    assert factory.callbacks() == []


def test_t40_whatever_is_wrong_a_trainer_can_be_made(
    pl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    needs_entry_points()
    monkeypatch.setenv("ROBOTRACE_ENABLED", "true")
    monkeypatch.setenv("ROBOTRACE_SEED", "seven")
    assert ours_in(pl.Trainer(**quiet())) == []
    assert "this trainer is not recorded: ConfigurationError: ROBOTRACE_SEED must be a whole number" in caplog.text
    monkeypatch.delenv("ROBOTRACE_SEED")
    # And a run of it goes on, where what was asked for cannot be had.
    robotrace_lightning.instrument(eval_env="NoSuchEnv-v0")
    module, _ = module_env(pl, tmp_path / "diary")
    trainer = pl.Trainer(**quiet(max_epochs=1))
    trainer.fit(module)
    assert trainer.global_step == 3
    assert "this run is not recorded: eval_env='NoSuchEnv-v0' cannot be made" in caplog.text


def test_t40_a_trainer_can_be_made_where_what_recording_needs_is_not_installed(one: Any) -> None:
    needs_entry_points()
    done = python(
        f"""
import sys, {one.__name__} as pl
sys.modules["robotrace.plugin"] = None  # whatever recording needs and is not there
trainer = pl.Trainer(logger=False, accelerator="cpu")
assert not any("RoboTrace" in type(one).__name__ for one in trainer.callbacks)
""",
        ROBOTRACE_ENABLED="true",
    )
    assert done.returncode == 0, done.stderr
    assert "this trainer is not recorded: ModuleNotFoundError: " in done.stderr


def test_t40_what_is_not_switched_on_is_not_imported(one: Any) -> None:
    needs_entry_points()
    done = python(
        f"""
import sys, {one.__name__} as pl
pl.Trainer(logger=False, accelerator="cpu")
assert "robotrace_lightning.factory" in sys.modules
assert not {{"av", "robotrace", "robotrace.plugin", "robotrace_lightning.callback"}} & set(sys.modules)
from robotrace.config import ENV_ENABLED
assert ENV_ENABLED == sys.modules["robotrace_lightning.factory"]._ENABLED
"""
    )
    assert done.returncode == 0, done.stderr


# --- T41, T44, T47: checkpoints, command line -------------------------------------------------------------------------


def test_t41_no_state_of_ours_is_in_a_checkpoint_and_two_callbacks_may_be_in_a_trainer(pl: Any) -> None:
    for name in ("state_dict", "load_state_dict", "state_key"):
        assert inspect.getattr_static(RoboTraceCallback, name) is inspect.getattr_static(pl.Callback, name) or not any(
            name in vars(kind) for kind in RoboTraceCallback.__mro__ if kind.__module__.startswith("robotrace")
        )
    pl.Trainer(**quiet(callbacks=[everything(), everything()]))


CLI = """
import importlib, sys
pl = importlib.import_module(sys.argv.pop(1))
cli = importlib.import_module(pl.__name__ + ".cli")
from pathlib import Path
from lightning_layouts import module_env
import robotrace_lightning

class Arm(type(module_env(pl, Path(sys.argv.pop(1)))[0])):
    pass

cli.LightningCLI(Arm, seed_everything_default=6, save_config_callback=None)
"""


def test_t47_the_command_line_takes_it_by_its_dotted_name_and_checks_its_options(one: Any, tmp_path: Path) -> None:
    for name in ("jsonargparse", "docstring_parser", "typeshed_client"):  # jsonargparse[signatures]
        pytest.importorskip(name)
    (tmp_path / "train.py").write_text(CLI)
    common = [
        "fit", "--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.logger=false",
        "--trainer.enable_checkpointing=false", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", "--trainer.num_sanity_val_steps=0",
        "--trainer.callbacks+=robotrace_lightning.RoboTraceCallback",
    ]  # fmt: skip

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", str(tmp_path / "train.py"), one.__name__, str(tmp_path / "diary")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            [*command, *common, *options], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    done = run(
        "--trainer.callbacks.every_n_episodes=1", "--trainer.callbacks.tags=[cli]",
        "--trainer.callbacks.phases=[train]", "--trainer.callbacks.ranks=all",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [one.metadata["tags"] for one in found()] == [["cli"]] * 3
    assert {one.create["seed"] for one in found()} == {6}
    refused = run("--trainer.callbacks.eval_episodes=two")
    assert refused.returncode == 2
    assert "two" in refused.stderr


# --- T45: discovery ---------------------------------------------------------------------------------------------------


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Duck:
    """An environment by its methods alone."""

    action_space = None

    def __init__(self, **attributes: Any) -> None:
        self.action_space = object()
        self.__dict__.update(attributes)

    def reset(self) -> Any:
        return 0

    def step(self, action: Any) -> Any:
        return 0, 0.0, True, {}


class TimeSteps(Duck):
    """dm_control's: the steps are of another form."""

    def discount_spec(self) -> Any:
        return None


def looked(module: Any, datamodule: Any = None, loaders: Any = (), callbacks: Any = ()) -> dict[str, Any]:
    return {one.where: one.env for one in find_environments(module, datamodule, list(loaders), list(callbacks))}


def test_t45_environments_are_found_two_attributes_deep_once_each_and_the_outermost(one: Any, tmp_path: Path) -> None:
    import gymnasium as gym

    module = base_of(one)()
    inner = make_env(tmp_path / "diary", 0)
    outer = gym.wrappers.TransformReward(inner, abs)
    module.inner, module.env = inner, outer
    module.agent = Plain(env=outer, deep=Plain(env=Duck()))
    assert looked(module) == {"module.env": outer}
    module = base_of(one)()
    many, duck, held = {f"task{k}": make_env(tmp_path / "diary", k) for k in range(3)}, Duck(), Duck(_env=inner)
    module.envs, module.ducks, module.held, module.other = many, [duck], held, TimeSteps()
    assert looked(module) == {
        **{f"module.envs['task{k}']": env for k, env in enumerate(many.values())},
        "module.ducks[0]": duck,
        "module.held": inner,
    }
    vector = gym.vector.SyncVectorEnv([lambda: make_env(tmp_path / "diary", 0)])
    module = base_of(one)()
    module.first, module.vector = vector.envs[0], vector
    assert looked(module) == {"module.vector": vector}
    # Modules in the module, data, callbacks; and no end without an environment.
    module = base_of(one)()
    module.net.agent = Plain(env=duck)
    module.me = module
    data, loader = Plain(gyms=(duck, held)), DataLoader([Plain(env=many["task1"])], batch_size=None)
    assert looked(module) == {}
    module.critic = base_of(one)()
    module.critic.env = duck
    assert looked(module, data, [loader]) == {
        "module.critic.env": duck,
        "datamodule.gyms[1]": inner,
        "dataset[0].env": many["task1"],
    }
    assert looked(base_of(one)(), None, [DataLoader(duck, batch_size=None)], [Plain(env=held)]) == {
        "dataset": duck,
        "Plain.env": inner,
    }


def test_t45_a_replay_buffer_of_a_million_is_not_looked_through(one: Any) -> None:
    class Counts(dict):  # type: ignore[type-arg]
        asked = 0

        def values(self) -> Any:
            for value in super().values():
                type(self).asked += 1
                yield value

    module = base_of(one)()
    module.agent = Plain(buffer=Counts({k: Plain() for k in range(10_000)}), rows=[Plain()] * 10_000)
    module.replay = Counts(module.agent.buffer)
    looked(module, None, [DataLoader([Plain()] * 10_000)])
    assert Counts.asked <= 256


def test_t45_environments_made_anew_for_each_validation_are_recorded_and_forgotten(one: Any, tmp_path: Path) -> None:
    kept: list[int] = []

    class Anew(base_of(one)):
        def on_validation_start(self) -> None:
            self.val_env = make_env(tmp_path / "diary", int(self.trainer.current_epoch))

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.rollout(self.val_env, int(self.trainer.current_epoch))

        def on_train_epoch_start(self) -> None:
            (ours,) = ours_in(self.trainer)
            kept.append(len(ours._run._held))

    one.Trainer(**quiet(callbacks=[everything()], max_epochs=4)).fit(Anew())
    match(found(), tmp_path / "diary")
    assert len(found()) == 8
    assert kept == [0, 1, 1, 1]


def test_t45_an_environment_under_two_names_is_recorded_once_under_both(one: Any, tmp_path: Path) -> None:
    module, _ = module_env(one, tmp_path / "diary")
    module.agent = Plain(env=module.env)

    def training_step(batch: Any, batch_idx: int) -> Any:
        return module.learn(module.rollout(module.env if batch_idx else module.agent.env, 0))

    module.training_step = training_step
    one.Trainer(**quiet(callbacks=[everything(phases="train")])).fit(module)
    assert len(found()) == len(ended(tmp_path / "diary", 0)) == 6


def test_t45_looking_takes_no_attribute_of_an_agent_and_calls_nothing(one: Any) -> None:
    class Agent:
        asked = 0

        def __getattr__(self, name: str) -> Any:
            type(self).asked += 1
            raise AttributeError(name)

        @property
        def expensive(self) -> Any:
            raise AssertionError("nobody may ask")

    module = base_of(one)()
    module.agent = Agent()
    looked(module)
    assert Agent.asked == 0


def test_t45_an_environment_that_nothing_can_be_attached_to_is_told_of_and_left(
    one: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Slots:
        __slots__ = ("action_space",)

        def __init__(self) -> None:
            self.action_space = object()

        def reset(self) -> Any:
            return 0

        def step(self, action: Any) -> Any:
            return 0, 0.0, True, {}

    module, _ = module_env(one, tmp_path / "diary")
    module.slots = Slots()
    with caplog.at_level(logging.WARNING, "robotrace"):
        one.Trainer(**quiet(callbacks=[everything()])).fit(module)
    assert caplog.text.count("module.slots is not recorded: ") == 1
    match(found(), tmp_path / "diary")


def test_t45_an_environment_that_another_callback_makes_late_is_found_in_any_order(one: Any, tmp_path: Path) -> None:
    for number, first in enumerate((True, False)):
        module, more = late_env(one, tmp_path / str(number))
        ours, others = [everything(metadata={"order": number})], more["callbacks"]
        one.Trainer(**quiet(callbacks=[*ours, *others] if first else [*others, *ours])).fit(module)
        match([each for each in found() if each.metadata["order"] == number], tmp_path / str(number))


def test_t46_evaluation_restores_the_mode_of_each_module_when_it_is_left_by_ctrl_c_too() -> None:
    from robotrace_lightning.untouched import evaluating, random_streams

    module = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2))
    module[1].eval()
    before, rows = torch.get_rng_state(), []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with random_streams(torch.device("cpu"), 3), evaluating(module):
            rows.append((module.training, module[0].training, torch.is_grad_enabled(), torch.rand(1).item()))
            raise KeyboardInterrupt
    assert rows == [(False, False, False, torch.rand(1, generator=torch.Generator().manual_seed(3)).item())]
    assert (module.training, module[0].training, module[1].training) == (True, True, False)
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)
