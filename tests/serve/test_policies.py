"""The page of the policy versions and that of two of them on the same seeds, against figures worked out by hand."""

from __future__ import annotations

import re
from html import unescape

import httpx
import pytest

from robotrace.serve import portal_policies
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

POLICIES = "/portal/policies"


@pytest.fixture
def web(deployment):
    """Without a key, as a browser comes."""
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        yield client


def record(api, policy, success=None, *, reward=None, status="ready", **create):
    outcome = {"success": success, "reward_total": reward}
    metadata = {"outcome": {name: value for name, value in outcome.items() if value is not None}}
    return api.record(policy_version=policy, finalize={"status": status, "metadata": metadata}, **create)


def shown(web, policy="", **params):
    view = web.get(f"{POLICIES}.json", params={"policy": policy, **params}).json()
    return {row["policy_version"]: row for row in view["policies"]}


def text_of(page):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def row_of(page, attribute):
    return text_of(re.search(rf"<tr[^>]*{re.escape(attribute)}[^>]*>(.*?)</tr>", page, re.DOTALL).group(1))


def test_the_empty_page_tells_how_to_begin(tmp_path):
    with Deployment(Settings(tmp_path / "data", port=0)) as empty:
        with httpx.Client(base_url=empty.base_url, trust_env=False) as client:
            page = unescape(client.get(POLICIES).text)
            assert 'policy_version="ppo-v1"' in page
            assert client.get(f"{POLICIES}.json").json()["policies"] == []


def test_a_version_is_summed_up_and_what_is_not_known_is_in_no_rate(web, api, policy):
    for number in range(20):
        record(api, policy, number >= 2, reward=10.0 + number, git_sha="a" * 40, env_version="Pole-v1")
    record(api, policy, status="failed", reward=4.0)
    api.create(policy_version=policy, request_uploads=[])
    api.http.post(f"/api/episodes/{record(api, policy, False)}/archive").raise_for_status()
    row = shown(web, policy)[policy]
    counts = {name: row[name] for name in ("episodes", "successes", "failures", "unknown")}
    assert counts == {"episodes": 22, "successes": 18, "failures": 2, "unknown": 2}
    assert (row["unknown_failed"], row["recording"]) == (1, 1)
    rate = row["success_rate"]
    assert (rate["successes"], rate["total"], rate["rate"]) == (18, 20, 0.9)
    assert (rate["low"], rate["high"]) == pytest.approx((0.6990, 0.9721), abs=1e-4)
    # 10 to 29 and 4: the mean of these 21 is 394 / 21.
    assert row["returns"] == 21
    assert row["return_mean"] == pytest.approx(394 / 21)
    values = [4.0, *range(10, 30)]
    assert row["return_sd"] == pytest.approx((sum((value - 394 / 21) ** 2 for value in values) / 20) ** 0.5)
    assert (row["git_shas"], row["env_versions"]) == (["a" * 40], ["Pole-v1"])
    assert row["first_seen"] < row["last_seen"]
    page = row_of(web.get(POLICIES, params={"policy": policy}).text, f'data-policy="{policy}"')
    assert "18/20 = 90% [70%, 97%]" in page
    assert "22 2 unknown" in page
    assert "18.762 ±" in page


def test_returns_that_differ_little_keep_their_spread_and_huge_ones_break_nothing(web, api, policy):
    for reward in (1e9, 1e9 + 1, 1e9 + 2, 1e300, -1e300):
        record(api, policy, True, reward=reward)
    row = shown(web, policy)[policy]
    assert (row["returns"], row["return_sd"]) == (3, pytest.approx(1.0))


def test_the_longest_and_widest_names_fit_the_index(web, api):
    """PostgreSQL refuses an index row of more than 2,704 bytes."""
    widest = "\U0001f916"
    version = (widest * 200)[:200]
    record(api, version, True, env_version=widest * 200, robot=widest * 120, git_sha="f" * 64)
    assert shown(web, version)[version]["successes"] == 1


def test_open_loop_replays_count_only_when_asked_for(web, api, policy):
    record(api, policy, True)
    record(api, policy, False, source="replay")
    assert shown(web, policy)[policy]["episodes"] == 1
    assert shown(web, policy, source="replay")[policy]["failures"] == 1


def test_filters_of_the_address_choose_the_episodes(web, api, policy):
    record(api, policy, True, env_version="A-v1", robot="arm", source="sim")
    record(api, policy, False, env_version="B-v1", robot="dog", source="real")
    for params, successes in (({"env_version": "A-v1"}, 1), ({"robot": "dog"}, 0), ({"source": "real"}, 0)):
        row = shown(web, policy, **params)[policy]
        assert (row["episodes"], row["successes"]) == (1, successes)
    assert shown(web, policy, created_before="2020-01-01") == {}
    assert shown(web, policy, created_after="2020-01-01")[policy]["episodes"] == 2
    page = web.get(POLICIES, params={"policy": policy, "created_after": "yesterday"})
    assert "created_after: not a time" in page.text
    assert policy in page.text
    assert web.get(f"{POLICIES}.json", params={"created_after": "yesterday"}).status_code == 400


def test_a_reference_gives_differences_with_newcombes_interval(web, api, policy):
    one, two, unknown = f"{policy}-1", f"{policy}-2", f"{policy}-3"
    for number in range(10):
        record(api, one, number < 3)
        record(api, two, number < 9)
    record(api, unknown)
    rows = shown(web, policy, reference=one)
    difference = rows[two]["difference"]
    assert difference["delta"] == pytest.approx(0.6)
    assert (difference["low"], difference["high"]) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert difference["better"] is True
    assert rows[one]["difference"] is None
    assert rows[unknown]["difference"] is None
    assert shown(web, policy, reference=two)[one]["difference"]["better"] is False
    page = web.get(POLICIES, params={"policy": policy, "reference": one}).text
    assert "+60.0 [+17.1, +80.9] ▲ better same seeds" in row_of(page, f'data-policy="{two}"')
    assert f"{POLICIES}/pairs?a={one}&amp;b={two}" in page
    assert "there is nothing to compare with" in web.get(POLICIES, params={"policy": policy, "reference": "x"}).text


def test_the_order_is_that_of_the_address_and_unknown_rates_come_last(web, api, policy):
    versions = {name: f"{policy}@{name}" for name in ("20000", "100000", "3")}
    record(api, versions["20000"], True)
    record(api, versions["100000"], False)
    record(api, versions["3"])

    def order(sort):
        return [name.rpartition("@")[2] for name in shown(web, policy, sort=sort)]

    assert order("policy") == ["3", "20000", "100000"]
    assert order("-policy") == ["100000", "20000", "3"]
    assert order("-rate") == ["20000", "100000", "3"]
    assert order("rate") == ["100000", "20000", "3"]
    assert order("nonsense") == order("-last_seen") == ["3", "100000", "20000"]
    page = web.get(POLICIES, params={"policy": policy, "sort": "-rate"}).text
    assert re.search(r'<th[^>]*aria-sort="descending"><a href="[^"]*sort=rate"', page)


def test_many_versions_come_in_parts(web, api, policy, monkeypatch):
    monkeypatch.setattr(portal_policies, "_PAGE_SIZE", 2)
    for number in range(3):
        record(api, f"{policy}-{number}", True)
    first = web.get(POLICIES, params={"policy": policy, "sort": "policy"}).text
    assert re.findall(r'data-policy="[^"]*-(\d)"', first) == ["0", "1"]
    following = unescape(re.search(r'id="pager-next"[^>]*href="([^"]+)"', first).group(1))
    assert re.findall(r'data-policy="[^"]*-(\d)"', web.get(following).text) == ["2"]


def test_the_last_verdicts_of_a_version_are_beside_it(web, api, policy):
    baseline = record(api, policy, True)
    scenario = api.http.post(
        "/api/verify/promote", json={"baseline_episode_id": baseline, "severity": "critical"}
    ).json()["scenario_id"]
    result = {"scenario_id": scenario, "candidate_policy_version": policy, "metrics": {}, "status": "fail"}
    api.http.post("/api/verify/result", json=result).raise_for_status()
    body = {"candidate_policy_version": policy, "baseline_episode_ids": [baseline]}
    runs = [api.http.post("/api/ingest/eval-run", json=body).json()["eval_run_id"] for _ in range(3)]
    for run in runs[:2]:
        api.http.post(f"/api/ingest/eval-run/{run}/finalize", json={}).raise_for_status()
    row = shown(web, policy)[policy]
    assert row["gate"] == {"passed": False, "critical_passed": 0, "critical_total": 1}
    assert (row["last_eval"]["eval_run_id"], row["last_eval"]["recommend"]) == (runs[1], "hold")
    page = row_of(web.get(POLICIES, params={"policy": policy}).text, f'data-policy="{policy}"')
    assert "gate blocked eval hold" in page
    api.http.post("/api/verify/promote", json={"baseline_episode_id": baseline, "severity": "info"}).raise_for_status()


def test_two_versions_are_compared_on_the_seeds_that_both_ran(web, api, policy):
    one, two = f"{policy}-1", f"{policy}-2"
    outcomes = [(1, True, True), (2, True, False), (3, False, True), (4, False, True), (5, False, False)]
    ids = {}
    for seed, first, second in outcomes:
        record(api, one, not first, seed=seed)  # run again later: the newest counts
        ids[seed] = (record(api, one, first, seed=seed, reward=1.5), record(api, two, second, seed=seed))
    record(api, one, True, seed=6)
    record(api, two, True, seed=7)
    record(api, two, seed=6)  # its outcome is not known
    record(api, two, True, seed=2, env_version="another")
    view = web.get(f"{POLICIES}/pairs.json", params={"a": one, "b": two}).json()
    rates = view["rates"]
    cells = [rates[name] for name in ("both", "only_first", "only_second", "neither", "pairs")]
    assert cells == [1, 1, 2, 1, 5]
    assert (rates["first"]["successes"], rates["second"]["successes"], rates["p"]) == (2, 3, 1.0)
    assert rates["difference"]["delta"] == pytest.approx(0.2)
    assert [pair["seed"] for pair in view["pairs"]] == [2, 3, 4, 5, 1]
    assert (view["pairs"][0]["first_episode_id"], view["pairs"][0]["second_episode_id"]) == ids[2]
    page = web.get(f"{POLICIES}/pairs", params={"a": one, "b": two}).text
    assert f"/portal/compare?a={ids[3][0]}&amp;b={ids[3][1]}" in page
    assert row_of(page, 'data-seed="3"').startswith(f"3 only {two} failure return 1.5 success")
    only = web.get(f"{POLICIES}/pairs", params={"a": one, "b": two, "show": "only_second"}).text
    assert re.findall(r'data-seed="(\d)"', only) == ["3", "4"]


def test_versions_without_a_common_seed_have_no_pair(web, policy):
    page = web.get(f"{POLICIES}/pairs", params={"a": policy, "b": "other"}).text
    assert "No seed in common" in page
    assert web.get(f"{POLICIES}/pairs.json", params={"a": policy, "b": "other"}).json()["rates"]["p"] == 1.0


def test_markup_in_a_version_is_text_and_nothing_is_inline(web, api):
    evil = '"><script>alert(1)</script>'
    record(api, evil, True, env_version=evil, git_sha="<b>", seed=1)
    for path in (f"{POLICIES}?policy=alert&reference={evil}", f"{POLICIES}/pairs?a={evil}&b={evil}"):
        answer = web.get(path)
        assert answer.status_code == 200
        assert evil not in answer.text
        assert unescape(answer.text).count(evil) > 0
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", answer.text)
