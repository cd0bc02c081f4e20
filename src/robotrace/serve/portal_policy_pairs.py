"""The page of two policy versions on the seeds that both ran, and its JSON twin."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from robotrace.serve.episodes import EpisodeFilter
from robotrace.serve.pages import page
from robotrace.serve.policies import SeedPair, count_pairs, seed_pairs
from robotrace.serve.policy_scope import After, Scope, lenient_scope
from robotrace.serve.portal_rates import PairedRates, paired_rates
from robotrace.serve.portal_tables import address
from robotrace.serve.services import PageViewer, Services, Viewer, get_services

__all__ = ["PairsView", "SeedPairView", "router"]

_PAIRS = "/portal/policies/pairs"
_PAGE_SIZE = 100
_CELLS: dict[str, tuple[bool, bool]] = {
    "only_first": (True, False),
    "only_second": (False, True),
    "neither": (False, False),
    "both": (True, True),
}


router = APIRouter(include_in_schema=False)


class SeedPairView(BaseModel):
    """Two episodes of the same seed."""

    seed: int
    env_version: str | None
    robot: str | None
    first_episode_id: str
    second_episode_id: str
    first_success: bool
    second_success: bool
    first_return: float | None
    second_return: float | None
    first_failure_time_s: float | None
    second_failure_time_s: float | None


class PairsView(BaseModel):
    """Two versions on the seeds that both ran; ``pairs`` are those of the cell that was asked for, or all."""

    first: str
    second: str
    rates: PairedRates
    pairs: list[SeedPairView]
    show: str | None
    next: int | None


def _pairs_view(
    services: Services, viewer: Viewer, filters: EpisodeFilter, *, a: str, b: str, show: str, after: int
) -> PairsView:
    with services.database.read() as session:
        found = seed_pairs(session, viewer.project_id, a, b, filters)
    cell = _CELLS.get(show)
    order = list(_CELLS.values())  # what tells the two apart comes first
    shown = [pair for pair in found if cell in (None, (pair.first.success, pair.second.success))]
    shown.sort(key=lambda pair: order.index((pair.first.success, pair.second.success)))
    return PairsView(
        first=a,
        second=b,
        rates=paired_rates(count_pairs(found)),
        pairs=[_pair_view(pair) for pair in shown[after : after + _PAGE_SIZE]],
        show=show if cell else None,
        next=after + _PAGE_SIZE if len(shown) > after + _PAGE_SIZE else None,
    )


def _pair_view(pair: SeedPair) -> SeedPairView:
    return SeedPairView(
        seed=pair.seed,
        env_version=pair.env_version,
        robot=pair.robot,
        first_episode_id=pair.first.id,
        second_episode_id=pair.second.id,
        first_success=pair.first.success,
        second_success=pair.second.success,
        first_return=pair.first.reward_total,
        second_return=pair.second.reward_total,
        first_failure_time_s=pair.first.failure_time_s,
        second_failure_time_s=pair.second.failure_time_s,
    )


@router.get(_PAIRS + ".json")
def pairs_json(
    request: Request, viewer: PageViewer, filters: Scope, a: str = "", b: str = "", show: str = "", after: After = 0
) -> PairsView:
    """Two versions on the same seeds."""
    return _pairs_view(get_services(request), viewer, filters, a=a.strip(), b=b.strip(), show=show, after=after)


@router.get(_PAIRS)
def pairs_page(
    request: Request, viewer: PageViewer, a: str = "", b: str = "", show: str = "", after: After = 0
) -> HTMLResponse:
    """The same to look at."""
    typed, filters, kept, error = lenient_scope(request)
    asked = {"a": a.strip(), "b": b.strip()}
    view = _pairs_view(get_services(request), viewer, filters, **asked, show=show, after=after)
    here = {**asked, **kept}
    return page(
        "policy_pairs.html",
        viewer=viewer,
        view=view,
        filters=typed,
        filter_error=error,
        cells=[
            (name, getattr(view.rates, name), address(_PAIRS, {**here, "show": name}), name == view.show)
            for name in _CELLS
        ],
        all_url=address(_PAIRS, here),
        turned_url=address(_PAIRS, {**here, "a": asked["b"], "b": asked["a"]}),
        policies_url=address("/portal/policies", {**kept, "reference": asked["a"]}),
        first_url=address(_PAIRS, {**here, "show": show}) if after else None,
        next_url=address(_PAIRS, {**here, "show": show, "after": str(view.next)}) if view.next else None,
        json_url=address(f"{_PAIRS}.json", {**here, "show": show}),
    )
