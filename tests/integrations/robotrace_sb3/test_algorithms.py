"""A short real training of every algorithm, compared with what the environments themselves have written down."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3")

import stable_baselines3 as sb3
from recorded import RecordedEpisode, sealed
from sb3_envs import assert_recorded, makers
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)

import robotrace
from robotrace_sb3 import RoboTraceCallback

# sb3_contrib asks through the wrappers, of which Gymnasium 0.29 warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*action_masks")

ON_POLICY = {"n_steps": 16}
OFF_POLICY = {"learning_starts": 20, "batch_size": 8, "train_freq": 4, "buffer_size": 500}
DELAYED = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "train_freq": 1, "gradient_steps": 1}
SMALL = {"policy_kwargs": {"net_arch": [8]}}
OWN = {
    "PPO": {**ON_POLICY, "batch_size": 16, "n_epochs": 1},
    "A2C": {"n_steps": 8},
    "DQN": OFF_POLICY,
    "SAC": DELAYED,
    "TD3": DELAYED,
    "DDPG": DELAYED,
}
CONTRIB = {
    "TRPO": {**ON_POLICY, "batch_size": 16},
    "RecurrentPPO": {**ON_POLICY, "batch_size": 16, "n_epochs": 1},
    "MaskablePPO": {**ON_POLICY, "batch_size": 16, "n_epochs": 1},
    "QRDQN": OFF_POLICY,
    "TQC": DELAYED,
    "CrossQ": {**DELAYED, "policy_kwargs": {"net_arch": [8]}},
}
IN_PROCESSES = ("PPO", "DQN", "MaskablePPO")
DISCRETE = ("DQN", "QRDQN", "MaskablePPO")


def everything(**options: Any) -> RoboTraceCallback:
    return RoboTraceCallback(**{"every_n_episodes": 1, "max_per_minute": None, **options})


def algorithm(name: str) -> Any:
    if name in OWN:
        return getattr(sb3, name)
    contrib = pytest.importorskip("sb3_contrib")
    if not hasattr(contrib, name):
        pytest.skip(f"{name} came later than sb3_contrib {contrib.__version__}")
    return getattr(contrib, name)


def train(name: str, env: Any, callback: Any, steps: int = 64, **arguments: Any) -> Any:
    policy = {"RecurrentPPO": "MlpLstmPolicy", "ARS": "LinearPolicy"}.get(name, "MlpPolicy")
    own = {**OWN, **CONTRIB}.get(name, {})
    given = copy.deepcopy({**SMALL, **own, "seed": 9, "device": "cpu", **arguments})
    if name == "RecurrentPPO":
        given["policy_kwargs"] = {"lstm_hidden_size": 8}
    model = algorithm(name)(policy, env, **given)
    return model.learn(steps, callback=callback)


def found() -> list[RecordedEpisode]:
    assert robotrace.flush()
    return sealed()


def assert_labelled(episodes: list[RecordedEpisode], truth: dict[int, list[Any]], name: str, count: int) -> None:
    """Version, seed and phase, from how many steps each environment had made before."""
    for index, logs in truth.items():
        before = 0
        mine = [one for one in episodes if one.metadata["vector"]["index"] == index]
        for episode, log in zip(mine, logs, strict=True):
            assert episode.create["policy_version"] == f"{name}@{before * count}"
            assert episode.create["seed"] == (9 if log[0]["seed"] is None else log[0]["seed"])
            assert episode.metadata["phase"] == "train"
            assert episode.metadata["training"]["num_timesteps"] == before * count
            before += len(log) - 1
            assert episode.metadata["training_end"]["num_timesteps"] == (before - 1) * count
        assert logs[0][0]["seed"] == 9 + index


@pytest.mark.parametrize(
    ("name", "vectorize"),
    [*((name, DummyVecEnv) for name in (*OWN, *CONTRIB)), *((name, SubprocVecEnv) for name in IN_PROCESSES)],
)
def test_every_episode_is_recorded_as_the_environment_has_it(name: str, vectorize: Any, tmp_path: Path) -> None:
    actions = "discrete" if name in DISCRETE else "box"
    algorithm(name)
    env = vectorize(makers(tmp_path / "diary", 2, actions=actions, reuses=vectorize is DummyVecEnv))
    model = train(name, env, everything())
    env.close()
    episodes = found()
    truth = assert_recorded(episodes, tmp_path / "diary", 2)
    assert_labelled(episodes, truth, name, 2)
    assert all(one.metadata["training"]["algorithm"] == name for one in episodes)
    assert model.num_timesteps >= 64


def test_t32_ars_and_maskable_ppo_which_hand_a_callback_no_steps(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    env = DummyVecEnv(makers(tmp_path / "diary", 1))
    train("ARS", env, everything(), steps=120, n_delta=2, n_eval_episodes=2, policy_kwargs={})
    env.close()
    episodes = found()
    assert_recorded(episodes, tmp_path / "diary", 1)
    assert {one.metadata["phase"] for one in episodes} == {"train"}  # though evaluate_policy() makes them
    assert len({one.create["policy_version"] for one in episodes}) == len(episodes)
    env = DummyVecEnv(makers(tmp_path / "masked", 1, actions="discrete"))
    train("MaskablePPO", env, everything())
    masked = [one for one in found() if one.metadata["training"]["algorithm"] == "MaskablePPO"]
    assert_recorded(masked, tmp_path / "masked", 1)
    assert not any((one.arrays("actions")["action/value"] == 1).any() for one in masked)


@pytest.mark.parametrize("vectorize", [DummyVecEnv, SubprocVecEnv], ids=["dummy", "subproc"])
def test_t31_below_vec_normalize_everything_is_raw_and_what_the_policy_saw_is_beside_it(
    vectorize: Any, tmp_path: Path
) -> None:
    env = VecNormalize(vectorize(makers(tmp_path / "diary", 2, reuses=vectorize is DummyVecEnv)), clip_obs=1.0)
    seen: list[Any] = []
    inner = env.normalize_obs

    def normalize(obs: Any) -> Any:
        seen.append(inner(obs))
        return seen[-1]

    env.normalize_obs = normalize
    train("PPO", env, everything(policy_observations=True))
    env.close()
    episodes = found()
    assert_recorded(episodes, tmp_path / "diary", 2)
    given = {row.tobytes() for batch in seen for row in batch.reshape(-1, 3)}
    for episode in episodes:
        sensors = episode.arrays("sensors")
        rows = sensors["policy_observation/value"]
        assert len(rows) == episode.metadata["outcome"]["steps"]
        assert {row.tobytes() for row in rows} <= given
        assert abs(rows).max() <= 1.0
        assert sensors["policy_observation/_t_ns"].tolist() == sensors["observation/_t_ns"][:-1].tolist()
    assert any(abs(one.arrays("sensors")["observation/value"]).max() > 1.0 for one in episodes)


@pytest.mark.parametrize("kind", ["stacked", "transposed", "dict"])
def test_t31_below_frame_stack_and_transpose_everything_is_raw(kind: str, tmp_path: Path) -> None:
    raw = {"stacked": "box", "transposed": "image", "dict": "dict"}[kind]
    env: Any = DummyVecEnv(makers(tmp_path / "diary", 2, kind=raw))
    if kind == "stacked":
        env = VecFrameStack(env, 3)
    elif kind == "transposed":
        env = VecTransposeImage(env)
    policy = {"transposed": "CnnPolicy", "dict": "MultiInputPolicy"}.get(kind, "MlpPolicy")
    model = sb3.A2C(policy, env, n_steps=8, seed=9, device="cpu")
    model.learn(48, callback=everything(policy_observations=True))
    episodes = found()
    assert_recorded(episodes, tmp_path / "diary", 2)
    if kind == "dict":  # nothing in between: it is what the policy saw
        assert not any("policy_observation/value" in one.arrays("sensors") for one in episodes)
        return
    for episode in episodes:
        sensors = episode.arrays("sensors")
        observations, rows = sensors["observation/value"][:-1], sensors["policy_observation/value"]
        if kind == "transposed":
            assert (rows == observations.transpose(0, 3, 1, 2)).all()
        else:
            assert (rows[:, -3:] == observations).all()


def test_t32_episodes_of_the_maskable_evaluation_are_recorded(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback

    held_out = DummyVecEnv(makers(tmp_path / "eval", 1, actions="discrete"))
    evaluating = MaskableEvalCallback(held_out, eval_freq=16, n_eval_episodes=3, verbose=0)
    env = DummyVecEnv(makers(tmp_path / "diary", 1, actions="discrete"))
    train("MaskablePPO", env, [everything(phases="eval"), evaluating], steps=32)
    episodes = found()
    assert [one.create["policy_version"] for one in episodes] == ["MaskablePPO@16"] * 3 + ["MaskablePPO@32"] * 3
    assert {one.metadata["phase"] for one in episodes} == {"eval"}
