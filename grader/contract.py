"""python -m grader.contract TOPIC [--seeds N]: runs the contract of a topic on many seeds and prints every breach."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

import click
from matplotlib.figure import Figure

from grader.bank import breaches
from workshop import plots
from workshop.command import run_command
from workshop.topics import syllabus, topic


def _one(topic_id: str, n: int, scale: float, whole: bool, task: str | None) -> tuple[int, list[str], float]:
    plots.png = _no_picture
    began = time.monotonic()
    seed = hashlib.sha256(f"contract/{n}".encode()).digest()[:16]
    return n, breaches(topic(topic_id), seed, scale, whole=whole, task=task), time.monotonic() - began


def _no_picture(figure: Figure) -> bytes:
    """Pictures of failed checks take a third of the time, and decide nothing."""
    plots.plt.close(figure)
    return b""


@click.command()
@click.argument("topic_id")
@click.option("--seeds", default=3, show_default=True, help="How many seeds.")
@click.option("--first", default=0, show_default=True, help="Number of the first seed.")
@click.option("--scale", type=float, default=None, help="Default: the course's grading scale.")
@click.option("--own-task", is_flag=True, help="Judge each answer on its own task only (for many seeds).")
@click.option("--task", default=None, metavar="LETTER", help="The answers to one task alone.")
@click.option("--jobs", default=1, show_default=True, help="Seeds at once.")
def main(
    topic_id: str, seeds: int, first: int, scale: float | None, own_task: bool, task: str | None, jobs: int
) -> None:
    """Solution full, untouched lab 0 points, right answers full, wrong answers caught: on several seeds."""
    topic(topic_id)
    size = scale or syllabus().course["grading_scale"]
    by_answer: Counter[str] = Counter()
    bad, began = 0, time.monotonic()
    pool = ProcessPoolExecutor(jobs) if jobs > 1 else None
    with pool or contextlib.nullcontext():
        if pool:
            futures = [pool.submit(_one, topic_id, n, size, not own_task, task) for n in range(first, first + seeds)]
            outcomes = (f.result() for f in as_completed(futures))
        else:
            outcomes = (_one(topic_id, n, size, not own_task, task) for n in range(first, first + seeds))
        for done, (n, found, seconds) in enumerate(outcomes, 1):
            left = (time.monotonic() - began) / done * (seeds - done)
            said = "holds" if not found else f"{len(found)} breaches"
            click.echo(f"seed {n}: {said} ({seconds:.1f} s; {left:.0f} s left)")
            for line in found:
                click.echo(f"  {line[:600]}")
            by_answer.update({line.split(":")[0] for line in found})
            bad += bool(found)
    click.echo(f"{seeds - bad} of {seeds} seeds hold")
    for name, count in by_answer.most_common():
        click.echo(f"  {name}: on {count} of {seeds} seeds")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    run_command(main)
