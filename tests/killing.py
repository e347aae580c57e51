"""Who there is to be killed while a cohort is graded, for tests and the bench of what that costs."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Callable

import psutil

GRADER, STABLE, SANDBOX, JOB, KERNEL = "grader", "stable", "sandbox", "job", "kernel"


def victims(pid: int) -> dict[str, list[psutil.Process]]:
    """The processes of a grading run by what they are: the command (or a cluster's worker), the process that forks jobs and
    those, the sandbox's server, and what runs in the sandbox (kernels, judges, their helpers)."""
    found: dict[str, list[psutil.Process]] = {}
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        found[GRADER] = [top]
        for child in top.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                kind = _kind(child)
                if kind:
                    found.setdefault(kind, []).append(child)
    return found


def _kind(process: psutil.Process) -> str | None:
    command = " ".join(process.cmdline())
    parent = process.parent()
    above = " ".join(parent.cmdline()) if parent else ""
    if "grader.inside.forks import main" not in command:
        return None
    if "grader.stable" in command:
        return JOB if "grader.stable" in above else STABLE
    if process.name() == "bwrap":
        return SANDBOX
    return KERNEL if "bwrap" not in above else SANDBOX


def kill_one(pid: int, kinds: list[str], rng: random.Random) -> str | None:
    """Kills (-9) one process of one of these kinds; which kind it was, None when nobody was killed: while no job runs, which
    after each kill is most of the time, that is seldom done."""
    there = victims(pid)
    if JOB not in there and rng.random() < 0.7:
        return None
    found = sorted(set(there) & set(kinds))
    if found:
        kind = rng.choice(found)
        with contextlib.suppress(psutil.Error):
            rng.choice(there[kind]).kill()
            return kind
    return None


def run_and_kill(
    start: Callable[[], subprocess.Popen[bytes]], kills: int, kinds: list[str], rng: random.Random, *, most_s: float
) -> list[str]:
    """Runs a command until it ends well, killing one of its processes at random moments and starting it again when it was
    the command itself; returns what was killed."""
    done: list[str] = []
    process = start()
    end = time.monotonic() + most_s
    pause = 0.0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.wait(pause) == 0:
                return done
            process = start()
        if time.monotonic() > end:
            process.kill()
            raise TimeoutError(f"not done after {most_s:.0f} s; killed: {done}")
        if len(done) < kills:
            killed = kill_one(process.pid, kinds, rng)
            if killed:
                done.append(killed)
        pause = rng.uniform(0.3, 3.0)
