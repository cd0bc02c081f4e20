"""The gate over the wire: what is asked, what is sent, and that nothing passes by mistake."""

import inspect
import logging

import pytest
from wire_server import API_KEY, CREATE, Answer

import robotrace
from robotrace import APIError, Client, ConfigurationError, ServerError, evals, verify

CHECK, PROMOTE, STORE = "/api/verify/check", "/api/verify/promote", "/api/verify/result"


@pytest.fixture
def client(server):
    with Client(base_url=server.url, api_key=API_KEY, verbose=False) as made:
        made.slept = []
        made._transport._sleep = made.slept.append
        yield made


def scenario(number, status="pending", severity="critical"):
    return {
        "scenario_id": f"s{number}",
        "baseline_episode_id": f"base_{number}",
        "severity": severity,
        "latest_status": status,
    }


def gate(*scenarios):
    critical = [item["latest_status"] for item in scenarios if item["severity"] == "critical"]
    passed = all(status == "pass" for status in critical)
    body = {
        "passed": passed,
        "critical_total": len(critical),
        "critical_passed": critical.count("pass"),
        "critical_failed": critical.count("fail"),
        "critical_pending": critical.count("pending"),
        "scenarios": list(scenarios),
        "blockers": [] if passed else ["why"],
    }
    return Answer(200 if passed else 422, body)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (verify.check_gate, "*, candidate_policy_version, client=None"),
        (verify.promote, "*, baseline_episode_id, name=None, description=None, severity='warning', client=None"),
        (
            verify.record_result,
            "*, scenario_id, candidate_policy_version, status=None, candidate_episode_id=None, eval_run_id=None, "
            "metrics=None, error=None, client=None",
        ),
        (
            verify.run_check,
            "*, candidate_policy_version, policy_callable=None, dry_run=False, client=None, on_episode=None",
        ),
    ],
)
def test_signatures_are_those_of_the_contract(function, parameters):
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    made = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    assert str(made) == f"({parameters})"
    assert robotrace.verify is verify


# --- the single calls


@pytest.mark.parametrize("answer", [gate(scenario(1, "pass")), gate(scenario(1, "fail")), gate()])
def test_the_gate_answers_the_same_open_and_shut(client, server, answer):
    server.on("POST", CHECK, answer)
    assert verify.check_gate(candidate_policy_version=" v2 ", client=client) == answer.body
    assert [request.json for request in server.requests] == [{"candidate_policy_version": "v2"}]


def test_a_422_is_shut_whatever_its_body_says(client, server):
    server.on("POST", CHECK, Answer(422, {"passed": True, "scenarios": []}))
    assert verify.check_gate(candidate_policy_version="v2", client=client) == {"passed": False, "scenarios": []}


@pytest.mark.parametrize(
    "answer",
    [Answer(422, {"detail": "no such field"}), Answer(422, b"passed"), Answer(400, {"passed": False}), Answer(200, {})],
)
def test_an_answer_that_is_none_of_a_gate_is_an_error(client, server, answer):
    server.on("POST", CHECK, answer)
    with pytest.raises(APIError):
        verify.check_gate(candidate_policy_version="v2", client=client)


@pytest.mark.parametrize("version", ["", " ", None, 2])
def test_a_version_that_is_none_is_refused_before_anything_is_sent(client, server, version):
    for call in (verify.check_gate, verify.run_check):
        with pytest.raises(ConfigurationError, match="candidate_policy_version"):
            call(candidate_policy_version=version, client=client)
    with pytest.raises(ConfigurationError, match="candidate_policy_version"):
        verify.record_result(scenario_id="s1", candidate_policy_version=version, client=client)
    assert server.requests == []


def test_promote_sends_what_was_given_and_nothing_else(client, server):
    server.on("POST", PROMOTE, Answer(429, {}), Answer(200, {"scenario_id": "s1", "promoted": True}))
    assert verify.promote(baseline_episode_id="b", client=client) == {"scenario_id": "s1", "promoted": True}
    verify.promote(baseline_episode_id="b", name="cup", description="no", severity="critical", client=client)
    bare, again, full = [request.json for request in server.requests]
    assert bare == again == {"baseline_episode_id": "b", "severity": "warning"}
    assert full == {"baseline_episode_id": "b", "severity": "critical", "name": "cup", "description": "no"}
    assert client.slept == [1.0]


@pytest.mark.parametrize(
    ("arguments", "text"), [({"severity": "fatal"}, "critical, warning, info"), ({"name": "x" * 201}, "200")]
)
def test_what_cannot_be_a_scenario_is_refused_before_anything_is_sent(client, server, arguments, text):
    with pytest.raises(ConfigurationError, match=text):
        verify.promote(baseline_episode_id="b", client=client, **arguments)
    assert server.requests == []


def test_a_result_is_sent_with_what_was_given_and_nothing_else(client, server):
    server.on("POST", STORE, Answer(429, {}), Answer(200, {"status": "unknown"}))
    assert verify.record_result(scenario_id="s1", candidate_policy_version="v2", client=client) == {"status": "unknown"}
    verify.record_result(
        scenario_id="s1",
        candidate_policy_version="v2",
        status="fail",
        candidate_episode_id="e",
        eval_run_id="r",
        metrics={"share": float("nan")},
        error="why",
        client=client,
    )
    bare, again, full = [request.json for request in server.requests]
    assert bare == again == {"scenario_id": "s1", "candidate_policy_version": "v2", "metrics": {}}
    assert full == {
        "scenario_id": "s1",
        "candidate_policy_version": "v2",
        "metrics": {"share": None, "robotrace": {"sanitized": ["share"]}},
        "status": "fail",
        "candidate_episode_id": "e",
        "eval_run_id": "r",
        "error": "why",
    }
    with pytest.raises(ConfigurationError, match="pass, fail, error"):
        verify.record_result(scenario_id="s1", candidate_policy_version="v2", status="unknown", client=client)
    server.on("POST", STORE, Answer(500))
    with pytest.raises(ServerError):
        verify.record_result(scenario_id="s1", candidate_policy_version="v2", client=client)
    assert (len(server.requests), client.slept) == (4, [1.0])


def test_without_a_client_the_default_one_is_asked(server, monkeypatch):
    monkeypatch.setenv("ROBOTRACE_BASE_URL", server.url)
    monkeypatch.setenv("ROBOTRACE_API_KEY", API_KEY)
    server.on("POST", CHECK, gate())
    server.on("POST", PROMOTE, Answer(200, {}))
    server.on("POST", STORE, Answer(200, {}))
    assert verify.run_check(candidate_policy_version="v2")[0] == 0
    verify.promote(baseline_episode_id="b")
    verify.record_result(scenario_id="s1", candidate_policy_version="v2")
    assert len(server.requests) == 3


# --- the whole check


def test_an_open_gate_replays_nothing(client, server):
    open_gate = gate(scenario(1, "pass"), scenario(2, "fail", "warning"))
    server.on("POST", CHECK, open_gate)
    assert verify.run_check(candidate_policy_version="v2", policy_callable=dict, client=client) == (0, open_gate.body)
    assert len(server.requests) == 1


def test_a_shut_gate_without_a_policy_says_how_many_are_to_be_replayed(client, server):
    server.on("POST", CHECK, gate(scenario(1), scenario(2, "fail"), scenario(3, "pass")))
    with pytest.raises(ConfigurationError, match="2 critical scenarios are still to be replayed with v2"):
        verify.run_check(candidate_policy_version="v2", client=client)
    assert len(server.requests) == 1


def test_a_gate_that_is_shut_for_no_scenario_stays_shut(client, server):
    shut = {"passed": False, "scenarios": [scenario(1, "pass")], "blockers": ["frozen"]}
    server.on("POST", CHECK, Answer(422, shut))
    assert verify.run_check(candidate_policy_version="v2", policy_callable=dict, client=client) == (1, shut)


@pytest.fixture
def replayable(server):
    """Serves the baselines of scenarios 1 to 3 and takes their results."""
    pytest.importorskip("numpy")
    from replayed import RUN, script_evals, serve_baseline

    script_evals(server)
    for number in (1, 2, 3):
        serve_baseline(server, f"base_{number}")
    server.on("POST", STORE, Answer(200, {}))
    server.run_path = RUN
    return server


def claims(*outcomes):
    """A policy that says one of these of its own success, a whole episode (5 steps) each."""
    said = iter([outcome for outcome in outcomes for _ in range(5)])

    def policy(_):
        outcome = next(said)
        if outcome is ValueError:
            raise ValueError("no grip")
        return {} if outcome is None else {"_outcome": {"success": outcome}}

    return policy


def test_each_critical_scenario_that_has_not_passed_is_replayed_and_recorded(client, replayable):
    before = gate(scenario(1), scenario(2, "fail"), scenario(3, "pass"), scenario(4, severity="info"))
    after = gate(scenario(1, "pass"), scenario(2, "pass"), scenario(3, "pass"))
    replayable.on("POST", CHECK, before, after)
    replays = []
    found = verify.run_check(
        candidate_policy_version=" v2",
        policy_callable=claims(True, False),
        client=client,
        on_episode=lambda result: replays.append((result.baseline_episode_id, len(replayable.received("POST", STORE)))),
    )
    assert found == (0, after.body)
    assert replays == [("base_1", 1), ("base_2", 2)]
    (create,) = replayable.received("POST", replayable.run_path)
    assert create.json == {
        "candidate_policy_version": "v2",
        "baseline_episode_ids": ["base_1", "base_2"],
        "name": "verify v2",
        "metadata": {"verification_check": True},
    }
    first, second = [request.json for request in replayable.received("POST", STORE)]
    metrics = first.pop("metrics")
    assert metrics["success_candidate"] is True
    assert first == {
        "scenario_id": "s1",
        "candidate_policy_version": "v2",
        "status": "pass",
        "candidate_episode_id": "ep_1",
        "eval_run_id": "run_1",
    }
    assert (second["scenario_id"], second["status"]) == ("s2", "fail")
    assert len(replayable.received("POST", f"{replayable.run_path}/run_1/finalize")) == 1
    assert len(replayable.received("POST", CHECK)) == 2


def test_a_replay_without_an_outcome_is_left_to_the_deployment_and_a_failed_one_is_an_error(client, replayable):
    shut = gate(scenario(1), scenario(2, "error"))
    replayable.on("POST", CHECK, shut)
    code, body = verify.run_check(
        candidate_policy_version="v2", policy_callable=claims(None, ValueError), client=client
    )
    assert (code, body) == (1, shut.body)
    unknown, error = [request.json for request in replayable.received("POST", STORE)]
    assert "status" not in unknown
    assert unknown["metrics"]["success_candidate"] is None
    assert (error["status"], error["error"], error["metrics"]) == ("error", "ValueError: no grip", {})
    assert "candidate_episode_id" not in error


def test_a_dry_run_stores_nothing_and_says_what_the_replays_came_to(client, replayable):
    shut = gate(*map(scenario, (1, 2, 3)))
    replayable.on("POST", CHECK, shut)
    policy = claims(True, None, ValueError)
    code, body = verify.run_check(candidate_policy_version="v2", policy_callable=policy, dry_run=True, client=client)
    replays = body.pop("dry_run")
    assert (code, body) == (1, shut.body)
    assert [(item["scenario_id"], item["baseline_episode_id"], item["status"], item["error"]) for item in replays] == [
        ("s1", "base_1", "pass", None),
        ("s2", "base_2", "unknown", None),
        ("s3", "base_3", "error", "ValueError: no grip"),
    ]
    assert replays[0]["metrics"]["step_count"] == 5
    assert [request.path for request in replayable.requests if request.method == "POST"] == [CHECK]


def test_a_result_that_cannot_be_stored_is_tried_again_and_then_named(client, replayable, caplog):
    shut = gate(scenario(1), scenario(2))
    replayable.on("POST", CHECK, shut)
    replayable.on("POST", STORE, *[Answer(503, {"error": "busy"})] * 4, Answer(502), Answer(200, {}))
    code, _ = verify.run_check(candidate_policy_version="v2", policy_callable=claims(True, True), client=client)
    assert code == 1
    assert [request.json["scenario_id"] for request in replayable.received("POST", STORE)] == ["s1"] * 4 + ["s2"] * 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["the result of scenario s1 could not be stored: busy"]


def test_a_run_that_cannot_be_ended_does_not_hide_the_gate(client, replayable, caplog):
    replayable.on("POST", CHECK, gate(scenario(1)), gate(scenario(1, "pass")))
    replayable.on("POST", f"{replayable.run_path}/run_1/finalize", Answer(500, {"error": "busy"}))
    assert verify.run_check(candidate_policy_version="v2", policy_callable=claims(True), client=client)[0] == 0
    assert "eval run run_1 could not be ended: busy" in caplog.text


def test_an_interrupt_keeps_the_results_that_were_there_and_ends_the_run(client, replayable):
    replayable.on("POST", CHECK, gate(scenario(1), scenario(2)))
    steps = iter(range(100))

    def policy(_):
        if next(steps) == 6:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        verify.run_check(candidate_policy_version="v2", policy_callable=policy, client=client)
    assert [request.json["scenario_id"] for request in replayable.received("POST", STORE)] == ["s1"]
    assert len(replayable.received("POST", CREATE)) == 1
    assert replayable.requests[-1].path == f"{replayable.run_path}/run_1/finalize"
    assert replayable.requests[-1].json == {"status": "cancelled"}


@pytest.mark.parametrize(
    ("status", "success", "sent"),
    [
        ("complete", True, "pass"),
        ("complete", False, "fail"),
        ("complete", None, None),
        ("complete", 1, None),
        ("complete", "true", None),
        ("failed", True, "error"),
        ("failed", None, "error"),
    ],
)
def test_only_a_success_that_is_a_bool_passes_or_fails(status, success, sent):
    assert verify._status(evals.EvalResult("b", None, status, {"success_candidate": success})) == sent
