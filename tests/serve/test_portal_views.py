"""Saved views: filters of the list that a project keeps under a name."""

from __future__ import annotations

from html import unescape

import httpx
import pytest

from robotrace.serve import saved_views
from robotrace.serve.server import Deployment

from .tenants import SAME_ORIGIN

EPISODES = "/portal/episodes"


@pytest.fixture
def web(deployment: Deployment):
    with httpx.Client(base_url=deployment.base_url, trust_env=False, headers=SAME_ORIGIN) as http:
        yield http
        for view in views(http).values():
            http.post(f"/portal/views/{view['id']}/delete", data={"x": ""})


def views(web):
    return {view["name"]: view for view in web.get("/portal/views.json").json()["views"]}


def save(web, name, query="status=failed"):
    return web.post("/portal/views", data={"name": name, "query": query})


def audited(deployment):
    headers = {"Authorization": f"Bearer {deployment.internal_key}"}
    answer = httpx.get(f"{deployment.base_url}/api/audit?limit=200", headers=headers, trust_env=False)
    return [(entry["action"], entry["target"]) for entry in reversed(answer.json()["entries"])]


def test_a_view_keeps_the_filters_and_nothing_else_of_an_address(web):
    answer = save(web, " Failures of arm 2 ", "seed=x&cursor=abc&made_up=1&robot=arm+2&status=failed&name=")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{EPISODES}?status=failed&robot=arm+2")
    view = views(web)["Failures of arm 2"]
    assert (view["query"], view["url"]) == ("status=failed&robot=arm+2", f"{EPISODES}?status=failed&robot=arm+2")
    page = unescape(web.get(view["url"]).text)
    assert f'<a href="{view["url"]}" aria-current="page" title="Failures of arm 2">' in page
    assert "Edit view" in page
    assert "Save view" not in page


def test_views_are_renamed_and_deleted_and_all_of_it_is_audited(web, deployment):
    save(web, "first")
    view = views(web)["first"]
    assert web.post(f"/portal/views/{view['id']}/rename", data={"name": "second"}).status_code == 303
    assert list(views(web)) == ["second"]
    assert web.post(f"/portal/views/{view['id']}/delete", data={"x": ""}).headers["location"] == view["url"]
    assert views(web) == {}
    done = [("view.saved", "first"), ("view.renamed", "second"), ("view.deleted", "second")]
    assert [entry for entry in audited(deployment) if entry[0].startswith("view.")][-3:] == done
    assert web.post(f"/portal/views/{view['id']}/delete", data={"x": ""}).status_code == 404


@pytest.mark.parametrize(
    ("name", "query", "status", "said"),
    [
        ("taken", "status=ready", 409, "There is a view taken already."),
        ("", "status=ready", 400, "A view's name has 1 to 60 printable characters."),
        ("n" * 61, "status=ready", 400, "A view's name has 1 to 60 printable characters."),
        ("a\x07b", "status=ready", 400, "A view's name has 1 to 60 printable characters."),
        ("nothing", "made_up=1", 400, "A view keeps filters; set some first."),
        ("endless", "name=" + "x" * 2001, 400, "These filters are too long."),
    ],
)
def test_what_is_refused_is_said_on_the_list_it_came_from(web, name, query, status, said):
    save(web, "taken")
    answer = save(web, name, query)
    assert answer.status_code == status
    assert said in unescape(answer.text)
    assert list(views(web)) == ["taken"]


def test_a_name_that_is_taken_is_refused_for_another_view_too(web):
    save(web, "one")
    save(web, "two", "status=ready")
    answer = web.post(f"/portal/views/{views(web)['two']['id']}/rename", data={"name": "one"})
    assert answer.status_code == 409
    assert "There is a view one already." in unescape(answer.text)
    assert '<option value="ready" selected>' in answer.text


def test_a_project_has_so_many_and_no_more(web, monkeypatch):
    monkeypatch.setattr(saved_views, "_MOST", 2)
    assert [save(web, name).status_code for name in ("a", "b", "c")] == [303, 303, 409]


def test_a_page_of_another_site_saves_none(deployment):
    data = {"name": "evil", "query": "status=failed"}
    answer = httpx.post(f"{deployment.base_url}/portal/views", data=data, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
