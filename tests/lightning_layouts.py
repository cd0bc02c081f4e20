"""Trainings in Lightning as public code writes them: where each of them holds its environments.

Of both packages: ``pl`` is ``lightning.pytorch`` or ``pytorch_lightning``. Every module keeps a book of its episodes:
in which phase, epoch and step it took the first action of each. The environments write their own diaries.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from recorded import RecordedEpisode, sealed
from sb3_envs import TrainingEnv, assert_episode
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from vector_envs import read_diary

import robotrace

__all__ = [
    "LAYOUTS",
    "OldGym",
    "base_of",
    "dataset_env",
    "ended",
    "everything",
    "found",
    "late_env",
    "make_env",
    "match",
    "module_env",
    "old_agent",
    "own_datamodule",
    "quiet",
    "train_and_test_env",
    "vector_env",
]


def quiet(**more: Any) -> dict[str, Any]:
    """Arguments of a small trainer on the CPU that writes nothing."""
    return {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **more,
    }


def make_env(folder: Path, index: int, **kwargs: Any) -> TrainingEnv:
    """One that keeps a diary."""
    folder.mkdir(exist_ok=True)
    return TrainingEnv(str(folder), index, **kwargs)


class OldGym:
    """The interface before Gymnasium: ``reset`` gives the observation alone, ``step`` four values."""

    def __init__(self, env: Any) -> None:
        self._wrapped = env
        self.action_space = env.action_space
        self.observation_space = env.observation_space

    def reset(self) -> Any:
        return self._wrapped.reset()[0]

    def step(self, action: Any) -> tuple[Any, float, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._wrapped.step(action)
        return observation, reward, terminated or truncated, {**info, "TimeLimit.truncated": truncated}


def everything(**options: Any) -> Any:
    """A callback that thins out nothing."""
    from robotrace_lightning import RoboTraceCallback

    return RoboTraceCallback(
        **{
            "every_n_episodes": 1,
            "max_per_minute": None,
            "max_episodes": None,
            "max_evaluation_episodes": None,
            "phases": ("train", "validate", "test", "predict"),
            **options,
        }
    )


def found(phase: str | None = None) -> list[RecordedEpisode]:
    """What was recorded."""
    assert robotrace.flush()
    return [one for one in sealed() if phase is None or one.metadata.get("phase") == phase]


def ended(folder: Path, index: int) -> list[list[dict[str, Any]]]:
    """What an environment has written down of the episodes that came to their end."""
    return [one for one in read_diary(folder, index) if one[-1].get("terminated") or one[-1].get("truncated")]


def match(episodes: list[RecordedEpisode], folder: Path) -> list[tuple[int, RecordedEpisode, list[dict[str, Any]]]]:
    """Each recorded episode with the environment's own, once each and none left over, in the order of their ends."""
    truth: dict[str, list[Any]] = {}
    for index in sorted(int(file.stem) for file in folder.glob("*.jsonl")):
        for log in ended(folder, index):
            truth.setdefault(str(log[0]["observation"]), []).append((index, log))
    pairs = []
    for episode in episodes:
        first = episode.arrays("sensors")["observation/value"][0]
        index, log = truth[str([float(value) for value in first])].pop(0)
        assert_episode(episode, log)
        pairs.append((index, episode, log))
    assert [log for logs in truth.values() for log in logs] == []
    return pairs


def base_of(pl: Any) -> Any:
    """A module with a small policy, whose exploration draws from PyTorch's random stream, and the book."""

    class Base(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.1), torch.nn.Linear(4, 2))
            self.book: list[tuple[int, str, int, int]] = []

        def choose(self, observation: Any) -> Any:
            with torch.no_grad():
                mean = self.net(torch.as_tensor(np.array(observation), dtype=torch.float32))
                return (mean + 0.1 * torch.randn(2)).numpy()

        def note(self, index: int) -> None:
            stage = self.trainer.state.stage.value
            self.book.append((index, stage, int(self.trainer.current_epoch), int(self.trainer.global_step)))

        def rollout(self, env: Any, index: int, seed: int | None = None) -> float:
            """One episode, of either interface."""
            result = env.reset() if seed is None else env.reset(seed=seed)
            observation = result[0] if isinstance(result, tuple) else result
            total, done = 0.0, False
            self.note(index)
            while not done:
                observation, reward, *ends, _ = env.step(self.choose(observation))
                total, done = total + reward, any(ends)
            return total

        def learn(self, total: float = 1.0) -> Any:
            loss = self.net(torch.randn(4, 3)).square().mean() * (1.0 + abs(total))
            self.log("loss", loss)
            return loss

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn()

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            """Nothing to see."""

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def train_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.zeros(3, 1)))

        def val_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.zeros(2, 1)))

    return Base


def module_env(pl: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """``module.env`` for training and ``module.val_env``, an episode a step each."""

    class ModuleEnv(base_of(pl)):
        def __init__(self) -> None:
            super().__init__()
            self.env = make_env(folder, 0)
            self.val_env = make_env(folder, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn(self.rollout(self.env, 0))

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("return", self.rollout(self.val_env, 1, seed=batch_idx))

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.rollout(self.val_env, 1)

        def predict_step(self, batch: Any, batch_idx: int) -> float:
            return self.rollout(self.val_env, 1)

        test_dataloader = predict_dataloader = base_of(pl).val_dataloader

    return ModuleEnv(), {}


def old_agent(pl: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Lightning's own examples of reinforcement learning: ``module.env`` and ``module.agent.env`` are one old Gym."""

    class Agent:
        def __init__(self, env: Any) -> None:
            self.env = env

        def play(self, module: Any) -> float:
            return module.rollout(self.env, 0)

    class OldAgent(base_of(pl)):
        def __init__(self) -> None:
            super().__init__()
            self.env = OldGym(make_env(folder, 0))
            self.agent = Agent(self.env)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn(self.agent.play(self))

        val_dataloader = None  # type: ignore[assignment]

    return OldAgent(), {}


def train_and_test_env(pl: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """pl_bolts: a generator that steps ``module.env`` feeds the data loader, ``module.test_env`` is for tests."""

    class Experience(IterableDataset):
        def __init__(self, generate: Any) -> None:
            self.generate = generate

        def __iter__(self) -> Iterator[Any]:
            return self.generate()

    class Bolts(base_of(pl)):
        def __init__(self) -> None:
            super().__init__()
            self.env = make_env(folder, 0)
            self.test_env = make_env(folder, 1)

        def generate(self) -> Iterator[Any]:
            for _ in range(3):
                yield torch.tensor(self.rollout(self.env, 0))

        def train_dataloader(self) -> Any:
            return DataLoader(Experience(self.generate), batch_size=None)

        def test_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.zeros(2, 1)))

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn(float(batch))

        def test_step(self, batch: Any, batch_idx: int) -> None:
            self.rollout(self.test_env, 1)

        val_dataloader = None  # type: ignore[assignment]

    return Bolts(), {}


def own_datamodule(pl: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Physical AI Studio: ``datamodule.val_gyms`` are holders of environments, and come as validation batches."""

    class Gym:
        def __init__(self, env: Any) -> None:
            self._env = env

        def reset(self, seed: int | None = None) -> Any:
            return self._env.reset(seed=seed)

        def step(self, action: Any) -> Any:
            return self._env.step(action)

    class Data(pl.LightningDataModule):
        def __init__(self) -> None:
            super().__init__()
            self.val_gyms = [Gym(make_env(folder, index)) for index in range(2)]

        def train_dataloader(self) -> Any:
            return DataLoader(TensorDataset(torch.zeros(3, 1)))

        def val_dataloader(self) -> Any:
            return DataLoader(list(enumerate(self.val_gyms)), batch_size=None, collate_fn=lambda item: item)

        def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
            return batch

    class Imitates(base_of(pl)):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            index, env = batch
            self.rollout(env, index, seed=3 + index)

        train_dataloader = val_dataloader = None  # type: ignore[assignment]

    return Imitates(), {"datamodule": Data()}


def late_env(pl: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """CALVIN: another callback makes its environment when a validation begins, and runs the module in it."""

    class Evaluates(pl.Callback):
        env: Any = None

        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            if self.env is None:
                self.env = make_env(folder, 0)

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            for _ in range(2):
                pl_module.rollout(self.env, 0)

    class Calvin(base_of(pl)):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("nothing", 0.0)

        def reset(self) -> None:
            """What a policy of this kind has: it is no environment for it."""

        def step(self, observation: Any, goal: Any) -> Any:
            return self.choose(observation)

    return Calvin(), {"callbacks": [Evaluates()]}


def dataset_env(pl: Any, folder: Path, workers: int = 0) -> tuple[Any, dict[str, Any]]:
    """An ``IterableDataset`` with an environment, given to ``fit``."""

    class Steps(IterableDataset):
        def __init__(self, owner: Any) -> None:
            self.env = make_env(folder, 0)
            self.owner = owner

        def __iter__(self) -> Iterator[Any]:
            for seed in itertools.count(7):
                observation, _ = self.env.reset(seed=seed)
                if not workers:
                    self.owner[0].note(0)
                done = False
                while not done:
                    observation, _, *ends, _ = self.env.step(np.zeros(2, np.float32))
                    done = any(ends)
                yield torch.as_tensor(observation.copy())

    class Watches(base_of(pl)):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.learn()

        train_dataloader = val_dataloader = None  # type: ignore[assignment]

    module = Watches()
    owner = [] if workers else [module]
    loader = DataLoader(Steps(owner), batch_size=None, num_workers=workers)
    return module, {"train_dataloaders": loader, "limit_train_batches": 3}


def vector_env(pl: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """PPO: ``module.envs`` is a vector, stepped on through all batches and epochs."""

    class Ppo(base_of(pl)):
        def __init__(self) -> None:
            super().__init__()
            folder.mkdir(exist_ok=True)
            self.envs = gym.vector.SyncVectorEnv([lambda i=i: make_env(folder, i) for i in range(2)])
            self.observation: Any = None

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.observation is None:
                self.observation, _ = self.envs.reset(seed=5)
            for _ in range(8):
                with torch.no_grad():
                    actions = self.net(torch.as_tensor(self.observation)) + 0.1 * torch.randn(2, 2)
                self.observation, *_ = self.envs.step(actions.numpy())
            return self.learn()

        val_dataloader = None  # type: ignore[assignment]

    return Ppo(), {}


LAYOUTS = {
    "module": module_env,
    "old agent": old_agent,
    "bolts": train_and_test_env,
    "datamodule": own_datamodule,
    "late": late_env,
    "dataset": dataset_env,
    "vector": vector_env,
}
