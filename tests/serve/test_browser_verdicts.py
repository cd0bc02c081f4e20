"""Policies, verification and eval runs in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from robotrace.serve.server import Deployment

from .portal_fixtures import Tab, publish

pytestmark = pytest.mark.browser


@pytest.fixture
def api(deployment: Deployment) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {deployment.internal_key}"}
    with httpx.Client(base_url=deployment.base_url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def post(api: httpx.Client, path: str, **body: Any) -> Any:
    answer = api.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


def test_policies_are_compared_on_one_axis(tab: Tab, deployment: Deployment, policy: str) -> None:
    for version, outcomes in ((f"{policy}-1", (True, False, False)), (f"{policy}-2", (True, True, True))):
        for seed, success in enumerate(outcomes):
            publish(
                deployment,
                create={"policy_version": version, "seed": seed, "env_version": "a-long-name-of-an-environment-v2"},
                finalize={"status": "ready", "metadata": {"outcome": {"success": success, "reward_total": 1.5}}},
            )
    tab.open(f"/portal/policies?policy={policy}&sort=-rate")
    page = tab.page
    rows = page.locator("#policies tbody tr")
    assert rows.evaluate_all("all => all.map(row => row.dataset.policy.slice(-1))") == ["2", "1"]
    # The whiskers end where the interval does: 1/3 is 6 % to 79 %.
    bar = rows.nth(1).locator(".rate").bounding_box()
    whisker = rows.nth(1).locator(".whisker").bounding_box()
    assert (whisker["x"] - bar["x"]) / bar["width"] == pytest.approx(0.0615, abs=0.01)
    assert (whisker["x"] + whisker["width"] - bar["x"]) / bar["width"] == pytest.approx(0.7923, abs=0.01)
    rows.nth(1).get_by_role("link", name=f"Compare with {policy}-1").click()
    page.locator(".reference").first.wait_for(state="attached")
    assert tab.fits
    rows.nth(0).get_by_role("link", name="same seeds").click()
    assert page.locator("#pairs tbody tr").count() == 3
    page.locator("[data-cell=only_second]").first.click()
    page.wait_for_url("**show=only_second")
    assert page.locator("#pairs tbody tr").count() == 2
    assert tab.fits


def test_a_wide_matrix_scrolls_under_the_names_and_a_scenario_is_changed_and_removed(
    tab: Tab, deployment: Deployment, api: httpx.Client, policy: str
) -> None:
    names = [f"{policy} {number}" for number in range(3)]
    scenarios = [
        post(
            api,
            "/api/verify/promote",
            baseline_episode_id=publish(deployment, finalize={"status": "ready"}),
            name=name,
        )["scenario_id"]
        for name in names
    ]
    for number in range(20):
        for scenario in scenarios:
            version = {"scenario_id": scenario, "candidate_policy_version": f"{policy}-{number}", "metrics": {}}
            post(api, "/api/verify/result", **version, status="fail" if number == 18 else "pass")
    tab.open("/portal/verify")
    page = tab.page
    row = page.locator(f"[data-scenario-id='{scenarios[0]}']")
    name, last = row.locator("th"), row.locator("td").last
    left = name.bounding_box()["x"]
    last.scroll_into_view_if_needed()
    assert name.bounding_box()["x"] == left
    assert page.locator(".matrix-frame").evaluate("frame => frame.scrollLeft") > 0
    assert tab.fits

    row.locator("summary").first.scroll_into_view_if_needed()
    row.locator(".change > summary").click()
    row.get_by_label("Severity").select_option("critical")
    row.get_by_role("button", name="Save").click()
    row.locator("[data-severity=critical]").first.wait_for()
    row.locator(".change > summary").click()
    row.locator(".removal > summary").click()
    row.get_by_role("button", name="Remove scenario").click()
    row.wait_for(state="detached")
    assert page.locator(f"[data-scenario-id='{scenarios[1]}']").count() == 1
    for scenario in scenarios[1:]:
        assert api.delete(f"/api/verify/scenarios/{scenario}").status_code == 204


def test_a_run_that_goes_on_fills_its_page_and_says_so(tab: Tab, api: httpx.Client) -> None:
    run = post(
        api, "/api/ingest/eval-run", candidate_policy_version="v2", baseline_episode_ids=["a", "b"], name="nightly"
    )["eval_run_id"]
    tab.open(f"/portal/evals/{run}")
    page = tab.page
    assert "0 of 2 baselines" in page.locator("#recommendation").text_content()
    for baseline, candidate in (("a", False), ("b", True)):
        metrics = {"success_baseline": True, "success_candidate": candidate}
        post(
            api, f"/api/ingest/eval-run/{run}/result", baseline_episode_id=baseline, status="complete", metrics=metrics
        )
        if baseline == "a":
            page.locator("[data-baseline-id=a] [data-flip=broke]").wait_for()
            page.locator("#announcer", has_text="1 of 2 baselines have a result").wait_for(state="attached")
    post(api, f"/api/ingest/eval-run/{run}/finalize")
    page.locator("#recommendation", has_text="Recommendation: hold").wait_for()
    page.locator("#announcer", has_text="The run is completed").wait_for(state="attached")
    assert "1/2 = 50%" in page.locator("#paired").text_content()
    assert tab.fits
