"""Episodes of a module's own in ``eval_env``, and validation batches as open-loop episodes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import gymnasium as gym
import torch
from lightning_layouts import base_of, ended, everything, found, make_env, module_env, quiet
from recorded import RecordedEpisode
from sb3_envs import assert_episode
from torch.utils.data import DataLoader, TensorDataset
from vector_envs import read_diary

from robotrace.errors import ConfigurationError
from robotrace_gymnasium import RoboTraceRecorder
from robotrace_lightning import RoboTraceCallback
from robotrace_lightning.policy import as_action, batched, find_policy


def clones(pl: Any, *, validates: bool = True, noise: float = 0.1) -> Any:
    """A module that imitates what is in its data, and acts with noise from every random stream."""

    class Clones(base_of(pl)):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"width": 4, "api_key": "hunter2"})
            self.modes: list[tuple[bool, bool]] = []

        def act(self, observation: torch.Tensor) -> torch.Tensor:
            assert observation.shape == (1, 3)
            self.modes.append((self.training, torch.is_grad_enabled()))
            return self.net(observation) + noise * (torch.randn(2) + random.random() + float(np.random.rand()))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn(random.random() + float(np.random.rand()))

        if validates:

            def validation_step(self, batch: Any, batch_idx: int) -> None:
                self.log("val", self.net(torch.ones(1, 3)).sum() + torch.rand(()))

        else:
            val_dataloader = None

    return Clones()


@pytest.mark.parametrize("validates", [True, False], ids=["validation", "none"])
def test_t46_a_module_is_run_in_eval_env_and_its_modes_gradients_and_streams_are_as_before(
    pl: Any, validates: bool, tmp_path: Path
) -> None:
    pl.seed_everything(21)
    module = clones(pl, validates=validates)
    module.net[1].eval()  # somebody's choice, within a module in training mode
    env = make_env(tmp_path / "diary", 0)
    seen: list[Any] = []

    class Looks(pl.Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            seen.append((module.training, module.net.training, module.net[1].training, torch.is_grad_enabled()))

    trainer = pl.Trainer(
        **quiet(
            callbacks=[RoboTraceCallback(eval_env=env, eval_episodes=2, eval_every_n_epochs=2), Looks()], max_epochs=4
        )
    )
    trainer.fit(module)
    episodes = found()
    logs = read_diary(tmp_path / "diary", 0)
    assert len(episodes) == len(logs) == 2 * 2
    for k, (episode, log) in enumerate(zip(episodes, logs, strict=True)):
        assert_episode(episode, log)
        number, turn = divmod(k, 2)
        assert episode.create["seed"] == log[0]["seed"] == 21 + turn
        assert episode.metadata["evaluation"] == {"index": number, "episode": turn, "n_eval_episodes": 2}
        assert episode.metadata["phase"] == "validate"
        assert episode.create["policy_version"] == f"Clones@e{2 * number + 1}-s{6 * (number + 1)}"
        assert episode.metadata["training"]["hyperparameters"] == {"width": 4, "api_key": "[redacted]"}
        assert episode.metadata["reproduce"]["resets_since_seed"] == 0
    assert set(module.modes) == {(False, False)}
    assert {entry[0] for entry in seen} == {True}
    assert {entry[3] for entry in seen} == {True}
    assert module.net[1].training is seen[0][2]
    assert "step" not in vars(env)


def run_of(pl: Any, folder: Path, callbacks: list[Any], make: Any) -> tuple[Any, ...]:
    pl.seed_everything(33)
    module = make()
    metrics: list[dict[str, float]] = []

    class Notes(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            metrics.append({key: float(value) for key, value in trainer.callback_metrics.items()})

    trainer = pl.Trainer(**quiet(callbacks=[*callbacks, Notes()], max_epochs=3, num_sanity_val_steps=1))
    trainer.fit(module)
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    streams = torch.rand(2).tolist(), random.random(), np.random.rand()
    return weights, metrics, streams


@pytest.mark.parametrize("kind", ["imitation", "reinforcement"])
def test_weights_metrics_and_streams_are_those_of_a_training_without_the_callback(
    pl: Any, kind: str, tmp_path: Path
) -> None:
    def make() -> Any:
        if kind == "imitation":
            return clones(pl)
        module, _ = module_env(pl, tmp_path / "own")
        module.env.reset(seed=4)
        return module

    def policy(observation: Any, module: Any) -> Any:
        return np.random.uniform(-1, 1, 2) * random.random() + torch.rand(2).numpy()

    def open_arm() -> Any:
        np.random.seed(1)  # environments do such things
        torch.manual_seed(1)
        random.seed(1)
        return make_env(tmp_path / "eval", 5)

    variants = {
        "bare": [],
        "ours": [everything(phases=("train", "validate"))],
        "eval_env": [
            everything(
                eval_env=open_arm, eval_episodes=2, val_batches=2, **({} if kind == "imitation" else {"policy": policy})
            )
        ],
    }
    results = {name: run_of(pl, tmp_path, callbacks, make) for name, callbacks in variants.items()}
    weights, metrics, streams = results.pop("bare")
    assert len(metrics) == 3
    for others in results.values():
        assert others[1:] == (metrics, streams)
        assert others[0].keys() == weights.keys()
        assert all(torch.equal(value, weights[name]) for name, value in others[0].items())
    assert [one for one in found() if "evaluation" in one.metadata]


def test_eval_env_may_be_an_id_and_a_choice_of_scores_is_the_policy(pl: Any) -> None:
    class Scores(base_of(pl)):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 2)

        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return self.net(observation)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.net(torch.randn(2, 4)).square().mean()

        val_dataloader = None

    module = Scores()
    trainer = pl.Trainer(**quiet(callbacks=[RoboTraceCallback(eval_env="CartPole-v1", max_eval_steps=5)], max_epochs=1))
    trainer.fit(module)
    (episode,) = found()
    rows = episode.arrays("sensors")["observation/value"][:-1]
    chosen = module.net(torch.as_tensor(rows)).argmax(dim=1).tolist()
    assert episode.arrays("actions")["action/value"].tolist() == chosen
    assert episode.create["env_version"].startswith("CartPole-v1")
    assert (episode.metadata["outcome"]["steps"], episode.metadata["partial"]) == (5, True)


def test_validate_alone_runs_eval_env_too(one: Any, tmp_path: Path) -> None:
    callback = RoboTraceCallback(eval_env=lambda: make_env(tmp_path / "diary", 0))
    one.Trainer(**quiet(callbacks=[callback])).validate(clones(one), verbose=False)
    (episode,) = found()
    assert_episode(episode, ended(tmp_path / "diary", 0)[0])
    assert episode.create["policy_version"] == "Clones@e0-s0"


def test_in_several_validations_an_epoch_eval_env_is_run_at_its_end(one: Any, tmp_path: Path) -> None:
    callback = RoboTraceCallback(eval_env=lambda: make_env(tmp_path / "diary", 0))
    one.Trainer(**quiet(callbacks=[callback], val_check_interval=1)).fit(clones(one))
    assert [episode.create["policy_version"] for episode in found()] == ["Clones@e0-s3", "Clones@e1-s6"]


def test_what_the_environment_or_the_policy_raises_is_told_and_the_training_goes_on(
    one: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = RoboTraceCallback(eval_env=lambda: make_env(tmp_path / "diary", 0, raises_at=(0, 1)))
    trainer = one.Trainer(**quiet(callbacks=[callback]))
    trainer.fit(clones(one))
    assert trainer.global_step == 6
    failed, other = found()
    assert failed.finalize["status"] == "failed"
    assert failed.metadata["exception"]["message"] == "gripper 0 is on fire"
    assert_episode(other, ended(tmp_path / "diary", 0)[0])
    assert "ended by RuntimeError: gripper 0 is on fire (the training goes on)" in caplog.text

    def confused(observation: Any, module: Any) -> Any:
        return np.zeros(7)

    again = RoboTraceCallback(eval_env=lambda: make_env(tmp_path / "two", 0), policy=confused)
    one.Trainer(**quiet(callbacks=[again], max_epochs=1)).fit(clones(one))
    reasons = [episode.metadata.get("failure_reason", "") for episode in found()]
    assert any("and the policy gave an array of (7,)" in reason for reason in reasons), reasons


def test_what_cannot_be_run_is_one_clear_line_before_the_training_begins(one: Any, tmp_path: Path) -> None:
    def fit(module: Any, **arguments: Any) -> None:
        one.Trainer(**quiet(callbacks=[RoboTraceCallback(**arguments)], max_epochs=1)).fit(module)

    with pytest.raises(ConfigurationError, match="eval_env='NoSuchEnv-v0' cannot be made: NameNotFound"):
        fit(clones(one), eval_env="NoSuchEnv-v0")
    with pytest.raises(ConfigurationError, match="Base has none of robotrace_policy, select_action, predict_action"):
        fit(base_of(one)(), eval_env=make_env(tmp_path / "diary", 0))
    with pytest.raises(ConfigurationError, match=r"eval_env=<function .*> cannot be made: ZeroDivisionError"):
        fit(clones(one), eval_env=lambda: 1 / 0)
    with pytest.raises(ConfigurationError, match="eval_env takes one environment"):
        fit(clones(one), eval_env=gym.make_vec("CartPole-v1", 2))
    module, _ = module_env(one, tmp_path / "own")
    module.act = module.choose
    with pytest.raises(ConfigurationError, match=r"eval_env is module\.env, which the run itself uses"):
        fit(module, eval_env=module.env)
    assert "step" not in vars(module.env)
    with pytest.raises(ConfigurationError, match=r"eval_env is module\.env"):
        fit(module, eval_env=gym.wrappers.TransformReward(module.env, abs))
    assert not (tmp_path / "own" / "0.jsonl").exists()
    assert found() == []


def test_an_eval_env_that_a_module_takes_for_itself_later_is_not_run_any_more(
    one: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = make_env(tmp_path / "diary", 0)
    module = clones(one)
    module.on_train_epoch_start = lambda: setattr(module, "env", env if module.current_epoch else None)
    trainer = one.Trainer(**quiet(callbacks=[RoboTraceCallback(eval_env=env)], max_epochs=3))
    trainer.fit(module)
    assert trainer.global_step == 9
    assert len(found()) == len(read_diary(tmp_path / "diary", 0)) == 1
    assert "eval_env is module.env, which the run itself uses" in caplog.text
    assert "it is not run any more" in caplog.text


def test_an_eval_env_that_is_recorded_already_has_one_record_and_our_labels(one: Any, tmp_path: Path) -> None:
    env = RoboTraceRecorder(make_env(tmp_path / "diary", 0), metadata={"whose": "user"})
    one.Trainer(**quiet(callbacks=[RoboTraceCallback(eval_env=env)])).fit(clones(one))
    assert [episode.metadata["whose"] for episode in found()] == ["user", "user"]
    assert {episode.metadata["phase"] for episode in found()} == {"validate"}


# --- how a module is asked --------------------------------------------------------------------------------------------


class Module:
    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, **methods: Any) -> None:
        self.__dict__.update(methods)


BOX = gym.spaces.Box(-1, 1, (2,), np.float64)


def test_a_module_is_asked_by_the_first_of_the_fields_names_that_it_has() -> None:
    observation = np.array([1.0, 2.0])
    asked: list[Any] = []

    def method(name: str) -> Any:
        def call(given: Any) -> Any:
            asked.append((name, given))
            return torch.zeros(1, 2)

        return call

    names = ["act", "predict", "predict_action", "select_action", "robotrace_policy"]
    for k in range(len(names)):
        module = Module(**{name: method(name) for name in names[: k + 1]})
        assert find_policy(module, None, BOX)(observation).tolist() == [0.0, 0.0]
    assert [name for name, _ in asked] == names
    assert [getattr(given, "shape", None) for _, given in asked] == [torch.Size([1, 2])] * 4 + [(2,)]
    assert asked[0][1].dtype == torch.float32
    given = find_policy(module, lambda seen, owner: [seen[0], float(owner is module)], BOX)(observation)
    assert given.tolist() == [1.0, 1.0]


def test_actions_of_every_usual_form_fit_the_space() -> None:
    values = torch.tensor([[0.5, -0.5]], dtype=torch.bfloat16, requires_grad=True)
    for given in (values, {"action": values}, (values, None), values[0], values.repeat(4, 1)[None], [0.5, -0.5]):
        action = as_action(given, BOX)
        assert action.dtype == np.float64
        assert action.tolist() == [0.5, -0.5]
    discrete = gym.spaces.Discrete(3)
    for given in (2, torch.tensor([2]), np.int64(2), (torch.tensor([[2]]), None)):
        assert as_action(given, discrete) == 2
        assert isinstance(as_action(given, discrete), int)
    with pytest.raises(ValueError, match="one action of Discrete"):
        as_action(torch.zeros(1, 3), discrete)
    assert as_action(torch.tensor([[1, 2]]), gym.spaces.MultiDiscrete([3, 3])).tolist() == [1, 2]
    nested = {"a": 1}
    assert as_action({"action": nested}, gym.spaces.Dict({"a": discrete})) is nested
    shifted = Module(act=None)
    shifted_space = gym.spaces.Discrete(3, start=5)
    shifted.__class__ = type("Scores", (Module,), {"__call__": lambda self, seen: torch.tensor([[0.0, 3.0, 1.0]])})
    assert find_policy(shifted, None, shifted_space)(np.zeros(2)) == 6


def test_observations_are_batched_as_they_are_nested() -> None:
    given = {"pose": np.zeros(3), "image": np.zeros((2, 2, 3), np.uint8), "both": (np.zeros(1), 4)}
    seen = batched(given, Module())
    assert (seen["pose"].shape, seen["pose"].dtype) == ((1, 3), torch.float32)
    assert (seen["image"].shape, seen["image"].dtype) == ((1, 2, 2, 3), torch.uint8)
    assert [value.shape for value in seen["both"]] == [(1, 1), (1,)]


# --- open loop --------------------------------------------------------------------------------------------------------


def lerobot_batches() -> list[dict[str, Any]]:
    """Two episodes of three frames each in three batches of two, as LeRobot's datasets give them."""
    batches = []
    for k in range(3):
        rows = torch.arange(2 * k, 2 * k + 2)
        batches.append(
            {
                "observation.state": torch.stack([rows.float(), -rows.float()], dim=1),
                "observation.images.top": torch.zeros(2, 3, 8, 8),
                "action": torch.stack([rows.float() * 10, rows.float()], dim=1),
                "episode_index": rows // 3,
                "frame_index": rows % 3,
                "timestamp": (rows % 3).float() / 10,
                "task": ["pick", "pick"],
            }
        )
    return batches


@pytest.mark.parametrize("returns", ["mapping", "tensor"])
def test_validation_batches_are_recorded_beside_what_the_policy_would_have_done(pl: Any, returns: str) -> None:
    class Act(base_of(pl)):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn()

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            predicted = batch["action"] + 0.5
            return {"loss": predicted.sum(), "pred_action": predicted} if returns == "mapping" else predicted

        def val_dataloader(self) -> Any:
            return DataLoader(lerobot_batches(), batch_size=None)

    pl.seed_everything(3)
    callback = RoboTraceCallback(val_batches=10, tags=["open"], metadata={"task": "pick"})
    pl.Trainer(**quiet(callbacks=[callback], max_epochs=1, num_sanity_val_steps=1)).fit(Act())
    episodes = found()
    assert len(episodes) == 2
    for index, episode in enumerate(episodes):
        sensors, actions = episode.arrays("sensors"), episode.arrays("actions")
        rows = np.arange(3 * index, 3 * index + 3, dtype=np.float32)
        truth = np.stack([rows * 10, rows], axis=1)
        assert actions["action/value"].tolist() == (truth + 0.5).tolist()
        assert sensors["action_ground_truth/value"].tolist() == truth.tolist()
        assert sensors["observation.state/value"].tolist() == np.stack([rows, -rows], axis=1).tolist()
        assert sensors["frame_index/value"].tolist() == [0, 1, 2]
        assert np.allclose(actions["action/_t_ns"], [0, 1e8, 2e8], atol=10)
        assert episode.metadata["kind"] == "open_loop"
        assert episode.metadata["open_loop"] == {"episode_index": index, "dataloader_index": 0, "frame_index": [0, 2]}
        assert episode.metadata["outcome"]["action_error"] == pytest.approx(0.5)
        assert (episode.metadata["phase"], episode.metadata["task"], episode.metadata["tags"]) == (
            "validate",
            "pick",
            ["open"],
        )
        assert (episode.create["source"], episode.create["seed"]) == ("replay", 3)
        assert episode.create["policy_version"] == "Act@e0-s3"


def test_pairs_without_indices_are_an_episode_a_batch_and_no_more_batches_than_asked_for(one: Any) -> None:
    class Pairs(base_of(one)):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn()

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return {"action": batch[1] * 2}

        def val_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.ones(12, 3), torch.ones(12, 2)), batch_size=4)

    one.Trainer(**quiet(callbacks=[RoboTraceCallback(val_batches=2)])).fit(Pairs())
    episodes: list[RecordedEpisode] = found()
    assert [episode.metadata["open_loop"]["batch_index"] for episode in episodes] == [0, 1, 0, 1]
    assert {len(episode.arrays("actions")["action/value"]) for episode in episodes} == {4}
    assert {episode.metadata["outcome"]["action_error"] for episode in episodes} == {1.0}


def test_batches_of_another_form_are_told_of_once_and_not_recorded(one: Any, caplog: pytest.LogCaptureFixture) -> None:
    one.Trainer(**quiet(callbacks=[RoboTraceCallback(val_batches=2)])).fit(clones(one))
    assert caplog.text.count("val_batches: validation_step has to return the predicted actions") == 1
    assert found() == []
