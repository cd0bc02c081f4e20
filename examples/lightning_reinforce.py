"""REINFORCE in Lightning learns CartPole; the module owns its environment, and the callback finds it there."""

import gymnasium as gym
import lightning
import torch
from torch.utils.data import DataLoader

from robotrace_lightning import RoboTraceCallback


class Reinforce(lightning.LightningModule):
    def __init__(self, lr: float = 1e-2, gamma: float = 0.99, episodes: int = 5) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
        self.env = gym.make("CartPole-v1")
        self.lengths: list[int] = []

    def play(self):
        """One episode: the log-probability of each action, and what came of it."""
        observation, done = self.env.reset()[0], False
        logs, rewards = [], []
        while not done:
            choice = torch.distributions.Categorical(logits=self.net(torch.as_tensor(observation)))
            action = choice.sample()
            observation, reward, terminated, truncated, _ = self.env.step(int(action))
            done = terminated or truncated
            logs.append(choice.log_prob(action))
            rewards.append(reward)
        returns = [0.0]
        for reward in reversed(rewards):
            returns.append(reward + self.hparams.gamma * returns[-1])
        return torch.stack(logs), torch.tensor(returns[:0:-1])

    def training_step(self, batch, batch_idx):
        played = [self.play() for _ in range(self.hparams.episodes)]
        self.lengths = [len(logs) for logs, _ in played]
        logs, returns = torch.cat([logs for logs, _ in played]), torch.cat([returns for _, returns in played])
        return -(logs * (returns - returns.mean()) / returns.std()).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.hparams.lr)

    def train_dataloader(self):
        return DataLoader(range(10))  # ten updates an epoch: there is no data but what the policy makes


if __name__ == "__main__":
    lightning.seed_everything(0)
    module = Reinforce()
    module.env.reset(seed=0)
    trainer = lightning.Trainer(
        max_epochs=5,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[RoboTraceCallback(metadata={"task": "balance"})],
    )
    trainer.fit(module)
    print(f"{sum(module.lengths) / len(module.lengths):.0f} steps on average after {trainer.global_step} updates")
