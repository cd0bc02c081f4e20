"""The buttons of an episode's page by which it is archived, restored and deleted."""

import httpx
import pytest

from robotrace.serve.server import Deployment

from .portal_fixtures import publish
from .tenants import SAME_ORIGIN


@pytest.fixture(scope="module")
def browser(deployment: Deployment):
    with httpx.Client(base_url=deployment.base_url, trust_env=False, headers=SAME_ORIGIN) as http:
        yield http


@pytest.fixture
def episode_id(deployment: Deployment) -> str:
    return publish(deployment, create={"name": "lift <3>"}, finalize={"status": "ready"})


def post(browser: httpx.Client, path: str, **fields: str) -> httpx.Response:
    return browser.post(path, data=fields, headers={"Content-Type": "application/x-www-form-urlencoded"})


def status(browser: httpx.Client, episode_id: str) -> str:
    return browser.get(f"/portal/episodes/{episode_id}.json").json()["episode"]["status"]


def audited(deployment: Deployment, episode_id: str) -> list[tuple[str, str]]:
    headers = {"Authorization": f"Bearer {deployment.internal_key}"}
    entries = httpx.get(f"{deployment.base_url}/api/audit?limit=50", headers=headers, trust_env=False).json()["entries"]
    return [(entry["action"], entry["who"]) for entry in reversed(entries) if entry["target"] == episode_id]


def test_archive_and_restore_lead_back_to_the_page_and_are_audited(deployment, browser, episode_id):
    for what, then in (("archive", "archived"), ("archive", "archived"), ("restore", "ready")):
        answer = post(browser, f"/portal/episodes/{episode_id}/{what}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/portal/episodes/{episode_id}")
        assert status(browser, episode_id) == then
    assert audited(deployment, episode_id) == [("episode.archived", "portal"), ("episode.restored", "portal")]


def test_delete_asks_on_a_page_of_its_own_and_leads_to_the_list(deployment, browser, episode_id):
    asked = browser.get(f"/portal/episodes/{episode_id}/delete")
    assert asked.status_code == 200
    assert "Delete lift &lt;3&gt;?" in asked.text
    assert 'name="force"' not in asked.text
    answer = post(browser, f"/portal/episodes/{episode_id}/delete")
    assert (answer.status_code, answer.headers["location"]) == (303, "/portal/episodes")
    assert browser.get(f"/portal/episodes/{episode_id}.json").status_code == 404
    assert audited(deployment, episode_id) == [("episode.deleted", "portal")]


def test_a_baseline_is_deleted_only_when_its_scenario_may_go_with_it(deployment, browser, episode_id):
    post(browser, f"/portal/episodes/{episode_id}/promote", severity="critical", name="cup")
    refused = post(browser, f"/portal/episodes/{episode_id}/delete")
    assert refused.status_code == 409
    assert "the scenario cup (critical)" in refused.text
    assert 'name="force"' in refused.text
    assert status(browser, episode_id) == "ready"
    assert post(browser, f"/portal/episodes/{episode_id}/delete", force="true").status_code == 303
    scenarios = browser.get("/portal/verify.json").json()["scenarios"]
    assert episode_id not in [scenario["baseline_episode_id"] for scenario in scenarios]


@pytest.mark.parametrize("what", ["archive", "restore", "delete"])
def test_a_page_of_another_site_changes_nothing(browser, episode_id, what):
    answer = browser.post(
        f"/portal/episodes/{episode_id}/{what}",
        data={"force": "true"},
        headers={"Sec-Fetch-Site": "cross-site"},
    )
    assert answer.status_code == 403
    assert status(browser, episode_id) == "ready"
