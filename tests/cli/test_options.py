"""What the commands share."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from robotrace.cli.options import CALLABLE, EPISODE, ManyValues, ManyValuesCommand, import_callable
from robotrace.errors import ConfigurationError

ID = "6d0c4a1e-3b0f-4c57-9a53-0d8b1f6f2a11"


@click.command(cls=ManyValuesCommand)
@click.option("--ids", cls=ManyValues, required=True)
@click.option("--name")
@click.option("--dry", is_flag=True)
def gather(ids: tuple[str, ...], name: str | None, dry: bool) -> None:
    click.echo(f"{' '.join(ids)}|{name}|{dry}")


@pytest.mark.parametrize(
    ("arguments", "gathered"),
    [
        ("--ids a", "a|None|False"),
        ("--ids a b c", "a b c|None|False"),
        ("--ids a b --name n --ids c --dry", "a b c|n|True"),
        ("--dry --ids=a b", "a b|None|True"),
        ("--ids @file - b", "@file - b|None|False"),
        ("--ids a --name=n", "a|n|False"),
        ("--ids a --name a", "a|a|False"),
    ],
)
def test_an_option_gathers_values_up_to_the_next_option(arguments: str, gathered: str) -> None:
    result = CliRunner().invoke(gather, arguments.split())
    assert result.output.strip() == gathered


@pytest.mark.parametrize("arguments", ["", "--ids", "--ids --dry", "--ids= --dry", "--ids a --dry b", "a --ids b"])
def test_no_value_and_a_stray_one_are_wrong_usage(arguments: str) -> None:
    result = CliRunner().invoke(gather, arguments.split())
    assert result.exit_code == 2, result.output


@pytest.mark.parametrize(
    "text",
    [
        ID,
        f" {ID}\n",
        f"http://127.0.0.1:8321/portal/episodes/{ID}",
        f"https://robots.example/portal/episodes/{ID}/?t=640ms#x",
        f"HTTPS://robots.example/api/episodes/{ID}/artifact/video",
    ],
)
def test_an_episode_is_named_by_its_id_or_by_the_address_of_its_page(text: str) -> None:
    assert EPISODE.convert(text, None, None) == ID


@pytest.mark.parametrize("text", ["", "  ", "http://127.0.0.1:8321/portal/evals/7", "http://127.0.0.1:8321/episodes/"])
def test_what_names_no_episode_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter):
        EPISODE.convert(text, None, None)


@pytest.mark.parametrize(
    "text", ["act", "policy:", ":act", "my-policy:act", "policy.py:act()", "a b:c", "a:b:c", "a..b:c"]
)
def test_a_callable_is_named_by_module_and_function(text: str) -> None:
    with pytest.raises(click.BadParameter, match="MODULE:FN"):
        CALLABLE.convert(text, None, None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that is not on the path yet, with modules of a name of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("users_"):
            del sys.modules[name]


def test_the_working_directory_is_importable_and_a_name_may_have_dots(here: Path) -> None:
    package = here / "users_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "policy.py").write_text("class Agent:\n    @staticmethod\n    def act(row): return {'seen': row}\n")
    assert CALLABLE.convert("users_package.policy:Agent.act", None, None)
    assert import_callable("users_package.policy:Agent.act")(7) == {"seen": 7}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "importing 'users_module' failed: ModuleNotFoundError: No module named 'users_module'"),
        ("", "'users_module' has no 'act'"),
        ("act = 7", "users_module:act is a int, nothing to call"),
        ("\nraise ValueError('no\\nweights')", "failed: ValueError: no weights ({file}:2)"),
        ("import users_absent", "failed: ModuleNotFoundError: No module named 'users_absent' ({file}:1)"),
        ("raise SystemExit(3)", "failed: SystemExit: 3 ({file}:1)"),
        ("raise KeyError", "failed: KeyError ({file}:1)"),
        ("def act(:", "failed: SyntaxError: "),
    ],
)
def test_what_cannot_be_imported_is_one_line_with_the_place_it_came_from(
    here: Path, content: str | None, text: str
) -> None:
    file = here / "users_module.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        import_callable("users_module:act")
    assert text.format(file=file) in str(caught.value)
    assert "\n" not in str(caught.value)
