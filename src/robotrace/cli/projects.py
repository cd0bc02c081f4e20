"""``robotrace projects``: the tenants of a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robotrace.cli.local_database import database_options, open_database
from robotrace.cli.options import CommandGroup, json_option
from robotrace.cli.output import Column, local_time, print_json, print_table

if TYPE_CHECKING:
    from robotrace.serve.models import Project

__all__ = ["projects"]


@click.group(cls=CommandGroup, short_help="Make and list the projects of a deployment.")
def projects() -> None:
    """Make and list the projects of a deployment, in its database: it may be running, and need not be.

    Keys, episodes, eval runs and scenarios are of one project, and what is of another cannot be seen with its keys.
    """


@projects.command(short_help="Make a project.")
@click.argument("slug")
@click.option("--name", help="What people call it.  [default: SLUG]")
@database_options
@json_option
def create(slug: str, name: str | None, data_dir: Path | None, database: str | None, as_json: bool) -> None:
    """Make a project. SLUG is what commands call it: small letters, digits and dashes.

    \b
    Example:
      robotrace projects create nightly --name "Nightly evaluation"
    """
    with open_database(data_dir, database) as opened:
        from robotrace.serve.projects import create_project

        with opened.write() as session:
            shown = _as_json(create_project(session, slug, slug if name is None else name, who="command line"))
    if as_json:
        print_json(shown)
    else:
        click.echo(f"project {slug} is made; its first key: robotrace keys create NAME --project {slug}")


@projects.command("list", short_help="List the projects.")
@database_options
@json_option
def list_(data_dir: Path | None, database: str | None, as_json: bool) -> None:
    """List the projects, the oldest first.

    \b
    Example:
      robotrace projects list
    """
    with open_database(data_dir, database) as opened:
        from robotrace.serve.projects import list_projects

        with opened.read() as session:
            found = [_as_json(project) for project in list_projects(session)]
    if as_json:
        print_json({"projects": found})
        return
    columns = (Column("PROJECT"), Column("NAME", least=12), Column("CREATED", rank=1))
    print_table(columns, [(each["slug"], each["name"], local_time(each["created_at"])) for each in found])


def _as_json(project: Project) -> dict[str, Any]:
    from robotrace.serve.schemas import iso

    return {"slug": project.slug, "name": project.name, "created_at": iso(project.created_at)}
