"""What an empty portal teaches: the lines that fill it, for each way to record.

README and docs have the same lines; a test compares them, and runs those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robotrace.serve.settings import Settings

__all__ = ["SNIPPETS", "WAYS_HERE", "Snippet", "way_here"]


@dataclass(frozen=True)
class Snippet:
    """One way to record.

    Args:
        key: Of its tab.
        title: Of its tab.
        install: What to install.
        lead: What to do with the code.
        code: As README or a page of docs has it.
    """

    key: str
    title: str
    install: str
    lead: str
    code: str


SNIPPETS = (
    Snippet(
        "gymnasium",
        "Gymnasium",
        "pip install 'robotrace-dev[gymnasium]'",
        "Wrap the environment, then run it as before:",
        """\
import gymnasium as gym
from robotrace_gymnasium import RoboTraceRecorder

env = RoboTraceRecorder(gym.make("CartPole-v1", render_mode="rgb_array"))""",
    ),
    Snippet(
        "sb3",
        "Stable-Baselines3",
        "pip install 'robotrace-dev[sb3]'",
        "Give the training a callback:",
        """\
from stable_baselines3 import PPO
from robotrace_sb3 import RoboTraceCallback

model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=64)
model.learn(256, callback=RoboTraceCallback())""",
    ),
    Snippet(
        "lightning",
        "Lightning",
        "pip install 'robotrace-dev[lightning]'",
        "Give the trainer a callback:",
        """\
import lightning
from lightning.pytorch.demos.boring_classes import BoringModel
from robotrace_lightning import RoboTraceCallback

callback = RoboTraceCallback(eval_env="CartPole-v1", policy=lambda observation, module: int(observation[2] > 0))
lightning.Trainer(max_epochs=1, limit_train_batches=2, limit_val_batches=1, callbacks=[callback]).fit(BoringModel())""",
    ),
    Snippet(
        "hydra",
        "Hydra",
        "pip install 'robotrace-dev[hydra]'",
        "The app stays as it is; switch recording on in its command:",
        "python hydra_train.py +robotrace=default",
    ),
    Snippet(
        "any",
        "Any loop",
        "pip install 'robotrace-dev[record]'",
        "A real robot's loop, or any other:",
        """\
import numpy as np
import robotrace

with robotrace.record(policy_version="act-v7", robot="arm-2", fps=50) as episode:
    for step in range(100):
        joints, wrist = np.zeros(6, np.float32), np.zeros((96, 128, 3), np.uint8)
        episode.step(observation=joints, action=joints, frames={"wrist": wrist}, sensors={"battery": 24.1}, t=step / 50)
    episode.outcome(success=True)""",
    ),
)

Way = Literal["this_machine", "any_machine"]

WAYS_HERE: dict[Way, tuple[str, str | None]] = {
    "this_machine": (
        "What is recorded on this machine arrives here by itself. Other machines cannot reach this address: start it "
        "with --host or --public-url for them.",
        None,
    ),
    "any_machine": (
        "On each machine that records, once; or set ROBOTRACE_BASE_URL to this address and ROBOTRACE_API_KEY to a key "
        "from API keys:",
        "robotrace login --base-url {base_url}",
    ),
}
"""How what is recorded comes to this deployment: in words, and as a command, in which ``{base_url}`` is its address."""


def way_here(settings: Settings) -> Way:
    """Which of them holds here."""
    return "any_machine" if settings.asks_for_sign_in else "this_machine"
