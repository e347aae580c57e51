"""python -m grader grade NOTEBOOK | cohort SUBMISSIONS | sample"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

# Nothing here uses the resolver of internationalised addresses that this costs a second to import.
sys.modules.setdefault("rfc3987_syntax", None)

from workshop.command import run_command


@click.group()
def cli() -> None:
    """The autograder: judges lab notebooks by what they do, on worlds that nobody has seen."""


@cli.command()
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--learner", default="", help="Name that goes into the result.")
@click.option("--seed", default=None, metavar="HEX", help="32 hexadecimal digits; default: a certified seed is drawn.")
@click.option(
    "--topic",
    "expected",
    default=None,
    metavar="ID",
    help="The lab that is expected, such as 3.6; default: the notebook says.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder for result, feedback and executed notebook.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def grade(
    notebook: Path, learner: str, seed: str | None, expected: str | None, out: Path | None, as_json: bool
) -> None:
    """Grades one NOTEBOOK. Exit code 0: graded; 1: it could not be graded; 2: wrong usage."""
    from grader.grade import grade as run
    from grader.result import to_json, to_text, write
    from workshop.topics import topic
    from workshop.world import seed_from_hex

    if expected is not None:
        topic(expected)
    graded = run(notebook, learner=learner, seed=seed_from_hex(seed) if seed is not None else None, expected=expected)
    result = write(graded, out) if out else to_json(graded)
    click.echo(json.dumps(result, indent=1, ensure_ascii=False) if as_json else to_text(result))
    if not graded.gradable:
        raise SystemExit(1)


@cli.command()
@click.argument("submissions", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the results.")
def cohort(submissions: Path, out: Path) -> None:
    """Grades all of SUBMISSIONS, laid out as <learner>/<module>/<topic>.ipynb, one after the other."""
    from grader.cohort import grade_folder

    grade_folder(submissions, out)


@cli.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the sample.")
@click.option("--learners", default=24, show_default=True)
def sample(out: Path, learners: int) -> None:
    """Makes a sample cohort from the answer banks: right, wrong, untouched and broken work."""
    from grader.cohort import make_sample

    click.echo(f"{make_sample(out, learners)} notebooks of {learners} learners in {out}")


if __name__ == "__main__":
    run_command(cli)
