"""How a Hydra app is switched on: every spelling, in apps of every form that know nothing of us."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra_apps import FORMS, SWITCH, only, run_app, write_app
from recorded import sealed


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spelling", ["enabled", "group", "callbacks", "environment"])
def test_t48_every_spelling_records_an_app_of_every_form(tmp_path: Path, form: str, spelling: str) -> None:
    write_app(tmp_path, form)
    both = "[log,robotrace]" if form == "own callbacks" else "robotrace"
    arguments = {"enabled": SWITCH, "group": "+robotrace=default", "callbacks": f"hydra/callbacks={both}"}.get(spelling)
    more = {} if arguments else {"ROBOTRACE_ENABLED": "1"}
    result = run_app(tmp_path, *filter(None, (arguments,)), **more)
    episode = only(result, seed=3)
    steps = episode.metadata["outcome"]["steps"]
    own = "own callback 3\n" if form == "own callbacks" else ""
    assert result.stdout == f"{own}result {None if form == 'no config' else 3} {steps} \n"
    assert result.stderr == ""
    assert episode.metadata["hydra"]["mode"] == "run"
    assert episode.metadata["hydra"]["job"] == "train"


@pytest.mark.parametrize("form", FORMS)
def test_t48_not_switched_on_an_app_is_as_without_us(tmp_path: Path, form: str) -> None:
    write_app(tmp_path, form)
    with (tmp_path / "train.py").open("a") as script:
        script.write(
            "    import sys\n"
            "    print([name for name in sys.modules if name.split('.')[0] in ('robotrace', 'httpx', 'av')])\n"
        )
    result = run_app(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("\n[]\n")
    assert sealed() == []


def test_t48_a_block_of_the_apps_own_config_switches_it_on_and_off(tmp_path: Path) -> None:
    block = "robotrace:\n  enabled: true\n  policy_version: of the config\n  tags: [a, b]\n  video: false\n"
    write_app(tmp_path, "yaml", config=block)
    episode = only(run_app(tmp_path), policy_version="of the config")
    assert episode.metadata["tags"] == ["a", "b"]
    for off in ("robotrace.enabled=false", "hydra.callbacks.robotrace.enabled=false", "+robotrace@hydra.callbacks=off"):
        assert run_app(tmp_path, off).returncode == 0
    assert len(sealed()) == 1


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("robotrace=on", "To append to your default list use +robotrace=on"),
        ("++robotrace=on", "force-add of config groups is not supported: '++robotrace=on'"),
        ("+hydra/callbacks=robotrace", "override hydra/callbacks: robotrace"),
        ("robotrace.enabled=true", "To append to your config use +robotrace.enabled=true"),
        ("+robotrace=defualt", "Could not find 'robotrace/defualt'"),
    ],
)
def test_t48_what_does_not_work_is_told_by_hydra(tmp_path: Path, spelling: str, message: str) -> None:
    write_app(tmp_path, "yaml")
    result = run_app(tmp_path, spelling)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("group", "kept"),
    [("default", ["ready", "failed"]), ("failures", ["failed"]), ("eval_only", ["ready", "failed"]), ("off", [])],
)
def test_t48_the_groups_say_what_is_kept(tmp_path: Path, group: str, kept: list[str]) -> None:
    write_app(tmp_path, "yaml")
    result = run_app(tmp_path, f"+robotrace={group}", "fail=true", ROBOTRACE_ENABLED="1")
    assert result.returncode == 1
    assert [episode.finalize["status"] for episode in sealed()] == kept


def test_t49_the_yaml_word_on_is_a_flag_wherever_it_is_ours_to_read(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml", config="robotrace:\n  enabled: on\n")
    only(run_app(tmp_path), seed=3)
    run_app(tmp_path, "hydra.callbacks.robotrace.enabled=off")
    assert len(sealed()) == 1
    only(run_app(tmp_path, "hydra.callbacks.robotrace.enabled=perhaps"), seed=3)


def test_t49_a_group_in_the_defaults_list_is_overridden_without_a_plus(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    config = tmp_path / "conf" / "config.yaml"
    config.write_text("defaults:\n  - robotrace: default\n  - _self_\n" + config.read_text())
    only(run_app(tmp_path), seed=3)
    assert run_app(tmp_path, "robotrace=off").returncode == 0
    assert len(sealed()) == 1
    config.write_text(config.read_text().replace("robotrace: default", "robotrace: on"))
    assert run_app(tmp_path).returncode == 1  # to YAML it is true, and no name: Hydra takes it for none of a group


def test_t50_an_unknown_option_and_a_bad_value_are_told_and_the_run_goes_on(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml")
    result = run_app(tmp_path, SWITCH, "hydra.callbacks.robotrace.onyl=failures", "+hydra.callbacks.robotrace.foo=5")
    only(result, seed=3)
    assert "has no option 'onyl', which is overlooked; did you mean 'only'?" in result.stdout
    assert "has no option 'foo'" in result.stdout
    result = run_app(tmp_path, SWITCH, "hydra.callbacks.robotrace.only=failuers")
    assert result.returncode == 0
    assert "nothing is recorded: only is 'failuers'" in result.stdout
    assert len(sealed()) == 1


def test_t50_options_come_from_the_command_line(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml", config="model:\n  name: act\n")
    node = "hydra.callbacks.robotrace"
    result = run_app(
        tmp_path,
        SWITCH,
        f"{node}.policy_version='${{model.name}}-v${{seed}}'",
        *(f"{node}.{option}" for option in ("tags=[a,b]", "metadata={task: pick}", "project=arms", "robot=r")),
        *(f"{node}.{option}" for option in ("video=false", "max_per_minute=none", "infos=[x]", "name=nightly")),
    )
    episode = only(result, policy_version="act-v3", robot="r", name="nightly #0")
    assert episode.metadata["tags"] == ["a", "b"]
    assert episode.metadata["task"] == "pick"
    assert episode.metadata["run"]["project"] == "arms"


def test_t50_keys_name_where_the_config_has_them(tmp_path: Path) -> None:
    write_app(tmp_path, "yaml", config="model: {tag: act-v7, number: 9}\nworld: {version: w2}\n")
    keys = {"policy_key": "model.tag", "env_key": "world.version", "seed_key": "model.number"}
    result = run_app(tmp_path, SWITCH, *(f"hydra.callbacks.robotrace.{name}={key}" for name, key in keys.items()))
    episode = only(result, policy_version="act-v7", env_version="w2")
    assert episode.create["seed"] == 3  # that of the reset
