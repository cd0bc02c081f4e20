"""A deployment that knows what contract.md lists and nothing else: it ignores our additions and answers without any.

A base field that is missing, of the wrong type or out of its values is refused with 400, as a deployment would; so a
client that passes here works against a server that has never heard of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from wire_server import API_KEY, SIGNATURE, Answer, Received, WireServer

__all__ = ["DEVICE_CODE", "ContractServer"]

DEVICE_CODE = "canary-of-the-device-code"

NUMBER = (int, float)
KINDS = ("video", "sensors", "actions")
JSON_HEADERS = ("user-agent", "x-robotrace-sdk-version", "accept")

Field = tuple[bool, Callable[[Any], bool]]


def needed(check: Callable[[Any], bool]) -> Field:
    return True, check


def may(check: Callable[[Any], bool]) -> Field:
    return False, check


def is_a(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def text(longest: int = 10_000) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and 0 < len(value) <= longest


def one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: value in values


def every(check: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(check, value))


def otel(value: Any) -> bool:
    return isinstance(value, dict) and all(
        re.fullmatch(pattern, value.get(name, ""))
        for name, pattern in {
            "trace_id": "[0-9a-f]{32}",
            "span_id": "[0-9a-f]{16}",
            "traceparent": "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
        }.items()
    )


OBJECT = is_a(dict)
BODIES: dict[str, dict[str, Field]] = {
    "/api/ingest/episode": {
        "source": needed(one_of("real", "sim", "replay")),
        "request_uploads": needed(every(one_of(*KINDS))),
        "name": may(text(200)),
        "robot": may(text(120)),
        "policy_version": may(text()),
        "env_version": may(text()),
        "git_sha": may(text()),
        "seed": may(is_a(int)),
        "fps": may(is_a(*NUMBER)),
        "metadata": may(OBJECT),
        "otel": may(otel),
    },
    "/api/ingest/episode/*/finalize": {
        "status": needed(one_of("ready", "failed")),
        "duration_s": may(is_a(*NUMBER)),
        "fps": may(is_a(*NUMBER)),
        "bytes_total": may(is_a(int)),
        "failure_time_s": may(is_a(*NUMBER)),
        "metadata": may(OBJECT),
    },
    "/api/ingest/eval-run": {
        "candidate_policy_version": needed(text()),
        "baseline_episode_ids": needed(every(text(), least=1)),
        "baseline_policy_version": may(text()),
        "name": may(text()),
        "metadata": may(OBJECT),
    },
    "/api/ingest/eval-run/*/result": {
        "baseline_episode_id": needed(text()),
        "status": needed(one_of("complete", "failed")),
        "metrics": needed(OBJECT),
        "candidate_episode_id": may(text()),
        "error": may(text()),
    },
    "/api/ingest/eval-run/*/finalize": {"status": needed(one_of("completed")), "metadata": may(OBJECT)},
    "/api/verify/promote": {
        "baseline_episode_id": needed(text()),
        "severity": needed(one_of("critical", "warning", "info")),
        "name": may(text()),
        "description": may(text()),
    },
    "/api/verify/check": {"candidate_policy_version": needed(text())},
    "/api/verify/result": {
        "scenario_id": needed(text()),
        "candidate_policy_version": needed(text()),
        "metrics": needed(OBJECT),
        "status": may(one_of("pass", "fail", "error")),
        "candidate_episode_id": may(text()),
        "eval_run_id": may(text()),
        "error": may(text()),
    },
    "/api/cli/auth/start": {"user_agent": needed(text()), "hostname": needed(text())},
    "/api/cli/auth/poll": {"device_code": needed(text())},
    "/api/cli/auth/revoke": {},
}
OPEN = ("/api/cli/auth/start", "/api/cli/auth/poll")
"""What takes no key."""


def pattern_of(path: str) -> str:
    return re.sub(r"(/episode|/eval-run)/[^/]+/", r"\1/*/", path)


class ContractServer(WireServer):
    """Keeps episodes, runs and scenarios in memory; objects are on the same server.

    Attributes:
        refused: Why requests were refused; empty after a good client.
        unknown: The fields and headers, by route, that contract.md does not list; ignored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.unknown: dict[str, set[str]] = {}
        self.episodes: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.scenarios: dict[str, dict[str, Any]] = {}

    def answer_to(self, request: Received) -> Answer:
        with self._lock:
            self.requests.append(request)
        if request.path.startswith("/store/"):
            return self._store(request)
        pattern = pattern_of(request.path)
        fault = self._fault_of(request, pattern)
        if fault is not None:
            self.refused.append(f"{request.method} {request.path}: {fault.body['error']}")
            return fault
        if request.method == "GET":
            return self._read(request)
        body = request.json if request.body else {}
        base = {name: body[name] for name in BODIES[pattern] if name in body}
        name = pattern.removeprefix("/api/").replace("ingest/", "").replace("/*", "").replace("-", "_")
        return getattr(self, "_" + name.replace("/", "_"))(base, request.path.split("/"))

    def _fault_of(self, request: Received, pattern: str) -> Answer | None:
        if request.method == "POST" and pattern not in BODIES:
            return Answer(404, {"error": "there is no such route"})
        if pattern not in OPEN and request.header("Authorization") != f"Bearer {API_KEY}":
            return Answer(401, {"error": "no key"})
        for name in JSON_HEADERS:
            if request.method == "POST" and not request.header(name):
                return Answer(400, {"error": f"the header {name} is missing"})
        if request.method != "POST":
            return None
        body = request.json if request.body else {}
        fields = BODIES[pattern]
        self.unknown.setdefault(pattern, set()).update(body.keys() - fields.keys())
        for name, (must, check) in fields.items():
            if (must and name not in body) or (name in body and not check(body[name])):
                return Answer(400, {"error": f"{name} is {body.get(name, 'missing')!r}"})
        return None

    def _store(self, request: Received) -> Answer:
        if f"X-Signature={SIGNATURE}" not in request.target or request.header("Authorization") is not None:
            self.refused.append(f"{request.method} {request.path}: the store wants the signature and no key")
            return Answer(403, b"<Error>AccessDenied</Error>")
        if request.method == "GET":
            return Answer(200, self.objects[request.path], {"Content-Type": "application/octet-stream"})
        wanted = "video/mp4" if request.path.endswith("/video") else "application/octet-stream"
        if request.header("Content-Length") is None or request.header("Content-Type") != wanted:
            self.refused.append(f"{request.method} {request.path}: wrong headers")
            return Answer(403, b"<Error>SignatureDoesNotMatch</Error>")
        self.objects[request.path] = request.body
        return Answer(200, b"")

    def _read(self, request: Received) -> Answer:
        match request.path.split("/"):
            case ["", "api", "episodes", episode_id] if episode_id in self.episodes:
                return Answer(200, self.episodes[episode_id])
            case ["", "api", "episodes", episode_id, "artifact", kind] if f"/store/{episode_id}/{kind}" in self.objects:
                return Answer(302, b"", {"Location": self._signed(episode_id, kind)})
        return Answer(404, {"error": "not found"})

    def _signed(self, episode_id: str, kind: str) -> str:
        return f"{self.url}/store/{episode_id}/{kind}?X-Signature={SIGNATURE}"

    def _episode(self, body: dict[str, Any], _path: list[str]) -> Answer:
        episode_id = f"ep_{len(self.episodes) + 1}"
        self.episodes[episode_id] = {"episode_id": episode_id, "status": "recording", "metadata": {}, **body}
        urls = [
            {
                "kind": kind,
                "url": self._signed(episode_id, kind),
                "expires_at": "2031-01-01T00:00:00Z",
                "public_url": None,
            }
            for kind in body["request_uploads"]
        ]
        created = {"episode_id": episode_id, "status": "recording", "storage": "r2", "upload_urls": urls}
        return Answer(201, created)

    def _episode_finalize(self, body: dict[str, Any], path: list[str]) -> Answer:
        episode = self.episodes.get(path[4])
        if episode is None:
            return Answer(404, {"error": "no such episode"})
        if episode["status"] == "recording":
            merged = {**episode["metadata"], **body.get("metadata", {})}
            episode.update(body, metadata=merged)
        answer = {"episode_id": path[4], "status": episode["status"], "updated_at": "2030-01-01T00:00:00Z"}
        return Answer(200, answer)

    def _eval_run(self, body: dict[str, Any], _path: list[str]) -> Answer:
        run_id = f"run_{len(self.runs) + 1}"
        self.runs[run_id] = {**body, "results": {}}
        count = len(body["baseline_episode_ids"])
        return Answer(201, {"eval_run_id": run_id, "status": "pending", "episode_count": count})

    def _eval_run_result(self, body: dict[str, Any], path: list[str]) -> Answer:
        results = self.runs[path[4]]["results"]
        results[body["baseline_episode_id"]] = body
        done = [result["status"] for result in results.values()]
        answer = {
            "eval_result_id": f"result_{len(results)}",
            "run_status": "running",
            "episodes_completed": done.count("complete"),
            "episodes_failed": done.count("failed"),
        }
        return Answer(200, answer)

    def _eval_run_finalize(self, body: dict[str, Any], path: list[str]) -> Answer:
        empty = {"baseline": None, "candidate": None, "delta": None, "delta_is_better": None}
        names = ("success_rate", "reward_mean", "collision_rate", "time_to_goal_s", "ood_action_share")
        summary = {**dict.fromkeys(names, empty), "recommend": "hold", "better_count": 0, "metric_total": 0}
        return Answer(200, {"eval_run_id": path[4], "status": body["status"], "summary": summary})

    def _verify_promote(self, body: dict[str, Any], _path: list[str]) -> Answer:
        scenario_id = f"scenario_{body['baseline_episode_id']}"
        self.scenarios[scenario_id] = {**body, "scenario_id": scenario_id, "latest_status": "pending"}
        return Answer(200, {"scenario_id": scenario_id, "promoted": True})

    def _verify_check(self, _body: dict[str, Any], _path: list[str]) -> Answer:
        names = ("scenario_id", "baseline_episode_id", "severity", "latest_status")
        scenarios = [{name: scenario[name] for name in names} for scenario in self.scenarios.values()]
        critical = [scenario["latest_status"] for scenario in scenarios if scenario["severity"] == "critical"]
        passed = all(status == "pass" for status in critical)
        answer = {
            "passed": passed,
            "critical_total": len(critical),
            "critical_passed": critical.count("pass"),
            "critical_failed": critical.count("fail"),
            "critical_pending": critical.count("pending"),
            "scenarios": scenarios,
            "blockers": [] if passed else ["a critical scenario has not passed"],
        }
        return Answer(200 if passed else 422, answer)

    def _verify_result(self, body: dict[str, Any], _path: list[str]) -> Answer:
        self.scenarios[body["scenario_id"]]["latest_status"] = body.get("status", "pending")
        return Answer(200, body)

    def _cli_auth_start(self, _body: dict[str, Any], _path: list[str]) -> Answer:
        answer = {
            "device_code": DEVICE_CODE,
            "user_code": "BCDF-GHJK",
            "verification_uri": f"{self.url}/cli/auth",
        }
        return Answer(200, answer)

    def _cli_auth_poll(self, _body: dict[str, Any], _path: list[str]) -> Answer:
        return Answer(200, {"status": "approved", "api_key": API_KEY})

    def _cli_auth_revoke(self, _body: dict[str, Any], _path: list[str]) -> Answer:
        revoked = {"key_id": "1", "key_prefix": API_KEY[:13], "revoked_at": "2030-01-01T00:00:00Z"}
        return Answer(200, {"status": "revoked", **revoked})
