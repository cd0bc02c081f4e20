"""The published description is the truth: requests drawn from it meet no 5xx and no answer that it does not describe.

Derandomized: the same requests on every run.
"""

import httpx
import pytest

pytest.importorskip("schemathesis")

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 12
REVOKE = "/api/cli/auth/revoke"
METHODS = {"delete", "get", "post", "put"}


@pytest.fixture(scope="module")
def document(deployment):
    return httpx.get(f"{deployment.base_url}/api/openapi.json").json()


@pytest.fixture(scope="module")
def known(api):
    """Ids that exist, by the name of the parameter; what a request has deleted is made anew."""
    made = {}

    def ids():
        episode_id = made.get("episode_id")
        if episode_id is None or api.http.get(f"/api/episodes/{episode_id}").status_code == 404:
            episode_id = made["episode_id"] = api.record({"sensors": b"PK", "video": b"v"})
            run = {"candidate_policy_version": "c", "baseline_episode_ids": [episode_id]}
            made["eval_run_id"] = api.http.post("/api/ingest/eval-run", json=run).json()["eval_run_id"]
        return {**made, "kind": "sensors"}

    return ids


def complaint(operation, mode, send):
    """What is wrong with an answer to a request drawn for this operation, None when nothing is."""

    @settings(
        derandomize=True,
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), existing=st.booleans())
    def ask(case, existing):
        send(case, existing)

    try:
        ask()
    except Unsatisfiable:  # nothing about it can be made wrong
        return None
    except (FailureGroup, AssertionError) as error:
        return f"{operation.label}\n{error}"
    return None


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_that_the_description_has(deployment, document, known, mode):
    with requests.Session() as session:

        def send(case, existing):
            if existing:
                ids = known()
                case.path_parameters = {name: ids.get(name, value) for name, value in case.path_parameters.items()}
            revokes = case.operation.path == REVOKE
            key = deployment.create_key("to be revoked") if revokes else deployment.internal_key
            case.call_and_validate(
                base_url=deployment.base_url,
                session=session,
                headers={"Authorization": f"Bearer {key}"},
                checks=CHECKS,
                allow_redirects=False,
            )

        operations = [result.ok() for result in schemathesis.openapi.from_dict(document).get_all_operations()]
        found = [complaint(operation, mode, send) for operation in operations]
    assert len(operations) > 25
    assert not any(found), "\n\n".join(filter(None, found))


def test_it_tells_the_contracts_errors_and_not_fastapis(document):
    text = str(document)
    assert "HTTPValidationError" not in text
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert method in METHODS
            responses = operation["responses"]
            if path.startswith("/api/"):
                error = responses["400"]["content"]["application/json"]["schema"]
                assert error == {"$ref": "#/components/schemas/Error"}, path
            if operation.get("security") and {} not in operation["security"]:
                assert {"401", "429"} <= set(responses), path
            if "{" in path:
                assert "404" in responses, path
            if "requestBody" in operation:
                assert "413" in responses, path


def test_exactly_what_asks_for_a_key_says_so(deployment, document):
    with httpx.Client(base_url=deployment.base_url) as http:
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                body = {"json": {}} if "requestBody" in operation else {}
                answer = http.request(method, path.replace("{", "").replace("}", ""), **body)
                asks = bool(operation.get("security")) and {} not in operation["security"]
                assert (answer.status_code == 401) == asks, (method, path)
                if asks:
                    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_zip_and_the_metrics_are_no_json(document):
    download = document["paths"]["/api/episodes/{episode_id}/download"]["get"]["responses"]["200"]
    assert download["content"]["application/zip"]["schema"]["format"] == "binary"
    assert list(document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]


def test_another_bodys_form_is_refused_with_the_contracts_error(api):
    for content, kind in ((b"a=b", "application/x-www-form-urlencoded"), (b"\xff\xfe", "application/json")):
        answer = api.http.post("/api/ingest/episode", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 400
        assert list(answer.json()) == ["error"]
