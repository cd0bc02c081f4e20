"""Trainings from their first reset to their last exception: evaluation, repeated learn, save and load, callbacks."""

from __future__ import annotations

import functools
import io
import logging
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3")

import gymnasium as gym
import numpy as np
from gymnasium_envs import read_barcode
from recorded import RecordedEpisode, sealed
from sb3_envs import TrainingEnv, assert_recorded, makers
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common import evaluation
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize
from vector_envs import read_diary

import robotrace
import robotrace_sb3
from robotrace.errors import ConfigurationError
from robotrace_gymnasium import RoboTraceRecorder
from robotrace_sb3 import RoboTraceCallback
from robotrace_sb3.labels import parameters_hash

SMALL = {"n_steps": 8, "seed": 9, "device": "cpu"}


def everything(**options: Any) -> RoboTraceCallback:
    return RoboTraceCallback(**{"every_n_episodes": 1, "max_per_minute": None, **options})


def a2c(env: Any, **arguments: Any) -> A2C:
    return A2C("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, **{**SMALL, **arguments})


def found(phase: str | None = None) -> list[RecordedEpisode]:
    assert robotrace.flush()
    return [one for one in sealed() if phase is None or one.metadata.get("phase") == phase]


def weights(model: Any) -> str:
    return parameters_hash(model)


class Raises(BaseCallback):
    """Raises at the n-th step, with nothing of an environment on the stack."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self.at = at
        self.error = error

    def _on_step(self) -> bool:
        if self.n_calls == self.at:
            raise self.error
        return True


# --- evaluations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vectorize", [DummyVecEnv, SubprocVecEnv], ids=["dummy", "subproc"])
def test_t33_eval_callback_with_vec_normalize_goes_on_and_its_episodes_are_all_recorded(
    vectorize: Any, tmp_path: Path
) -> None:
    reuses = vectorize is DummyVecEnv
    env = VecNormalize(vectorize(makers(tmp_path / "train", 2, reuses=reuses)))
    held_out = VecNormalize(vectorize(makers(tmp_path / "eval", 2, reuses=reuses)), training=False)
    evaluating = EvalCallback(held_out, eval_freq=8, n_eval_episodes=3, verbose=0)
    a2c(env).learn(32, callback=[evaluating, everything()])
    env.close()
    held_out.close()
    assert_recorded(found("train"), tmp_path / "train", 2)
    episodes = found("eval")
    counted = {0: 0, 1: 0}
    for call in range(2):
        mine = [one for one in episodes if one.metadata["evaluation"]["index"] == call]
        assert {one.create["policy_version"] for one in mine} == {f"A2C@{16 * (call + 1)}"}
        assert [one.metadata["evaluation"]["deterministic"] for one in mine] == [True] * len(mine)
        assert len(mine) >= 3
        for one in mine:
            counted[one.metadata["vector"]["index"]] += 1
    # All that ended, those beyond the three asked for too; what the other environment was left in is none.
    for index, number in counted.items():
        logs = read_diary(tmp_path / "eval", index)
        assert number == sum(bool(log[-1].get("terminated") or log[-1].get("truncated")) for log in logs)


def test_every_evaluation_episode_is_recorded_whatever_thins_out_the_training(tmp_path: Path) -> None:
    held_out = DummyVecEnv(makers(tmp_path / "eval", 1))
    evaluating = EvalCallback(held_out, eval_freq=8, n_eval_episodes=30, verbose=0)
    a2c(DummyVecEnv(makers(tmp_path / "train", 1))).learn(16, callback=[RoboTraceCallback(max_episodes=0), evaluating])
    assert len(found("eval")) == 60
    assert found("train") == []


def test_a_stand_alone_evaluation_is_recorded_under_the_version_it_evaluates(tmp_path: Path) -> None:
    model = a2c(DummyVecEnv(makers(tmp_path / "train", 1)))
    model.learn(24, callback=everything(hash_policy=True, phases=["eval"]))
    (maker,) = makers(tmp_path / "eval", 1)
    env = maker()
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=4, deterministic=False, return_episode_rewards=True)
    episodes = found()
    assert [one.metadata["outcome"]["steps"] for one in episodes] == lengths
    assert [one.metadata["outcome"]["reward_total"] for one in episodes] == pytest.approx(returns)
    digest = weights(model)
    for one in episodes:
        assert one.create["policy_version"] == f"A2C@24#{digest[:12]}"
        assert one.metadata["training"]["policy_sha256"] == digest
        assert one.metadata["evaluation"] == {"index": 0, "deterministic": False, "n_eval_episodes": 4}
        assert one.metadata["phase"] == "eval"
    assert env.step.__self__ is env  # nothing is left on it
    evaluate_policy(model, env, n_eval_episodes=1)
    assert [one.metadata["evaluation"]["index"] for one in found()] == [0, 0, 0, 0, 1]


def test_an_evaluation_in_the_trainings_own_environments_is_one(tmp_path: Path) -> None:
    env = DummyVecEnv(makers(tmp_path / "diary", 1))
    model = a2c(env).learn(24, callback=everything())
    evaluate_policy(model, env, n_eval_episodes=2)
    model.learn(24, callback=everything())
    phases = [one.metadata["phase"] for one in sorted(found(), key=lambda one: one.create["metadata"]["run_id"])]
    assert phases.count("eval") == 2
    assert phases.count("train") >= 4
    ended = [log for log in read_diary(tmp_path / "diary", 0) if log[-1].get("terminated") or log[-1].get("truncated")]
    assert len(ended) == len(phases)


def test_a_model_that_nobody_records_is_not_recorded_in_an_evaluation(tmp_path: Path) -> None:
    env = DummyVecEnv(makers(tmp_path / "diary", 1))
    model = a2c(env).learn(8)
    evaluate_policy(model, env, n_eval_episodes=1)
    assert found() == []
    assert "step" not in vars(env.envs[0])


# --- life cycle -------------------------------------------------------------------------------------------------------


def test_t34_the_first_reset_which_no_callback_sees_is_the_first_episodes(tmp_path: Path) -> None:
    env = DummyVecEnv(makers(tmp_path / "diary", 3))
    PPO("MlpPolicy", env, batch_size=24, **SMALL).learn(24, callback=RoboTraceCallback(every_n_episodes=100))
    episodes = found()
    assert [one.create["seed"] for one in sorted(episodes, key=lambda one: one.metadata["vector"]["index"])] == [
        9,
        10,
        11,
    ]
    for one in episodes:
        (first, *_), *_ = read_diary(tmp_path / "diary", one.metadata["vector"]["index"])
        assert one.arrays("sensors")["observation/value"][0].tolist() == first["observation"]
        assert one.metadata["reproduce"]["resets_since_seed"] == 0


def test_by_default_every_20th_episode_of_each_environment_is_recorded(tmp_path: Path) -> None:
    env = DummyVecEnv(makers(tmp_path / "diary", 2))
    a2c(env).learn(400, callback=RoboTraceCallback())
    numbers = [(one.metadata["vector"]["index"], one.metadata["episode_index"]) for one in found()]
    expected = []
    for index in range(2):
        logs = read_diary(tmp_path / "diary", index)
        ended = [k for k, log in enumerate(logs) if log[-1].get("terminated") or log[-1].get("truncated")]
        expected += [(index, k) for k in ended if k % 20 == 0]
    assert sorted(numbers) == sorted(expected)
    assert len(numbers) >= 4


@pytest.mark.parametrize("vectorize", [DummyVecEnv, SubprocVecEnv], ids=["dummy", "subproc"])
def test_t38_a_learn_that_goes_on_goes_on_with_the_open_episodes(vectorize: Any, tmp_path: Path) -> None:
    env = vectorize(makers(tmp_path / "diary", 2, reuses=vectorize is DummyVecEnv))
    model = a2c(env, n_steps=1)
    for _ in range(30):  # one vector step each: no episode is within one call
        model.learn(2, callback=everything(), reset_num_timesteps=False)
    env.close()
    assert model.num_timesteps == 60
    episodes = found()
    assert_recorded(episodes, tmp_path / "diary", 2)
    assert all(f"A2C@{one.metadata['training']['num_timesteps']}" == one.create["policy_version"] for one in episodes)
    assert len({one.create["policy_version"] for one in episodes}) > 5


def test_t38_a_model_that_is_loaded_goes_on_and_counts_on(tmp_path: Path) -> None:
    model = a2c(DummyVecEnv(makers(tmp_path / "first", 1))).learn(40, callback=everything())
    saved = io.BytesIO()
    model.save(saved)
    again = A2C.load(saved, env=DummyVecEnv(makers(tmp_path / "second", 1)))
    again.learn(40, callback=everything(metadata={"part": 2}), reset_num_timesteps=False)
    later = [one for one in found() if one.metadata.get("part") == 2]
    assert_recorded(later, tmp_path / "second", 1)
    assert [one.metadata["training"]["num_timesteps"] >= 40 for one in later] == [True] * len(later)
    assert {one.create["seed"] for one in later} == {9}


def test_between_two_learns_what_others_do_with_the_environments_is_no_training(tmp_path: Path) -> None:
    env = DummyVecEnv(makers(tmp_path / "diary", 1))
    model = a2c(env).learn(16, callback=everything())
    trained = len(found())
    observation = env.reset()
    for _ in range(30):
        observation, *_ = env.step(model.predict(observation)[0])
    assert len(found()) == trained
    model.learn(16, callback=everything())
    assert len(found()) > trained


def test_a_learn_without_the_callback_is_not_recorded_any_more(tmp_path: Path) -> None:
    env = DummyVecEnv(makers(tmp_path / "diary", 1))
    model = a2c(env).learn(16, callback=everything())
    before = len(found())
    model.learn(16)
    evaluate_policy(model, DummyVecEnv(makers(tmp_path / "eval", 1)), n_eval_episodes=1)
    assert len(found()) == before
    assert "step" not in vars(env.envs[0])


def test_what_is_open_when_the_program_ends_after_its_training_has_not_failed(tmp_path: Path) -> None:
    from robotrace import session

    model = a2c(DummyVecEnv(makers(tmp_path / "diary", 2))).learn(32, callback=everything())
    before = len(found())
    session.reset()  # as at the exit of the process
    assert model.num_timesteps == 32
    assert len(sealed()) == before > 2
    assert not any("interrupted" in str(one.metadata.get("failure_reason")) for one in sealed())


def test_the_frames_are_those_of_the_episode_from_its_reset_to_its_end(tmp_path: Path) -> None:
    env = DummyVecEnv(makers(tmp_path / "diary", 2, render_mode="rgb_array"))
    a2c(env).learn(40, callback=everything(video_trigger=1))
    episodes = found()
    assert_recorded(episodes, tmp_path / "diary", 2)
    filmed = [one for one in episodes if one.metadata["vector"]["index"] == 0]
    assert not any("video" in one.metadata for one in episodes if one not in filmed)
    ended = [log for log in read_diary(tmp_path / "diary", 0) if log[-1].get("terminated") or log[-1].get("truncated")]
    for one, log in zip(filmed, ended, strict=True):
        frames, _ = one.frames()
        assert [read_barcode(frame) for frame in frames] == [entry["shown"] for entry in log]


# --- endings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "success"),
    [(ValueError("the policy's output is nan"), False), (KeyboardInterrupt(), None)],
    ids=["error", "ctrl-c"],
)
@pytest.mark.parametrize("vectorize", [DummyVecEnv, SubprocVecEnv], ids=["dummy", "subproc"])
def test_t28_t30_an_exception_in_learn_passes_and_finishes_the_open_episodes_as_failed(
    vectorize: Any, error: BaseException, success: bool | None, tmp_path: Path
) -> None:
    env = vectorize(makers(tmp_path / "diary", 2, reuses=vectorize is DummyVecEnv))
    model = a2c(env)
    with pytest.raises(type(error)) as caught:
        model.learn(100, callback=[everything(), Raises(1, error)])
    assert caught.value is error
    failed = found()
    assert [one.finalize["status"] for one in failed] == ["failed"] * 2
    assert [one.metadata["outcome"]["success"] for one in failed] == [success] * 2
    assert {one.metadata["exception"]["type"] for one in failed} == {type(error).__name__}
    assert [one.metadata["outcome"]["steps"] for one in failed] == [1, 1]
    model.learn(24, callback=everything())
    env.close()
    assert len(found()) > 2


def test_an_environment_that_raises_has_failed_and_the_others_were_left_in_the_middle(tmp_path: Path) -> None:
    folder = tmp_path / "diary"
    folder.mkdir()
    functions = [lambda i=i: TrainingEnv(str(folder), i, raises_at=(0, 1) if i == 1 else None) for i in range(3)]
    with pytest.raises(RuntimeError, match="gripper 1 is on fire"):
        a2c(DummyVecEnv(functions)).learn(100, callback=everything(keep_partial="always"))
    last = {one.metadata["vector"]["index"]: one for one in found()}
    assert {index: one.finalize["status"] for index, one in last.items()} == {0: "ready", 1: "failed", 2: "ready"}
    assert last[1].metadata["exception"]["message"] == "gripper 1 is on fire"
    assert len(last[1].arrays("actions")["action/value"]) == 2  # the one that raised too


def test_an_exception_in_an_evaluation_fails_its_episode(tmp_path: Path) -> None:
    held_out = DummyVecEnv(makers(tmp_path / "eval", 1, raises_at=(1, 0)))
    with pytest.raises(RuntimeError, match="on fire"):
        a2c(DummyVecEnv(makers(tmp_path / "train", 1))).learn(
            100, callback=[everything(), EvalCallback(held_out, eval_freq=5, verbose=0)]
        )
    assert [one.finalize["status"] for one in found("eval")][-1] == "failed"
    assert "step" not in vars(held_out.envs[0])


def test_t30_the_end_of_a_training_may_be_told_twice_or_without_a_beginning(tmp_path: Path) -> None:
    never = everything()
    never.on_training_end()
    callback = everything()
    model = a2c(DummyVecEnv(makers(tmp_path / "diary", 1))).learn(24, callback=callback)
    callback.on_training_end()
    callback.on_training_end()
    model.learn(24, callback=callback, reset_num_timesteps=False)
    assert_recorded(found(), tmp_path / "diary", 1)


def test_t29_the_callback_stops_nothing_and_another_may(tmp_path: Path) -> None:
    callback = everything()
    assert callback.on_step.__func__ is BaseCallback.on_step
    assert callback._on_step() is True
    env = DummyVecEnv(makers(tmp_path / "diary", 1))
    model = a2c(env).learn(1000, callback=[StopTrainingOnMaxEpisodes(3), callback])
    assert model.num_timesteps < 100
    assert len(assert_recorded(found(), tmp_path / "diary", 1)[0]) == 3


# --- sameness ---------------------------------------------------------------------------------------------------------


def cartpoles(count: int) -> DummyVecEnv:
    from stable_baselines3.common.monitor import Monitor

    return DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1", render_mode="rgb_array")) for _ in range(count)])


@pytest.mark.parametrize("kind", ["PPO", "DQN"])
def test_weights_and_returns_are_those_of_a_training_without_the_callback(kind: str, tmp_path: Path) -> None:
    def train(callback: Any) -> tuple[str, list[float], Any]:
        env = VecNormalize(cartpoles(2), norm_obs=kind == "PPO")
        held_out = VecNormalize(cartpoles(1), norm_obs=kind == "PPO", training=False)
        held_out.seed(3)
        arguments: dict[str, Any] = (
            {"n_steps": 32, "batch_size": 32, "n_epochs": 2} if kind == "PPO" else {"learning_starts": 50}
        )
        model = {"PPO": PPO, "DQN": DQN}[kind]("MlpPolicy", env, seed=5, device="cpu", **arguments)
        evaluating = EvalCallback(held_out, eval_freq=60, n_eval_episodes=2, verbose=0, log_path=str(tmp_path))
        model.learn(300, callback=[*callback, evaluating])
        assert model.ep_info_buffer is not None
        returns = [one["r"] for one in model.ep_info_buffer]
        return weights(model), returns, np.array(evaluating.evaluations_results)

    bare = train([])
    ours = train([everything(video_trigger=2, hash_policy=True, policy_observations=True)])
    assert ours[:2] == bare[:2]
    np.testing.assert_array_equal(ours[2], bare[2])
    assert any("video" in one.metadata for one in found("train"))
    assert len(found("eval")) == 4


def test_t35_nothing_is_set_on_the_model_and_what_is_saved_is_the_same(tmp_path: Path) -> None:
    models = []
    for callback in ([], [everything(hash_policy=True)]):
        model = a2c(DummyVecEnv(makers(tmp_path / f"diary{len(models)}", 1)))
        before = set(vars(model))
        model.learn(24, callback=callback)
        added = set(vars(model)) - before
        models.append((model, added))
    assert models[0][1] == models[1][1]
    saved = []
    for model, _ in models:
        file = io.BytesIO()
        model.save(file)
        saved.append(file)
    again = A2C.load(saved[1])
    assert weights(again) == weights(models[0][0])
    assert set(vars(again)) == set(vars(A2C.load(saved[0])))


# --- callbacks, other recorders ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_in_a_callback_list_with_a_progress_bar_and_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tqdm")
    pytest.importorskip("rich")
    held_out = DummyVecEnv(makers(tmp_path / "eval", 1))
    evaluating = EvalCallback(
        held_out, eval_freq=10, n_eval_episodes=2, verbose=0, best_model_save_path=str(tmp_path / "best")
    )
    callbacks = CallbackList(
        [
            CheckpointCallback(10, str(tmp_path / "saved")),
            CallbackList([everything()]),
            evaluating,
            everything(tags=["x"]),
        ]
    )
    with caplog.at_level(logging.WARNING, "robotrace"):
        a2c(DummyVecEnv(makers(tmp_path / "train", 1))).learn(40, callback=callbacks, progress_bar=True)
    assert_recorded(found("train"), tmp_path / "train", 1)
    assert len(found("eval")) == 8
    assert "2 RoboTraceCallbacks are in this training: the first one records" in caplog.text
    assert not any("tags" in one.metadata for one in found())
    assert (tmp_path / "best" / "best_model.zip").exists()
    A2C.load(tmp_path / "saved" / "rl_model_40_steps.zip")


@pytest.mark.parametrize("how", ["wrapped", "attached", "vector"])
def test_t37_environments_that_are_recorded_already_have_one_record_and_our_labels(how: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_per_minute": None, "metadata": {"whose": "user"}}
    wrap = None if how != "wrapped" else functools.partial(RoboTraceRecorder, **options)
    env = DummyVecEnv(makers(tmp_path / "diary", 1, wrap=wrap))
    if how == "attached":
        robotrace.attach(env.envs[0], **options)
    elif how == "vector":
        robotrace.attach(env, **options)
    a2c(env).learn(40, callback=RoboTraceCallback())
    episodes = found()
    ended = [log for log in read_diary(tmp_path / "diary", 0) if log[-1].get("terminated") or log[-1].get("truncated")]
    assert len(episodes) == len(ended)
    before = 0
    for one, log in zip(episodes, ended, strict=True):
        assert one.metadata["whose"] == "user"
        assert (one.metadata["phase"], one.create["policy_version"]) == ("train", f"A2C@{before}")
        before += len(log) - 1


def test_t37_environments_that_record_themselves_in_other_processes_are_left_to_it(tmp_path: Path) -> None:
    wrap = functools.partial(RoboTraceRecorder, max_per_minute=None)
    env = SubprocVecEnv(makers(tmp_path / "diary", 1, wrap=wrap))
    a2c(env).learn(40, callback=everything())
    env.close()
    assert all(one.metadata["adapter"] == "gymnasium" for one in found())


def test_the_users_own_labels_go_before_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_POLICY_VERSION", "of-this-machine")
    monkeypatch.setenv("ROBOTRACE_SEED", "4711")
    a2c(DummyVecEnv(makers(tmp_path / "one", 1))).learn(16, callback=everything(policy_version="mine", seed=3))
    a2c(DummyVecEnv(makers(tmp_path / "two", 1))).learn(16, callback=everything(metadata={"training": "?"}))
    named = [(one.create["policy_version"], one.create["seed"], one.metadata["training"]) for one in found()]
    assert {entry[:2] for entry in named if entry[2] != "?"} == {("mine", 3)}
    assert {entry[1] for entry in named if entry[2] == "?"} == {9}
    assert all(entry[0].startswith("A2C@") for entry in named if entry[2] == "?")


def test_hyperparameters_are_plain_values_and_secrets_stay_out(tmp_path: Path) -> None:
    model = PPO(
        "MlpPolicy",
        DummyVecEnv(makers(tmp_path / "diary", 1)),
        learning_rate=lambda progress: 1e-3 * progress,
        batch_size=8,
        policy_kwargs={"net_arch": [8], "features_extractor_kwargs": {}},
        **SMALL,
    )
    model.policy_kwargs["api_key"] = "hunter2"
    model.learn(16, callback=everything())
    given = found()[0].metadata["training"]["hyperparameters"]
    assert (given["n_steps"], given["batch_size"], given["clip_range"], given["gamma"]) == (8, 8, 0.2, 0.99)
    assert given["learning_rate"].endswith("<lambda>")
    assert given["policy_kwargs"] == {"net_arch": [8], "features_extractor_kwargs": {}, "api_key": "[redacted]"}


def test_instrument_records_trainings_that_were_given_nothing(tmp_path: Path) -> None:
    robotrace_sb3.instrument(every_n_episodes=1, max_per_minute=None)
    try:
        model = a2c(DummyVecEnv(makers(tmp_path / "one", 1))).learn(24)
        assert_recorded(found(), tmp_path / "one", 1)
        saved = io.BytesIO()
        model.save(saved)
        loaded = A2C.load(saved)
        evaluate_policy(loaded, DummyVecEnv(makers(tmp_path / "eval", 1)), n_eval_episodes=2)
        assert len(found("eval")) == 2
        a2c(DummyVecEnv(makers(tmp_path / "own", 1))).learn(24, callback=everything(tags=["own"]))
        own = [one for one in found() if one.metadata.get("tags") == ["own"]]
        assert_recorded(own, tmp_path / "own", 1)
    finally:
        robotrace_sb3.uninstrument()
    before = len(found())
    a2c(DummyVecEnv(makers(tmp_path / "off", 1))).learn(24)
    assert len(found()) == before


def test_an_algorithm_that_is_made_later_is_stood_in_for_too(tmp_path: Path) -> None:
    class Mine(A2C):
        def learn(self, *args: Any, **kwargs: Any) -> Any:
            super().learn(*args, **kwargs)
            raise ZeroDivisionError("after the training")

    model = Mine("MlpPolicy", DummyVecEnv(makers(tmp_path / "diary", 1)), **SMALL)
    with pytest.raises(ZeroDivisionError):
        model.learn(16, callback=everything())
    assert {one.create["policy_version"].partition("@")[0] for one in found()} == {"Mine"}
    assert found()[-1].finalize["status"] == "failed"


def test_evaluate_policy_is_what_it_was_for_whoever_looks_at_it() -> None:
    import inspect
    import pickle

    assert pickle.loads(pickle.dumps(evaluate_policy)) is evaluation.evaluate_policy is evaluate_policy
    assert next(iter(inspect.signature(evaluate_policy).parameters)) == "model"
    assert list(inspect.signature(A2C.learn).parameters)[:3] == ["self", "total_timesteps", "callback"]


def test_switched_off_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, option in enumerate(({"enabled": False}, {})):
        if not option:
            monkeypatch.setenv("ROBOTRACE_MODE", "disabled")
        env = DummyVecEnv(makers(tmp_path / f"diary{number}", 1))
        a2c(env).learn(16, callback=RoboTraceCallback(**option))
        assert "step" not in vars(env.envs[0])
    assert found() == []


def test_bad_input_is_one_clear_line_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unknown option 'every_n_episode'; did you mean 'every_n_episodes'"):
        RoboTraceCallback(every_n_episode=2)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="phases is 'test'; it takes some of 'train', 'eval'"):
        RoboTraceCallback(phases="test")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="hash_policy must be True or False"):
        RoboTraceCallback(hash_policy="yes")  # type: ignore[arg-type]
    model = a2c(DummyVecEnv(makers(tmp_path / "diary", 1)))
    with pytest.raises(ConfigurationError, match="video=True needs an environment made with render_mode='rgb_array'"):
        model.learn(16, callback=everything(video=True))
    assert not (tmp_path / "diary" / "0.jsonl").exists()


def test_a_fault_of_ours_costs_the_recording_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    import robotrace_sb3.labels
    import robotrace_sb3.training

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError("a fault of ours")

    monkeypatch.setattr(robotrace_sb3.labels, "_static", broken)
    a2c(DummyVecEnv(makers(tmp_path / "one", 1))).learn(16, callback=everything())
    assert all("training" not in one.metadata for one in found())
    assert len(found()) > 0
    monkeypatch.setattr(robotrace_sb3.training, "AttachedVecEnv", broken)
    a2c(DummyVecEnv(makers(tmp_path / "two", 1))).learn(16, callback=everything())
    assert "an episode could not be labelled: OSError: a fault of ours (the run goes on)" in caplog.text
    assert "a training is not recorded: OSError: a fault of ours (the run goes on)" in caplog.text
