"""python -m grader.contract TOPIC [--seeds N]: runs the contract of STYLE on fresh seeds and prints every breach."""

from __future__ import annotations

import hashlib
import sys
import time

import click

from grader.bank import breaches
from workshop.topics import syllabus, topic


@click.command()
@click.argument("topic_id")
@click.option("--seeds", default=3, show_default=True, help="How many seeds.")
@click.option("--first", default=0, show_default=True, help="Number of the first seed.")
@click.option("--scale", type=float, default=None, help="Default: the course's grading scale.")
def main(topic_id: str, seeds: int, first: int, scale: float | None) -> None:
    """Solution full, untouched lab 0 points, right answers full, wrong answers caught: on several seeds."""
    item = topic(topic_id)
    bad = 0
    for n in range(first, first + seeds):
        seed = hashlib.sha256(f"contract/{n}".encode()).digest()[:16]
        began = time.monotonic()
        found = breaches(item, seed, scale or syllabus().course["grading_scale"])
        click.echo(
            f"seed {n} ({seed.hex()}): {'holds' if not found else f'{len(found)} breaches'} ({time.monotonic() - began:.1f} s)"
        )
        for line in found:
            click.echo(f"  {line[:600]}")
        bad += bool(found)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
