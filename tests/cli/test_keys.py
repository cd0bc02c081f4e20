"""``robotrace keys`` and ``robotrace projects``, on the database of a deployment, whether it runs or not."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import one_line, robotrace

from robotrace.cli.main import cli
from robotrace.errors import ConfigurationError

pytest.importorskip("fastapi", reason="the server extra is not installed")

import httpx

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "data", port=0)


@pytest.fixture
def deployment(settings: Settings) -> Iterator[Deployment]:
    with Deployment(settings) as running:
        yield running


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A command on the deployment's folder, in this process; returns what it prints."""

    def call(*arguments: str) -> str:
        capsys.readouterr()
        cli.main([*arguments, "--data-dir", str(settings.data_dir)], standalone_mode=False)
        return capsys.readouterr().out

    return call


@pytest.fixture
def run_json(run: Callable[..., str]) -> Callable[..., Any]:
    return lambda *arguments: json.loads(run(*arguments, "--json"))


def status(deployment: Deployment, key: str) -> int:
    answer = httpx.get(f"{deployment.base_url}/api/keys", headers={"Authorization": f"Bearer {key}"})
    return answer.status_code


def test_a_project_and_its_keys_are_made_and_revoked_beside_a_running_deployment(
    deployment: Deployment, run_json: Callable[..., Any]
) -> None:
    made = run_json("projects", "create", "nightly", "--name", "Nightly evaluation")
    assert (made["slug"], made["name"]) == ("nightly", "Nightly evaluation")
    assert [found["slug"] for found in run_json("projects", "list")["projects"]] == ["default", "nightly"]
    key = run_json("keys", "create", "ci", "--project", "nightly")
    assert status(deployment, key["api_key"]) == 200
    listed = run_json("keys", "list", "--project", "nightly")
    assert [(found["name"], found["revoked_at"]) for found in listed["keys"]] == [("ci", None)]
    assert key["api_key"][14:] not in json.dumps(listed)
    # The whole key is what people have at hand; its beginning is enough.
    revoked = run_json("keys", "revoke", key["api_key"], "--project", "nightly")
    assert revoked["revoked_at"].endswith("Z")
    assert status(deployment, key["api_key"]) == 401
    assert run_json("keys", "revoke", key["key_prefix"], "--project", "nightly") == revoked


def test_what_is_printed_for_people(settings: Settings, run: Callable[..., str]) -> None:
    with Deployment(settings):
        pass
    # The key alone on stdout, for a script that wants it.
    key = run("keys", "create", "arm-2").strip()
    assert re.fullmatch(r"rt_\w{10}_[\w-]{43}", key)
    table = run("keys", "list").splitlines()
    assert table[0].split() == ["KEY", "NAME", "CREATED", "LAST", "USED", "REVOKED"]
    assert table[1].startswith(key[:13])
    assert run("keys", "revoke", key[:13]) == f"{key[:13]} (arm-2) is revoked\n"
    assert "default" in run("projects", "list")
    assert "robotrace keys create" in run("projects", "create", "second")
    assert run("keys", "list", "--project", "second") == "no keys in project second\n"


def test_what_cannot_be_done_is_one_clear_line(settings: Settings, tmp_path: Path, run: Callable[..., str]) -> None:
    def refused(*arguments: str) -> str:
        with pytest.raises(ConfigurationError) as caught:
            run(*arguments)
        return str(caught.value)

    assert "robotrace serve makes one" in one_line(robotrace("keys", "list", "--data-dir", str(tmp_path / "none")))
    assert "robotrace serve makes one" in refused("keys", "list")
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.database_path.touch()  # as a start leaves it that fails right after
    assert "robotrace serve makes one" in refused("keys", "list")
    with Deployment(settings):
        pass
    assert "no project x" in refused("keys", "create", "ci", "--project", "x")
    assert "has no key rt_x" in refused("keys", "revoke", "rt_x")
    assert "cannot name a project" in refused("projects", "create", "No")
    assert "there is a project default" in refused("projects", "create", "default")
    assert "printable" in refused("projects", "create", "x", "--name", "a\nb")
    assert "--database" in refused("keys", "list", "--database", "nonsense")
    with pytest.raises(click.BadParameter, match="printable"):
        run("keys", "create", " ")
    with closing(sqlite3.connect(settings.database_path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.commit()
    assert "another version" in refused("keys", "list")
    settings.database_path.write_bytes(b"this is no database" * 100)
    assert "cannot be used" in refused("keys", "list")
