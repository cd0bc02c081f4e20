"""Hydra apps that know nothing of us, written into a folder and run as programs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from recorded import RecordedEpisode, sealed

__all__ = ["FORMS", "LIGHTNING", "LOOP", "SB3", "SWITCH", "only", "run_app", "write_app"]

SWITCH = "hydra.callbacks.robotrace.enabled=true"
FORMS = ("yaml", "dataclass", "no config", "own callbacks")

LOOP = """
from gymnasium import make

def train(cfg):
    env = make("CartPole-v1")
    env.reset(seed=cfg.get("seed", 3))
    steps, done = 0, False
    while not done:
        done = any(env.step(0)[2:4])
        steps += 1
    if cfg.get("fail", False):
        env.reset()
        env.step(0)
        raise ValueError("boom")
    return steps
"""
SB3 = """
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

def train(cfg):
    settings = {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "device": "cpu"}
    model = PPO("MlpPolicy", "CartPole-v1", seed=cfg.get("seed", 3), **settings)
    model.learn(64)
    return evaluate_policy(model, model.get_env(), n_eval_episodes=1)[0]
"""
LIGHTNING = """
import gymnasium as gym
import torch
from {package} import LightningModule, Trainer, seed_everything

class Policy(LightningModule):
    def __init__(self):
        super().__init__()
        self.env = gym.make("CartPole-v1")
        self.layer = torch.nn.Linear(4, 2)

    def training_step(self, batch, index):
        observation, _ = self.env.reset(seed=5)
        done, total = False, torch.zeros(())
        while not done:
            logits = self.layer(torch.as_tensor(observation))
            observation, reward, terminated, truncated, _ = self.env.step(int(logits.argmax()))
            done, total = terminated or truncated, total + logits.max() * reward
        return -total

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)

    def train_dataloader(self):
        return torch.utils.data.DataLoader([0, 1])

def train(cfg):
    seed_everything(cfg.get("seed", 3))
    module = Policy()
    trainer = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False,
    )
    trainer.fit(module)
    return float(module.layer.weight.sum())
"""
_MAIN = """
import logging
import random
from dataclasses import dataclass

import hydra
from hydra.core.config_store import ConfigStore
{train}

@dataclass
class Config:
    seed: int = 3
    fail: bool = False

ConfigStore.instance().store(name="dataclass", node=Config)
logging.getLogger("lightning").setLevel(logging.ERROR)

@hydra.main(version_base=None, config_path={path!r}, config_name={name!r})
def main(cfg):
    print("result", cfg.get("seed"), train(cfg), random.random() if "seeded" in globals() else "")
    return 0.0

if __name__ == "__main__":
    main()
"""
_YAML = "seed: 3\nfail: false\npolicy:\n  _target_: my.Policy\n"
_CALLBACKS = "defaults:\n  - override hydra/callbacks: log\n  - _self_\n" + _YAML
_LOG = "# @package hydra.callbacks\nlog:\n  _target_: own_callback.Log\n"
_OWN_CALLBACK = """
from hydra.experimental.callback import Callback

class Log(Callback):
    def on_job_start(self, config, **kwargs):
        print("own callback", config.seed)
"""


def write_app(folder: Path, form: str, train: str = LOOP, config: str = "") -> None:
    """An app of one of the FORMS: ``train.py`` and what belongs to it.

    Args:
        folder: Where to.
        form: Of its config.
        train: Source of its function ``train(cfg)``.
        config: More of its YAML.
    """
    path, name = {"dataclass": (None, "dataclass"), "no config": (None, None)}.get(form, ("conf", "config"))
    (folder / "train.py").write_text(_MAIN.format(train=train, path=path, name=name))
    if path is not None:
        (folder / "conf" / "hydra" / "callbacks").mkdir(parents=True)
        (folder / "conf" / "config.yaml").write_text((_CALLBACKS if form == "own callbacks" else _YAML) + config)
        (folder / "conf" / "hydra" / "callbacks" / "log.yaml").write_text(_LOG)
        (folder / "own_callback.py").write_text(_OWN_CALLBACK)


def run_app(
    folder: Path, *arguments: str, python: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """``python train.py ARGUMENTS`` in its folder."""
    return subprocess.run(
        [sys.executable, *python, "train.py", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ROBOTRACE_MODE": "offline",
            "SDL_VIDEODRIVER": "dummy",
            "XDG_RUNTIME_DIR": str(folder),  # without it pygame has something to say as soon as it renders
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def only(result: subprocess.CompletedProcess[str], **expected: Any) -> RecordedEpisode:
    """The one episode of an app that ended well; its fields are as expected."""
    assert result.returncode == 0, result.stderr
    (episode,) = sealed()
    assert {name: episode.create[name] for name in expected} == expected
    return episode
