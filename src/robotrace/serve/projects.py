"""Projects: the tenants of a deployment."""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace.errors import ConfigurationError
from robotrace.serve.audit import Actor, audit
from robotrace.serve.models import Project, utc_now

__all__ = ["create_project", "list_projects", "project_by_slug"]

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_MAX_NAME = 200


def create_project(session: Session, slug: str, name: str, *, who: str) -> Project:
    """Make a project.

    Args:
        session: Holds the write lock.
        slug: What it is called in commands: up to 40 small letters, digits and dashes.
        name: What it is called for people.
        who: Who makes it, for the audit log.

    Raises:
        ConfigurationError: There is one with this slug, or a name is none.
    """
    if _SLUG.fullmatch(slug) is None:
        raise ConfigurationError(f"{slug!r} cannot name a project: small letters, digits and dashes, at most 40")
    name = name.strip()
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise ConfigurationError(f"a project's name has 1 to {_MAX_NAME} printable characters")
    if session.scalar(select(Project.id).where(Project.slug == slug)) is not None:
        raise ConfigurationError(f"there is a project {slug} already")
    project = Project(slug=slug, name=name, created_at=utc_now())
    session.add(project)
    session.flush()  # gives it its id
    audit(session, Actor(project.id, who), "project.created", slug, name=name)
    return project


def list_projects(session: Session) -> list[Project]:
    """Every project, the oldest first."""
    return list(session.scalars(select(Project).order_by(Project.id)))


def project_by_slug(session: Session, slug: str) -> Project:
    """The project of this name.

    Raises:
        ConfigurationError: There is none.
    """
    project = session.scalar(select(Project).where(Project.slug == slug))
    if project is None:
        raise ConfigurationError(f"there is no project {slug}; robotrace projects list names them")
    return project
