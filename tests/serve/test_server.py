"""Starting, stopping, and everything that can stand in the way."""

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import robotrace
from robotrace.errors import ConfigurationError
from robotrace.serve.server import Deployment, _listen
from robotrace.serve.settings import Settings

CREATE = "/api/ingest/episode"


@pytest.fixture
def own(tmp_path):
    """Settings of a folder that no other test uses."""
    return Settings(tmp_path / "data", port=0)


def accepts(deployment, key):
    answer = httpx.post(deployment.base_url + CREATE, json={}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code in (201, 401)
    return answer.status_code == 201


def refused(settings):
    with pytest.raises(ConfigurationError) as caught:
        Deployment(settings).start()
    return str(caught.value)


def test_the_first_start_makes_a_key_and_later_ones_do_not(own):
    with Deployment(own) as first:
        first_key, first_internal = first.first_key, first.internal_key
        assert first_key.startswith("rt_")
        assert accepts(first, first_key)
        assert accepts(first, first_internal)
        named = first.create_key("ci")
    with Deployment(own) as second:
        assert second.first_key is None
        assert accepts(second, first_key)
        assert accepts(second, named)
        assert accepts(second, second.internal_key)
        assert not accepts(second, first_internal)


def test_keys_are_not_stored_and_have_the_documented_form(own):
    with Deployment(own) as deployment:
        keys = [deployment.first_key, deployment.internal_key, deployment.create_key("ci")]
    for key in keys:
        prefix, public, secret = key.split("_", 2)
        assert (prefix, len(public), len(secret)) == ("rt", 10, 43)
    content = b"".join(path.read_bytes() for path in own.data_dir.rglob("*") if path.is_file())
    assert not any(key.split("_", 2)[2].encode() in content for key in keys)


def test_episodes_and_signed_urls_outlive_a_restart(own):
    with Deployment(own) as deployment:
        headers = {"Authorization": f"Bearer {deployment.first_key}"}
        created = httpx.post(deployment.base_url + CREATE, json={"name": "kept"}, headers=headers).json()
        url = urlsplit(created["upload_urls"][0]["url"])
    with Deployment(own) as deployment:
        put = httpx.put(
            f"{deployment.base_url}{url.path}?{url.query}", content=b"x", headers={"Content-Type": "video/mp4"}
        )
        assert put.status_code == 200
        episode = httpx.get(f"{deployment.base_url}/api/episodes/{created['episode_id']}", headers=headers).json()
        assert (episode["name"], len(episode["artifacts"])) == ("kept", 1)


def test_what_holds_secrets_is_for_its_owner_only(own):
    with Deployment(own):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (own.data_dir, *own.data_dir.iterdir())}
    assert modes.pop("data") == 0o700
    assert modes.pop("objects") == 0o700
    assert {"secret", "robotrace.db", "robotrace.db-wal", "serve.lock"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_a_port_in_use_is_a_clear_error(own):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        message = refused(Settings(own.data_dir, port=port))
    assert message == f"port {port} on 127.0.0.1 is in use; choose another with --port"
    with Deployment(own) as deployment:
        assert accepts(deployment, deployment.first_key)


def test_a_port_that_is_none_is_a_clear_error(own):
    assert "not a port" in refused(Settings(own.data_dir, port=65536))


@pytest.mark.parametrize("host", ["203.0.113.7", "nowhere.invalid", ""])
def test_a_host_that_is_not_of_this_machine_is_a_clear_error(own, host):
    assert refused(Settings(own.data_dir, host=host, port=0)).startswith((f"{host} is no address", "cannot listen"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_loopback_hosts_are_served_under_their_own_name(own, host):
    try:
        with closing(socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)):
            pass
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with Deployment(Settings(own.data_dir, host=host, port=0)) as deployment:
        assert host in deployment.base_url
        assert accepts(deployment, deployment.internal_key)


def test_a_data_folder_that_is_a_file_is_a_clear_error(own):
    own.data_dir.write_text("")
    assert str(own.data_dir) in refused(own)


def test_a_data_folder_below_a_file_is_a_clear_error(own):
    own.data_dir.write_text("")
    settings = Settings(own.data_dir / "below", port=0)
    assert str(settings.data_dir) in refused(settings)


def test_an_object_folder_that_cannot_be_made_is_a_clear_error(own):
    own.data_dir.mkdir()
    own.objects_dir.write_text("")
    assert str(own.data_dir) in refused(own)


def test_a_damaged_secret_is_a_clear_error(own):
    own.data_dir.mkdir()
    own.secret_path.write_bytes(b"short")
    assert str(own.secret_path) in refused(own)


def test_a_second_deployment_on_the_same_folder_is_refused(own):
    with Deployment(own) as first:
        assert str(own.data_dir) in refused(own)
        assert accepts(first, first.internal_key)
    with Deployment(own):
        pass


def test_a_failed_start_leaves_nothing_open(own):
    own.data_dir.mkdir()
    own.database_path.write_bytes(b"this is no database" * 100)
    assert "not a database" in refused(own)
    own.database_path.unlink()
    with Deployment(own) as deployment:
        assert deployment.first_key is not None


def test_unfinished_uploads_of_a_killed_run_are_cleared(own):
    with Deployment(own):
        pass
    left = own.objects_dir / ".incoming" / "left.part"
    left.write_bytes(b"x")
    with Deployment(own):
        assert not left.exists()


def test_stop_may_be_called_twice_and_before_the_start(own):
    deployment = Deployment(own)
    deployment.stop()
    deployment.start()
    deployment.stop()
    deployment.stop()
    deployment.wait()
    with pytest.raises(httpx.ConnectError):
        httpx.get(deployment.base_url)
    with pytest.raises(ConfigurationError):
        deployment.start()
    with pytest.raises(ConfigurationError):
        deployment.create_key("too late")


def test_stop_does_not_wait_for_connections_that_do_nothing(own):
    deployment = Deployment(own)
    deployment.start()
    address = urlsplit(deployment.base_url)
    created = httpx.post(
        deployment.base_url + CREATE, json={}, headers={"Authorization": f"Bearer {deployment.internal_key}"}
    ).json()
    put = urlsplit(created["upload_urls"][0]["url"])
    stalled = (
        f"PUT {put.path}?{put.query} HTTP/1.1\r\nHost: {put.netloc}\r\n"
        "Content-Type: video/mp4\r\nContent-Length: 1000\r\n\r\nabc"
    )
    with (
        socket.create_connection((address.hostname, address.port)),
        socket.create_connection((address.hostname, address.port)) as upload,
    ):
        upload.sendall(stalled.encode())
        waiter = threading.Thread(target=deployment.wait)
        waiter.start()
        deployment.stop()
        waiter.join(10)
        assert not waiter.is_alive()
    assert list((own.objects_dir / ".incoming").iterdir()) == []


def test_ctrl_c_ends_wait_with_a_keyboard_interrupt(own):
    script = (
        "from pathlib import Path\n"
        "from robotrace.serve.server import Deployment\n"
        "from robotrace.serve.settings import Settings\n"
        f"with Deployment(Settings(Path({str(own.data_dir)!r}), port=0)) as deployment:\n"
        "    print(deployment.base_url, flush=True)\n"
        "    try:\n"
        "        deployment.wait()\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted', flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(robotrace.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        assert httpx.get(base_url + "/portal/episodes.json").status_code == 200
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert (rest.strip(), process.returncode) == ("interrupted", 0)


def test_importing_it_starts_no_thread_and_opens_no_file():
    script = (
        "import threading, os\n"
        "before = len(os.listdir('/proc/self/fd')) if os.path.exists('/proc/self/fd') else 0\n"
        "import robotrace.serve.server\n"
        "after = len(os.listdir('/proc/self/fd')) if before else 0\n"
        "print(threading.active_count(), after - before)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(robotrace.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["1", "0"]


def test_an_internal_error_is_json_and_says_nothing_of_the_inside(own):
    with Deployment(own) as deployment:
        with closing(sqlite3.connect(own.database_path)) as connection:
            connection.execute("DROP TABLE episodes")
        answer = httpx.get(deployment.base_url + "/portal/episodes.json")
    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    assert "episodes" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_key_and_no_signed_url_is_ever_logged(own, caplog):
    """Every logger at its most talkative, on good requests, refused ones and an internal error."""
    caplog.set_level("DEBUG")
    with Deployment(own) as deployment:
        keys = [deployment.first_key, deployment.internal_key, deployment.create_key("ci")]
        headers = {"Authorization": f"Bearer {keys[0]}"}
        with httpx.Client(base_url=deployment.base_url, headers=headers) as http:
            created = http.post(CREATE, json={}).json()
            url = created["upload_urls"][0]["url"]
            assert httpx.put(url, content=b"no video", headers={"Content-Type": "video/mp4"}).status_code == 200
            assert httpx.put(url, content=b"x").status_code == 403
            http.post(f"{CREATE}/{created['episode_id']}/finalize", json={"status": "ready"})
            signed = http.get(f"/api/episodes/{created['episode_id']}/artifact/video").headers["location"]
            assert httpx.get(signed).status_code == 200
            assert http.get(f"/portal/episodes/{created['episode_id']}.json").status_code == 200
            with closing(sqlite3.connect(own.database_path)) as connection:
                connection.execute("DROP TABLE artifacts")
            assert httpx.put(url, content=b"x", headers={"Content-Type": "video/mp4"}).status_code == 500
            assert http.get(f"/api/episodes/{created['episode_id']}/artifact/video").status_code == 500
    # The client under test's own loggers print what they send.
    records = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert any("no such table" in (record.exc_text or "") for record in records)
    lines = "\n".join(f"{record.getMessage()} {record.exc_text or ''} {record.stack_info or ''}" for record in records)
    assert not any(key in lines for key in keys)
    assert "signature" not in lines


def test_answers_are_not_held_back_by_nagles_algorithm():
    """asyncio turns it off on the connections of a listener that names its protocol, and on no other."""
    with closing(_listen("127.0.0.1", 0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP
