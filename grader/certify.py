"""Seeds for grading: 128 bits from the course's secret, on which the contract of a topic has been seen to hold.

Candidate k of a topic is HMAC-SHA256(secret, round/topic/k), cut to 16 bytes: whoever has the secret finds the same worlds
again, nobody else finds any. A candidate is certified when the solution and all other right answers have full points on it
and each wrong one is caught. Kept is only which candidates hold, never a seed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import multiprocessing
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from grader.files import write_whole
from workshop.errors import UsageError, WorkshopError
from workshop.paths import PACKAGES, digest_of, home
from workshop.topics import Topic, syllabus, topic
from workshop.world import generator_version
from workshop.world.cache import locked
from workshop.world.seeds import SEED_BYTES

POOL = 3
ROUND = "1"  # of single notebooks, which belong to no course
TRIES = 5
SECRET_BYTES = 32
SECRET_AT_MOST = 4096
HEX = 16

Certify = Callable[[Topic, bytes, float], list[str]]
Say = Callable[[str], None]


def _silent(_: str) -> None:
    return None


# -- the secret ----------------------------------------------------------------------------------------------------------


def load_secret(path: Path | None = None) -> bytes:
    """The course's secret: the bytes of the file ``path`` or, where none is named, of home()/course.secret, which is made
    on first use.

    Raises UsageError, saying what to do, when the file is missing, too short, or open to others than its owner.
    """
    if path is not None:
        return _read_secret(path)
    path = home() / "course.secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of two processes that make it at once, one does and the other takes what that one made.
        with locked(path.with_suffix(".lock")):
            if not path.exists():
                write_whole(path, secrets.token_bytes(SECRET_BYTES), private=True)
    return _read_secret(path)


def _read_secret(path: Path) -> bytes:
    how = f"Make one: (umask 077; head -c {SECRET_BYTES} /dev/urandom > FILE)"
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            value = file.read(SECRET_AT_MOST + 1)
    except FileNotFoundError:
        raise UsageError(f"There is no secret {path}. {how}, or leave --secret out to have one made.") from None
    except OSError as error:
        raise UsageError(f"The secret {path} cannot be read: {error.strerror}.") from None
    if mode & 0o077:
        raise UsageError(f"The secret {path} is open to others than its owner. Run: chmod 600 {path}")
    if not SECRET_BYTES <= len(value) <= SECRET_AT_MOST:
        raise UsageError(
            f"The secret {path} has {len(value)} bytes; it needs {SECRET_BYTES} to {SECRET_AT_MOST} random ones. {how}."
        )
    return value


def _hmac(secret: bytes, purpose: str) -> bytes:
    return hmac.new(secret, purpose.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()


def candidate(secret: bytes, round: str, topic_id: str, k: int) -> bytes:
    """Candidate seed ``k`` (16 bytes) of a topic."""
    return _hmac(secret, f"{round}/{topic_id}/{k}")[:SEED_BYTES]


def seed_for(seeds: Sequence[bytes], secret: bytes, topic: str, learner: str, notebook_sha256: str, per: str) -> bytes:
    """The seed on which a submission is graded: the first (``per`` course), one drawn for the learner (learner), or for
    the learner and the notebook (attempt), so that the evidence on one feedback page tells nothing of the next world."""
    # Names have any character but this one: what is drawn from cannot run together.
    drawn_from = {"course": None, "learner": [topic, learner], "attempt": [topic, learner, notebook_sha256]}[per]
    if drawn_from is None:
        return seeds[0]
    number = int.from_bytes(_hmac(secret, "\0".join(["draw", per, *drawn_from]))[:8])
    return seeds[number % len(seeds)]


# -- certificates --------------------------------------------------------------------------------------------------------


def digest(item: Topic) -> str:
    """Changes with anything on which a certificate depends: the topic, the kit, the generator."""
    return digest_of((item.source, PACKAGES / "workshop"), generator_version())[:HEX]


class _Candidates:
    """What is known of one topic's candidates, and which to try next. The file keeps it: whether candidate k holds."""

    def __init__(self, item: Topic, n: int, secret: bytes, round: str, scale: float) -> None:
        self.item = item
        self.n = n
        self.scale = scale
        self._seed = lambda k: candidate(secret, round, item.id, k)
        course = _hmac(secret, f"certified/{round}").hex()[:HEX]
        self.path = home() / "certified" / f"{item.id}-{scale:g}-{digest(item)}-{course}.json"
        self._holds: dict[int, bool] = {}
        self._trying: set[int] = set()

    def load(self) -> None:
        """Reads what is kept; a file that cannot be read is as good as none."""
        try:
            plain = json.loads(self.path.read_text(encoding="utf-8"))
            self._holds = {int(k): bool(v) for k, v in plain.items()}
        except (OSError, ValueError, AttributeError):
            self._holds = {}

    @property
    def seeds(self) -> list[bytes]:
        """The first n candidates that hold, as far as they are known: all before them have been tried."""
        found = []
        for k in range(len(self._holds)):
            if k not in self._holds or len(found) == self.n:
                break
            if self._holds[k]:
                found.append(self._seed(k))
        return found

    def next(self) -> int | None:
        """A candidate that must be tried in any case; None while there is none."""
        hoped_for = 0
        for k in range(len(self._holds) + len(self._trying) + 1):
            if hoped_for == self.n:
                return None
            if k not in self._holds and k not in self._trying:
                self._trying.add(k)
                return k
            hoped_for += self._holds.get(k, True)
        return None

    def seed(self, k: int) -> bytes:
        """Candidate k."""
        return self._seed(k)

    def record(self, k: int, breaches: list[str]) -> None:
        """Keeps what was found for candidate k. Raises WorkshopError when one after the other is bad."""
        self._trying.discard(k)
        self._holds[k] = not breaches
        write_whole(self.path, json.dumps({str(i): self._holds[i] for i in sorted(self._holds)}).encode(), private=True)
        if self._bad_in_a_row(k) >= TRIES:
            raise WorkshopError(
                f"No seed could be certified for {self.item.id}: {TRIES} seeds one after the other break its contract. "
                f"The last: {breaches[0]}"
            )

    def _bad_in_a_row(self, k: int) -> int:
        first = last = k
        while self._holds.get(first) is False:
            first -= 1
        while self._holds.get(last) is False:
            last += 1
        return max(0, last - first - 1)


@contextlib.contextmanager
def _locked(wanted: Sequence[_Candidates]) -> Iterator[None]:
    """Holds the topics' locks, taken in one order: who comes second waits, and finds the work done."""
    (home() / "certified").mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        for path in sorted({c.path.with_suffix(".lock") for c in wanted}):
            stack.enter_context(locked(path))
        yield


def certified_pools(
    items: Sequence[Topic],
    n: int,
    *,
    secret: bytes,
    round: str,
    scale: float,
    jobs: int = 1,
    certify: Certify | None = None,
    say: Say = _silent,
) -> dict[str, list[bytes]]:
    """The first ``n`` certified seeds of each topic, by its id. What is not known yet is certified in ``jobs`` processes
    (about 10 s of CPU a seed; ``certify`` says what breaches the contract, default: the answer bank) and kept.

    Raises WorkshopError when seed after seed of a topic breaks its contract: the topic has a defect.
    """
    wanted = [_Candidates(item, n, secret, round, scale) for item in items]
    for c in wanted:
        c.load()
    missing = [c for c in wanted if len(c.seeds) < n]
    if missing:
        with _locked(missing):
            for c in missing:
                c.load()
            missing = [c for c in missing if len(c.seeds) < n]  # another process may have done it in the meantime
            if missing:
                _certify(missing, jobs, certify or _breaches, say)
    return {c.item.id: c.seeds for c in wanted}


def certified_seeds(
    item: Topic,
    n: int,
    *,
    secret: bytes,
    round: str,
    scale: float,
    certify: Certify | None = None,
    say: Say = _silent,
) -> list[bytes]:
    """The first ``n`` certified seeds of one topic; see certified_pools()."""
    return certified_pools([item], n, secret=secret, round=round, scale=scale, certify=certify, say=say)[item.id]


def certified_seed(item: Topic, scale: float | None = None, say: Say = _silent) -> bytes:
    """A certified seed of this user's own secret, drawn at random from a pool of 3 that is filled as it is used."""
    size, secret = scale or syllabus().course["grading_scale"], load_secret()
    known = _Candidates(item, POOL, secret, ROUND, size)
    known.load()
    n = min(POOL, len(known.seeds) + 1)
    return secrets.choice(certified_seeds(item, n, secret=secret, round=ROUND, scale=size, say=say))


def _certify(missing: Sequence[_Candidates], jobs: int, certify: Certify, say: Say) -> None:
    total = sum(c.n - len(c.seeds) for c in missing)
    say(f"certifying {total} seeds of {', '.join(c.item.id for c in missing)} (once; kept)")
    # Processes of their own: answers of the bank must not leave anything in this one, and it stays small.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, total), mp_context=context, initializer=_start_worker)
    running: dict[Future[list[str]], tuple[_Candidates, int]] = {}
    done = 0
    try:
        while True:
            for c in missing:
                while len(running) < jobs and (k := c.next()) is not None:
                    running[pool.submit(_try, certify, c.item.id, c.seed(k), c.scale)] = (c, k)
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                c, k = running.pop(future)
                breaches = future.result()
                c.record(k, breaches)
                done += not breaches
                said = "holds" if not breaches else f"does not hold, another is tried ({breaches[0][:200]})"
                say(f"{c.item.id}: candidate {k} {said}; {done} of {total} certified")
    except BrokenProcessPool:
        raise WorkshopError(
            "A process that certified seeds was ended from outside. Run the same command again."
        ) from None
    finally:
        # Ended from outside: in taking itself down, a process that has used DuckDB reports at length what it still holds.
        for child in list((pool._processes or {}).values()):
            child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """A certifying process leaves Ctrl-C to the one that started it, and ends with it, however that ends."""
    from tqdm.std import TqdmDefaultWriteLock

    # Else it makes a lock for all processes, of which Python says at the end that it has leaked.
    TqdmDefaultWriteLock.mp_lock = None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _try(certify: Certify, topic_id: str, seed: bytes, scale: float) -> list[str]:
    return certify(topic(topic_id), seed, scale)


def _breaches(item: Topic, seed: bytes, scale: float) -> list[str]:
    from grader.bank import breaches
    from grader.contract import _no_picture
    from workshop import plots

    plots.png = _no_picture
    return breaches(item, seed, scale, whole=False)
