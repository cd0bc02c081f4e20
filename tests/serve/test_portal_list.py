"""The list as a page and as rows, before any script runs."""

from __future__ import annotations

import re
from html import unescape

import httpx
import pytest
from polling import eventually

from robotrace.serve.models import EpisodeAnalysis
from robotrace.serve.server import Deployment

from .portal_fixtures import publish
from .tenants import SAME_ORIGIN

EPISODES = "/portal/episodes"
ROWS = "/portal/episodes.rows"


@pytest.fixture
def web(deployment: Deployment):
    with httpx.Client(base_url=deployment.base_url, trust_env=False, headers=SAME_ORIGIN) as http:
        yield http


def explained(database, episode):
    """Not asked of a page: that could have it explained once more."""
    with database.read() as session:
        return session.get(EpisodeAnalysis, episode) is not None


def listed(web, policy):
    return web.get(EPISODES + ".json", params={"policy_version": policy}).json()["episodes"]


def test_rows_are_the_pages_and_are_sent_again_when_one_of_them_has_changed(web, deployment, api, database, policy):
    episode = publish(deployment, create={"policy_version": policy})
    tag, seen = "", []

    def changed():
        nonlocal tag
        answer = web.get(ROWS, params={"policy_version": policy}, headers={"If-None-Match": tag})
        if answer.status_code == 304:
            assert answer.content == b""
            return False
        rows = re.search(r"<tbody>(.*)</tbody>", answer.text, re.DOTALL)[1]
        assert rows.strip() in web.get(EPISODES, params={"policy_version": policy}).text
        tag = answer.headers["etag"]
        seen.extend(re.findall(r'data-version="(\w+)"', rows))
        return True

    assert changed()
    assert not changed()
    assert api.finalize(episode, status="failed").status_code == 200
    assert changed()
    eventually(lambda: explained(database, episode))
    changed()  # the findings may have come with the answer above
    assert not changed()
    second = publish(deployment, create={"policy_version": policy}, finalize={"status": "ready"})
    assert changed()
    web.post("/portal/bulk/archive", data={"id": [second]})
    assert changed()
    api.http.delete(f"/api/episodes/{episode}")
    assert changed()
    assert listed(web, policy) == []
    assert not changed()
    assert len(set(seen)) >= 3


def test_what_the_rules_found_is_said_where_it_says_more_than_the_reason(web, deployment, database, policy):
    end = {"status": "failed", "metadata": {"failure_reason": "stopped"}}
    episode = publish(deployment, create={"policy_version": policy}, finalize=end)
    eventually(lambda: explained(database, episode))
    for code, title, cause in (
        ("frozen_sensor", "The wrist camera <froze> at 0.4 s", "The wrist camera <froze> at 0.4 s"),
        ("failure_reason_in_metadata", "stopped", None),
        ("unexplained", "Nothing was found", None),
    ):
        with database.write() as session:
            session.get(EpisodeAnalysis, episode).findings = [
                {"code": code, "title": title},
                {"code": "x", "title": "y"},
            ]
        assert listed(web, policy)[0]["cause"] == cause
        page = web.get(EPISODES, params={"policy_version": policy}).text
        shown = re.search(r'<span class="reason" title="([^"]*)">([^<]*)</span>', page)
        assert unescape(shown[2]) == (cause or "stopped")
        assert "stopped" in shown[1]
    with database.write() as session:
        session.get(EpisodeAnalysis, episode).findings = []
    assert listed(web, policy)[0]["cause"] is None


def test_filters_that_are_on_are_named_with_a_way_to_be_rid_of_each(web, policy):
    page = unescape(web.get(EPISODES, params={"policy_version": policy, "seed": "3", "created_after": "24h"}).text)
    removes = dict(
        re.findall(r'<a class="chip" href="([^"]*)" title="Remove this filter"><span class="quiet">(\w+)', page)
    )
    assert removes == {
        f"{EPISODES}?seed=3&created_after=24h": "policy",
        f"{EPISODES}?policy_version={policy}&created_after=24h": "seed",
        f"{EPISODES}?policy_version={policy}&seed=3": "since",
    }
    assert "last 24 hours" in page
    assert "No episode matches" in page
    assert "without seed" in page


def test_a_finding_is_filtered_by_on_the_page(web, deployment, policy):
    end = {"status": "failed", "metadata": {"failure_reason": "slipped"}}
    episode = publish(deployment, create={"policy_version": policy}, finalize=end)
    publish(deployment, create={"policy_version": policy}, finalize={"status": "ready"})
    query = {"policy_version": policy, "finding": "failure_reason_in_metadata"}
    eventually(lambda: f'data-episode-id="{episode}"' in web.get(EPISODES, params=query).text)
    page = web.get(EPISODES, params=query).text
    assert page.count("data-episode-id") == 1
    assert '<option value="failure_reason_in_metadata" selected>' in page


def test_the_archive_is_a_view_from_which_episodes_come_back(web, deployment, policy):
    episode = publish(deployment, create={"policy_version": policy}, finalize={"status": "ready"})
    web.post("/portal/bulk/archive", data={"id": [episode]})
    page = web.get(EPISODES, params={"policy_version": policy, "status": "archived"}).text
    assert episode in page
    assert 'formaction="/portal/bulk/restore"' in page
    assert 'formaction="/portal/bulk/archive"' not in page


def test_rows_of_a_broken_cursor_are_refused(web):
    assert web.get(ROWS, params={"cursor": "nonsense"}).status_code == 400
