"""The list of episodes in a real Chromium: what arrives, what is selected, what becomes of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from robotrace.serve.portal_format import ago
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .portal_fixtures import Tab, constant_rate, publish, write_barcode_video

pytestmark = pytest.mark.browser

EPISODES = "/portal/episodes"
# The list looks at once when its tab is shown again; waiting for its clock would take seconds.
LOOK_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"


def row(tab: Tab, episode: str) -> Any:
    return tab.page.locator(f"tr[data-episode-id='{episode}']")


def order(tab: Tab) -> list[str]:
    found: list[str] = tab.page.locator("tbody tr").evaluate_all("rows => rows.map(row => row.dataset.episodeId)")
    return found


def several(deployment: Deployment, policy: str, count: int) -> list[str]:
    """The newest first."""
    create = {"policy_version": policy}
    made = [
        publish(deployment, create=create | {"name": f"pick {number}"}, finalize={"status": "ready"})
        for number in range(count)
    ]
    return made[::-1]


def test_episodes_arrive_change_in_place_and_never_move_what_is_under_the_mouse(
    desktop: Tab, deployment: Deployment, policy: str
) -> None:
    first = several(deployment, policy, 2)
    page = desktop.page
    page.mouse.move(5, 5)
    desktop.open(f"{EPISODES}?policy_version={policy}")
    running = publish(deployment, create={"policy_version": policy, "name": "runs"})
    page.evaluate(LOOK_AGAIN)
    row(desktop, running).locator("[data-status=recording]").wait_for()
    assert order(desktop) == [running, *first]
    # Somebody has selected it, and has the mouse on the list.
    row(desktop, running).get_by_role("checkbox").check()
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {deployment.internal_key}"
        client.post(f"/api/ingest/episode/{running}/finalize", json={"status": "failed"}).raise_for_status()
    later = [publish(deployment, create={"policy_version": policy}) for _ in range(2)]
    page.evaluate(LOOK_AGAIN)
    page.get_by_role("button", name="2 new episodes").wait_for()
    row(desktop, running).locator("td [data-status=failed]").wait_for()
    assert row(desktop, running).get_by_role("checkbox").is_checked()
    assert order(desktop) == [running, *first]
    assert page.locator("#announcer").text_content() in ("1 new episode", "2 new episodes")
    page.keyboard.press("n")
    row(desktop, later[0]).wait_for()
    assert order(desktop) == [*later[::-1], running, *first]
    assert row(desktop, running).get_by_role("checkbox").is_checked()


def test_episodes_that_only_now_pass_the_filters_come_in_where_they_belong(
    desktop: Tab, deployment: Deployment, policy: str
) -> None:
    create = {"policy_version": policy}
    oldest = publish(deployment, create=create, finalize={"status": "failed"})
    running = publish(deployment, create=create)
    newest = publish(deployment, create=create, finalize={"status": "failed"})
    desktop.page.mouse.move(5, 5)
    desktop.open(f"{EPISODES}?policy_version={policy}&status=failed")
    assert order(desktop) == [newest, oldest]
    with httpx.Client(base_url=deployment.base_url, trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {deployment.internal_key}"
        client.post(f"/api/ingest/episode/{running}/finalize", json={"status": "failed"}).raise_for_status()
        desktop.page.evaluate(LOOK_AGAIN)
        row(desktop, running).wait_for()
        assert order(desktop) == [newest, running, oldest]
        client.delete(f"/api/episodes/{newest}").raise_for_status()
    desktop.page.evaluate(LOOK_AGAIN)
    row(desktop, newest).wait_for(state="detached")


def test_the_list_by_keyboard(desktop: Tab, deployment: Deployment, policy: str) -> None:
    made = several(deployment, policy, 4)
    page = desktop.page
    desktop.open(f"{EPISODES}?policy_version={policy}")
    for key in ("j", "x", "ArrowDown", "ArrowDown", "X"):
        page.keyboard.press(key)
    assert page.locator("#bulk-count").text_content() == "3 selected"
    assert page.locator("#bulk-compare").is_hidden()
    page.keyboard.press("k")
    page.keyboard.press("x")
    assert page.locator("#bulk-compare").get_attribute("href") == f"/portal/compare?a={made[2]}&b={made[0]}"
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator("#bulk-bar").wait_for(state="hidden")
    page.keyboard.press("/")
    page.keyboard.type("jx?")  # a field takes what is typed into it
    assert page.locator("#filter-name").input_value() == "jx?"
    page.get_by_role("link", name="pick 3").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{EPISODES}/{made[0]}")


def test_several_are_archived_brought_back_and_deleted(tab: Tab, deployment: Deployment, policy: str) -> None:
    made = several(deployment, policy, 13)
    page = tab.page
    tab.open(f"{EPISODES}?policy_version={policy}")
    page.locator("[name=id]").nth(1).check()
    page.locator("[name=id]").nth(3).click(modifiers=["Shift"])
    page.get_by_role("button", name="Archive", exact=True).click()
    page.locator("#said", has_text="3 archived.").wait_for()
    assert order(tab) == [made[0], *made[4:]]
    page.get_by_role("button", name="Undo").click()
    page.locator("#said", has_text="3 restored.").wait_for()
    page.mouse.move(5, 5)
    page.evaluate("scrollTo(0, 0)")
    page.evaluate(LOOK_AGAIN)
    row(tab, made[2]).wait_for()
    assert order(tab) == made
    page.locator("[name=id]").nth(0).check()
    page.get_by_role("button", name="Promote as").click()
    page.locator("#said", has_text="1 made a scenario.").wait_for()
    page.locator("[name=id]").nth(0).check()
    page.locator("[name=id]").nth(11).click(modifiers=["Shift"])
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog", name="Delete 12 episodes?")
    assert dialog.get_by_role("button", name="Delete for good").is_disabled()
    dialog.get_by_label("To confirm, type how many: 12").fill("12")
    assert tab.fits
    dialog.get_by_role("button", name="Delete for good").click()
    page.locator("#said", has_text="11 deleted, 1 kept: the baseline of a scenario.").wait_for()
    assert order(tab) == [made[0], made[12]]
    assert row(tab, made[0]).locator(".row-error").text_content() == "Kept: it is the baseline of a scenario"


def test_a_view_is_saved_and_a_filter_taken_off(tab: Tab, deployment: Deployment, policy: str) -> None:
    (made,) = several(deployment, policy, 1)
    page = tab.page
    tab.open(f"{EPISODES}?policy_version={policy}&created_after=24h")
    page.get_by_text("Save view").click()
    name = f"lately {policy[:6]} {page.viewport_size['width']}"
    page.get_by_label("Name of the view").fill(name)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name=name).wait_for()
    page.locator("#chips a", has_text="since").click()
    page.wait_for_url(lambda url: "created_after" not in url)
    assert order(tab) == [made]
    page.get_by_role("link", name=name).click()
    page.wait_for_url(lambda url: "created_after=24h" in url)
    assert page.get_by_role("link", name=name).get_attribute("aria-current") == "page"
    assert tab.fits


def test_pictures_come_and_a_broken_video_leaves_a_quiet_place(
    desktop: Tab, deployment: Deployment, policy: str, tmp_path: Path
) -> None:
    write_barcode_video(tmp_path / "good.mp4", constant_rate(30))
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
    create, end = {"policy_version": policy}, {"status": "ready"}
    for name in ("good", "bad"):
        publish(deployment, files={"video": tmp_path / f"{name}.mp4"}, create=create, finalize=end)
    publish(deployment, create=create, finalize=end)
    desktop.open(f"{EPISODES}?policy_version={policy}")
    images = desktop.page.locator("img.thumb")
    sizes = images.evaluate_all(
        "all => Promise.all(all.map(async image => { await image.decode(); return [image.naturalWidth, image.width] }))"
    )
    assert sizes[1] == [192, 64]
    assert sizes[0][1] == 64
    boxes = desktop.page.locator(".thumb").evaluate_all("all => all.map(box => [box.offsetWidth, box.offsetHeight])")
    assert boxes == [[64, 48]] * 3


def test_what_there_is_is_suggested_once_somebody_is_about_to_type(
    desktop: Tab, deployment: Deployment, policy: str
) -> None:
    several(deployment, policy, 1)
    desktop.open(EPISODES)
    assert desktop.page.locator("#values-policy_version option").count() == 0
    desktop.page.get_by_label("Policy").focus()
    desktop.page.locator(f"#values-policy_version option[value='{policy}']").wait_for(state="attached")


def test_without_scripts_the_list_is_whole(browser: Any, deployment: Deployment, policy: str, tmp_path: Path) -> None:
    made = several(deployment, policy, 2)
    tab = Tab(browser, deployment.base_url, java_script_enabled=False)
    tab.open(f"{EPISODES}?policy_version={policy}")
    page = tab.page
    page.locator("[name=id]").nth(0).check()
    page.get_by_role("button", name="Archive", exact=True).click()
    page.locator("#said", has_text="1 archived.").wait_for()
    page.locator("[name=id]").nth(0).check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("heading", name="Delete this episode?").wait_for()
    page.get_by_role("button", name="Delete for good").click()
    page.locator("#said", has_text="1 deleted.").wait_for()
    tab.close()
    with Deployment(Settings(tmp_path / "data", port=0)) as empty:
        teaches = Tab(browser, empty.base_url, java_script_enabled=False)
        teaches.open(EPISODES)
        assert teaches.page.locator("#code-sb3").is_hidden()
        teaches.page.get_by_text("Stable-Baselines3").click()
        assert teaches.page.locator("#code-sb3").is_visible()
        assert teaches.page.locator("#code-gymnasium").is_hidden()
        teaches.close()
    assert tab.complaints == teaches.complaints == []
    assert httpx.get(f"{deployment.base_url}{EPISODES}/{made[1]}.json").status_code == 404


@pytest.mark.parametrize("seconds", [0, 59.9, 60, 3599, 3600, 86399, 86400, 2591999, 2592000])
def test_a_time_reads_alike_on_both_sides(desktop: Tab, seconds: float) -> None:
    now = datetime(2026, 3, 1, 0, 30, tzinfo=timezone.utc)
    moment = now - timedelta(seconds=seconds)
    desktop.open(EPISODES)
    read = "async ([then, now]) => (await import('/static/relative.js')).ago(new Date(then), now)"
    assert desktop.page.evaluate(read, [moment.isoformat(), now.timestamp() * 1000]) == ago(moment, now)
