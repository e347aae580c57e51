"""python -m grader grade | cohort | export | review | alike | report | release | kernels | sample; each has --help."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from workshop.topics import Topic

# Nothing here uses the resolver of internationalised addresses that this costs a second to import.
sys.modules.setdefault("rfc3987_syntax", None)

from workshop.command import run_command

ISOLATION = click.option(
    "--isolation",
    type=click.Choice(["sandbox", "none"]),
    default="sandbox",
    show_default=True,
    help="none: a notebook's code runs as your user and may read, change and send what you may. Only for your own work.",
)


def _warn_of(isolation: str) -> None:
    if isolation == "none":
        from grader.sandbox import RISK

        click.echo(RISK, err=True)


def _topics(ids: str) -> list[Topic]:
    """The topics of a list such as "3.4,3.6"."""
    from workshop.topics import topic

    return [topic(name.strip()) for name in ids.split(",") if name.strip()]


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
@ISOLATION
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="File for a JUnit report of the checks.",
)
def grade(
    notebook: Path,
    learner: str,
    seed: str | None,
    expected: str | None,
    out: Path | None,
    isolation: str,
    as_json: bool,
    junit: Path | None,
) -> None:
    """Grades one NOTEBOOK. Exit code 0: graded; 1: it could not be graded; 2: wrong usage."""
    from grader import runner
    from grader.certify import certified_seed
    from grader.one import grade_one
    from grader.result import to_text, write
    from workshop.topics import syllabus, topic
    from workshop.world import seed_from_hex

    if expected is not None:
        topic(expected)
    _warn_of(isolation)
    chosen = seed_from_hex(seed) if seed is not None else None
    scale = syllabus().course["grading_scale"]
    try:
        seed_for = (lambda item: chosen) if chosen else (lambda item: certified_seed(item, scale))
        outcome = grade_one(notebook, scale, seed_for, expected=expected, isolation=isolation)
    finally:
        runner.close()
    result = outcome.result | {"learner": learner}
    if out:
        write(result, outcome.executed, out)
    if junit:
        from grader.files import write_whole
        from grader.junit import junit_of

        write_whole(junit, junit_of(result))
    click.echo(json.dumps(result, indent=1, ensure_ascii=False) if as_json else to_text(result))
    if not result["gradable"]:
        raise SystemExit(1)


@cli.command()
@click.argument("submissions", type=click.Path(path_type=Path))
@click.option("--out", "book", type=click.Path(path_type=Path), required=True, help="The gradebook, a DuckDB file.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="How many run at once; default: one a core.")
@click.option("--dask", default=None, metavar="ADDRESS", help="A Dask scheduler whose workers run them instead.")
@click.option("--only", default="", metavar="IDS", help="Topics, such as 3.4,3.6; default: all.")
@click.option(
    "--secret",
    type=click.Path(path_type=Path),
    default=None,
    help="File with the course's secret, 32 random bytes or more; default: one of your own, made on first use.",
)
@click.option("--regrade", is_flag=True, help="Grade also what the book knows.")
@click.option(
    "--pattern",
    default=None,
    help="How paths below SUBMISSIONS are made; default: {learner}/{module}/{topic}.ipynb. Also {id}, {attempt}, "
    "{submitted} and *.",
)
@click.option("--course", type=click.Path(path_type=Path), default=None, help="YAML file with deadlines and seeds.")
@ISOLATION
@click.option(
    "--pages",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder for feedback; default: BOOK.pages.",
)
def cohort(
    submissions: Path,
    book: Path,
    jobs: int | None,
    dask: str | None,
    only: str,
    secret: Path | None,
    regrade: bool,
    pattern: str | None,
    course: Path | None,
    isolation: str,
    pages: Path | None,
) -> None:
    """Grades all of SUBMISSIONS into a gradebook. What is in the book is not graded again, so that the same command goes
    on where it was stopped. Exit code 0: done; 1: the machine failed; 2: wrong usage; 130: stopped."""
    from grader.cohort import grade_cohort

    _warn_of(isolation)
    try:
        summary = grade_cohort(
            submissions,
            book,
            jobs=jobs,
            dask=dask,
            only=tuple(t.id for t in _topics(only)),
            secret=secret,
            regrade=regrade,
            pattern=pattern,
            course=course,
            isolation=isolation,
            pages=pages,
        )
    except KeyboardInterrupt:
        click.echo("Nothing is lost: run the same command again and it goes on from there.", err=True)
        raise
    click.echo(summary.text())
    if summary.interrupted:
        raise SystemExit(130)


@cli.command()
@click.argument("book", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["csv", "canvas", "moodle", "junit", "json"]), required=True)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=None, help="File; default: standard output."
)
def export(book: Path, kind: str, out: Path | None) -> None:
    """Writes the marks of a gradebook for other programs."""
    from grader.export import export as run

    if out is None:
        run(book, kind, sys.stdout)
        return
    handle, partial = tempfile.mkstemp(dir=out.parent, prefix=".export-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            run(book, kind, file)
        os.replace(partial, out)
    except BaseException:
        os.unlink(partial)
        raise


@cli.command()
@click.argument("book", type=click.Path(path_type=Path))
@click.option(
    "--sheet", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Write a CSV to be filled in."
)
@click.option(
    "--read", "filled", type=click.Path(path_type=Path, dir_okay=False), default=None, help="Take a filled one."
)
@click.option("--reviewer", default=None, help="Who reviews; default: your user name.")
@click.option(
    "--pages",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder with executed notebooks, as cohort has made it; default: BOOK.pages.",
)
def review(book: Path, sheet: Path | None, filled: Path | None, reviewer: str | None, pages: Path | None) -> None:
    """Takes marks and comments for what learners have written in words, by the rubrics of the syllabus: asks in the terminal, or
    by a CSV. They stay when work is graded again, and are in the exports and the report."""
    import getpass
    import io

    from grader import review as by_hand
    from grader.files import write_whole
    from grader.gradebook import Gradebook
    from grader.pages import beside
    from workshop.errors import UsageError

    def prompt(text: str) -> str | None:
        try:
            return click.prompt(text, default="", show_default=False)
        except click.Abort:  # what was given before is kept
            return None

    if sheet and filled:
        raise UsageError("Either --sheet or --read: the one writes a CSV to be filled in, the other takes it.")
    folder = pages or beside(book)
    with Gradebook.read(book) as opened:
        found = by_hand.items(opened, folder if folder.is_dir() else None)
    if sheet:
        text = io.StringIO()
        by_hand.write_sheet(found, text)
        write_whole(sheet, text.getvalue())
        click.echo(f"{len(found)} lines, {sum(i.points is None for i in found)} of them open: {sheet}")
        return
    if filled:
        try:
            text = filled.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{filled} cannot be read as UTF-8 text: {error}.") from None
        given = by_hand.read_sheet(text, str(filled), found)
    else:
        given = by_hand.ask(found, prompt, click.echo)
    with Gradebook.open(book) as opened:
        count = by_hand.record(opened, given, reviewer or getpass.getuser())
    click.echo(f"{count} marks are kept in {book}.")


@cli.command()
@click.argument("book", type=click.Path(path_type=Path))
@click.argument("submissions", type=click.Path(path_type=Path))
@click.option("--pattern", default=None, help="How paths below SUBMISSIONS are made, as for cohort.")
def alike(book: Path, submissions: Path, pattern: str | None) -> None:
    """Looks for answers that are unusually alike, and keeps the pairs in BOOK: a hint for a human, never a mark. The report
    shows the passages side by side."""
    from grader.alike import alike as run

    found = run(book, submissions, pattern=pattern, say=lambda text: click.echo(text, err=True))
    for p in found[:20]:
        click.echo(
            f"{p['topic']}  {p['learner_a']} and {p['learner_b']}: {p['shared']} fingerprints, {p['likeness']:.0%}"
        )
    click.echo(f"{len(found)} pairs are unusually alike." if found else "No two answers are unusually alike.")


@cli.command()
@click.argument("book", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Folder for the report; default: BOOK.report."
)
@click.option(
    "--pages",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder with learners' feedback, as cohort has made it; default: BOOK.pages, where it is.",
)
def report(book: Path, out: Path | None, pages: Path | None) -> None:
    """Writes a static site about a cohort that opens from its folder: index.html."""
    from grader.report import report as run

    place = out or book.with_suffix(".report")
    count = run(book, place, pages=pages)
    click.echo(f"{count:,} pages. Open {place / 'index.html'}")


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder: new, empty, or a release already.")
@click.option("--modules", default="", metavar="NUMBERS", help="Such as 2,3; default: all that are there.")
@click.option("--worlds", default="", metavar="NAMES", help="Further practice worlds, such as practice-8.")
def release(out: Path, modules: str, worlds: str) -> None:
    """Writes what learners of a graded cohort get: lessons, labs, world and kit, with checks that work in the notebook, and
    nothing that answers a lab. Make a repository of its own of it; never hand out a clone of this one."""
    from grader.release import release as run
    from workshop.errors import UsageError

    numbers = [n.strip() for n in modules.split(",") if n.strip()]
    if not all(n.isdigit() for n in numbers):
        raise UsageError(f"--modules takes numbers, such as 2,3; this is {modules!r}.")
    named = [w.strip() for w in worlds.split(",") if w.strip()]
    done = run(out, [int(n) for n in numbers], named)
    click.echo(
        f"{done.topics} topics, {done.files} files, {done.bytes / 1e6:.0f} MB in {out}. None of the {done.lines:,} lines that "
        "were left out is in any file."
    )


@cli.command()
@click.option(
    "--world", default=None, metavar="NAME", help="A practice world that the kernels see, such as practice-7."
)
@click.option("--scale", type=float, default=0.05, show_default=True, help="Its size.")
@ISOLATION
def kernels(world: str | None, scale: float, isolation: str) -> None:
    """Serves warm, sandboxed kernels to papermill, nbval or any other Jupyter client, until it is stopped.

    It prints how another program finds them (an environment variable and the kernel's name).
    """
    import signal

    from grader import sandbox
    from grader.kernels import KERNEL_NAME, room
    from grader.limits import Limits
    from workshop.world import ensure_world, practice_seed

    _warn_of(isolation)
    files = ensure_world(world, practice_seed(world), scale) if world is not None else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with room(sandbox.shared(isolation).warm, Limits()) as place:
            if files is not None:
                place.offer(files)
            for name, value in place.environment().items():
                click.echo(f"export {name}={value}")
            click.echo(f"# kernel name: {KERNEL_NAME}; for example: papermill in.ipynb out.ipynb -k {KERNEL_NAME}")
            sys.stdout.flush()
            signal.pause()
    finally:
        sandbox.close_all()


@cli.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the sample.")
@click.option("--learners", default=24, show_default=True)
@click.option("--only", default="", metavar="IDS", help="Labs that each hands in; default: one or two of all.")
def sample(out: Path, learners: int, only: str) -> None:
    """Makes a sample cohort from the answer banks: right, wrong, untouched and broken work."""
    from grader.sample import make_sample

    count = make_sample(out, learners, _topics(only))
    click.echo(f"{count} notebooks of {learners} learners in {out}")


if __name__ == "__main__":
    run_command(cli)
