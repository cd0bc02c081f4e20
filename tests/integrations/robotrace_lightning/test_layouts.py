"""A short real training of every layout of public code, compared with what the environments have written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from lightning_layouts import LAYOUTS, dataset_env, ended, everything, found, match, quiet


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
    if layout in ("module", "bolts"):
        trainer.test(module, verbose=False)
    if layout == "module":
        trainer.validate(module, verbose=False)
        trainer.predict(module)
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
