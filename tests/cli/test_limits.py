"""Sizes and numbers as they are written, and ``robotrace projects set``."""

import json

import click
import pytest
from command_line import robotrace

pytest.importorskip("fastapi", reason="the server extra is not installed")

from robotrace.cli.limits import COUNT, NONE, SIZE
from robotrace.serve.database import Database
from robotrace.serve.settings import Settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("1500", 1500),
        ("500GB", 500 * 10**9),
        ("500 gb", 500 * 10**9),
        ("2TiB", 2 * 2**40),
        ("1.5KiB", 1536),
        ("7B", 7),
        ("none", NONE),
        ("NONE", NONE),
    ],
)
def test_a_size_has_a_unit_or_none(text, value):
    assert SIZE.convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "-1", "1.5", "GB", "5 apples", "1e9", "9999999PiB", "٣"])
def test_what_is_no_size_is_a_usage_error(text):
    with pytest.raises(click.BadParameter, match="neither none nor a size"):
        SIZE.convert(text, None, None)


def test_a_number_has_no_unit():
    assert COUNT.convert("30", None, None) == 30
    with pytest.raises(click.BadParameter):
        COUNT.convert("30MB", None, None)


def test_the_limits_of_a_project_are_set_one_by_one_and_taken_away(tmp_path):
    settings = Settings(tmp_path / "data")
    settings.data_dir.mkdir()
    database = Database(settings.database_url)
    database.migrate()
    database.close()

    def run(*options):
        done = robotrace("projects", "set", "default", *options, "--data-dir", str(settings.data_dir), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    none = {"quota_episodes": None, "retain_ready_days": None, "retain_archived_days": None}
    shown = run("--quota", "2GB", "--keep-failed", "30")
    assert shown == {"slug": "default", "quota_bytes": 2 * 10**9, "retain_failed_days": 30, **none}
    shown = run("--quota", "none")
    assert (shown["quota_bytes"], shown["retain_failed_days"]) == (None, 30)
    assert run() == shown
    unknown = robotrace("projects", "set", "nobody", "--quota", "1", "--data-dir", str(settings.data_dir))
    assert (unknown.returncode, unknown.stderr) == (1, "robotrace: there is no project nobody\n")
