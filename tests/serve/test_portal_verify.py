"""The verification page, and promoting an episode from its page; over HTTP, before any script runs."""

from __future__ import annotations

import re
from html import unescape

import httpx
import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .conftest import Api

VERIFY = "/portal/verify"


@pytest.fixture
def api(tmp_path):
    """Of a deployment of its own: the page is about all scenarios."""
    with Deployment(Settings(tmp_path / "data", port=0)) as deployment:
        headers = {"Authorization": f"Bearer {deployment.internal_key}"}
        with httpx.Client(base_url=deployment.base_url, headers=headers, trust_env=False) as http:
            yield Api(http)


@pytest.fixture
def web(api):
    """Without a key, as a browser comes."""
    with httpx.Client(base_url=api.http.base_url, trust_env=False) as client:
        yield client


def promote(api, **body):
    answer = api.http.post("/api/verify/promote", json={"baseline_episode_id": api.record()} | body)
    return answer.json()["scenario_id"]


def push(api, scenario, candidate="v2", **body):
    content = {"scenario_id": scenario, "candidate_policy_version": candidate, "metrics": {}} | body
    assert api.http.post("/api/verify/result", json=content).status_code == 200


def text_of(page):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def row_of(page, attribute):
    """Its text, without what is folded away."""
    page = re.sub(r"</summary>.*?</details></details>", "", page, flags=re.DOTALL)
    page = page.replace('<span class="offscreen"> change or remove</span>', "")
    return text_of(re.search(rf"<tr[^>]*{re.escape(attribute)}[^>]*>(.*?)</tr>", page, re.DOTALL).group(1))


def post_form(web, episode, headers, **fields):
    return web.post(f"/portal/episodes/{episode}/promote", data=fields, headers=headers)


def own(web):
    return {"Origin": str(web.base_url).rstrip("/")}


def test_the_empty_page_tells_how_to_begin(web):
    page = unescape(web.get(VERIFY).text)
    assert "verify.promote(" in page
    assert "robotrace verify check --candidate" in page


def test_without_a_candidate_the_recent_ones_and_every_scenario_are_shown(web, api):
    first, second = promote(api, severity="critical", name="Bin"), promote(api, name="Door")
    for scenario in (first, second):
        push(api, scenario, "v1", status="pass")
    push(api, first, "v2", metrics={"success_candidate": True, "outcome_candidate": "claimed"})
    push(api, second, "v2", status="error")
    push(api, first, "v3", metrics={})
    page = web.get(VERIFY).text
    assert re.findall(r'data-candidate="([^"]+)"', page) == ["v3", "v2", "v1"]
    assert row_of(page, 'data-candidate="v3"').startswith("blocked v3 0 of 1 critical pass, 1 open")
    assert row_of(page, 'data-candidate="v2"').startswith("passed v2 1 of 1 critical pass")
    assert row_of(page, first) == "Bin critical unknown pass claimed pass"
    assert row_of(page, second) == "Door warning – error ▼ broke pass"
    assert "1 of 2 pass 1 broke" in row_of(page, 'data-candidate="v2"')
    assert "2 of 2 pass the first" in row_of(page, 'data-candidate="v1"')


def test_a_candidate_shows_its_gate(web, api):
    scenario = promote(api, severity="critical", name="Bin")
    push(api, scenario, status="error", error="ValueError: 7 joints")
    page = web.get(VERIFY, params={"candidate": " v2 "}).text
    assert "v2 blocked 0 of 1 critical pass, 1 fail" in text_of(page)
    assert "the replay with v2 ended in an error: ValueError: 7 joints" in text_of(page)
    assert row_of(page, scenario).startswith("error Bin ValueError: 7 joints critical")
    push(api, scenario, status="pass")
    assert "Every critical scenario passes." in web.get(VERIFY, params={"candidate": "v2"}).text


def test_where_nothing_is_critical_the_page_says_that_nothing_can_block(web, api):
    promote(api, severity="info")
    assert "nothing can block" in web.get(VERIFY, params={"candidate": "v2"}).text


def test_the_json_twin_is_the_gate_of_the_route(web, api):
    scenario = promote(api, severity="critical")
    push(api, scenario, status="pass")
    view = web.get(f"{VERIFY}.json", params={"candidate": "v2"}).json()
    route = api.http.post("/api/verify/check", json={"candidate_policy_version": "v2"}).json()
    assert (view["candidate"], view["gate"]) == ("v2", route)
    overview = web.get(f"{VERIFY}.json").json()
    assert (overview["candidate"], overview["gate"]) == (None, None)
    assert [entry["candidate_policy_version"] for entry in overview["recent"]] == ["v2"]
    assert overview["scenarios"][0]["scenario_id"] == scenario


def test_a_scenario_without_a_name_is_called_after_its_episode(web, api):
    scenario = promote(api, baseline_episode_id=api.record(name="bin picking"))
    assert row_of(web.get(VERIFY).text, scenario).startswith("bin picking")


def test_an_episode_is_promoted_from_its_page(web, api):
    episode = api.record()
    assert "Promote to scenario" in web.get(f"/portal/episodes/{episode}").text
    answer = post_form(web, episode, own(web), severity="critical", name="Bin")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/portal/episodes/{episode}#scenario")
    assert "Bin is a scenario: critical" in text_of(web.get(f"/portal/episodes/{episode}").text)
    shown = web.get(f"/portal/episodes/{episode}.json").json()["scenario"]
    assert (shown["severity"], shown["name"]) == ("critical", "Bin")
    assert post_form(web, episode, own(web), severity="info", name="").status_code == 303
    shown = web.get(f"/portal/episodes/{episode}.json").json()["scenario"]
    assert (shown["severity"], shown["name"]) == ("info", "Bin")


@pytest.mark.parametrize(
    ("fields", "field"), [({"severity": "fatal"}, "severity"), ({"severity": "info", "name": "x" * 201}, "name")]
)
def test_a_form_that_is_wrong_is_400_and_makes_nothing(web, api, fields, field):
    episode = api.record()
    answer = post_form(web, episode, own(web), **fields)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(field)
    assert web.get(f"/portal/episodes/{episode}.json").json()["scenario"] is None


def test_a_body_that_is_no_form_is_400(web, api):
    answer = web.post(f"/portal/episodes/{api.record()}/promote", json={"severity": "info"}, headers=own(web))
    assert answer.status_code == 400


def test_promoting_an_unknown_episode_is_404(web):
    assert post_form(web, "nope", own(web), severity="info").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ""},
    ],
)
def test_a_form_that_another_page_sends_is_refused(web, api, headers):
    episode = api.record()
    answer = post_form(web, episode, headers, severity="critical")
    assert answer.status_code == 403
    assert list(answer.json()) == ["error"]
    assert web.get(f"/portal/episodes/{episode}.json").json()["scenario"] is None


def test_another_port_of_this_machine_is_another_origin(web, api):
    """What runs on the next port is not us; a cross-site value wins over an Origin that looks right."""
    episode = api.record()
    assert post_form(web, episode, {"Origin": "http://127.0.0.1:1"}, severity="info").status_code == 403
    both = {**own(web), "Sec-Fetch-Site": "same-site"}
    assert post_form(web, episode, both, severity="info").status_code == 403


def test_a_browser_that_says_same_origin_is_believed(web, api):
    assert post_form(web, api.record(), {"Sec-Fetch-Site": "same-origin"}, severity="info").status_code == 303


def test_what_has_changed_since_the_candidate_before_comes_first(web, api):
    names = ("kept", "broke", "fixed", "errs", "open")
    scenarios = {name: promote(api, name=name) for name in names}
    before = {"kept": "pass", "broke": "pass", "fixed": "fail", "errs": "pass", "open": "pass"}
    for name, status in before.items():
        push(api, scenarios[name], "v1", status=status)
    for name, status in {"kept": "pass", "broke": "fail", "fixed": "pass", "errs": "error"}.items():
        push(api, scenarios[name], "v2", status=status)
    view = web.get(f"{VERIFY}.json", params={"candidate": "v2"}).json()
    assert view["against"] == "v1"
    flips = [(flip["scenario_id"], flip["kind"], flip["before"], flip["after"]) for flip in view["flips"]]
    assert flips == [
        (scenarios["broke"], "broke", "pass", "fail"),
        (scenarios["errs"], "broke", "pass", "error"),
        (scenarios["fixed"], "fixed", "fail", "pass"),
    ]
    assert view["recent"][0]["flips"] == view["flips"]
    page = web.get(VERIFY, params={"candidate": "v2"}).text
    section = text_of(re.search(r'id="flips".*?</section>', page, re.DOTALL).group(0))
    assert "broke broke warning pass → fail" in section
    assert page.index('id="flips"') < page.index('id="scenarios"')
    turned = web.get(f"{VERIFY}.json", params={"candidate": "v1", "against": "v2"}).json()
    assert [flip["kind"] for flip in turned["flips"]] == ["broke", "fixed", "fixed"]
    assert web.get(f"{VERIFY}.json", params={"candidate": "v1"}).json()["against"] is None
    assert web.get(f"{VERIFY}.json", params={"candidate": "new"}).json()["against"] == "v2"


def test_filters_of_the_address_choose_the_scenarios(web, api):
    critical, warning = promote(api, severity="critical"), promote(api)
    push(api, critical, "v1", status="pass")
    push(api, critical, "v2", status="fail")

    def shown(**params):
        page = web.get(VERIFY, params=params).text
        found = re.findall(r'<tr data-scenario-id="([^"]+)"', page)
        assert web.get(f"{VERIFY}.json", params=params).json()["shown"] == found
        return found

    for params in ({}, {"candidate": "v2"}):
        assert shown(**params) == [critical, warning]
        assert shown(**params, severity="critical") == shown(**params, state="fail") == [critical]
        assert shown(**params, state="pending") == shown(**params, severity="warning") == [warning]
        assert shown(**params, state="broke") == [critical]
        assert shown(**params, severity="nonsense") == [critical, warning]
    assert shown(candidate="v1", state="fail") == []
    assert "No scenario matches" in web.get(VERIFY, params={"state": "error"}).text


def test_each_scenario_leads_to_its_failure_and_to_the_comparison(web, api):
    baseline = api.record(finalize={"status": "failed", "failure_time_s": 1.25, "duration_s": 2.0})
    scenario, replay = promote(api, baseline_episode_id=baseline), api.record(source="replay")
    push(api, scenario, status="fail", candidate_episode_id=replay)
    for params in ({}, {"candidate": "v2"}):
        page = unescape(web.get(VERIFY, params=params).text)
        assert f'href="/portal/episodes/{baseline}?t=1250ms"' in page
        assert f'href="/portal/compare?a={baseline}&b={replay}"' in page
    moments = web.get(f"{VERIFY}.json").json()["scenarios"][0]["moments"]
    assert moments == [{"label": "failure", "at_s": 1.25}]


def test_the_severity_is_changed_on_the_page_which_stays_as_it_was(web, api):
    scenario = promote(api, name="Bin")
    back = "candidate=v2&severity=warning&state=&evil=1"
    answer = web.post(
        f"{VERIFY}/{scenario}", data={"severity": "critical", "back": back}, headers=own(web), follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"{VERIFY}?candidate=v2&severity=warning")
    shown = web.get(f"{VERIFY}.json").json()["scenarios"][0]
    assert (shown["severity"], shown["name"]) == ("critical", "Bin")
    wrong = web.post(f"{VERIFY}/{scenario}", data={"severity": "fatal"}, headers=own(web))
    assert (wrong.status_code, wrong.json()["error"][:8]) == (400, "severity")
    foreign = web.post(f"{VERIFY}/{scenario}", data={"severity": "info"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    assert web.get(f"{VERIFY}.json").json()["scenarios"][0]["severity"] == "critical"


@pytest.mark.parametrize("way", ["form", "api"])
def test_a_scenario_is_taken_away_with_its_results_and_its_episode_stays(web, api, way):
    episode = api.record()
    scenario = promote(api, baseline_episode_id=episode, severity="critical", name="Bin")
    push(api, scenario, status="fail")
    if way == "form":
        refused = web.post(f"{VERIFY}/{scenario}/remove", data={}, headers={"Sec-Fetch-Site": "cross-site"})
        assert refused.status_code == 403
        answer = web.post(f"{VERIFY}/{scenario}/remove", data={"back": ""}, headers=own(web))
        assert (answer.status_code, answer.headers["location"]) == (303, VERIFY)
    else:
        assert api.http.delete(f"/api/verify/scenarios/{scenario}").status_code == 204
        assert api.http.delete(f"/api/verify/scenarios/{scenario}").status_code == 404
    view = web.get(f"{VERIFY}.json", params={"candidate": "v2"}).json()
    assert (view["scenarios"], view["recent"], view["gate"]["passed"]) == ([], [], True)
    assert web.get(f"/portal/episodes/{episode}.json").json()["scenario"] is None
    entry = api.http.get("/api/audit").json()["entries"][0]
    assert (entry["action"], entry["target"]) == ("scenario.deleted", scenario)
    assert entry["details"] == {"name": "Bin", "baseline_episode_id": episode, "severity": "critical"}
    assert promote(api, baseline_episode_id=episode) != scenario


def test_markup_in_anything_a_client_sends_is_text_and_nothing_is_inline(web, api):
    evil = '"><script>alert(1)</script>'
    scenario = promote(api, severity="critical", name=evil, description=evil)
    push(api, scenario, evil, status="error", error=evil)
    for params in ({}, {"candidate": evil}):
        answer = web.get(VERIFY, params=params)
        assert evil not in answer.text
        assert unescape(answer.text).count(evil) > 0
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", answer.text)
