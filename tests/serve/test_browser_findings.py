"""The findings of an episode's page in a real Chromium."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest
from polling import eventually

from robotrace.serve import analyses
from robotrace.serve.server import Deployment

from .portal_fixtures import Tab, publish, write_streams

pytestmark = pytest.mark.browser


def explained(deployment: Deployment, episode_id: str) -> bool:
    answer = httpx.get(f"{deployment.base_url}/portal/episodes/{episode_id}/findings.json", trust_env=False)
    return answer.json()["pending"] is False


@pytest.fixture
def frozen(deployment: Deployment, tmp_path: Path) -> str:
    times = np.arange(100) / 50
    seen = np.cumsum(np.random.default_rng(0).normal(size=(100, 3)), axis=0)
    seen[60:] = seen[60]
    write_streams(
        tmp_path / "s.npz", times, {"observation": seen, "imu": np.random.default_rng(1).normal(size=(100, 2))}
    )
    return publish(
        deployment,
        files={"sensors": tmp_path / "s.npz"},
        create={"name": "froze", "policy_version": "v1"},
        finalize={"status": "failed", "duration_s": 2.0, "failure_time_s": 1.98},
    )


def test_a_finding_leads_to_its_moment_and_is_marked_on_the_timeline(
    tab: Tab, deployment: Deployment, frozen: str
) -> None:
    eventually(lambda: explained(deployment, frozen))
    tab.open_replay(f"/portal/episodes/{frozen}")
    assert tab.page.locator(".finding-title").all_text_contents() == ["observation froze"]
    assert "1.200 s" in str(tab.page.locator(".flag.onset").get_attribute("title"))
    tab.page.locator(".finding a.figure").click()
    tab.wait_settled()
    assert tab.time_ms == 1200
    assert tab.fits


def test_the_page_loads_itself_again_once_the_findings_are_there(tab: Tab, deployment: Deployment) -> None:
    with analyses._ONE_AT_A_TIME:
        episode_id = publish(deployment, finalize={"status": "failed"})
        tab.open(f"/portal/episodes/{episode_id}")
        tab.page.get_by_text("The streams are being looked at").wait_for()
    tab.page.locator('.finding[data-code="unexplained"]').wait_for()


def test_the_page_is_not_loaded_again_under_who_is_leaving_it(desktop: Tab) -> None:
    """A reload would take them back to where they clicked."""
    page = desktop.page
    desktop.open("/portal/episodes")
    reload = "import('/static/reload.js').then(module => module.reloadPage())"
    with page.expect_navigation():
        page.evaluate(f"() => {{ {reload}; }}")
    page.evaluate(
        "() => import('/static/reload.js').then(() => { window.stayed = dispatchEvent(new Event('beforeunload')); })"
    )
    page.evaluate(reload)
    # A page that is loaded again answers nothing that it was asked before.
    assert page.evaluate("fetch('/healthz').then(() => fetch('/healthz')).then(() => window.stayed)") is True


def test_a_finding_is_called_wrong_and_that_is_taken_back(tab: Tab, deployment: Deployment, frozen: str) -> None:
    eventually(lambda: explained(deployment, frozen))
    tab.open_replay(f"/portal/episodes/{frozen}")
    tab.page.get_by_role("button", name="Wrong?: observation froze").click()
    tab.page.locator('.finding[data-feedback="wrong"]').wait_for()
    tab.page.get_by_role("button", name="Wrong?: observation froze", pressed=True).click()
    tab.page.locator(".finding:not([data-feedback])").wait_for()
    tab.page.locator("html[data-ready=true]").wait_for(state="attached")
