"""python -m workshop world NAME | build | dictionary"""

from __future__ import annotations

import time

import click

from workshop.command import run_command
from workshop.errors import WorkshopError


@click.group()
def cli() -> None:
    """The workshop's own commands. Notebooks need none of them."""


@cli.command()
@click.argument("name")
@click.option("--scale", type=float, default=0.05, show_default=True, help="1.0 is a million orders.")
@click.option("--subjects", default=None, help="Comma-separated; default: all.")
def world(name: str, scale: float, subjects: str | None) -> None:
    """Builds the world NAME (such as practice-7) unless it is cached, and says where it is."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from workshop.world import ensure_world, practice_seed

    wanted = [s.strip() for s in subjects.split(",")] if subjects else None
    began = time.monotonic()
    columns = (TextColumn("{task.description:>20}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("waiting", total=None)
        files = ensure_world(
            name,
            practice_seed(name),
            scale,
            wanted,
            lambda subject, done, of: bar.update(line, description=subject, completed=done, total=of),
        )
    size = files.world.stat().st_size / 1e6
    click.echo(f"{name} at scale {scale:g}: {files.world} ({size:.0f} MB, {time.monotonic() - began:.1f} s)")


@cli.command()
@click.argument("topics", nargs=-1)
@click.option("--force", is_flag=True, help="Build also what has not changed.")
@click.option("--jobs", default=2, show_default=True, help="Notebooks at once.")
def build(topics: tuple[str, ...], force: bool, jobs: int) -> None:
    """Builds modules/, labs/ and solutions/ from curriculum/: what changed, or the TOPICS named."""
    from workshop.authoring import build as run
    from workshop.topics import topic

    for name in topics:
        topic(name)
    if run(topics, force, jobs, click.echo):
        raise WorkshopError("Some notebooks could not be built; see above.")


if __name__ == "__main__":
    run_command(cli)
