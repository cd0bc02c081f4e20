"""Two deployments on one PostgreSQL and one bucket."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from robotrace.errors import ConfigurationError
from robotrace.serve.server import Deployment

from .conftest import Api

SECRET = "one secret for every replica, of 32 characters or more"


@pytest.fixture(scope="module")
def settings(servers, tmp_path_factory):
    return servers.settings(tmp_path_factory.mktemp("first"), secret=SECRET)


@pytest.fixture(scope="module")
def replicas(settings, tmp_path_factory):
    """Both are started at once, on a database that is empty."""
    both = [Deployment(settings), Deployment(replace(settings, data_dir=tmp_path_factory.mktemp("second")))]
    with ThreadPoolExecutor(2) as starting:
        list(starting.map(Deployment.start, both))
    yield both
    for replica in both:
        replica.stop()


@pytest.fixture(scope="module")
def apis(replicas):
    clients = [
        httpx.Client(base_url=replica.base_url, headers={"Authorization": f"Bearer {replica.internal_key}"}, timeout=60)
        for replica in replicas
    ]
    yield [Api(client) for client in clients]
    for client in clients:
        client.close()


def test_one_of_them_makes_the_first_key_and_each_has_its_own(replicas):
    assert [replica.first_key for replica in replicas].count(None) == 1
    for replica in replicas:
        for other in replicas:
            headers = {"Authorization": f"Bearer {other.internal_key}"}
            assert httpx.get(f"{replica.base_url}/api/episodes", headers=headers).status_code == 200


def test_an_episode_may_begin_at_one_and_end_at_the_other(apis, claim, npz, decode_series):
    first, second = apis
    content = npz({"a/value": [1.0, 2.0], "a/_t_ns": [0, 1000]})
    created = first.create(request_uploads=["sensors"])
    assert second.put(created, "sensors", content).status_code == 200
    assert second.finalize(created["episode_id"], artifacts=[claim("sensors", content)]).status_code == 200
    assert first.finalize(created["episode_id"], artifacts=[claim("sensors", content)]).status_code == 200
    url = f"/portal/episodes/{created['episode_id']}/series.bin"
    assert [list(decode_series(api.http.get(url).content).streams) for api in apis] == [["a"], ["a"]]


def test_what_one_signs_the_other_serves(apis, replicas):
    episode_id = apis[0].record({"sensors": b"content"})
    location = apis[0].http.get(f"/api/episodes/{episode_id}/artifact/sensors").headers["location"]
    assert location.startswith(replicas[0].base_url)
    elsewhere = location.replace(replicas[0].base_url, replicas[1].base_url)
    assert httpx.get(elsewhere).content == b"content"


def test_repeats_of_a_create_at_both_at_once_make_one_episode(apis):
    start = threading.Barrier(8)

    def create(number):
        start.wait()
        return apis[number % 2].create(key="once, at both")["episode_id"]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(8)))) == 1


def test_finalize_at_both_at_once_takes_a_file_once(apis, claim, settings, servers):
    created = apis[0].create(request_uploads=["sensors"])
    apis[0].put(created, "sensors", b"content")
    start = threading.Barrier(4)

    def finalize(number):
        start.wait()
        return apis[number % 2].finalize(created["episode_id"], artifacts=[claim("sensors", b"content")])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(finalize, range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    files = [path for path in servers.folder.rglob("*") if path.is_file() and created["episode_id"] in str(path)]
    assert [path.read_bytes() for path in files] == [b"content"]


def test_one_that_keeps_its_files_in_its_own_folder_is_refused(settings, replicas, tmp_path):
    with pytest.raises(ConfigurationError, match="in another storage"):
        Deployment(replace(settings, data_dir=tmp_path, storage="")).start()


def test_another_secret_is_said_in_the_log(settings, replicas, tmp_path, caplog):
    with caplog.at_level(logging.WARNING), Deployment(replace(settings, data_dir=tmp_path / "a", secret="x" * 32)):
        assert "ROBOTRACE_SERVE_SECRET" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING), Deployment(replace(settings, data_dir=tmp_path / "b")):
        pass  # as it was before
    with caplog.at_level(logging.WARNING), Deployment(replace(settings, data_dir=tmp_path / "c")):
        assert caplog.text.count("ROBOTRACE_SERVE_SECRET") == 1


def test_a_secret_that_is_too_short_is_refused(settings, tmp_path):
    with pytest.raises(ConfigurationError, match="fewer than 32"):
        Deployment(replace(settings, data_dir=tmp_path, secret="short")).start()


def test_a_replica_stops_while_the_other_goes_on(settings, replicas, tmp_path, apis):
    with Deployment(replace(settings, data_dir=tmp_path)) as third:
        assert httpx.get(f"{third.base_url}/portal/episodes.json").status_code == 200
    assert apis[0].http.get("/api/episodes").status_code == 200
