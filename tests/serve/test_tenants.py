"""Two projects in one deployment: what is of one does not exist for the other, on every route there is."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .tenants import SAME_ORIGIN, Tenant, add_project, fill, new_key, sign_in

REPORT = {
    "verdict": "not_reproducible",
    "reason": "x",
    "streams": [],
    "steps": 0,
    "recorded_steps": 0,
    "seconds": 0.0,
}


@dataclass(frozen=True)
class Asked:
    """What is sent to a route; ``{episode_id}`` and its like stand for ids, in values too."""

    body: dict[str, Any] | None = None
    form: dict[str, str] | None = None
    query: str = ""


# By id: asked for a thing of another project, each answers exactly as for one that does not exist.
BY_ID = {
    ("POST", "/api/ingest/episode/{episode_id}/upload-urls"): Asked({"kinds": ["video"]}),
    ("POST", "/api/ingest/episode/{episode_id}/finalize"): Asked({"status": "failed"}),
    ("POST", "/api/ingest/episode/{episode_id}/reproduction"): Asked(REPORT),
    ("GET", "/api/episodes/{episode_id}"): Asked(),
    ("DELETE", "/api/episodes/{episode_id}"): Asked(query="?force=true"),
    ("POST", "/api/episodes/{episode_id}/archive"): Asked(),
    ("POST", "/api/episodes/{episode_id}/restore"): Asked(),
    ("GET", "/api/episodes/{episode_id}/download"): Asked(),
    ("POST", "/api/episodes/download"): Asked({"ids": ["{episode_id}"]}),
    ("GET", "/api/episodes/{episode_id}/artifact/{kind}"): Asked(),
    ("POST", "/api/episodes/{episode_id}/explain"): Asked(),
    ("POST", "/api/ingest/eval-run/{eval_run_id}/result"): Asked(
        {"baseline_episode_id": "{episode_id}", "status": "complete", "metrics": {}}
    ),
    ("POST", "/api/ingest/eval-run/{eval_run_id}/finalize"): Asked({"status": "completed"}),
    ("POST", "/api/verify/promote"): Asked({"baseline_episode_id": "{episode_id}"}),
    ("POST", "/api/verify/result"): Asked(
        {"scenario_id": "{scenario_id}", "candidate_policy_version": "v", "metrics": {}}
    ),
    ("DELETE", "/api/keys/{key_id}"): Asked(),
    ("GET", "/portal/episodes/{episode_id}"): Asked(),
    ("GET", "/portal/episodes/{episode_id}.json"): Asked(),
    ("GET", "/portal/episodes/{episode_id}/frames.bin"): Asked(),
    ("GET", "/portal/episodes/{episode_id}/camera.mp4"): Asked(),
    ("GET", "/portal/episodes/{episode_id}/series.bin"): Asked(),
    ("POST", "/portal/episodes/{episode_id}/archive"): Asked(form={}),
    ("POST", "/portal/episodes/{episode_id}/restore"): Asked(form={}),
    ("GET", "/portal/episodes/{episode_id}/delete"): Asked(),
    ("GET", "/portal/episodes/{episode_id}/export"): Asked(query="?format=csv"),
    ("GET", "/portal/episodes/{episode_id}/download"): Asked(),
    ("POST", "/portal/episodes/{episode_id}/delete"): Asked(form={"force": "true"}),
    ("POST", "/portal/episodes/{episode_id}/promote"): Asked(form={"severity": "critical"}),
    ("POST", "/portal/episodes/{episode_id}/render"): Asked(form={}),
    ("POST", "/portal/episodes/{episode_id}/render/cancel"): Asked(form={}),
    ("GET", "/portal/episodes/{episode_id}/render.json"): Asked(),
    ("POST", "/portal/episodes/{episode_id}/explain"): Asked(form={}),
    ("GET", "/portal/episodes/{episode_id}/findings.json"): Asked(),
    ("POST", "/portal/episodes/{episode_id}/findings/{code}/feedback"): Asked(form={"label": "wrong"}),
    ("GET", "/portal/compare"): Asked(query="?a={episode_id}&b={episode_id}"),
    ("GET", "/portal/compare.json"): Asked(query="?a={episode_id}&b={episode_id}"),
    ("GET", "/portal/compare/series.bin"): Asked(query="?a={episode_id}&b={episode_id}"),
    ("GET", "/portal/evals/{eval_run_id}"): Asked(),
    ("GET", "/portal/evals/{eval_run_id}.json"): Asked(),
    ("POST", "/portal/api-keys/{key_id}/revoke"): Asked(form={}),
}
# Lists and sums: of the other project's things nothing shows.
LISTS = {
    ("GET", "/api/episodes"): Asked(),
    ("GET", "/api/episodes/download"): Asked(),
    ("POST", "/api/verify/check"): Asked({"candidate_policy_version": "secret-policy"}),
    ("GET", "/api/keys"): Asked(),
    ("GET", "/api/audit"): Asked(query="?limit=200"),
    ("GET", "/portal/episodes"): Asked(),
    ("GET", "/portal/episodes.json"): Asked(),
    ("GET", "/portal/evals"): Asked(),
    ("GET", "/portal/evals.json"): Asked(),
    ("GET", "/portal/verify"): Asked(query="?candidate=secret-policy"),
    ("GET", "/portal/verify.json"): Asked(query="?candidate=secret-policy"),
    ("GET", "/portal/api-keys"): Asked(),
    ("GET", "/portal/api-keys.json"): Asked(),
    ("GET", "/portal/audit"): Asked(),
    ("GET", "/portal/audit.json"): Asked(query="?limit=200"),
}
# Of the caller's project; see the tests below.
OF_THE_CALLER = {
    ("POST", "/api/episodes/archive"),
    ("GET", "/api/storage"),
    ("GET", "/portal/storage"),
    ("GET", "/portal/storage.json"),
    ("GET", "/portal/about"),
    ("GET", "/portal/about.json"),
}
# What makes things makes them in the caller's or viewer's project; see the tests below.
MAKES = {
    ("POST", "/api/ingest/episode"),
    ("POST", "/api/ingest/eval-run"),
    ("POST", "/api/keys"),
    ("POST", "/portal/api-keys"),
    ("GET", "/cli/auth"),
    ("POST", "/cli/auth"),
}
# Nothing of any project: who holds a signed URL may do that one thing, whoever they are.
OF_NO_PROJECT = {
    ("GET", "/"),
    ("GET", "/api/openapi.json"),
    ("GET", "/portal/login"),
    ("POST", "/portal/login"),
    ("POST", "/portal/logout"),
    ("POST", "/portal/project"),
    ("POST", "/portal/theme"),
    ("POST", "/api/cli/auth/start"),
    ("POST", "/api/cli/auth/poll"),
    ("POST", "/api/cli/auth/revoke"),  # of the key it is called with
    ("GET", "/objects/{key}"),
    ("PUT", "/objects/{key}"),
    ("GET", "/static"),
    ("GET", "/static/vendor/{name}"),
    ("GET", "/api/features"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),  # sums over all of them, for whoever runs the deployment
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("tenants") / "data"
    return Settings(folder, port=0, rate_limit=None, public_url="http://team.example")


@pytest.fixture(scope="module")
def owner(deployment: Deployment, settings: Settings) -> Tenant:
    return fill(deployment, new_key(settings, 1))


@pytest.fixture(scope="module")
def other(deployment: Deployment, settings: Settings) -> Tenant:
    key = new_key(settings, add_project(settings, "other"))
    return Tenant(key, {"episode_id": "", "eval_run_id": "", "scenario_id": "", "key_id": ""})


@contextmanager
def both(deployment: Deployment, tenant: Tenant) -> Iterator[httpx.Client]:
    """A program and a signed-in person of one project in one."""
    headers = {**SAME_ORIGIN, **tenant.headers}
    with httpx.Client(base_url=deployment.base_url, trust_env=False, headers=headers) as http:
        assert sign_in(http, tenant.key).status_code == 303
        yield http


@pytest.fixture(scope="module")
def as_owner(deployment: Deployment, owner: Tenant) -> Iterator[httpx.Client]:
    with both(deployment, owner) as http:
        yield http


@pytest.fixture(scope="module")
def as_other(deployment: Deployment, other: Tenant) -> Iterator[httpx.Client]:
    with both(deployment, other) as http:
        yield http


def routes(app: Any) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        if hasattr(route, "original_router"):  # recent versions of FastAPI keep the routers that are included
            yield from routes(route.original_router)
            continue
        path = re.sub(r":\w+}", "}", route.path)
        for method in getattr(route, "methods", None) or ("GET",):
            if method != "HEAD":
                yield method, path


def filled(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: filled(item, ids) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, ids) for item in value]
    return re.sub(r"{(\w+)}", lambda found: ids[found[1]], value) if isinstance(value, str) else value


def ask(http: httpx.Client, method: str, path: str, asked: Asked, ids: dict[str, str]) -> httpx.Response:
    return http.request(
        method,
        filled(path + asked.query, {"kind": "sensors", "code": "unexplained", **ids}),
        json=filled(asked.body, ids),
        data=asked.form,
        # An empty form is one all the same.
        headers={"Content-Type": "application/x-www-form-urlencoded"} if asked.form is not None else {},
    )


def answered(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers without what is of the moment, and without the ids that were asked for."""
    text = answer.text
    for number in ids.values():
        text = text.replace(number, "ID") if len(number) > 30 else text
    headers = {name: text for name, text in answer.headers.items() if name not in ("date", "x-request-id")}
    return answer.status_code, text, headers


def missing() -> dict[str, str]:
    # As long as the real ones: the length is in a header.
    return {name: str(uuid.uuid4()) for name in ("episode_id", "eval_run_id", "scenario_id")} | {"key_id": "9"}


def test_every_route_has_a_decision_about_projects(deployment: Deployment) -> None:
    """A new route belongs into one of the sets above."""
    decided = [*BY_ID, *LISTS, *OF_THE_CALLER, *MAKES, *OF_NO_PROJECT]
    assert set(routes(deployment._server.config.app)) == set(decided)
    assert len(decided) == len(set(decided))


def test_every_route_of_the_openapi_document_is_among_them(deployment: Deployment) -> None:
    paths = httpx.get(f"{deployment.base_url}/api/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert len(found) > 15
    assert found <= {*BY_ID, *LISTS, *OF_THE_CALLER, *MAKES, *OF_NO_PROJECT}


@pytest.mark.parametrize(("method", "path"), [pytest.param(*route, id=" ".join(route)) for route in BY_ID])
def test_a_thing_of_another_project_is_answered_as_one_that_does_not_exist(
    owner: Tenant, as_other: httpx.Client, method: str, path: str
) -> None:
    asked, unknown = BY_ID[method, path], missing()
    foreign, absent = (ask(as_other, method, path, asked, ids) for ids in (owner.ids, unknown))
    assert foreign.status_code == 404, foreign.text
    assert answered(foreign, owner.ids) == answered(absent, unknown)


@pytest.mark.parametrize(("method", "path"), [pytest.param(*route, id=" ".join(route)) for route in BY_ID])
def test_the_owner_is_not_answered_that_way(
    deployment: Deployment, settings: Settings, as_owner: httpx.Client, method: str, path: str
) -> None:
    """Else the test above would pass with routes that answer nobody."""
    own = fill(deployment, new_key(settings, 1))
    answer = ask(as_owner, method, path, BY_ID[method, path], own.ids)
    # The episode has no video, is not rendered, and its file is no NPZ.
    expected = {"/frames.bin": 404, "/camera.mp4": 404, "/render.json": 404, "/series.bin": 200, "/render": 409}
    status = next((code for end, code in expected.items() if path.endswith(end)), None)
    assert answer.status_code == status if status else answer.status_code < 400, answer.text
    assert "/portal/login" not in answer.headers.get("location", "")
    assert "no such episode" not in answer.text


@pytest.mark.parametrize(("method", "path"), [pytest.param(*route, id=" ".join(route)) for route in LISTS])
def test_lists_show_nothing_of_another_project(
    owner: Tenant, as_owner: httpx.Client, as_other: httpx.Client, method: str, path: str
) -> None:
    answer = ask(as_other, method, path, LISTS[method, path], {})
    assert answer.status_code == 200, answer.text
    text = answer.text.replace("?candidate=secret-policy", "")
    traces = [owner.ids["episode_id"], owner.ids["eval_run_id"], owner.ids["scenario_id"], owner.key[:13]]
    assert not any(trace in text for trace in traces)
    shown = ask(as_owner, method, path, LISTS[method, path], {}).text
    assert any(trace in shown for trace in traces)


def test_results_name_no_candidate_episode_of_another_project(owner: Tenant, as_other: httpx.Client) -> None:
    mine = as_other.post("/api/ingest/episode", json={"request_uploads": []}).json()["episode_id"]
    run = as_other.post(
        "/api/ingest/eval-run", json={"candidate_policy_version": "v", "baseline_episode_ids": [mine]}
    ).json()["eval_run_id"]
    scenario = as_other.post("/api/verify/promote", json={"baseline_episode_id": mine}).json()["scenario_id"]
    unknown = missing()["episode_id"]
    for path, body in (
        (
            f"/api/ingest/eval-run/{run}/result",
            {"baseline_episode_id": mine, "status": "complete", "metrics": {}},
        ),
        ("/api/verify/result", {"scenario_id": scenario, "candidate_policy_version": "v", "metrics": {}}),
    ):
        answers = [
            as_other.post(path, json={**body, "candidate_episode_id": number})
            for number in (owner.ids["episode_id"], unknown)
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text == answers[1].text
    answers = [
        as_other.post(
            "/api/verify/result",
            json={"scenario_id": scenario, "candidate_policy_version": "v", "metrics": {}, "eval_run_id": number},
        )
        for number in (owner.ids["eval_run_id"], missing()["eval_run_id"])
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text == answers[1].text


def test_a_baseline_of_another_project_is_one_that_does_not_exist(owner: Tenant, as_other: httpx.Client) -> None:
    """A run may name episodes that do not exist; whether one does elsewhere is not to be seen in it."""
    run = as_other.post(
        "/api/ingest/eval-run",
        json={"candidate_policy_version": "v", "baseline_episode_ids": [owner.ids["episode_id"], "nowhere"]},
    ).json()["eval_run_id"]
    results = as_other.get(f"/portal/evals/{run}.json").json()["results"]
    assert [(result["baseline_exists"], result["baseline_name"]) for result in results] == [(False, None)] * 2


def test_an_episode_of_another_project_is_neither_compared_nor_offered(owner: Tenant, as_other: httpx.Client) -> None:
    mine = as_other.post("/api/ingest/episode", json={"request_uploads": []}).json()["episode_id"]
    for path in ("/portal/compare", "/portal/compare.json", "/portal/compare/series.bin"):
        for a, b in ((mine, owner.ids["episode_id"]), (owner.ids["episode_id"], mine)):
            assert as_other.get(path, params={"a": a, "b": b}).status_code == 404
    for query in ({}, {"a": mine}, {"q": "secret"}, {"a": mine, "q": owner.ids["episode_id"]}):
        answer = as_other.get("/portal/compare.json", params=query)
        assert answer.status_code == 200
        assert owner.ids["episode_id"] not in answer.text
        assert "secret-policy" not in answer.text


def test_what_is_made_is_of_the_project_of_whoever_makes_it(
    deployment: Deployment, owner: Tenant, as_other: httpx.Client
) -> None:
    once = {"Idempotency-Key": str(uuid.uuid4())}
    theirs = httpx.post(f"{deployment.base_url}/api/ingest/episode", json={}, headers={**owner.headers, **once})
    mine = as_other.post("/api/ingest/episode", json={}, headers=once)
    assert mine.status_code == 201
    assert mine.json()["episode_id"] != theirs.json()["episode_id"]
    assert as_other.get(f"/api/episodes/{mine.json()['episode_id']}").status_code == 200
    key = as_other.post("/api/keys", json={"name": "second"}).json()["api_key"]
    shown = httpx.get(
        f"{deployment.base_url}/api/episodes/{mine.json()['episode_id']}", headers={"Authorization": f"Bearer {key}"}
    )
    assert shown.status_code == 200


def test_of_another_projects_episodes_none_is_archived_or_counted(
    deployment: Deployment, owner: Tenant, as_other: httpx.Client
) -> None:
    ids = [owner.ids["episode_id"], missing()["episode_id"]]
    assert as_other.post("/api/episodes/archive", json={"ids": ids}).json() == {"archived": [], "missing": ids}
    url = f"{deployment.base_url}/api/episodes/{owner.ids['episode_id']}"
    assert httpx.get(url, headers=owner.headers).json()["status"] != "archived"
    for number in ids:
        answer = as_other.get(f"/api/episodes/download?ids={number}")
        assert (answer.status_code, answer.json()) == (404, {"error": "there is no such episode"})
    before = as_other.get("/api/storage").json()
    assert before["project"] == "other"
    fill(deployment, owner.key)
    assert as_other.get("/api/storage").json() == before


def test_the_metrics_of_all_projects_are_not_for_the_key_of_one(owner: Tenant, as_other: httpx.Client) -> None:
    assert as_other.get("/metrics").status_code == 403
    assert httpx.get(f"{as_other.base_url}/metrics", headers=owner.headers).status_code == 200


def test_a_login_gets_a_key_of_the_project_of_whoever_approves_it(
    deployment: Deployment, owner: Tenant, as_other: httpx.Client
) -> None:
    started = httpx.post(f"{deployment.base_url}/api/cli/auth/start", json={"hostname": "arm-9"}).json()
    code = started["user_code"]
    assert started["verification_uri"] == "http://team.example/cli/auth"
    decided = as_other.post("/cli/auth", data={"code": code, "decision": "approve"})
    assert decided.status_code == 303
    key = as_other.post("/api/cli/auth/poll", json={"device_code": started["device_code"]}).json()["api_key"]
    names = [found["name"] for found in as_other.get("/api/keys").json()["keys"]]
    assert "login from arm-9" in names
    answer = httpx.get(
        f"{deployment.base_url}/api/episodes/{owner.ids['episode_id']}", headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 404


def test_the_deployments_own_key_cannot_be_revoked_by_its_number(as_other: httpx.Client) -> None:
    for number in range(1, 4):
        assert as_other.delete(f"/api/keys/{number}").status_code == 404
