"""An eval run over the wire: what is asked, what is sent, and what goes on when something fails."""

import inspect
import io
import logging
import math
import typing
import zipfile

import pytest
from wire_server import API_KEY, CREATE, FINALIZE, Answer

import robotrace
from robotrace import Client, ConfigurationError, EpisodeOutcome, ServerError, TransportError, evals
from robotrace.errors import APIError, ValidationError
from robotrace.eval_baseline import fetched_baseline

pytest.importorskip("numpy")

import numpy as np
from replayed import ACTIONS, RUN, SENSORS, npz, script_evals, serve_baseline

RESULT = f"{RUN}/run_1/result"
END = f"{RUN}/run_1/finalize"


@pytest.fixture
def server(server):
    script_evals(server)
    serve_baseline(server)
    return server


@pytest.fixture
def client(server):
    with Client(base_url=server.url, api_key=API_KEY, verbose=False) as made:
        made.slept = []
        made._transport._sleep = made.slept.append
        yield made


@pytest.fixture
def run(client):
    return evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["base_1"], client=client)


def act(observation):
    return {"action/value": np.zeros(1)}


def replay(run, policy=act, **options):
    return evals.run_against(run, policy_callable=policy, **options)


def sent(server):
    """Method, path and body of each request since the run was created."""
    return [(request.method, request.path, request.json if request.body else None) for request in server.requests[1:]]


# --- the surface


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            evals.create_run,
            "*, candidate_policy_version, baseline_episode_ids, baseline_policy_version=None, name=None, "
            "metadata=None, client=None",
        ),
        (evals.run_against, "run, *, policy_callable, on_episode=None, dry_run=False"),
        (evals.complete_run, "run, *, status='completed', metadata=None, client=None"),
        (evals.extract_outcome, "metadata"),
        (evals.materialize_observations, "sensors, *, np=None"),
        (evals.iter_baseline_steps, "baseline_sensors"),
        (evals.metric_action_l2_distance, "baseline, candidate, *, np=None"),
        (evals.metric_ood_action_share, "baseline, candidate, *, np=None"),
    ],
)
def test_signatures_are_those_of_the_contract(function, parameters):
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    made = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    assert str(made) == f"({parameters})"


def test_the_modules_come_with_the_package():
    assert robotrace.evals is evals
    assert typing.get_args(evals.PolicyCallable) == ([evals.Observation], evals.Action)
    run = evals.EvalRun("1", "v2", "v1", ["a"], "name")
    assert (run.runner_kind, run.status, run.episodes_completed, run.episodes_failed) == ("client", "pending", 0, 0)
    result = evals.EvalResult("a", None, "failed")
    assert (result.metrics, result.error) == ({}, None)


# --- create


def test_a_run_is_created_with_what_was_given_and_nothing_else(client, server):
    evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a"], client=client)
    whole = evals.create_run(
        candidate_policy_version="v2",
        baseline_episode_ids=("b", " a ", "b"),
        baseline_policy_version="v1",
        name="nightly",
        metadata={"by": "ci", "share": math.nan, "count": np.int64(3)},
        client=client,
    )
    bare, full = server.received("POST", RUN)
    assert bare.json == {"candidate_policy_version": "v2", "baseline_episode_ids": ["a"]}
    assert full.json == {
        "candidate_policy_version": "v2",
        "baseline_episode_ids": ["b", "a"],
        "baseline_policy_version": "v1",
        "name": "nightly",
        "metadata": {"by": "ci", "share": None, "count": 3, "robotrace": {"sanitized": ["share"]}},
    }
    expected = evals.EvalRun("run_1", "v2", "v1", ["b", "a"], "nightly", status="pending")
    assert whole == expected
    assert API_KEY not in repr(whole)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"candidate_policy_version": ""}, "candidate_policy_version"),
        ({"candidate_policy_version": "  "}, "candidate_policy_version"),
        ({"candidate_policy_version": 2}, "candidate_policy_version"),
        ({"candidate_policy_version": None}, "candidate_policy_version"),
        ({"baseline_episode_ids": []}, "at least one"),
        ({"baseline_episode_ids": ["a", " "]}, "none may be empty"),
        ({"baseline_episode_ids": "base_1"}, "a list of ids"),
        ({"baseline_policy_version": 1}, "baseline_policy_version"),
        ({"name": "x" * 201}, "name"),
    ],
)
def test_what_cannot_be_a_run_is_refused_before_anything_is_sent(client, server, arguments, text):
    given = {"candidate_policy_version": "v2", "baseline_episode_ids": ["a"], **arguments}
    with pytest.raises(ConfigurationError, match=text):
        evals.create_run(**given, client=client)
    assert server.requests == []


def test_a_create_is_repeated_after_a_429_and_after_nothing_else(client, server):
    created = Answer(201, {"eval_run_id": 7})
    server.on("POST", RUN, Answer(429, {}), created)
    assert evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a"], client=client).id == "7"
    assert client.slept == [1.0]
    for answer, error in ((Answer(500), ServerError), (Answer(cut=True), TransportError), (Answer(400), APIError)):
        server.on("POST", RUN, answer, created)
        with pytest.raises(error):
            evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a"], client=client)
    assert len(server.requests) == 5


def test_an_answer_without_a_run_is_an_error(client, server):
    server.on("POST", RUN, Answer(201, {"status": "pending"}))
    with pytest.raises(APIError, match="no eval_run_id"):
        evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a"], client=client)


def test_without_a_client_the_default_one_is_asked(server, monkeypatch):
    monkeypatch.setenv("ROBOTRACE_BASE_URL", server.url)
    monkeypatch.setenv("ROBOTRACE_API_KEY", API_KEY)
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["base_1"])
    assert [result.status for result in replay(run)] == ["complete"]
    assert evals.complete_run(run)["status"] == "completed"


# --- one baseline


def test_a_replay_asks_and_sends_what_the_contract_lists(run, server):
    serve_baseline(server, metadata={"outcome": {"success": True, "reward_total": 7.0, "collision_count": 0}})

    def policy(observation):
        return {"action/value": np.array([0.5]), "_outcome": {"success": False, "time_to_goal_s": 2.5}}

    (result,) = replay(run, policy)
    metrics = {
        "success_baseline": True,
        "success_candidate": False,
        "reward_total_baseline": 7.0,
        "reward_total_candidate": None,
        "collision_count_baseline": 0,
        "collision_count_candidate": None,
        "time_to_goal_s_baseline": None,
        "time_to_goal_s_candidate": 2.5,
        "action_l2_distance": 0.5,
        "ood_action_share": 0.0,
        "step_count": 5,
        "ood_action_share_baseline": 0.0,
        "nonfinite_steps": 0,
        "outcome_candidate": "claimed",
    }
    assert result == evals.EvalResult("base_1", "ep_1", "complete", metrics, None)
    assert sent(server)[:3] == [
        ("GET", "/api/episodes/base_1/artifact/actions", None),
        ("GET", "/api/episodes/base_1/artifact/sensors", None),
        ("GET", "/api/episodes/base_1", None),
    ]
    create, finalize, push = server.requests[4:]
    metadata = {"eval_run_id": "run_1", "baseline_episode_id": "base_1", "metrics": metrics}
    assert (create.path, create.json) == (
        CREATE,
        {
            "source": "replay",
            "request_uploads": [],
            "name": "replay of v2: base_1",
            "policy_version": "v2",
            "metadata": {**metadata, "client_episode_id": create.header("Idempotency-Key")},
        },
    )
    assert (finalize.path, finalize.json) == (FINALIZE, {"status": "ready"})
    assert (push.path, push.json) == (
        RESULT,
        {
            "baseline_episode_id": "base_1",
            "status": "complete",
            "metrics": metrics,
            "candidate_episode_id": "ep_1",
        },
    )
    assert (run.status, run.episodes_completed, run.episodes_failed) == ("running", 1, 0)


def test_the_policy_gets_each_recorded_row_once_and_in_order(run):
    seen = []

    def policy(observation):
        seen.append({key: value.tolist() for key, value in observation.items()})
        observation["observation/value"][:] = -1.0  # its own copy
        return {}

    replay(run, policy)
    # Five actions, so five observations that were acted on; the sixth is the last step's result.
    assert seen == [
        {"observation/value": SENSORS["observation/value"][i].tolist(), "observation/_t_ns": 10 * i} for i in range(5)
    ]


def test_a_candidate_without_an_outcome_of_its_own_has_none(run, server):
    whole = {"success": True, "reward_total": 7.0, "collision_count": 1, "time_to_goal_s": 3.0}
    serve_baseline(server, metadata={"outcome": whole})
    (result,) = replay(run)
    for name, value in whole.items():
        assert (result.metrics[f"{name}_baseline"], result.metrics[f"{name}_candidate"]) == (value, None)
    assert result.metrics["outcome_candidate"] is None


@pytest.mark.parametrize(
    ("last", "success", "claimed"),
    [
        ({"success": True}, True, "claimed"),
        (EpisodeOutcome(success=False), False, "claimed"),
        ({"success": np.bool_(True)}, True, "claimed"),
        ({"reward_total": 2.0}, None, "claimed"),
        ({"success": 1}, None, None),
        (None, None, None),
    ],
)
def test_the_claim_is_that_of_the_last_action(run, last, success, claimed):
    steps = iter([{"success": True}] * 4 + [last])
    (result,) = replay(run, lambda _: {"_outcome": next(steps)})
    assert (result.metrics["success_candidate"], result.metrics["outcome_candidate"]) == (success, claimed)


def test_a_policy_that_returns_the_same_buffer_at_every_step_is_measured_step_by_step(run):
    buffer = np.zeros(1)
    action = {"action/value": buffer}
    recorded = iter(ACTIONS["action/value"])

    def policy(_):
        buffer[:] = next(recorded) + 2.0
        return action

    (result,) = replay(run, policy)
    assert result.metrics["action_l2_distance"] == 2.0


def test_steps_that_are_not_finite_are_counted_and_do_not_poison_the_mean(run):
    values = iter([1.0, math.nan, 1.0, 1.0, 1.0])
    (result,) = replay(run, lambda _: {"action": [next(values)]})
    assert result.metrics["action_l2_distance"] == (1.0 + 1.0 + 0.0 + 1.0) / 4
    assert (result.metrics["nonfinite_steps"], result.metrics["ood_action_share"]) == (1, 0.2)


def test_streams_of_different_rates_are_aligned_before_the_policy_sees_them(run, server):
    sensors = {
        "fast/value": np.arange(10),
        "fast/_t_ns": np.arange(10) * 10,
        "slow/value": np.array([100, 200]),
        "slow/_t_ns": np.array([0, 45]),
    }
    actions = {"action/value": np.zeros((3, 1)), "action/_t_ns": np.array([0, 50, 90])}
    serve_baseline(server, sensors=sensors, actions=actions)
    seen = []
    replay(run, lambda row: seen.append((int(row["fast/value"]), int(row["slow/value"]))) or {})
    assert seen == [(0, 100), (5, 200), (9, 200)]


def test_the_policy_is_not_asked_before_there_is_anything_to_see(run, server):
    sensors = {"a/value": np.arange(2), "a/_t_ns": np.array([10, 20])}
    actions = {"action/value": np.array([[9.0], [1.0], [2.0]]), "action/_t_ns": np.array([0, 10, 20])}
    serve_baseline(server, sensors=sensors, actions=actions)
    (result,) = replay(run, lambda row: {"action/value": [row["a/value"] + 1.0]})
    # Step for step beside what was done at that moment.
    assert (result.status, result.metrics["step_count"], result.metrics["action_l2_distance"]) == ("complete", 2, 0.0)


def test_without_recorded_actions_the_distances_are_unknown(run, server):
    serve_baseline(server, actions=None)
    (result,) = replay(run)
    assert (result.status, result.metrics["step_count"]) == ("complete", 6)
    for name in ("action_l2_distance", "ood_action_share", "ood_action_share_baseline"):
        assert result.metrics[name] is None


@pytest.mark.parametrize("status", [404, 405])
def test_a_deployment_without_the_route_of_an_episode_gives_no_outcome(run, server, status):
    server.on("GET", "/api/episodes/base_1", Answer(status, b"<html>"))
    (result,) = replay(run)
    assert (result.status, result.metrics["success_baseline"], result.metrics["step_count"]) == ("complete", None, 5)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(307, b"", {"Location": "/login"}),
        Answer(401, {"error": "for the browser only"}),
        Answer(403, {"error": "for the browser only"}),
        Answer(200, b"<html>"),
    ],
)
def test_a_deployment_that_keeps_the_route_of_an_episode_to_its_pages_gives_no_outcome(run, server, caplog, answer):
    server.on("GET", "/api/episodes/base_1", answer)
    (result,) = replay(run)
    assert (result.status, result.metrics["success_baseline"], result.metrics["step_count"]) == ("complete", None, 5)
    assert "base_1: its metadata cannot be read, its outcome is unknown" in caplog.text


@pytest.mark.parametrize("answer", [Answer(500, {"error": "away"}), Answer(429, {"error": "away"})])
def test_an_outcome_that_is_there_and_cannot_be_had_fails_the_row(run, server, answer):
    server.on("GET", "/api/episodes/base_1", answer)
    (result,) = replay(run)
    assert (result.status, result.error.endswith("Error: away")) == ("failed", True)


@pytest.mark.parametrize("metadata", [None, [], "text"])
def test_metadata_that_is_none_gives_no_outcome(run, server, metadata):
    server.on("GET", "/api/episodes/base_1", Answer(200, {"metadata": metadata}))
    (result,) = replay(run)
    assert (result.status, result.metrics["success_baseline"]) == ("complete", None)


def test_the_name_of_an_episode_fits_whatever_the_run_is_called(client, server):
    run = evals.create_run(
        candidate_policy_version="v2", baseline_episode_ids=["base_1"], name="x" * 200, client=client
    )
    replay(run)
    (create,) = server.received("POST", CREATE)
    assert create.json["name"] == "x" * 192 + ": base_1"


# --- files


def test_large_and_compressed_arrays_are_rows_like_any_other(run, server):
    images = np.arange(9 * 1024 * 1024, dtype=np.uint8).reshape(3, -1)  # beyond what is kept in memory
    clock = np.arange(3)
    sensors = {"camera/value": images, "camera/_t_ns": clock, "empty/value": np.zeros((0, 2))}
    actions = npz({"action/value": np.zeros((3, 1)), "action/_t_ns": clock}, compressed=True)
    serve_baseline(server, sensors=npz(sensors, compressed=True), actions=actions)
    seen = []

    def policy(row):
        seen.append(np.array_equal(row["camera/value"], images[row["camera/_t_ns"]]))
        row["camera/value"][0] = 1
        return {}

    (result,) = replay(run, policy)
    assert (result.status, seen) == ("complete", [True] * 3)


class Unpickled:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_an_array_that_only_pickle_could_read_is_left_out_with_one_warning(run, server, caplog):
    words = np.array([Unpickled(), {"a": 1}], dtype=object)
    serve_baseline(server, sensors={**SENSORS, "words/value": words, "more/value": words})
    seen = []
    (result,) = replay(run, lambda row: seen.append(sorted(row)) or {})
    assert result.status == "complete"
    assert seen[0] == ["observation/_t_ns", "observation/value"]
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "base_1: sensors" in warning
    assert "words/value, more/value" in warning


WHOLE = npz(SENSORS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        WHOLE[: len(WHOLE) // 2],
        WHOLE.replace(np.float64(7.0).tobytes(), np.float64(8.0).tobytes()),  # the checksum of the member
        WHOLE.replace(b"NUMPY", b"NOPPY"),
        WHOLE.replace(b"(6, 2)", b"(9, 9)"),
        WHOLE.replace(b"'<f8'", b"'<?8'"),
    ],
)
def test_a_broken_file_is_a_failed_row_that_says_so(run, server, content):
    serve_baseline(server, sensors=content)
    (result,) = replay(run)
    assert result.status == "failed"
    assert result.error.startswith("baseline episode base_1: sensors cannot be read as an NPZ file: ")
    (push,) = server.received("POST", RESULT)
    assert push.json == {
        "baseline_episode_id": "base_1",
        "status": "failed",
        "metrics": {},
        "error": result.error,
    }
    assert server.received("POST", CREATE) == []


def test_a_header_that_claims_terabytes_gets_no_memory_for_them(run, server):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("observation/value.npy", "w") as member:
        claim = {"descr": "<f8", "fortran_order": False, "shape": (6 * 10**12, 2)}
        np.lib.format.write_array_header_1_0(member, claim)
        member.write(bytes(96))
    serve_baseline(server, sensors=file.getvalue())
    (result,) = replay(run)
    assert result.error.endswith("observation/value.npy claims to be larger than it is")


def test_a_large_array_is_read_row_by_row_from_the_disk_and_a_small_one_is_kept(client, server):
    sensors = {"camera/value": np.zeros((3, 3 * 1024 * 1024), dtype=np.uint8), "joints/value": np.zeros((3, 7))}
    serve_baseline(server, sensors=npz(sensors, compressed=True))
    with fetched_baseline(client._transport, "base_1", np) as baseline:
        assert [isinstance(array, np.memmap) for array in baseline.sensors.values()] == [True, False]


# --- what fails


def assert_fails(server, run, text):
    (result,) = replay(run)
    (push,) = server.received("POST", RESULT)
    assert (result.status, result.error, result.candidate_episode_id, result.metrics) == ("failed", text, None, {})
    assert push.json["error"] == text


def test_a_baseline_that_exists_nowhere_is_a_failed_row(client, server):
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["gone"], client=client)
    assert_fails(server, run, "baseline episode gone: not found")


@pytest.mark.parametrize("route", [True, False])
def test_an_episode_without_sensors_is_a_failed_row(client, server, route):
    serve_baseline(server, "b", sensors=None, route=route)
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["b"], client=client)
    assert_fails(server, run, "baseline episode b: it has no sensors to replay")


@pytest.mark.parametrize(
    "sensors",
    [{}, {"a/value": np.zeros((0, 2)), "a/_t_ns": np.zeros(0, dtype=np.int64)}, {"a": np.float64(1.0)}],
)
def test_sensors_without_a_row_are_a_failed_row(run, server, sensors):
    serve_baseline(server, sensors=sensors)
    assert_fails(server, run, "baseline episode base_1: its sensors have no row to replay")


def test_a_failing_download_is_a_failed_row_with_the_wires_error(run, server, caplog):
    server.on("GET", "/api/episodes/base_1/artifact/sensors", Answer(503, {"error": "the store is away"}))
    assert_fails(server, run, "ServerError: the store is away")
    assert [bool(record.exc_info) for record in caplog.records] == [False]  # a traceback would lead nowhere


def test_a_policy_that_raises_fails_its_row_and_the_rest_goes_on(client, server, caplog):
    for name in ("a", "b", "c"):
        serve_baseline(server, name, metadata={"name": name})
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a", "b", "c"], client=client)
    steps = iter(range(100))

    def policy(_):
        if next(steps) == 6:
            raise ValueError("no grip")
        return {}

    seen = []
    results = replay(run, policy, on_episode=seen.append)
    assert [(result.baseline_episode_id, result.status, result.error) for result in results] == [
        ("a", "complete", None),
        ("b", "failed", "ValueError: no grip"),
        ("c", "complete", None),
    ]
    assert seen == results
    assert (run.episodes_completed, run.episodes_failed) == (2, 1)
    assert [push.json["status"] for push in server.received("POST", RESULT)] == ["complete", "failed", "complete"]
    (record,) = caplog.records
    assert (record.levelno, record.exc_info[0]) == (logging.ERROR, ValueError)
    assert "test_evals.py" in caplog.text  # the traceback leads into the policy


@pytest.mark.parametrize("action", [None, [0.0], np.zeros(1), (1, 2)])
def test_a_policy_that_returns_no_mapping_is_told_which_type_it_returned(run, action):
    (result,) = replay(run, lambda _: action)
    assert result.status == "failed"
    assert result.error.startswith("TypeError: the policy has to return a mapping")
    assert result.error.endswith(f"not {type(action).__name__}")


def test_an_error_is_stored_in_part_and_as_text_that_json_takes(run, server):
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError

    texts = ["x" * 10_000, "caf\udce9", None]
    for text in texts:

        def policy(_, text=text):
            raise OddError if text is None else ValueError(text)

        replay(run, policy)
    long, odd, silent = [push.json["error"] for push in server.received("POST", RESULT)]
    assert len(long) == 2000
    assert odd == "ValueError: caf\\udce9"
    assert silent == "OddError"


def test_an_on_episode_that_raises_stops_nothing(client, server, caplog):
    for name in ("a", "b"):
        serve_baseline(server, name)
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a", "b"], client=client)

    def on_episode(result):
        raise RuntimeError("a bar that broke")

    assert [result.status for result in replay(run, on_episode=on_episode)] == ["complete"] * 2
    assert caplog.text.count("RuntimeError: a bar that broke") == 2


def test_an_interrupt_goes_through_and_keeps_what_was_stored(client, server):
    for name in ("a", "b"):
        serve_baseline(server, name)
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a", "b"], client=client)
    steps = iter(range(100))

    def policy(_):
        if next(steps) == 7:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        replay(run, policy)
    assert [push.json["baseline_episode_id"] for push in server.received("POST", RESULT)] == ["a"]
    assert len(server.received("POST", CREATE)) == len(server.received("POST", FINALIZE)) == 1


def test_an_interrupt_while_the_candidates_episode_is_closed_does_not_leave_it_open(run, server, client, monkeypatch):
    call = client._transport.call
    interrupted = []

    def interrupt(method, path, *args, **options):
        if path == FINALIZE and not interrupted:
            interrupted.append(path)
            raise KeyboardInterrupt
        return call(method, path, *args, **options)

    monkeypatch.setattr(client._transport, "call", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replay(run)
    assert [request.json for request in server.received("POST", FINALIZE)] == [{"status": "ready"}]


@pytest.mark.parametrize(("path", "episode_id"), [(CREATE, None), (FINALIZE, "ep_1")])
def test_metrics_are_stored_even_where_the_episode_of_the_replay_is_not(run, server, caplog, path, episode_id):
    server.on("POST", path, Answer(503, {"error": "busy"}))
    (result,) = replay(run)
    assert (result.status, result.candidate_episode_id) == ("complete", episode_id)
    (push,) = server.received("POST", RESULT)
    assert push.json.get("candidate_episode_id") == episode_id
    assert push.json["metrics"]["step_count"] == 5
    assert "busy" in caplog.text


def test_a_dry_run_posts_nothing(run, server):
    seen = []
    results = replay(run, dry_run=True, on_episode=seen.append)
    assert [(result.status, result.metrics["step_count"]) for result in results] == [("complete", 5)]
    assert results[0].candidate_episode_id is None
    assert seen == results
    assert {method for method, _, _ in sent(server)} == {"GET"}


def test_a_second_replay_counts_anew(run):
    replay(run)
    replay(run)
    assert (run.episodes_completed, run.episodes_failed) == (1, 0)


def test_without_numpy_the_error_says_what_to_do(run, server, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    with pytest.raises(ConfigurationError, match="pip install numpy"):
        replay(run)
    assert len(server.requests) == 1


# --- results that cannot be stored


@pytest.mark.parametrize("trouble", [Answer(500), Answer(503), Answer(429), Answer(cut=True)])
def test_a_result_that_fails_is_tried_four_times(run, server, client, trouble):
    server.on("POST", RESULT, trouble, trouble, trouble, Answer(200, {"run_status": "running"}))
    replay(run)
    assert client.slept == [1.0, 2.0, 4.0]
    pushes = [push.json for push in server.received("POST", RESULT)]
    assert pushes == [pushes[0]] * 4
    evals.complete_run(run)
    assert len(server.received("POST", RESULT)) == 4


def test_a_result_waits_as_long_as_the_deployment_asks(run, server, client):
    server.on("POST", RESULT, Answer(429, {}, {"Retry-After": "0.5"}), Answer(502), Answer(200, {}))
    replay(run)
    assert client.slept == [0.5, 2.0]


def test_what_could_not_be_stored_is_sent_again_when_the_run_ends(client, server, caplog):
    for name in ("a", "b", "c"):
        serve_baseline(server, name)
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a", "b", "c"], client=client)
    server.on("POST", RESULT, Answer(200), *[Answer(503, {"error": "busy"})] * 4, Answer(400, {"error": "odd"}))
    results = replay(run)
    assert [result.status for result in results] == ["complete"] * 3
    assert (caplog.text.count("busy"), caplog.text.count("odd")) == (1, 1)
    server.on("POST", RESULT, Answer(200, {}))
    before = len(server.requests)
    answer = evals.complete_run(run, metadata={"by": "ci"})
    assert [(request.path, request.json.get("baseline_episode_id")) for request in server.requests[before:]] == [
        (RESULT, "b"),
        (RESULT, "c"),
        (END, None),
    ]
    assert answer == {"eval_run_id": "run_1", "status": "completed", "summary": {"recommend": "hold"}}
    assert run.status == "completed"
    assert server.requests[-1].json == {"status": "completed", "metadata": {"by": "ci"}}


def test_a_deployment_that_was_waited_for_in_vain_is_asked_once_a_result_until_it_answers(client, server):
    for name in ("a", "b", "c", "d"):
        serve_baseline(server, name)
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a", "b", "c", "d"], client=client)
    gone, there = Answer(503), Answer(200, {})
    server.on("POST", RESULT, *[gone] * 4, gone, there, gone, there)
    replay(run)
    sent = [push.json["baseline_episode_id"] for push in server.received("POST", RESULT)]
    assert sent == ["a", "a", "a", "a", "b", "c", "d", "d"]
    assert list(run._unsent) == ["a", "b"]


def test_the_run_ends_and_names_the_results_that_are_still_missing(client, server, caplog):
    for name in ("a", "b"):
        serve_baseline(server, name)
    run = evals.create_run(candidate_policy_version="v2", baseline_episode_ids=["a", "b"], client=client)
    server.on("POST", RESULT, Answer(500))
    replay(run)
    client.slept.clear()
    evals.complete_run(run)
    assert client.slept == [1.0, 2.0, 4.0]  # the second would wait as long, and in vain
    assert "without the results of 2 of its baselines: a, b" in caplog.text
    assert server.requests[-1].path == END


def test_only_the_end_itself_can_fail_the_end(run, server):
    server.on("POST", RESULT, Answer(400, {"error": "no"}))
    replay(run)
    server.on("POST", END, Answer(500, {"error": "away"}))
    with pytest.raises(ServerError, match="away"):
        evals.complete_run(run)
    server.on("POST", END, Answer(400, {"error": "what status?"}))
    with pytest.raises(ValidationError):
        evals.complete_run(run, status="odd")


def test_a_client_counts_only_for_a_run_that_has_none(run, server, client):
    with Client(base_url="http://127.0.0.1:9", api_key="other") as other:
        assert evals.complete_run(run, client=other)["status"] == "completed"
        bare = evals.EvalRun("run/1", "v2", None, ["base_1"], None)
        server.on("POST", f"{RUN}/run%2F1/finalize", Answer(200, {"status": "completed"}))
        assert evals.complete_run(bare, client=client) == {"status": "completed"}
