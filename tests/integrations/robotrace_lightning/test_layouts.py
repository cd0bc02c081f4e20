"""A short real training of every layout of public code, compared with what the environments have written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from lightning_layouts import LAYOUTS, dataset_env, quiet
from recorded import RecordedEpisode, sealed
from sb3_envs import assert_episode
from vector_envs import read_diary

import robotrace
from robotrace_lightning import RoboTraceCallback


def everything(**options: Any) -> RoboTraceCallback:
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


def found() -> list[RecordedEpisode]:
    assert robotrace.flush()
    return sealed()


def ended(folder: Path, index: int) -> list[list[dict[str, Any]]]:
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


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_episode_of_every_layout_is_recorded_once_as_it_was(
    pl: Any, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "diary"
    pl.seed_everything(11)
    module, more = LAYOUTS[layout](pl, folder)
    callback = everything()
    limits = {key: more.pop(key) for key in ("limit_train_batches",) if key in more}
    trainer = pl.Trainer(**quiet(callbacks=[callback, *more.pop("callbacks", [])], **limits))
    trainer.fit(module, **more)
    for run, step in (
        (trainer.validate, "validation_step"),
        (trainer.test, "test_step"),
        (trainer.predict, "predict_step"),
    ):
        if layout == "module" or (layout == "bolts" and step == "test_step"):
            run(module, **({} if step == "predict_step" else {"verbose": False}))
    pairs = match(found(), folder)
    assert pairs
    name = type(module).__name__
    booked = {index: [entry for entry in module.book if entry[0] == index] for index, _, _ in pairs}
    numbers = dict.fromkeys(booked, 0)
    for index, episode, log in pairs:
        assert episode.create["seed"] == (11 if log[0]["seed"] is None else log[0]["seed"])
        assert episode.metadata["training"]["framework"] == pl.__name__
        assert episode.metadata["training"]["module"] == name
        assert episode.metadata["adapter"] == "lightning"
        if layout == "vector":  # its episodes begin within the steps of the vector
            assert episode.metadata["phase"] == "train"
            continue
        _, phase, epoch, step = booked[index][numbers[index]]
        numbers[index] += 1
        assert (episode.metadata["phase"], episode.create["policy_version"]) == (phase, f"{name}@e{epoch}-s{step}")
    if layout == "vector":
        versions = {episode.create["policy_version"] for _, episode, _ in pairs}
        assert {"Ppo@e0-s0", "Ppo@e1-s5"} <= versions
    else:
        assert numbers == {index: len(entries) for index, entries in booked.items()}
    if layout == "module":
        assert {entry[1] for entry in module.book} == {"train", "validate", "test", "predict"}
    # Nothing is left on them.
    env = getattr(module, "env", None)
    assert env is None or "step" not in vars(env)


def test_t45_an_environment_that_worker_processes_step_is_told_of(
    one: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module, more = dataset_env(one, tmp_path / "diary", workers=1)
    trainer = one.Trainer(**quiet(callbacks=[everything()], limit_train_batches=more.pop("limit_train_batches")))
    trainer.fit(module, **more)
    assert "dataset.env is stepped in the 1 worker processes of a data loader" in caplog.text
    assert found() == []
    assert ended(tmp_path / "diary", 0)
