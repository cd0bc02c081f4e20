"""What the list does with several episodes at once, with and without a script."""

from __future__ import annotations

import io
import zipfile
from html import unescape

import httpx
import pytest
from polling import eventually

from robotrace.serve.server import Deployment

from .portal_fixtures import publish
from .tenants import SAME_ORIGIN

JSON = {"Accept": "application/json"}


@pytest.fixture
def web(deployment: Deployment):
    with httpx.Client(base_url=deployment.base_url, trust_env=False, headers=SAME_ORIGIN) as http:
        yield http


@pytest.fixture
def three(deployment, policy):
    create = {"policy_version": policy}
    return [publish(deployment, create=create | {"name": name}, finalize={"status": "ready"}) for name in "abc"]


def shown(web, policy, **query):
    answer = web.get("/portal/episodes.json", params={"policy_version": policy, **query})
    return {episode["id"] for episode in answer.json()["episodes"]}


def bulk(web, action, ids, **fields):
    return web.post(f"/portal/bulk/{action}", data={"id": ids, **fields}, headers=JSON).json()


def test_archive_and_restore_say_what_was_done_and_what_was_so_already(web, policy, three):
    assert bulk(web, "archive", three[:1])["said"] == "1 archived."
    result = bulk(web, "archive", [*three, "nowhere"])
    assert (result["done"], result["unchanged"]) == (three[1:], three[:1])
    assert result["refused"] == [{"id": "nowhere", "reason": "there is no such episode"}]
    assert result["said"] == "2 archived, 1 was already, 1 is no longer there."
    assert shown(web, policy) == set()
    assert bulk(web, "restore", three)["said"] == "3 restored."
    assert bulk(web, "restore", three)["said"] == "0 restored, 3 were not archived."
    assert shown(web, policy) == set(three)


def test_without_a_script_the_list_says_it(web, policy, three):
    back = f"policy_version={policy}&cursor=x&made_up=1"
    answer = web.post("/portal/bulk/archive", data={"id": three[:2], "back": back})
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/portal/episodes?policy_version={policy}&bulk=archive.2.0.0.0",
    )
    page = web.get(answer.headers["location"]).text
    assert "2 archived." in page
    assert three[0] not in page
    nonsense = web.get("/portal/episodes", params={"policy_version": policy, "bulk": "archive.2.0.0.0<b>"}).text
    assert "archived." not in nonsense


def test_promoting_makes_scenarios_and_leaves_those_there_are(web, policy, three):
    assert bulk(web, "promote", three[:1], severity="info")["said"] == "1 made a scenario."
    assert bulk(web, "promote", three, severity="critical")["said"] == "2 made scenarios, 1 was one already."
    verify = {
        each["baseline_episode_id"]: each["severity"] for each in web.get("/portal/verify.json").json()["scenarios"]
    }
    assert [verify[episode] for episode in three] == ["info", "critical", "critical"]
    answer = web.post("/portal/bulk/promote", data={"id": three, "severity": "grave"}, headers=JSON)
    assert (answer.status_code, answer.json()["error"]) == (400, "severity: one of critical, warning, info")


def test_deleting_wants_the_number_confirmed_and_keeps_baselines(web, policy, three):
    bulk(web, "promote", three[:1], severity="critical")
    for confirm in ("", "2", "three"):
        answer = web.post("/portal/bulk/delete", data={"id": three, "confirm": confirm}, headers=JSON)
        assert (answer.status_code, answer.json()["error"]) == (400, "confirm: 3, the number of episodes to delete")
    assert shown(web, policy) == set(three)
    result = bulk(web, "delete", three, confirm="3")
    assert result["done"] == three[1:]
    assert result["refused"] == [{"id": three[0], "reason": "it is the baseline of a scenario"}]
    assert result["said"] == "2 deleted, 1 kept: the baseline of a scenario."
    assert shown(web, policy) == {three[0]}
    assert bulk(web, "delete", three[:1], confirm="1", force="true")["said"] == "1 deleted."
    assert shown(web, policy) == set()


def test_without_a_script_a_page_asks_before_anything_is_deleted(web, policy, three):
    asked = web.post("/portal/bulk/delete", data={"id": three, "back": f"policy_version={policy}"})
    page = unescape(asked.text)
    assert asked.status_code == 200
    assert "Delete 3 episodes?" in page
    assert all(f'name="id" value="{episode}"' in page for episode in three)
    assert '<input type="hidden" name="confirm" value="3">' in page
    assert shown(web, policy) == set(three)
    done = web.post("/portal/bulk/delete", data={"id": three, "back": f"policy_version={policy}", "confirm": "3"})
    assert done.headers["location"] == f"/portal/episodes?policy_version={policy}&bulk=delete.3.0.0.0"
    eventually(lambda: shown(web, policy) == set())


def test_the_files_of_several_come_as_one_zip(web, three):
    answer = web.post("/portal/bulk/download", data={"id": three[:2]})
    assert answer.headers["content-disposition"] == 'attachment; filename="robotrace-episodes.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert set(archive.namelist()) == {f"{episode}/episode.json" for episode in three[:2]}


@pytest.mark.parametrize(
    ("ids", "error"),
    [([], "no episode is selected"), ([f"n{n}" for n in range(1001)], "at most 1000 episodes at once")],
)
def test_none_and_too_many_are_refused(web, ids, error):
    answer = web.post("/portal/bulk/archive", data={"id": ids, "back": ""}, headers=JSON)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_page_of_another_site_does_nothing(deployment, web, policy, three):
    for action in ("archive", "restore", "promote", "delete", "download"):
        answer = httpx.post(
            f"{deployment.base_url}/portal/bulk/{action}",
            data={"id": three, "confirm": "3", "severity": "info"},
            headers={"Sec-Fetch-Site": "cross-site"},
        )
        assert answer.status_code == 403
    assert shown(web, policy) == set(three)


def test_each_change_is_audited(deployment, web, three):
    bulk(web, "archive", three)
    headers = {"Authorization": f"Bearer {deployment.internal_key}"}
    answer = httpx.get(f"{deployment.base_url}/api/audit?limit=3", headers=headers, trust_env=False).json()
    assert {(entry["action"], entry["who"], entry["target"]) for entry in answer["entries"]} == {
        ("episode.archived", "portal", episode) for episode in three
    }
