"""Schema, transactions, many writers at once."""

import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, event, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from robotrace.errors import ConfigurationError
from robotrace.serve import database as database_module
from robotrace.serve.database import Database, UnstorableText
from robotrace.serve.episodes import EpisodeFilter, list_episodes
from robotrace.serve.models import (
    ApiKey,
    Base,
    Episode,
    EpisodeAnalysis,
    EvalRun,
    FindingLabel,
    Project,
    Reproduction,
    utc_now,
)
from robotrace.serve.settings import Settings

WRITERS = 8
EPISODES_EACH = 12


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """Of an empty database."""
    database = "" if request.param == "sqlite" else request.getfixturevalue("servers").database()
    return Settings(tmp_path, database=database).database_url


@pytest.fixture
def fresh(url):
    database = Database(url)
    yield database
    database.close()


only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("url", ["postgres"], indirect=True)


def migrate(connection, revision):
    """To a version of the schema, up or down."""
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    current = MigrationContext.configure(connection).get_current_revision()
    move = command.downgrade if revision < (current or "") else command.upgrade
    move(config, revision)
    connection.commit()


def tables(connection):
    return set(inspect(connection).get_table_names())


def key(public):
    return ApiKey(project_id=1, public=public, secret_sha256="0" * 64, name="x", internal=False, created_at=utc_now())


def test_the_migrations_make_exactly_the_schema_of_the_models(fresh):
    fresh.migrate()
    with fresh.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_tables_of_evals_come_and_go_without_touching_what_was_there(fresh):
    """Up from the first version with an episode in it, filled, down, and up again."""
    with fresh.connect() as connection:
        migrate(connection, "0001")
        connection.exec_driver_sql(
            "INSERT INTO episodes (id, status, source, metadata, requested_uploads, created_at, updated_at)"
            " VALUES ('kept', 'ready', 'sim', '{\"a\": 1}', '[]', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
        )
        connection.commit()
        migrate(connection, "0002")
    with fresh.connect() as connection:  # by hand: the models have columns of later versions
        for statement in (
            "INSERT INTO eval_runs (id, status, candidate_policy_version, metadata, created_at, updated_at)"
            " VALUES ('run', 'pending', 'v2', '{}', '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
            "INSERT INTO scenarios (id, baseline_episode_id, severity, created_at, updated_at)"
            " VALUES ('scene', 'kept', 'critical', '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
            "INSERT INTO scenario_results"
            " (id, scenario_id, candidate_policy_version, status, metrics, eval_run_id, created_at, updated_at)"
            " VALUES ('result', 'scene', 'v2', 'pass', '{}', 'run', '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
        ):
            connection.exec_driver_sql(statement)
        connection.commit()
    with fresh.connect() as connection:
        migrate(connection, "0001")
        assert tables(connection) == {"alembic_version", "api_keys", "artifacts", "episodes", "video_indexes"}
        migrate(connection, "head")
        assert connection.execute(select(Episode.id, Episode.meta)).all() == [("kept", {"a": 1})]
        assert connection.exec_driver_sql("SELECT count(*) FROM scenarios").scalar() == 0


def test_the_table_of_reproductions_comes_and_goes_without_touching_what_was_there(fresh):
    """Up from the version before with an episode in it, filled, down, and up again; it goes with its episode."""
    with fresh.connect() as connection:
        migrate(connection, "0003")
        before = tables(connection)
        connection.exec_driver_sql(
            "INSERT INTO episodes (id, status, source, metadata, requested_uploads, created_at, updated_at)"
            " VALUES ('kept', 'ready', 'sim', '{\"a\": 1}', '[]', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
        )
        connection.commit()
        migrate(connection, "0004")
        assert tables(connection) - before == {"reproductions"}

    def check():
        with fresh.write() as session:
            session.add(
                Reproduction(episode_id="kept", verdict="reproduced", report={"steps": 3}, checked_at=utc_now())
            )

    check()
    with fresh.connect() as connection:
        migrate(connection, "0003")
        assert tables(connection) == before
        migrate(connection, "head")
        assert connection.execute(select(Episode.id, Episode.meta)).all() == [("kept", {"a": 1})]
    check()
    with fresh.write() as session:
        session.execute(text("DELETE FROM episodes"))
    with fresh.read() as session:
        assert session.query(Reproduction).count() == 0


def test_what_there_was_belongs_to_the_project_default(fresh):
    """Up from the version before with something in every table, down, and up again."""
    at = "'2026-01-01 00:00:00.000000'"
    with fresh.connect() as connection:
        migrate(connection, "0004")
        for statement in (
            "INSERT INTO api_keys (public, secret_sha256, name, internal, created_at)"
            f" VALUES ('abc', 'def', 'ci', false, {at})",
            "INSERT INTO episodes"
            " (id, idempotency_key, status, source, metadata, requested_uploads, created_at, updated_at)"
            f" VALUES ('kept', 'once', 'ready', 'sim', '{{\"a\": 1}}', '[]', {at}, {at})",
            "INSERT INTO artifacts"
            " (episode_id, kind, object_key, file_name, content_type, size, sha256, stored_at)"
            f" VALUES ('kept', 'video', 'k', 'f', 't', 1, 's', {at})",
            "INSERT INTO eval_runs (id, status, candidate_policy_version, metadata, created_at, updated_at)"
            f" VALUES ('run', 'pending', 'v2', '{{}}', {at}, {at})",
            "INSERT INTO scenarios (id, baseline_episode_id, severity, created_at, updated_at)"
            f" VALUES ('scene', 'kept', 'critical', {at}, {at})",
            "INSERT INTO scenario_results"
            " (id, scenario_id, candidate_policy_version, status, metrics, created_at, updated_at)"
            f" VALUES ('result', 'scene', 'v2', 'pass', '{{}}', {at}, {at})",
        ):
            connection.exec_driver_sql(statement)
        connection.commit()
    every = ("api_keys", "episodes", "artifacts", "eval_runs", "scenarios", "scenario_results")

    def counts(connection):
        return {table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in every}

    for _ in range(2):
        fresh.migrate()
        with fresh.connect() as connection:
            assert counts(connection) == dict.fromkeys(every, 1)
            for table in ("api_keys", "episodes", "eval_runs", "scenarios"):
                assert connection.exec_driver_sql(f"SELECT project_id FROM {table}").scalar() == 1
            assert connection.exec_driver_sql("SELECT id, slug FROM projects").all() == [(1, "default")]
            if connection.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        with fresh.connect() as connection:
            if connection.dialect.name == "sqlite":
                # As Database.migrate does: a table is replaced by a copy, and must not take others with it.
                connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF").close()
            migrate(connection, "0004")
            assert "projects" not in tables(connection)
            assert counts(connection) == dict.fromkeys(every, 1)
            connection.invalidate()


def test_two_projects_may_use_the_same_idempotency_key(fresh):
    fresh.migrate()
    now = utc_now()

    def episode(name, project_id):
        return Episode(
            id=name,
            project_id=project_id,
            idempotency_key="once",
            status="ready",
            source="sim",
            meta={},
            requested_uploads=[],
            created_at=now,
            updated_at=now,
        )

    with fresh.write() as session:
        session.add(Project(id=2, slug="other", name="Other", created_at=now))
        session.flush()
        session.add_all([episode("a", 1), episode("b", 2)])
    with pytest.raises(IntegrityError), fresh.write() as session:
        session.add(episode("c", 2))


@only_sqlite  # PostgreSQL looks at the sizes of tables, too, and reads a small one whole
@pytest.mark.parametrize("filters", [{}, {"policy_version": "v1"}, {"seed": 7}], ids=str)
def test_the_newest_episodes_of_a_project_are_read_in_the_order_of_an_index(fresh, filters):
    fresh.migrate()
    statements = []
    with fresh.read() as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *call: statements.append(call[2:4]))
        list_episodes(session, 1, EpisodeFilter(**filters), limit=50)
        (sql, parameters), _ = statements  # and which of them have a video
        plan = [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    columns = "".join(f"{name}_" for name in filters)
    assert f"USING INDEX ix_episodes_project_id_{columns}created_at_id (project_id=?" in plan[0]
    assert not any("TEMP B-TREE" in step for step in plan)


def test_the_tables_of_analyses_come_and_go_without_touching_what_was_there(fresh):
    """Up from the version before with an episode in it, filled, down, and up again; they go with their episode."""
    with fresh.connect() as connection:
        migrate(connection, "0007")
        before = tables(connection)
        connection.exec_driver_sql(
            "INSERT INTO episodes (id, project_id, status, source, metadata, requested_uploads, created_at, updated_at)"
            " VALUES ('kept', 1, 'failed', 'sim', '{}', '[]', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
        )
        connection.commit()
        migrate(connection, "0008")
        assert tables(connection) - before == {"analyses", "finding_labels"}

    def fill():
        made = {"episode_id": "kept", "created_at": utc_now()}
        with fresh.write() as session:
            session.add(EpisodeAnalysis(analyzer_version="1", findings=[{"a": 1}], skipped=[], basis="0", **made))
            session.add(FindingLabel(code="exception", label="wrong", **made))

    fill()
    with fresh.connect() as connection:
        migrate(connection, "0007")
        assert tables(connection) == before
        migrate(connection, "head")
        assert connection.exec_driver_sql("SELECT id FROM episodes").scalars().all() == ["kept"]
    fill()
    with fresh.write() as session:
        session.execute(text("DELETE FROM episodes"))
    with fresh.read() as session:
        assert (session.query(EpisodeAnalysis).count(), session.query(FindingLabel).count()) == (0, 0)


def test_migrating_again_changes_nothing(fresh):
    fresh.migrate()
    with fresh.write() as session:
        session.add(key("kept"))
    fresh.migrate()
    with fresh.read() as session:
        assert session.query(ApiKey).one().public == "kept"


def test_a_migration_that_is_cut_off_leaves_nothing_half_done(fresh):
    """The last table is there already, so the first migration fails at its end."""
    with fresh.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE video_indexes (x INTEGER)")
        connection.commit()
    with pytest.raises(ConfigurationError, match="already exists"):
        fresh.migrate()
    with fresh.connect() as connection:
        assert tables(connection) == {"video_indexes"}


def test_the_database_of_a_newer_version_is_refused(fresh):
    fresh.migrate()
    with fresh.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer"):
        fresh.migrate()


@only_sqlite
def test_a_file_that_is_no_database_is_refused(fresh, tmp_path):
    Settings(tmp_path).database_path.write_bytes(b"this is no database" * 100)
    with pytest.raises(ConfigurationError, match="not a database"):
        fresh.migrate()


def test_a_path_full_of_odd_characters_works(tmp_path):
    folder = tmp_path / "50 %?#ä&x=1"
    folder.mkdir()
    database = Database(Settings(folder).database_url)
    try:
        database.migrate()
    finally:
        database.close()
    assert (folder / "robotrace.db").is_file()


@only_sqlite
def test_connections_use_the_write_ahead_log_and_check_foreign_keys(fresh):
    fresh.migrate()
    with fresh.read() as session:
        settings = [
            session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert settings == ["wal", 1, 1, 30_000]


def test_an_exception_rolls_the_transaction_back(fresh):
    fresh.migrate()

    def fail_halfway():
        with fresh.write() as session:
            session.add(key("gone"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    with fresh.read() as session:
        assert session.query(ApiKey).all() == []


def test_a_writer_that_reads_first_waits_for_the_one_before(fresh):
    """A deferred transaction would fail here: SQLite cannot turn a reader of an old state into a writer."""
    fresh.migrate()
    holds, failures = threading.Event(), []

    def second():
        holds.wait()
        try:
            with fresh.write() as session:
                session.query(ApiKey).count()
                session.add(key("second"))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    with fresh.write() as session:
        session.query(ApiKey).count()
        holds.set()
        session.add(key("first"))
    thread.join()
    assert failures == []
    with fresh.read() as session:
        assert [row.public for row in session.query(ApiKey).order_by(ApiKey.id)] == ["first", "second"]


def test_a_reader_sees_one_state_while_others_write(fresh):
    fresh.migrate()
    with fresh.read() as session:
        assert session.query(ApiKey).count() == 0
        with fresh.write() as other:
            other.add(key("meanwhile"))
        assert session.query(ApiKey).count() == 0
    with fresh.read() as session:
        assert session.query(ApiKey).count() == 1


@only_postgres
def test_a_reader_may_not_write(fresh):
    fresh.migrate()
    with fresh.read() as session, pytest.raises(DBAPIError, match="read-only"):
        session.execute(text("DELETE FROM api_keys"))


def test_what_is_exclusive_is_done_by_one_at_a_time_in_two_replicas(url, fresh):
    other = Database(url)
    inside, order = threading.Event(), []

    def second():
        inside.wait()
        with (other if url.get_backend_name() == "postgresql" else fresh).exclusive("x"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    try:
        with fresh.exclusive("x"):
            inside.set()
            with fresh.exclusive("y"):
                order.append("first")
        thread.join(60)
        with pytest.raises(RuntimeError), fresh.exclusive("x"):
            raise RuntimeError
        with other.exclusive("x"):  # and it was let go
            assert order == ["first", "second"]
    finally:
        other.close()


@only_postgres
def test_replicas_that_start_at_once_migrate_once(url):
    code = "import sys; from robotrace.serve.database import Database; from sqlalchemy import make_url; "
    code += "database = Database(make_url(sys.argv[1])); sys.stdin.read(1); database.migrate(); database.close()"
    command = [sys.executable, "-c", code, url.render_as_string(hide_password=False)]
    replicas = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    try:
        for replica in replicas:
            replica.stdin.write(b"x")
            replica.stdin.flush()
        errors = [replica.communicate(timeout=60)[1] for replica in replicas]
    finally:
        for replica in replicas:
            replica.kill()
            replica.wait()
    assert [replica.returncode for replica in replicas] == [0, 0], errors


def test_text_with_nul_is_refused_as_text_and_kept_in_json(fresh):
    fresh.migrate()
    with pytest.raises(UnstorableText), fresh.write() as session:
        session.add(key("a\0b"))
    with pytest.raises(UnstorableText), fresh.read() as session:
        session.get(Episode, "a\0b")
    now = utc_now()
    with fresh.write() as session:
        run = EvalRun(
            id="run",
            project_id=1,
            status="x",
            candidate_policy_version="v",
            meta={"k\0": "\0"},
            created_at=now,
            updated_at=now,
        )
        session.add(run)
    with fresh.read() as session:
        assert session.get_one(EvalRun, "run").meta == {"k\0": "\0"}


@only_postgres
def test_a_replica_that_stands_still_loses_its_lock_after_two_minutes(fresh):
    fresh.migrate()
    for transaction in (fresh.read, fresh.write, fresh.read):  # one is rolled back, one committed
        with transaction() as session:
            assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "2min"


@only_postgres
def test_connections_that_the_server_has_ended_cost_no_error(url, fresh):
    fresh.migrate()
    with fresh.read() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    other = Database(url)
    try:
        with other.connect() as connection:
            assert connection.scalar(text(f"SELECT pg_terminate_backend({pid}, 60000)"))
    finally:
        other.close()
    with fresh.read() as session:
        assert session.query(ApiKey).count() == 0


@pytest.mark.parametrize(
    "text",
    ["mysql://u:password@h/d", "sqlite:///password", "postgresql//password", "password", "postgresql://u@h:password/d"],
)
def test_what_is_no_url_of_postgresql_is_refused_and_not_quoted(tmp_path, text):
    with pytest.raises(ConfigurationError, match=r"--database") as refused:
        Settings(tmp_path, database=text).database_url  # noqa: B018
    assert "password" not in str(refused.value)


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path):
    pytest.importorskip("psycopg")
    settings = Settings(tmp_path, database="postgresql://me:password@127.0.0.1:9/d")
    database = Database(settings.database_url)
    try:
        with pytest.raises(ConfigurationError, match=r"me:\*\*\*@127\.0\.0\.1:9/d cannot be used") as refused:
            database.migrate()
    finally:
        database.close()
    assert "password" not in str(refused.value)
    assert "password" not in repr(settings)


def test_without_the_extra_the_error_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"robotrace-dev\[postgres\]"):
        Database(Settings(tmp_path, database="postgresql://h/d").database_url)


@pytest.mark.parametrize("released", ["0001", "0002", "0003", "0004"])
def test_every_released_schema_comes_up_with_all_that_is_in_it(fresh, released):
    with fresh.connect() as connection:
        migrate(connection, released)
        before = MetaData()
        before.reflect(connection)
        filled = [table for table in before.sorted_tables if table.name != "alembic_version"]
        for table in filled:
            for number in (1, 2):
                connection.execute(insert(table).values({column.name: sample(column, number) for column in table.c}))
        connection.commit()
        rows = {table.name: connection.execute(select(table)).all() for table in filled}
    fresh.migrate()
    with fresh.connect() as connection:
        for table in filled:
            # Frame times are a copy of what is in the files; 0009 begins them anew, by camera.
            if table.name != "video_indexes":
                assert connection.execute(select(table)).all() == rows[table.name]
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    with fresh.read() as session:
        assert [episode.id for episode in session.query(Episode).order_by(Episode.id)] == ["id-1", "id-2"]
        assert [row.public for row in session.query(ApiKey).order_by(ApiKey.id)] == ["public-1", "public-2"]


def sample(column, number):
    """A value of a column in the row of this number; what refers to another table refers to its row of this number."""
    for foreign in column.foreign_keys:
        return sample(foreign.column, number)
    match column.type.python_type.__name__:
        case "str":
            return f"{column.name[:7]}-{number}"
        case "int":
            return number
        case "bool":
            return number == 1
        case "float":
            return number + 0.5
        case "datetime":
            return datetime(2026, 1, number, tzinfo=timezone.utc)
        case "bytes":
            return b"\0" * number
        case "dict" | "object":  # JSON, by the version of SQLAlchemy
            return {"number": number}
        case other:
            raise AssertionError(other)


def test_many_writers_at_once_over_http_all_succeed(deployment, policy):
    headers = {"Authorization": f"Bearer {deployment.internal_key}"}
    failures = []
    start = threading.Barrier(WRITERS)

    def write():
        try:
            with httpx.Client(base_url=deployment.base_url, headers=headers, timeout=60) as http:
                start.wait()
                for number in range(EPISODES_EACH):
                    body = {"policy_version": policy, "request_uploads": ["sensors"]}
                    created = http.post("/api/ingest/episode", json=body)
                    created.raise_for_status()
                    put = httpx.put(
                        created.json()["upload_urls"][0]["url"],
                        timeout=60,
                        content=bytes([number]) * 10_000,
                        headers={"Content-Type": "application/octet-stream"},
                    )
                    put.raise_for_status()
                    url = f"/api/ingest/episode/{created.json()['episode_id']}/finalize"
                    http.post(url, json={"status": "ready"}).raise_for_status()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    query = {"policy_version": policy, "status": "ready", "limit": 200}
    listed = httpx.get(f"{deployment.base_url}/portal/episodes.json", params=query).json()["episodes"]
    assert len(listed) == WRITERS * EPISODES_EACH


def test_repeats_of_one_create_at_once_make_one_episode(deployment, policy):
    headers = {"Authorization": f"Bearer {deployment.internal_key}", "Idempotency-Key": policy}
    ids = []
    start = threading.Barrier(WRITERS)

    def create():
        start.wait()
        answer = httpx.post(f"{deployment.base_url}/api/ingest/episode", json={}, headers=headers)
        ids.append(answer.json()["episode_id"])

    threads = [threading.Thread(target=create) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == WRITERS
    assert len(set(ids)) == 1
