"""The pages of the eval runs over HTTP, as they are before any script runs."""

from __future__ import annotations

import re
from html import unescape

import httpx
import pytest

from robotrace.serve import portal_eval_run, portal_evals
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

EVALS = "/portal/evals"


@pytest.fixture
def web(deployment):
    """Without a key, as a browser comes."""
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        yield client


def create(api, baselines=("a",), candidate="v2", **body):
    content = {"candidate_policy_version": candidate, "baseline_episode_ids": list(baselines)} | body
    return api.http.post("/api/ingest/eval-run", json=content).json()["eval_run_id"]


def push(api, run, baseline="a", status="complete", metrics=None, **body):
    content = {"baseline_episode_id": baseline, "status": status, "metrics": metrics or {}} | body
    answer = api.http.post(f"/api/ingest/eval-run/{run}/result", json=content)
    assert answer.status_code == 200, answer.text


def finalize(api, run, status="completed"):
    assert api.http.post(f"/api/ingest/eval-run/{run}/finalize", json={"status": status}).status_code == 200


def text_of(page):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def row_of(page, attribute):
    return text_of(re.search(rf"<tr[^>]*{re.escape(attribute)}[^>]*>(.*?)</tr>", page, re.DOTALL).group(1))


def test_the_empty_page_tells_what_to_run(tmp_path):
    with Deployment(Settings(tmp_path / "data", port=0)) as empty:
        page = httpx.get(empty.base_url + EVALS, trust_env=False).text
    assert "robotrace replay run --policy" in unescape(page)


def test_the_list_is_newest_first_and_pages_by_keyset(web, api, monkeypatch):
    monkeypatch.setattr(portal_evals, "_PAGE_SIZE", 2)
    made = [create(api, name=f"run {number}") for number in range(5)]
    first = web.get(EVALS)
    shown = re.findall(r'data-eval-run-id="([^"]+)"', first.text)
    assert shown == [made[4], made[3]]
    create(api, name="meanwhile")
    following = unescape(re.search(r'id="pager-next"[^>]*href="([^"]+)"', first.text).group(1))
    second = web.get(following)
    assert re.findall(r'data-eval-run-id="([^"]+)"', second.text) == [made[2], made[1]]
    assert 'id="pager-newest"' in second.text
    pages = web.get(f"{EVALS}.json", params={"limit": 2}).json()
    assert len(pages["runs"]) == 2
    assert web.get(f"{EVALS}.json", params={"limit": 2, "cursor": pages["next"]}).json()["runs"]


def test_a_broken_cursor_leads_to_the_newest_page_and_is_400_as_data(web):
    answer = web.get(EVALS, params={"cursor": "WyIyMDI"})
    assert (answer.status_code, answer.headers["location"]) == (307, EVALS)
    assert web.get(f"{EVALS}.json", params={"cursor": "WyIyMDI"}).status_code == 400


def test_the_list_shows_how_a_run_stands(web, api):
    run = create(api, ["a", "b"], name="nightly", baseline_policy_version="v1")
    assert web.get(f"{EVALS}.json").json()["runs"][0]["summary"] is None
    push(api, run, "a", metrics={"success_baseline": True, "success_candidate": False})
    push(api, run, "b", "failed", error="gone")
    finalize(api, run)
    shown = row_of(web.get(EVALS).text, run)
    assert shown.startswith("completed nightly v2 v1 1 of 2, 1 failed")
    assert "base 1/1 = 100% [21%, 100%] cand. 0/1 = 0% [0%, 79%] hold success ▼ worse" in shown


def test_the_page_of_a_run_shows_metrics_recommendation_and_reasons(web, api):
    run = create(api)
    metrics = {
        "success_baseline": True,
        "success_candidate": True,
        "reward_total_baseline": 2.0,
        "reward_total_candidate": 1.5,
        "time_to_goal_s_baseline": 4.0,
        "time_to_goal_s_candidate": 3.0,
        "outcome_candidate": "claimed",
    }
    push(api, run, metrics=metrics)
    finalize(api, run)
    page = web.get(f"{EVALS}/{run}").text
    assert row_of(page, 'data-metric="success_rate"') == "Success rate 100.0% 100.0% ±0.0 points = same 1"
    assert row_of(page, 'data-metric="reward_mean"') == "Mean return 2 1.5 −0.5 ▼ worse 1"
    assert row_of(page, 'data-metric="time_to_goal_s"') == "Time to goal 4 s 3 s −1 s ▲ better 1"
    assert row_of(page, 'data-metric="collision_rate"') == "Collision rate unknown unknown – nothing to compare 0"
    recommendation = text_of(page[page.index('id="recommendation"') :])
    assert "Recommendation: ship" in recommendation
    assert "1 of 1 outcomes of the candidate are the policy's own word" in recommendation
    push(api, run, "a", "failed")
    assert "Recommendation: hold The replay of 1 of 1 baselines failed." in text_of(web.get(f"{EVALS}/{run}").text)


def test_a_run_that_is_not_finalized_recommends_nothing(web, api):
    run = create(api, ["a", "b"])
    push(api, run, "a", metrics={"success_baseline": True, "success_candidate": True})
    page = web.get(f"{EVALS}/{run}").text
    assert "Not finalized yet: 1 of 2 baselines have a result." in text_of(page)
    assert "Recommendation" not in page
    detail = web.get(f"{EVALS}/{run}.json").json()["run"]
    assert detail["summary"] is None
    assert detail["so_far"]["success_rate"]["pairs"] == 1


def test_baselines_link_to_both_episodes_and_one_that_is_not_there_says_so(web, api):
    baseline, replay = api.record(name="bin picking"), api.record(source="replay")
    run = create(api, [baseline, "gone"])
    push(api, run, baseline, metrics={"success_baseline": True}, candidate_episode_id=replay)
    push(api, run, "gone", "failed", error="baseline episode gone: not found")
    page = web.get(f"{EVALS}/{run}").text
    assert f'href="/portal/episodes/{baseline}"' in page
    assert f'href="/portal/episodes/{replay}"' in page
    assert row_of(page, f'data-baseline-id="{baseline}"').startswith("not known bin picking success → unknown")
    missing = row_of(page, 'data-baseline-id="gone"')
    assert missing == "failed gone not found baseline episode gone: not found"
    assert 'href="/portal/episodes/gone"' not in page
    results = web.get(f"{EVALS}/{run}.json").json()["results"]
    assert {result["baseline_episode_id"]: result["baseline_exists"] for result in results} == {
        "gone": False,
        baseline: True,
    }
    assert results[1]["metrics"] == {"success_baseline": True}
    assert f"/portal/compare?a={baseline}&amp;b={replay}" in page


def outcomes(baseline, candidate, **more):
    return {"metrics": {"success_baseline": baseline, "success_candidate": candidate, **more}}


def test_a_run_is_a_paired_comparison_and_what_flipped_comes_first(web, api):
    """Airway hyper-responsiveness, as in the test of the interval: 1 both, 1 and 7 alone, 12 neither."""
    cells = [(True, True)] + [(False, False)] * 12 + [(False, True)] * 7 + [(True, False)]
    run = create(api, [*map(str, range(21)), "u", "f", "p"])
    for number, (baseline, candidate) in enumerate(cells):
        push(api, run, str(number), **outcomes(baseline, candidate))
    push(api, run, "u", **outcomes(None, True))
    push(api, run, "f", "failed", error="gone")
    view = web.get(f"{EVALS}/{run}.json").json()
    paired = view["run"]["paired"]
    counts = [paired[name] for name in ("both", "only_first", "only_second", "neither", "pairs")]
    assert counts == [1, 1, 7, 12, 21]
    assert paired["p"] == pytest.approx(0.0703125)
    difference = paired["difference"]
    assert (difference["low"], difference["high"]) == pytest.approx((0.026, 0.507), abs=5e-4)
    assert [paired[side]["successes"] for side in ("first", "second")] == [2, 8]
    order = [result["baseline_episode_id"] for result in view["results"]]
    assert order[:9] == ["20", *map(str, range(13, 20)), "f"]
    expected = {"broke": 1, "fixed": 7, "neither": 12, "both": 1, "unknown": 1, "failed": 1, "pending": 1}
    assert view["run"]["outcomes"] == expected
    page = web.get(f"{EVALS}/{run}").text
    section = text_of(re.search(r'id="paired".*?</section>', page, re.DOTALL).group(0))
    assert "2/21 = 10% [3%, 29%]" in section
    assert "p = 0.0703, from the 8 of 21 baselines on which one alone succeeds" in section
    for show in ("broke", "unknown", "failed", "pending"):
        shown = web.get(f"{EVALS}/{run}", params={"show": show}).text
        found = re.findall(r'data-baseline-id="([^"]+)"', shown)
        assert found == {"broke": ["20"], "unknown": ["u"], "failed": ["f"], "pending": ["p"]}[show]
    assert "None of them" in web.get(f"{EVALS}/{create(api)}", params={"show": "broke"}).text


def test_results_are_sorted_by_what_the_address_says(web, api):
    run = create(api, ["a", "b", "c", "d"])
    for name, change, distance in (("a", -1.0, 0.5), ("b", -9.0, 2.0), ("c", 4.0, 1.0)):
        metrics = {"reward_total_baseline": 10.0, "reward_total_candidate": 10.0 + change}
        push(api, run, name, metrics={**metrics, "action_l2_distance": distance})

    def order(sort):
        results = web.get(f"{EVALS}/{run}.json", params={"sort": sort}).json()["results"]
        return "".join(result["baseline_episode_id"] for result in results)

    assert order("return") == "bacd"
    assert order("-return") == "cabd"
    assert order("-distance") == "bcad"
    assert order("-position") == "dcba"
    assert order("nonsense") == "abcd"
    page = web.get(f"{EVALS}/{run}", params={"sort": "return", "show": "unknown"}).text
    assert re.search(r'aria-sort="ascending"><a href="[^"]*show=unknown&amp;sort=-return"', page)


def test_the_list_is_filtered_by_the_address(web, api, policy):
    first = create(api, candidate=f"{policy}-CAND")
    second = create(api, candidate="other", baseline_policy_version=f"{policy}-base")
    finalize(api, second)

    def shown(**params):
        page = web.get(EVALS, params={"policy": policy, **params}).text
        found = re.findall(r'data-eval-run-id="([^"]+)"', page)
        listed = web.get(f"{EVALS}.json", params={"policy": policy, **params}).json()["runs"]
        assert [run["eval_run_id"] for run in listed] == found
        return found

    assert shown() == [second, first]
    assert shown(policy=f"{policy}-cand") == [first]
    assert shown(status="completed") == [second]
    assert shown(status="nonsense") == [second, first]
    assert shown(created_after="2020-01-01") == [second, first]
    assert shown(created_before="2020-01-01") == []
    assert "created_after: not a time" in web.get(EVALS, params={"created_after": "noon"}).text
    assert "No eval run matches" in web.get(EVALS, params={"policy": f"{policy}%"}).text


def test_a_run_that_goes_on_says_where_its_page_may_ask(web, api):
    run = create(api, ["a", "b"])
    push(api, run, "a")
    page = web.get(f"{EVALS}/{run}").text
    assert f'data-json="{EVALS}/{run}.json?limit=0" data-done="1" data-count="2" data-status="running"' in page
    answer = web.get(f"{EVALS}/{run}.json?limit=0").json()
    assert (answer["results"], answer["next"], answer["run"]["episodes_completed"]) == ([], None, 1)
    finalize(api, run)
    assert "data-json" not in web.get(f"{EVALS}/{run}").text


def test_metrics_of_any_kind_are_shown_without_falling_over(web, api):
    odd = {"reward_total_candidate": 10**400, "collision_count_candidate": "three", "action_l2_distance": [1]}
    run = create(api)
    push(api, run, metrics={**odd, "ood_action_share": True, "success_candidate": "yes"})
    assert web.get(f"{EVALS}/{run}").status_code == 200


def test_a_policy_that_no_database_can_hold_is_left_out_and_said(web):
    page = web.get(f"{EVALS}?policy=a%00b")
    assert page.status_code == 200
    assert "policy: no NUL" in page.text
    assert web.get(f"{EVALS}.json?policy=a%00b").status_code == 400


def test_many_baselines_come_in_pages(web, api, monkeypatch):
    monkeypatch.setattr(portal_eval_run, "_RESULTS_PAGE_SIZE", 2)
    run = create(api, ["a", "b", "c"])
    first = web.get(f"{EVALS}/{run}").text
    assert re.findall(r'data-baseline-id="([^"]+)"', first) == ["a", "b"]
    following = unescape(re.search(r'id="pager-next"[^>]*href="([^"#]+)', first).group(1))
    assert re.findall(r'data-baseline-id="([^"]+)"', web.get(following).text) == ["c"]
    assert web.get(f"{EVALS}/{run}.json").json()["next"] == 1
    for path in (f"{EVALS}/{run}", f"{EVALS}/{run}.json"):
        assert web.get(path, params={"after": 2**63 - 1}).status_code == 200
        assert web.get(path, params={"after": 2**63}).status_code == 400


def test_an_unknown_run_is_a_page_of_its_own(web):
    answer = web.get(f"{EVALS}/<b>nope")
    assert answer.status_code == 404
    assert "No such eval run" in answer.text
    assert "&lt;b&gt;nope" in answer.text
    assert web.get(f"{EVALS}/nope.json").status_code == 404


def test_markup_in_anything_a_client_sends_is_text_and_nothing_is_inline(web, api):
    evil = '"><script>alert(1)</script>'
    run = create(api, [evil], candidate=evil, name=evil, baseline_policy_version=evil, metadata={evil: evil})
    push(api, run, evil, "failed", metrics={evil: evil}, error=evil)
    finalize(api, run)
    for path in (EVALS, f"{EVALS}/{run}"):
        answer = web.get(path)
        assert evil not in answer.text
        assert unescape(answer.text).count(evil) > 0
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", answer.text)
