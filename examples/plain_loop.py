"""Ten episodes of CartPole under a random policy, recorded. See them with: robotrace serve"""

import gymnasium as gym

from robotrace_gymnasium import RoboTraceRecorder

env = RoboTraceRecorder(gym.make("CartPole-v1", render_mode="rgb_array"), policy_version="random-v0")
env.action_space.seed(0)
for episode in range(10):
    observation, info = env.reset(seed=episode)
    done = False
    while not done:
        action = env.action_space.sample()
        observation, reward, terminated, truncated, info = env.step(action)
        done = terminated or truncated
env.close()
