"""A policy imitates an expert on CartPole in Lightning, and shows what it can after each epoch: eval_env=..."""

import gymnasium as gym
import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from robotrace_lightning import RoboTraceCallback


def expert(observation) -> int:
    """Balances for ever: leans against angle and speed."""
    position, speed, angle, turning = observation
    return int(angle + 0.3 * turning + 0.02 * position + 0.05 * speed > 0)


def demonstrations(episodes: int) -> TensorDataset:
    env, observations, actions = gym.make("CartPole-v1"), [], []
    for seed in range(episodes):
        observation, done = env.reset(seed=seed)[0], False
        while not done:
            observations.append(torch.as_tensor(observation))
            actions.append(expert(observation))
            observation, _, terminated, truncated, _ = env.step(actions[-1])
            done = terminated or truncated
    return TensorDataset(torch.stack(observations), torch.tensor(actions))


class Imitation(lightning.LightningModule):
    def __init__(self, width: int = 32, lr: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Tanh(), torch.nn.Linear(width, 2))

    def forward(self, observation):  # the scores of both actions: the callback takes the better one
        return self.net(observation)

    def training_step(self, batch, batch_idx):
        observations, actions = batch
        return torch.nn.functional.cross_entropy(self(observations), actions)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.hparams.lr)


if __name__ == "__main__":
    lightning.seed_everything(0)
    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[RoboTraceCallback(eval_env="CartPole-v1", eval_episodes=3)],
    )
    trainer.fit(Imitation(), DataLoader(demonstrations(8), batch_size=64, shuffle=True))
