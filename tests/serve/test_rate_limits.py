"""How often somebody may ask: the buckets, the answers, and what an uploader makes of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from robotrace.config import Target
from robotrace.deliver.spool import open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.serve.rate_limits import Limits, TokenBuckets, client_address
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings
from robotrace.testing import FakeClock
from robotrace.testing.episodes import seal_one

from .tenants import new_key


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def limited(path: Path, **settings: object) -> Deployment:
    return Deployment(Settings(path / "data", port=0, **settings))  # type: ignore[arg-type]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """One call in 1,000 s, and four at once: what is left does not depend on how fast a test runs."""
    with limited(tmp_path, rate_limit=0.001) as running:
        # 0.004 tokens would be none at all: there is always one.
        yield running


def call(deployment: Deployment, key: str | None, **headers: str) -> httpx.Response:
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.get(f"{deployment.base_url}/api/episodes", headers=headers)


def test_a_bucket_fills_with_time_and_holds_no_more_than_its_size(clock: FakeClock) -> None:
    buckets = TokenBuckets(2.0, 3.0, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now += 0.25
    assert buckets.take("a") == 0.25
    clock.now += 0.25
    assert [buckets.take("a") for _ in range(2)] == [0.0, 0.5]
    clock.now += 1000
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_a_refused_call_costs_nothing(clock: FakeClock) -> None:
    """A client that does not wait is let in when one that does would be."""
    buckets = TokenBuckets(1.0, 1.0, clock=clock)
    assert buckets.take("a") == 0.0
    for _ in range(10):
        assert buckets.take("a") > 0.0
    clock.now += 1.0
    assert buckets.take("a") == 0.0


def test_everyone_has_a_bucket_of_their_own(clock: FakeClock) -> None:
    buckets = TokenBuckets(1.0, 1.0, clock=clock)
    assert [buckets.take(whose) for whose in ("a", "b", "a")] == [0.0, 0.0, 1.0]


def test_the_number_of_buckets_is_bounded_and_the_one_asked_for_longest_ago_goes(clock: FakeClock) -> None:
    buckets = TokenBuckets(1.0, 1.0, max_buckets=3, clock=clock)
    for whose in ("a", "b", "c", "a", "d"):
        buckets.take(whose)
    assert len(buckets) == 3
    assert buckets.take("a") > 0.0  # kept
    assert buckets.take("b") == 0.0  # forgotten, and full again


def test_off_leaves_the_limit_of_sign_in_attempts() -> None:
    assert (Limits.of(None).calls, Limits.of(None).failures) == (None, None)
    assert [Limits.of(None).sign_ins.take("a") for _ in range(1)] == [0.0]


@pytest.mark.parametrize(
    ("client", "whose"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("<script>", "unknown"),
        (None, "unknown"),
    ],
)
def test_addresses_of_one_customer_are_counted_together(client: str | None, whose: str) -> None:
    from starlette.requests import Request

    assert client_address(Request({"type": "http", "client": client and (client, 1)})) == whose


def test_too_many_calls_with_a_key_are_429_with_the_contracts_body(deployment: Deployment) -> None:
    settings = deployment._settings
    first, second = new_key(settings, 1), new_key(settings, 1)
    assert call(deployment, first).status_code == 200
    refused = call(deployment, first)
    assert refused.status_code == 429
    assert list(refused.json()) == ["error"]
    assert 1 <= int(refused.headers["retry-after"]) <= 1000
    assert refused.json()["error"].endswith(f"try again in {refused.headers['retry-after']} s")
    assert first not in refused.text
    # By key: others are not concerned, nor is the deployment's own uploader.
    assert call(deployment, second).status_code == 200
    assert [call(deployment, deployment.internal_key).status_code for _ in range(8)] == [200] * 8


def test_ten_wrong_keys_a_minute_and_a_right_one_all_the_same(tmp_path: Path) -> None:
    with limited(tmp_path) as deployment:
        # Without a key nothing is tried.
        assert {call(deployment, None).status_code for _ in range(15)} == {401}
        answers = [call(deployment, f"rt_{'a' * 10}_{'b' * 43}") for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 6
        assert call(deployment, deployment.first_key).status_code == 200


def test_an_address_in_a_header_is_believed_of_trusted_proxies_only(tmp_path: Path) -> None:
    wrong = f"rt_{'a' * 10}_{'b' * 43}"

    def answers(name: str, **settings: object) -> list[int]:
        with limited(tmp_path / name, **settings) as deployment:
            return [
                call(deployment, wrong, **{"X-Forwarded-For": f"192.0.2.{number}"}).status_code for number in range(12)
            ]

    # Whoever may make up addresses has as many tries as they like.
    assert answers("plain") == [401] * 10 + [429] * 2
    assert answers("other", forwarded_allow_ips="192.0.2.200") == [401] * 10 + [429] * 2
    assert answers("public", public_url="https://team.example") == [401] * 12
    assert answers("named", forwarded_allow_ips="127.0.0.1") == [401] * 12


def test_an_uploader_waits_as_long_as_it_is_told_and_delivers_everything(tmp_path: Path, clock: FakeClock) -> None:
    """Its clock and ours are the same: a limit of two calls, and one more every 10 s."""
    spool = open_spool(tmp_path / "spool")
    sealed = [seal_one(spool) for _ in range(3)]
    with limited(tmp_path) as deployment:
        services = deployment._server.config.app.state.services
        object.__setattr__(services, "limits", Limits(calls=TokenBuckets(0.1, 2.0, clock=clock), failures=None))
        target = Target(deployment.base_url, new_key(deployment._settings, 1), direct=True)
        uploader = Uploader(spool, lambda: target, clock=clock, rng=random.Random(7))
        try:
            started, delays = clock.now, []
            for _ in range(60):
                if uploader.counts.uploaded == len(sealed):
                    break
                delays.append(uploader.run_once())
                clock.now += delays[-1]
            assert uploader.counts.uploaded == len(sealed)
            assert uploader.counts.failed == 0
            assert uploader.counts.retried >= 1
        finally:
            uploader._close()
        shown = httpx.get(f"{deployment.base_url}/portal/episodes.json").json()["episodes"]
    assert len(shown) == len(sealed)
    # Six calls, of which two were free.
    assert clock.now - started >= 30.0
    assert any(9.0 <= delay <= 10.0 for delay in delays)
    assert spool.counts().sealed == 0
