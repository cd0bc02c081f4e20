"""Every page there is, on the showcase: one line each, and each test that walks over all pages walks over it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .showcase import Showcase

__all__ = ["NO_TWIN", "PAGES", "HousePage", "address", "picture_pages"]

NO_TWIN = {
    "/portal/login": "a form, and nothing to read",
    "/portal/episodes/{episode_id}/delete": "asks once more, and nothing to read",
}
"""Pages without a JSON twin, and why."""


@dataclass(frozen=True)
class HousePage:
    """A page.

    Attributes:
        name: Of the test, and of its picture.
        path: Its address; ``{failed}`` and its like are ids of the showcase, see :func:`address`.
        route: The template of its route.
        ready: What is there once it has settled.
        status: What it answers with.
        picture: Whether the guide shows it.
        video: Whether it plays a video, so that its picture waits for a frame.
    """

    name: str
    path: str
    route: str
    ready: str = "main h1"
    status: int = 200
    picture: bool = True
    video: bool = False


_EPISODE = "/portal/episodes/{episode_id}"
_COMPARE = "/portal/compare"
_READY = "html[data-ready=true]"

PAGES = (
    HousePage("episodes", "/portal/episodes", "/portal/episodes"),
    HousePage("episodes-none", "/portal/episodes?policy_version=nobody", "/portal/episodes", picture=False),
    HousePage("episode", "/portal/episodes/{failed}?t={onset}ms", _EPISODE, _READY, video=True),
    HousePage("episode-sim", "/portal/episodes/{sim}", _EPISODE, _READY, picture=False, video=True),
    HousePage("episode-long", "/portal/episodes/{long}", _EPISODE, picture=False),
    HousePage("episode-recording", "/portal/episodes/{recording}", _EPISODE, picture=False),
    HousePage("compare", "/portal/compare?a={other}&b={failed}", _COMPARE, _READY, video=True),
    HousePage("compare-one", "/portal/compare?a={failed}", _COMPARE, picture=False),
    HousePage("compare-none", "/portal/compare", _COMPARE, picture=False),
    HousePage("evals", "/portal/evals", "/portal/evals"),
    HousePage("eval", "/portal/evals/{eval_run}", "/portal/evals/{eval_run_id}"),
    HousePage("eval-running", "/portal/evals/{eval_running}", "/portal/evals/{eval_run_id}", picture=False),
    HousePage("verify", "/portal/verify?candidate=act-v8-rc1", "/portal/verify"),
    HousePage("api-keys", "/portal/api-keys", "/portal/api-keys"),
    HousePage("storage", "/portal/storage", "/portal/storage"),
    HousePage("audit", "/portal/audit", "/portal/audit"),
    HousePage("about", "/portal/about", "/portal/about"),
    HousePage("login-program", "/cli/auth", "/cli/auth", picture=False),
    HousePage("missing-episode", "/portal/episodes/nowhere", _EPISODE, status=404, picture=False),
    HousePage("missing", "/portal/nothing/of/the/kind", "", status=404, picture=False),
)


def address(page: HousePage, showcase: Showcase) -> str:
    """Where a page is, on this showcase."""
    return page.path.format(
        failed=showcase.by_fault.get("NaN", ""),
        onset=f"{showcase.onset_ms:.0f}",
        sim=next((number for name, number in showcase.episodes.items() if name.startswith("CartPole")), ""),
        other=showcase.by_fault.get(None, ""),
        long=showcase.long,
        recording=showcase.recording,
        eval_run=showcase.eval_run,
        eval_running=showcase.eval_running,
    )


def picture_pages() -> Iterable[HousePage]:
    """Those that the guide shows."""
    return (page for page in PAGES if page.picture)
