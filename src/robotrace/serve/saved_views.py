"""Filters that a project keeps under a name."""

from __future__ import annotations

from fastapi import HTTPException
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from robotrace.serve.audit import HasActor, audit
from robotrace.serve.models import SavedView, utc_now

__all__ = ["delete_view", "list_views", "rename_view", "save_view", "view_or_404"]

_MOST = 100
_MAX_NAME = 60
_MAX_QUERY = 2000


def list_views(session: Session, project_id: int) -> list[SavedView]:
    """The views of a project, by name."""
    query = select(SavedView).where(SavedView.project_id == project_id).order_by(func.lower(SavedView.name))
    return list(session.scalars(query))


def save_view(session: Session, actor: HasActor, name: str, query: str) -> SavedView:
    """Keep filters under a name.

    Args:
        session: Holds the write lock.
        actor: Who does it, and in which project.
        name: 1 to 60 printable characters, none of another view.
        query: Of :func:`robotrace.serve.list_filters.query_of`.

    Raises:
        HTTPException: 400 for a name that is none, for no filters or endless ones; 409 for a name that is taken, and
            when there are 100 views.
    """
    if not query or len(query) > _MAX_QUERY:
        raise HTTPException(400, "a view keeps filters; set some first" if not query else "these filters are too long")
    if len(list_views(session, actor.project_id)) >= _MOST:
        raise HTTPException(409, f"a project has at most {_MOST} views; delete one first")
    view = SavedView(
        project_id=actor.project_id, name=_free_name(session, actor, name), query=query, created_at=utc_now()
    )
    session.add(view)
    session.flush()
    audit(session, actor, "view.saved", view.name, view_id=view.id, query=query)
    return view


def rename_view(session: Session, actor: HasActor, view: SavedView, name: str) -> None:
    """Give a view another name.

    Raises:
        HTTPException: 400 for a name that is none; 409 for one that is taken.
    """
    if name.strip() == view.name:
        return
    former, view.name = view.name, _free_name(session, actor, name)
    audit(session, actor, "view.renamed", view.name, view_id=view.id, former=former)


def delete_view(session: Session, actor: HasActor, view: SavedView) -> None:
    """Forget a view."""
    audit(session, actor, "view.deleted", view.name, view_id=view.id, query=view.query)
    session.delete(view)


def view_or_404(session: Session, view_id: int, project_id: int) -> SavedView:
    """The view of a project.

    Raises:
        HTTPException: 404 when there is none; of a view of another project it says the same.
    """
    view = session.get(SavedView, view_id)
    if view is None or view.project_id != project_id:
        raise HTTPException(404, "there is no such view")
    return view


def _free_name(session: Session, actor: HasActor, name: str) -> str:
    name = name.strip()
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise HTTPException(400, f"a view's name has 1 to {_MAX_NAME} printable characters")
    taken = select(SavedView.id).where(SavedView.project_id == actor.project_id, SavedView.name == name)
    if session.scalar(taken) is not None:
        raise HTTPException(409, f"there is a view {name} already")
    return name
