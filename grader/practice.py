"""python -m grader.practice NOTEBOOK ...: grades labs on a practice world, as they will be graded on another one.

It knows no secret: the seeds of practice worlds are public. This is what a learner's own CI runs (docs/CLASSROOM.md).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

# Nothing here uses the resolver of internationalised addresses that this costs a second to import.
sys.modules.setdefault("rfc3987_syntax", None)

from workshop.command import run_command


@click.command()
@click.argument("notebooks", nargs=-1, type=click.Path(path_type=Path))
@click.option("--world", default=None, help="A practice world; default: the course's.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="File for a JUnit report of the checks.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="Folder for feedback, one a lab."
)
@click.option(
    "--isolation",
    type=click.Choice(["sandbox", "none"]),
    default="sandbox",
    show_default=True,
    help="none: a notebook's code runs as your user, such as on a machine that is thrown away afterwards.",
)
def practice(
    notebooks: tuple[Path, ...], world: str | None, junit: Path | None, out: Path | None, isolation: str
) -> None:
    """Grades NOTEBOOKS (default: every lab in labs/ on which work was begun) on a practice world. Exit code 0: graded, whatever
    the marks; 1: something could not be graded; 2: wrong usage."""
    from grader import runner
    from grader.files import write_whole
    from grader.junit import junit_of
    from grader.one import grade_one
    from grader.result import to_text, write
    from workshop.errors import UsageError
    from workshop.topics import syllabus
    from workshop.world import practice_seed

    course = syllabus().course
    seed = practice_seed(world or course["practice_world"])
    if not notebooks:
        notebooks = tuple(_begun())
    if not notebooks:
        click.echo("No lab has been begun: each is as it was handed out.")
    results = []
    try:
        for number, path in enumerate(notebooks, 1):
            if path.is_dir():
                raise UsageError(f"{path} is a folder; name notebooks, or none for all that were begun.")
            click.echo(f"[{number}/{len(notebooks)}] {path}", err=True)
            outcome = grade_one(path, course["practice_scale"], lambda _: seed, isolation=isolation)
            results.append(outcome.result | {"learner": path.stem})
            click.echo(to_text(results[-1]))
            if out:
                write(results[-1], outcome.executed, out / path.parent.name / path.stem)
    finally:
        runner.close()
    if junit:
        write_whole(junit, junit_of(*results))
    if not all(r["gradable"] for r in results):
        raise SystemExit(1)


def _begun() -> list[Path]:
    """Labs in which the cell of a task is no longer as it was handed out."""
    from workshop.authoring import notebook_cell, task_source
    from workshop.errors import WorkshopError
    from workshop.topics import syllabus

    found = []
    for item in syllabus().topics:
        path = item.notebook("labs")
        if not item.exists or not path.exists():
            continue
        try:
            begun = any(
                notebook_cell(path, t.letter).strip() != task_source(item, t.letter, solved=False).strip()
                for t in item.tasks
            )
        except WorkshopError:
            begun = True  # broken: what is wrong with it is said when it is graded
        if begun:
            found.append(Path(os.path.relpath(path)))
    return found


if __name__ == "__main__":
    run_command(practice)
