"""Three recorded episodes of CartPole, replayed through another policy. Needs a deployment: robotrace serve"""

import gymnasium as gym

import robotrace
from robotrace_gymnasium import RoboTraceRecorder


def by_angle(observation):
    return int(observation[2] > 0)


def by_angle_and_speed(observation):
    return int(observation[2] + 0.3 * observation[3] > 0)


# The baselines: what the first policy saw and did.
env = RoboTraceRecorder(gym.make("CartPole-v1"), policy_version="angle-v1")
for seed in range(3):
    observation, info = env.reset(seed=seed)
    done = False
    while not done:
        observation, reward, terminated, truncated, info = env.step(by_angle(observation))
        done = terminated or truncated
env.flush()
env.close()


# The candidate: a recorded row in, an action under the recorded key out.
def act(row):
    return {"action/value": by_angle_and_speed(row["observation/value"])}


with robotrace.Client() as client:
    page = client.list_episodes(policy_version="angle-v1", limit=3)
    run = robotrace.evals.create_run(
        candidate_policy_version="angle-and-speed-v1",
        baseline_policy_version="angle-v1",
        baseline_episode_ids=[episode["episode_id"] for episode in page["episodes"]],
        client=client,
    )
    for result in robotrace.evals.run_against(run, policy_callable=act):
        metrics = result.metrics
        print(f"{metrics['step_count']} steps, mean action distance {metrics['action_l2_distance']:.2f}")
    # On hold: a replay alone does not tell whether the pole would have stayed up, and this policy does not say.
    summary = robotrace.evals.complete_run(run)["summary"]
    print(summary["recommend"], *summary["reasons"])
