"""``robotrace projects``: the tenants of a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robotrace.cli.limits import COUNT, NONE, SIZE
from robotrace.cli.local_database import database_options, open_database
from robotrace.cli.options import CommandGroup, json_option
from robotrace.cli.output import Column, local_time, print_facts, print_json, print_table, size

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


@projects.command("set", short_help="Limit what a project holds.")
@click.argument("slug")
@click.option("--quota", type=SIZE, metavar="BYTES|none", help="The most bytes, as 500GB or 2TiB.")
@click.option("--quota-episodes", type=COUNT, metavar="N|none", help="The most episodes.")
@click.option("--keep-ready", type=COUNT, metavar="DAYS|none", help="Delete those that went well after so long.")
@click.option("--keep-failed", type=COUNT, metavar="DAYS|none", help="Delete failed ones after so long.")
@click.option("--keep-archived", type=COUNT, metavar="DAYS|none", help="Delete archived ones so long after that.")
@database_options
@json_option
def set_(slug: str, data_dir: Path | None, database: str | None, as_json: bool, **given: Any) -> None:
    """Set quotas and retention of a project; what is not given stays as it is, "none" takes a limit away.

    A full project takes no new episodes: uploaders keep theirs and ask again. Baselines of scenarios are never deleted.

    \b
    Example:
      robotrace projects set nightly --quota 500GB --keep-ready 90 --keep-archived 7
      robotrace projects set nightly --quota none
    """
    names = {
        "quota": "quota_bytes",
        "quota_episodes": "quota_episodes",
        "keep_ready": "retain_ready_days",
        "keep_failed": "retain_failed_days",
        "keep_archived": "retain_archived_days",
    }
    limits = {names[name]: None if value == NONE else value for name, value in given.items() if value is not None}
    with open_database(data_dir, database) as opened:
        from robotrace.serve.quotas import read_limits, set_limits

        with opened.write() as session:
            shown = {"slug": slug, **(set_limits(session, slug, limits) if limits else read_limits(session, slug))}
    if as_json:
        print_json(shown)
        return
    days = {name: shown[f"retain_{name}_days"] for name in ("ready", "failed", "archived")}
    print_facts(
        [
            ("project", slug),
            ("quota", "none" if shown["quota_bytes"] is None else size(shown["quota_bytes"])),
            ("episodes", "any number" if shown["quota_episodes"] is None else f"at most {shown['quota_episodes']}"),
            *((name, "kept" if value is None else f"kept for {value} days") for name, value in days.items()),
        ]
    )


def _as_json(project: Project) -> dict[str, Any]:
    from robotrace.serve.schemas import iso

    return {"slug": project.slug, "name": project.name, "created_at": iso(project.created_at)}
