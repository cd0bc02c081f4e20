"""What holds for every page: it can be read by everybody, it fits, and nothing is wrong with it in the console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .house_pages import PAGES, HousePage, address
from .portal_fixtures import Tab
from .showcase import Showcase, fill_showcase

pytestmark = pytest.mark.browser

# What else a page can show: everything unfolded, then each dialog and menu over it.
UNFOLD = "for (const part of document.querySelectorAll('details')) part.open = true;"
LAYERS = "[...document.querySelectorAll('dialog, [popover]')].length"
SHOW = """number => {
  const layer = document.querySelectorAll('dialog, [popover]')[number];
  if (layer.matches('dialog')) layer.showModal(); else layer.showPopover();
}"""
HIDE = """number => {
  const layer = document.querySelectorAll('dialog, [popover]')[number];
  if (layer.matches('dialog')) layer.close(); else layer.hidePopover();
}"""
STRUCTURE = """() => ({
  title: document.title,
  lang: document.documentElement.lang,
  h1: document.querySelectorAll('h1').length,
  main: document.querySelectorAll('main').length,
  skip: document.querySelector('a.skip')?.getAttribute('href'),
  unnamed: [...document.querySelectorAll('table th')].filter(th => !th.scope).length,
})"""
STOPS = """() => {
  const all = document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]');
  const wanted = [...all].filter(e => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({ visibilityProperty: true })
    && e.getClientRects().length);
  wanted.forEach((element, place) => { element.dataset.stop = place; });
  return wanted.map(e => (e.getAttribute('aria-label') ?? e.textContent ?? e.name).trim().slice(0, 30) || e.outerHTML);
}"""
STOP = """() => {
  const element = document.activeElement;
  const style = e => getComputedStyle(e);
  const ringed = e => Boolean(e) && style(e).outlineStyle !== 'none' && parseFloat(style(e).outlineWidth) > 0;
  const seen = [element, element.closest('tr'), element.labels?.[0]].some(ringed);
  return [Number(element.dataset.stop ?? -1), seen];
}"""


@pytest.fixture(scope="module")
def showcase(deployment: Deployment, settings: Settings) -> Showcase:
    pytest.importorskip("pygame")
    return fill_showcase(deployment, settings, arms=7, poles=2, extremes=True)


@pytest.fixture(scope="module")
def axe() -> Any:
    return pytest.importorskip("axe_playwright_python.sync_playwright").Axe()


def open_page(tab: Tab, page: HousePage, showcase: Showcase) -> None:
    tab.open(address(page, showcase))
    tab.page.locator(page.ready).first.wait_for(state="attached")


def serious(axe: Any, tab: Tab) -> list[str]:
    found = axe.run(tab.page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{entry['id']}: {node['html'][:120]} {node['failureSummary'][:300]}"
        for entry in found
        if entry["impact"] in ("serious", "critical")
        for node in entry["nodes"]
    ]


@pytest.fixture
def quiet_tab(browser: Any, deployment: Deployment, request: Any) -> Iterator[Tab]:
    """As ``tab``; an address that is nowhere is complained of by the browser itself."""
    width, scheme = request.param
    tab = Tab(browser, deployment.base_url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    yield tab
    tab.close()
    missing = "error: Failed to load resource: the server responded with a status of 404"
    assert [complaint for complaint in tab.complaints if not complaint.startswith(missing)] == []


@pytest.mark.parametrize("quiet_tab", [(1280, "light"), (390, "dark")], ids=["desktop", "phone"], indirect=True)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_accessible_and_fits(quiet_tab: Tab, page: HousePage, showcase: Showcase, axe: Any) -> None:
    """With axe-core's rules; every part unfolded, every dialog and menu opened."""
    tab = quiet_tab
    open_page(tab, page, showcase)
    structure = tab.page.evaluate(STRUCTURE)
    assert structure["title"].endswith("RoboTrace")
    assert (structure["lang"], structure["h1"], structure["main"]) == ("en", 1, 1)
    assert structure["skip"] == "#content"
    assert structure["unnamed"] == 0
    assert tab.fits
    tab.page.evaluate(UNFOLD)
    assert tab.fits
    assert serious(axe, tab) == []
    for number in range(tab.page.evaluate(LAYERS)):
        tab.page.evaluate(SHOW, number)
        assert tab.fits
        assert serious(axe, tab) == []
        tab.page.evaluate(HIDE, number)


@pytest.mark.parametrize("name", ["episodes", "episode"])
def test_the_keyboard_reaches_everything_in_the_order_of_the_page(tab: Tab, showcase: Showcase, name: str) -> None:
    open_page(tab, next(page for page in PAGES if page.name == name), showcase)
    wanted = tab.page.evaluate(STOPS)
    assert len(wanted) > 10
    reached, unseen = [], []
    for _ in range(len(wanted)):
        tab.page.keyboard.press("Tab")
        stop, ringed = tab.page.evaluate(STOP)
        reached.append(stop)
        if not ringed and stop >= 0:
            unseen.append(wanted[stop])
    assert reached == list(range(len(wanted))), [wanted[stop] for stop in set(range(len(wanted))) - set(reached)]
    assert unseen == []


def test_the_way_past_the_head_of_the_page(tab: Tab, showcase: Showcase) -> None:
    tab.open("/portal/storage")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.id") == "content"


def test_the_menu_and_the_colours_without_a_script(browser: Any, deployment: Deployment, showcase: Showcase) -> None:
    """The chosen scheme is in the page as it comes, with the address it was chosen at."""
    tab = Tab(browser, deployment.base_url, java_script_enabled=False, color_scheme="light")
    here = address(next(page for page in PAGES if page.name == "episode"), showcase)
    tab.open(here)
    page = tab.page
    page.get_by_role("button", name="Deployment").click()
    page.get_by_role("button", name="Dark").click()
    page.wait_for_url(f"**{here}")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.get_by_role("button", name="Deployment").click()
    page.get_by_role("navigation", name="Deployment").get_by_role("link", name="Storage").click()
    page.get_by_role("heading", level=1, name="Storage").wait_for()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    tab.close()
    assert tab.complaints == []


def test_a_chosen_scheme_is_the_one_that_is_painted(browser: Any, deployment: Deployment) -> None:
    """Against the browser's own preference, and for what scripts ask the tokens for."""
    tab = Tab(browser, deployment.base_url, color_scheme="light")
    tab._context.add_cookies([{"name": "robotrace_theme", "value": "dark", "url": deployment.base_url}])
    tab.open("/portal/about")
    painted = "getComputedStyle(document.documentElement)"
    assert tab.page.evaluate(f"{painted}.backgroundColor") == "rgb(13, 16, 20)"
    assert tab.page.evaluate(f"{painted}.getPropertyValue('--line-0')") == "rgb(61, 150, 229)"
    tab.close()
    assert tab.complaints == []
