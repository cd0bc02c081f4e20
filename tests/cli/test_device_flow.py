"""The program's side of a login, against a server that answers as told, on a clock of its own."""

import pytest
from wire_server import Answer, WireServer

from robotrace.cli.device_flow import Approval, LoginError, StartedLogin, start_login, wait_for_approval
from robotrace.config import Target
from robotrace.errors import ConfigurationError, TransportError
from robotrace.transport import Transport

START, POLL = "/api/cli/auth/start", "/api/cli/auth/poll"
KEY = "rt_0123456789_canary-of-the-api-key"
DEVICE_CODE = "canary-of-the-device-code"
STARTED = {"device_code": DEVICE_CODE, "user_code": "BCDF-GHJK", "verification_uri": "https://h.example/cli/auth"}
PENDING = Answer(200, {"status": "pending"})
APPROVED = Answer(200, {"status": "approved", "api_key": KEY})


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def sleep(self, seconds):
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def transport(server):
    made = Transport(Target(server.url, ""))
    yield made
    made.close()


@pytest.fixture
def wait(transport, clock, server):
    """Scripts the answers to the polls, and waits for the approval."""

    def run(*answers, interval_s=2.0, lifetime_s=600.0):
        server.on("POST", POLL, *answers)
        login = StartedLogin(DEVICE_CODE, "BCDF-GHJK", "u", "c", interval_s, lifetime_s)
        return wait_for_approval(transport, login, clock=lambda: clock.now, sleep=clock.sleep)

    return run


# --- the start


def test_a_login_is_started_without_a_key_and_with_what_the_contract_lists(server, transport):
    server.on("POST", START, Answer(200, STARTED))
    start_login(transport, "arm-2")
    (request,) = server.requests
    assert request.header("authorization") is None
    assert request.header("x-robotrace-key") is None
    assert sorted(request.json) == ["hostname", "user_agent"]
    assert request.json["hostname"] == "arm-2"
    assert request.json["user_agent"].startswith("robotrace-python/")


def test_a_server_may_leave_out_whatever_it_may_leave_out(server, transport):
    server.on("POST", START, Answer(200, STARTED))
    login = start_login(transport, "arm-2")
    assert login.uri_complete == "https://h.example/cli/auth?code=BCDF-GHJK"
    assert (login.interval_s, login.lifetime_s) == (5.0, 600.0)


def test_what_a_server_says_is_taken(server, transport):
    more = {"verification_uri_complete": "https://h.example/c/BCDF", "interval": 7, "expires_in": 90.5}
    server.on("POST", START, Answer(200, {**STARTED, **more}))
    login = start_login(transport, "arm-2")
    assert (login.uri_complete, login.interval_s, login.lifetime_s) == ("https://h.example/c/BCDF", 7.0, 90.5)


@pytest.mark.parametrize("value", ["5", True, -1, 0, None, [], 1e400])
def test_times_that_are_none_are_as_left_out(server, transport, value):
    content = Answer(200, {**STARTED, "interval": value if value != 1e400 else "inf", "expires_in": value})
    if value == 1e400:
        content = Answer(200, b'{"device_code":"d","user_code":"u","verification_uri":"http://h","expires_in":1e400}')
    server.on("POST", START, content)
    login = start_login(transport, "arm-2")
    assert (login.interval_s, login.lifetime_s) == (5.0, 600.0)


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "javascript:alert(1)", "http://h/\x1b[2J", "http://", 5, None])
def test_an_address_that_is_none_is_neither_shown_nor_opened(server, transport, uri):
    server.on("POST", START, Answer(200, {**STARTED, "verification_uri": uri, "verification_uri_complete": uri}))
    login = start_login(transport, "arm-2")
    assert (login.uri, login.uri_complete) == (
        f"{server.url}/cli/auth",
        f"{server.url}/cli/auth?code=BCDF-GHJK",
    )


def test_a_code_cannot_command_the_terminal(server, transport):
    server.on("POST", START, Answer(200, {**STARTED, "user_code": "\x1b[2JBC\nDF"}))
    assert start_login(transport, "arm-2").user_code.isprintable()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(404, b"<html>"), r"offers no login \(HTTP 404\); is the URL right"),
        (Answer(301, b"", {"Location": "http://127.0.0.1:9/"}), r"offers no login \(HTTP 301\)"),
        (Answer(200, b"<html>"), "offers no login"),
        (Answer(200, {}), "answered without a code"),
        (Answer(200, {**STARTED, "device_code": ""}), "answered without a code"),
        (Answer(503, {"error": "closed"}), r"could not begin a login \(closed\)"),
        (Answer(429, {"error": "too many"}, {"Retry-After": "31"}), r"\(too many\); try again in 31 s"),
    ],
)
def test_what_has_no_login_is_said(server, transport, answer, text):
    server.on("POST", START, answer)
    with pytest.raises(LoginError, match=text):
        start_login(transport, "arm-2")


def test_nobody_there_is_a_transport_error():
    with WireServer() as gone:
        url = gone.url
    transport = Transport(Target(url, ""))
    with pytest.raises(TransportError, match="could not be reached"):
        start_login(transport, "arm-2")
    transport.close()


# --- the wait


def test_it_asks_at_the_interval_until_it_is_approved(wait, clock, server):
    more = {"base_url": "https://h", "client_id": "c", "user_email": "a@b", "portal_url": "https://h/portal"}
    approval = wait(PENDING, PENDING, Answer(200, {**APPROVED.body, **more}), interval_s=3.0)
    assert approval == Approval(KEY, "https://h", "c", "a@b", "https://h/portal")
    assert clock.slept == [3.0, 3.0, 3.0]
    assert {request.body for request in server.requests} == {f'{{"device_code": "{DEVICE_CODE}"}}'.encode()}
    assert all(request.header("authorization") is None for request in server.requests)


def test_what_the_approval_leaves_out_stays_unknown(wait):
    assert wait(APPROVED) == Approval(KEY, None, None, None, None)
    odd = {"base_url": 5, "client_id": "", "user_email": "a\x1b[2J@b", "portal_url": None}
    approval = wait(Answer(200, {**APPROVED.body, **odd}))
    assert (approval.base_url, approval.client_id) == (None, None)
    assert approval.user_email is not None
    assert approval.user_email.isprintable()


def test_hiccups_double_the_wait_and_an_answer_ends_that(wait, clock):
    cut = Answer(cut=True)
    wait(cut, Answer(503), Answer(408), Answer(500), cut, PENDING, APPROVED)
    assert clock.slept == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 2.0]


def test_being_asked_to_slow_down_lasts(wait, clock):
    wait(Answer(429), PENDING, Answer(429, {}, {"Retry-After": "20"}), PENDING, APPROVED)
    assert clock.slept == [2.0, 7.0, 7.0, 20.0, 20.0]


def test_an_answer_of_an_unknown_status_is_as_pending(wait, clock):
    wait(Answer(200, {"status": "slow"}), Answer(200, {}), APPROVED)
    assert len(clock.slept) == 3


def test_it_ends_when_the_login_expires(wait, clock):
    with pytest.raises(LoginError, match="has expired before it was approved; run") as caught:
        wait(PENDING, interval_s=7.0, lifetime_s=20.0)
    assert clock.slept == [7.0, 7.0, 6.0]
    assert DEVICE_CODE not in str(caught.value)


def test_a_server_that_went_away_is_named_when_the_time_is_over(wait):
    with pytest.raises(LoginError, match=r"expired before it was approved \(127.0.0.1.*could not be reached"):
        wait(Answer(cut=True), lifetime_s=100.0)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(200, {"status": "denied"}), "was denied"),
        (Answer(410, {"status": "expired"}), "has expired"),
        (Answer(410, b"gone"), "has expired"),
        (Answer(410, {"status": "consumed"}), "was used already"),
        (Answer(404, {"error": "nope"}), r"does not say how the login stands \(nope\)"),
        (Answer(302, b"", {"Location": "/"}), r"\(HTTP 302\)"),
        (Answer(400, {"error": "device_code"}), "device_code"),
    ],
)
def test_what_is_decided_ends_the_wait(wait, clock, answer, text):
    with pytest.raises(LoginError, match=text):
        wait(PENDING, answer)
    assert len(clock.slept) == 2


@pytest.mark.parametrize("key", [None, "", "  ", 5, f"{KEY} more", f"{KEY}\x1b"])
def test_an_approval_without_a_key_is_an_error_that_does_not_show_it(wait, key):
    with pytest.raises(ConfigurationError) as caught:
        wait(Answer(200, {"status": "approved", "api_key": key}))
    assert KEY not in str(caught.value)


def test_no_secret_is_in_a_repr():
    assert DEVICE_CODE not in repr(StartedLogin(DEVICE_CODE, "BCDF-GHJK", "u", "c", 2.0, 600.0))
    assert KEY not in repr(Approval(KEY, None, None, None, None))
