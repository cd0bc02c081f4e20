"""PPO learns CartPole in half a minute, recorded; then it is evaluated. See the episodes with: robotrace serve"""

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from robotrace_sb3 import RoboTraceCallback

env = make_vec_env("CartPole-v1", n_envs=4, seed=0)
held_out = make_vec_env("CartPole-v1", n_envs=1, seed=100)

model = PPO("MlpPolicy", env, n_steps=256, batch_size=256, seed=0, device="cpu")
evaluating = EvalCallback(held_out, eval_freq=2_000, n_eval_episodes=3, verbose=0)
model.learn(24_000, callback=[RoboTraceCallback(metadata={"task": "balance"}), evaluating])

mean, deviation = evaluate_policy(model, held_out, n_eval_episodes=5)
print(f"PPO@{model.num_timesteps}: {mean:.0f} ± {deviation:.0f} over 5 episodes")
