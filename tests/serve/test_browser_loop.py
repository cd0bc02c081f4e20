"""The whole loop in a real Chromium: a failure, its finding, the instant, the link, a scenario, the gate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from polling import eventually

from robotrace import Client, verify
from robotrace.serve.server import Deployment

from .portal_fixtures import Tab, constant_rate, publish, write_barcode_video, write_streams

pytestmark = pytest.mark.browser

FRAMES, FPS = 90, 30
FROZEN_FROM = 48  # of 90 rows: 1.6 s
VERIFY = "/portal/verify"


@pytest.fixture
def failed(deployment: Deployment, tmp_path: Path, policy: str) -> str:
    """An episode that failed because a sensor froze at 1.6 s, with a picture that says which frame it is."""
    times = constant_rate(FRAMES, FPS)
    write_barcode_video(tmp_path / "video.mp4", times)
    seen = np.cumsum(np.random.default_rng(0).normal(size=(FRAMES, 3)), axis=0)
    seen[FROZEN_FROM:] = seen[FROZEN_FROM]
    imu = np.random.default_rng(1).normal(size=(FRAMES, 2))
    write_streams(tmp_path / "sensors.npz", np.array(times), {"observation": seen, "imu": imu})
    write_streams(tmp_path / "actions.npz", np.array(times), {"action": np.sin(np.arange(FRAMES) / 7)[:, None]})
    episode = publish(
        deployment,
        files={
            "video": tmp_path / "video.mp4",
            "sensors": tmp_path / "sensors.npz",
            "actions": tmp_path / "actions.npz",
        },
        create={"name": "gripper lost the cube", "policy_version": policy, "seed": 7},
        finalize={
            "status": "failed",
            "duration_s": FRAMES / FPS,
            "failure_time_s": 2.9,
            "metadata": {"outcome": {"success": False}},
        },
    )
    found = f"{deployment.base_url}/portal/episodes/{episode}/findings.json"
    eventually(lambda: httpx.get(found, trust_env=False).json()["pending"] is False)
    return episode


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    with Client(base_url=deployment.base_url, api_key=deployment.first_key, verbose=False) as made:
        yield made


def candidate(success: bool) -> Any:
    """A policy that says of itself how it ended."""
    return lambda row: {"action/value": np.zeros(1), "_outcome": {"success": success}}


def test_from_a_finding_to_the_verdict_of_a_candidate_and_back(
    browser: Any, deployment: Deployment, client: Client, failed: str
) -> None:
    here = {"viewport": {"width": 1280, "height": 800}}
    mine = Tab(browser, deployment.base_url, permissions=["clipboard-read", "clipboard-write"], **here)
    mine.open_replay(f"/portal/episodes/{failed}")
    mine.page.locator(".finding", has_text="observation froze").get_by_role(
        "link", name=re.compile(r"1\.600 s")
    ).click()
    mine.wait_settled()
    assert (mine.frame, mine.shown) == (FROZEN_FROM, FROZEN_FROM)

    # The address, as a colleague gets it.
    mine.page.locator("#copy-link").click()
    mine.page.locator("#copy-link[data-copied=yes]").wait_for()
    address = mine.page.evaluate("navigator.clipboard.readText()")
    assert address.startswith(f"{deployment.base_url}/portal/episodes/{failed}?")
    theirs = Tab(browser, deployment.base_url, **here)
    theirs.open_replay(address.removeprefix(deployment.base_url))
    theirs.wait_settled()
    assert (theirs.frame, theirs.shown, theirs.time_ms) == (FROZEN_FROM, FROZEN_FROM, mine.time_ms)
    theirs.close()

    # From now on every policy has to pass it.
    mine.page.get_by_label("Severity").select_option("critical")
    mine.page.get_by_role("button", name="Promote to scenario").click()
    mine.page.get_by_role("link", name="All scenarios").click()
    scenario = mine.page.locator("#scenarios tbody tr", has_text="gripper lost the cube")
    assert "critical" in str(scenario.text_content())

    # One that fails it, and one that does not.
    for version, success in (("v8-rc1", False), ("v8", True)):
        code, gate = verify.run_check(
            candidate_policy_version=version, policy_callable=candidate(success), client=client
        )
        assert (code, gate["passed"]) == (int(not success), success)
    mine.open(VERIFY)
    rows = mine.page.locator("#candidates tbody tr")
    assert [str(text).split()[:2] for text in rows.all_text_contents()] == [["passed", "v8"], ["blocked", "v8-rc1"]]
    rows.get_by_role("link", name="v8", exact=True).click()
    assert mine.page.locator("#blockers").text_content() == "Every critical scenario passes."
    flip = mine.page.locator("#flips li", has_text="gripper lost the cube")
    assert "fail → pass" in str(flip.text_content())

    # And back to where it all began.
    flip.get_by_role("link", name=re.compile("observation froze")).click()
    mine.page.locator("html[data-ready=true]").wait_for(state="attached")
    mine.wait_settled()
    assert (mine.frame, mine.shown) == (FROZEN_FROM, FROZEN_FROM)
    mine.close()
    assert (mine.complaints, theirs.complaints) == ([], [])
