"""A limit counts what the process had of the machine."""

import os
import subprocess
import sys
import time

from grader.stopwatch import MOST, Stopwatch, queued_s

BUSY = "while True: pass"


def test_time_in_line_is_given_back_and_the_wall_has_the_last_word() -> None:
    cores = sorted(os.sched_getaffinity(0))[:1] if hasattr(os, "sched_getaffinity") else []
    crowd = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(4)]
    try:
        for p in crowd:  # four that want one core
            if cores:
                os.sched_setaffinity(p.pid, cores)
        watch = Stopwatch(crowd[0].pid, 0.3)
        began, before = time.monotonic(), queued_s(crowd[0].pid)
        while not watch.is_over:
            time.sleep(0.01)
        wall, queued = time.monotonic() - began, queued_s(crowd[0].pid) - before
        assert wall <= MOST * 0.3 + 0.5
        if queued > 0.05:  # where the system tells
            assert wall > 0.3 + 0.5 * min(queued, 0.3)
    finally:
        for p in crowd:
            p.kill()
            p.wait()


def test_who_sleeps_or_is_gone_has_no_more_than_the_limit() -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(0.2)
    watch = Stopwatch(sleeper.pid, 0.2)
    assert not watch.is_over
    time.sleep(0.3)
    assert watch.is_over
    sleeper.kill()
    sleeper.wait()
    assert queued_s(sleeper.pid) == 0.0
