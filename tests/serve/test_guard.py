"""What every request passes and every answer carries."""

import httpx
import pytest


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "192.168.0.1", "[::2]:80", "", "localhost."]
)
@pytest.mark.parametrize("path", ["/portal/episodes.json", "/objects/x", "/static/x", "/nowhere"])
def test_a_foreign_host_name_is_refused_everywhere(deployment, host, path):
    answer = httpx.get(deployment.base_url + path, headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:1234", "LOCALHOST", "[::1]", "[::1]:8321"])
def test_loopback_names_are_answered(deployment, host):
    assert httpx.get(f"{deployment.base_url}/portal/episodes.json", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Forwarded"])
def test_where_nobody_signs_in_a_proxy_lets_nobody_in(deployment, header):
    for path in ("/portal/episodes.json", "/metrics", "/api/episodes"):
        answer = httpx.get(deployment.base_url + path, headers={header: "203.0.113.9"})
        assert answer.status_code == 400
        assert "--public-url" in answer.json()["error"]


def test_signed_urls_name_the_host_the_client_used(deployment, objects_dir):
    headers = {"Authorization": f"Bearer {deployment.internal_key}", "Host": "localhost:99"}
    created = httpx.post(f"{deployment.base_url}/api/ingest/episode", json={}, headers=headers).json()
    assert created["upload_urls"][0]["url"].startswith("http://localhost:99/objects/")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/portal/episodes.json", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/api/episodes/x/", 404),
        ("DELETE", "/api/ingest/episode", 405),
        ("POST", "/portal/episodes.json", 405),
        ("POST", "/api/ingest/episode", 401),
        ("GET", "/objects/x", 403),
    ],
)
def test_every_answer_has_the_security_headers_and_every_error_is_json(deployment, method, path, status):
    body = {} if method == "POST" else None
    answer = httpx.request(method, deployment.base_url + path, json=body)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    if status >= 400:
        assert list(answer.json()) == ["error"]
        assert answer.json()["error"]
