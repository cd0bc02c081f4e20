"""``robotrace serve --check``: one line for each thing, and 1 when one is wrong."""

import json
import os
import socket
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from command_line import robotrace
from sqlalchemy import create_engine, make_url, text

from robotrace.config import ENV_SERVE_DATABASE, ENV_SERVE_SECRET, ENV_SERVE_STORAGE
from robotrace.serve.check import check_settings
from robotrace.serve.database import Database
from robotrace.serve.settings import Settings


def states(settings):
    return {name: (state, detail) for name, state, detail in check_settings(settings)}


def test_a_new_folder_is_fine_and_nothing_is_made(tmp_path):
    found = states(Settings(tmp_path / "new" / "data", port=0))
    assert {state for state, _ in found.values()} == {"ok"}
    assert "will be made" in found["data folder"][1]
    assert list(tmp_path.iterdir()) == []


def test_beside_a_running_deployment_only_its_port_is_taken(deployment, settings):
    port = int(deployment.base_url.rpartition(":")[2])
    found = states(replace(settings, port=port))
    assert found["data folder"][0] == "note"
    assert "in use" in found["port"][1]
    assert found["database"][0] == found["schema"][0] == found["writing"][0] == "ok"


def test_the_command_prints_a_line_each_and_its_exit_code_says_it(tmp_path):
    arguments = ("serve", "--check", "--port", "0", "--data-dir", str(tmp_path / "data"))
    fine = robotrace(*arguments)
    assert (fine.returncode, fine.stderr) == (0, "")
    assert [line[:2] for line in fine.stdout.splitlines()] == ["ok"] * 5
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        wrong = robotrace("serve", "--check", "--port", port, "--data-dir", str(tmp_path / "data"), "--json")
    assert wrong.returncode == 1
    checks = {check["check"]: check for check in json.loads(wrong.stdout)["checks"]}
    assert checks["port"]["state"] == "wrong"
    assert "--port" in checks["port"]["detail"]
    assert not (tmp_path / "data").exists()


def test_the_command_reads_the_environment_and_prints_no_secret(tmp_path):
    pytest.importorskip("psycopg")
    pytest.importorskip("obstore")
    result = robotrace(
        "serve",
        "--check",
        "--data-dir",
        str(tmp_path / "data"),
        **{
            ENV_SERVE_DATABASE: "postgresql://me:canary-password@127.0.0.1:9/d",
            ENV_SERVE_STORAGE: "s3://bucket/x?endpoint=http://127.0.0.1:9&region=us-east-1",
            ENV_SERVE_SECRET: "canary-too-short",
            "AWS_ACCESS_KEY_ID": "canary-access",
            "AWS_SECRET_ACCESS_KEY": "canary-secret",
        },
    )
    assert result.returncode == 1
    lines = {line[4:].split()[0]: line for line in result.stdout.splitlines()}
    assert lines["database"].startswith("!!")
    assert "me:***@127.0.0.1:9/d" in lines["database"]
    assert lines["storage"].startswith("!!")
    assert "http://127.0.0.1:9 cannot be reached" in lines["storage"]
    assert "fewer than 32 characters" in lines["secret"]
    assert "canary" not in result.stdout + result.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = states(Settings(blocked / "data", port=0))
    assert found["data folder"][0] == "wrong"
    assert "--data-dir" in found["data folder"][1]


def test_an_older_schema_is_said_and_a_newer_one_is_wrong(tmp_path):
    settings = Settings(tmp_path, port=0)
    database = Database(settings.database_url)
    database.migrate()
    newest = database.schema()
    database.close()
    for revision, state in (("0002", "note"), ("9999", "wrong"), (newest, "ok")):
        with closing(sqlite3.connect(settings.database_path)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        assert states(settings)["schema"][0] == state


def test_a_role_that_may_not_make_tables_is_named(servers, tmp_path):
    url = servers.database()
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    role = f"reader_{os.getpid()}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    engine.dispose()
    own = make_url(url).set(username=role).render_as_string()
    found = states(Settings(tmp_path, port=0, database=own))
    assert found["database"][0] == "wrong"
    assert "permission denied" in found["database"][1]


def test_replicas_are_told_to_share_the_secret(servers, tmp_path):
    settings = servers.settings(tmp_path / "data")
    assert states(settings)["secret"][0] == "note"
    assert states(replace(settings, secret="x" * 32))["secret"][0] == "ok"
    assert states(replace(settings, storage=""))["storage"][0] == "note"
