"""What the fields of the filters suggest."""

from datetime import timedelta

import pytest

from robotrace.serve import filter_values
from robotrace.serve.database import Database
from robotrace.serve.models import Episode, utc_now
from robotrace.serve.projects import create_project


@pytest.fixture(scope="module")
def database(deployment, settings):
    opened = Database(settings.database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def project(database):
    now = utc_now()
    with database.write() as session:
        projects = [create_project(session, slug, slug, who="test") for slug in ("values", "others")]
        for number in range(60):
            values = {"policy_version": f"policy {number // 10}", "env_version": f"env {number // 30}"}
            session.add(
                Episode(
                    id=f"values-{number}",
                    project_id=projects[0].id,
                    status="ready",
                    source="sim",
                    robot="arm" if number >= 10 else None,
                    meta={},
                    requested_uploads=[],
                    created_at=now + timedelta(seconds=number),
                    updated_at=now,
                    **values,
                )
            )
        session.add(
            Episode(
                id="of-another",
                project_id=projects[1].id,
                status="ready",
                source="sim",
                policy_version="of another",
                meta={},
                requested_uploads=[],
                created_at=now,
                updated_at=now,
            )
        )
        return projects[0].id


def test_they_are_of_the_project_and_those_in_use_come_first(database, project):
    with database.read() as session:
        found = filter_values.filter_values(session, project)
    assert found.policy_version == [f"policy {number}" for number in (5, 4, 3, 2, 1, 0)]
    assert found.env_version == ["env 1", "env 0"]
    assert found.robot == ["arm"]


def test_what_lies_far_back_is_found_by_the_index(database, project, monkeypatch):
    monkeypatch.setattr(filter_values, "_NEWEST", 15)
    with database.read() as session:
        found = filter_values.filter_values(session, project)
    assert found.policy_version[:2] == ["policy 5", "policy 4"]
    assert sorted(found.policy_version) == [f"policy {number}" for number in range(6)]
    assert found.env_version == ["env 1", "env 0"]


def test_there_are_bounds(database, project, monkeypatch):
    monkeypatch.setattr(filter_values, "_NEWEST", 15)
    monkeypatch.setattr(filter_values, "_MOST_POLICIES", 3)
    with database.read() as session:
        assert len(filter_values.filter_values(session, project).policy_version) == 3


def test_a_project_without_episodes_has_none(database):
    with database.read() as session:
        found = filter_values.filter_values(session, 9999)
    assert (found.policy_version, found.env_version, found.robot) == ([], [], [])
