"""An attack suite: each attack is first seen to succeed where nothing stands in its way, and then to fail in the sandbox.

Without walls (isolation "none") an attack on the machine must succeed. What a kernel sends is read in the same careful way with
and without walls, so that attacks on the Jupyter connection are first shown to an ordinary client, and limits are shown by
setting them wide. Where an attack has failed, the marks of the rest of the notebook, and of everybody else, must stand.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attacks as a
import duckdb
import nbformat
import psutil
import pytest
from attacks import DONE, HEARD, HELPERS, MARK, SEEN, TOKEN, Attack, cell, said
from conftest import SEED, TOPICS, Marked, grade_bytes, grade_cells, lab_bytes, notebook_with

from grader import runner, sandbox
from grader.job import Job, sources_digest
from grader.limits import Limits
from grader.result import to_html, to_text, write
from grader.sandbox import NONE, SANDBOX
from workshop.authoring import tags
from workshop.checks import NOT_ATTEMPTED, PASSED
from workshop.topics import syllabus, topic

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is one of Linux")

FULL = 10
TOKENS = {name: secrets.token_hex(16) for name in ("password", "memory", "course", "other", "work", "file")}
MB = 2**20


@pytest.fixture(scope="module", autouse=True)
def a_secret_in_the_environment() -> Iterator[None]:
    """Every process of the grader is started with it."""
    os.environ["KESTREL_TEST_PASSWORD"] = TOKENS["password"]
    runner.close()
    yield
    runner.close()
    del os.environ["KESTREL_TEST_PASSWORD"]


def place_after(tag: str) -> int:
    """The position behind the cell of lab 3.6 that bears a tag."""
    nb = notebook_with(topic("3.6"), {}, solved=False)
    return 1 + next(i for i, c in enumerate(nb.cells) if tag in tags(c))


def carried(*attacks: Attack, aim: dict[str, Any] | None = None) -> str:
    """The source of one cell that carries out several attacks, one after the other."""
    return "\n".join([HELPERS, *(cell(attack, aim or {}) for attack in attacks)])


def put_in(*attacks: Attack, aim: dict[str, Any] | None = None, at: int = 3, before: str = HELPERS) -> dict[int, str]:
    """One cell for grade_cells or lab_bytes."""
    return {at: before + "\n" + "\n".join(cell(attack, aim or {}) for attack in attacks)}


def bytes_with(sources: list[str], *, solved: bool, at: int = 3, topic_id: str = "3.6") -> bytes:
    """A lab with several cells put in at one place."""
    nb = nbformat.reads(lab_bytes(topic_id=topic_id, solved=solved).decode(), as_version=4)
    nb.cells[at:at] = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.writes(nb).encode()


def expect_full(graded: Marked) -> None:
    """The rest of the notebook has all its marks."""
    lost = [(r.check, r.outcome, r.message) for r in graded.results if r.outcome != PASSED]
    assert graded.points == FULL, (lost, graded.findings)


def expect_untouched(graded: Marked) -> None:
    """An unsolved lab is seen as unsolved: judged, with nothing lost and no fault of the grader's."""
    assert graded.gradable, graded.findings
    assert graded.points == 0
    assert not any(r.grader_fault for r in graded.results), [r.message for r in graded.results if r.grader_fault]
    assert {r.outcome for r in graded.results} == {NOT_ATTEMPTED}, [
        (r.check, r.outcome, r.message) for r in graded.results
    ]


def processes_of(word: str) -> list[int]:
    """The processes on this machine whose command line holds the word."""
    found = []
    for p in psutil.process_iter(["cmdline"]):
        if any(word in part for part in p.info["cmdline"] or ()):
            found.append(p.pid)
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What the condition gives, once it is true; its last value when the time is over."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


# -- looking around and reaching out: many attacks in one notebook ---------------------------------------------------


class Ear:
    """Listeners of the test: TCP and UDP on 127.0.0.1, a Unix socket in a folder, an abstract one."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[bytes] = []
        self.unix = str(folder / "ear")
        self.abstract = f"kestrel-test-{secrets.token_hex(8)}"
        self._open: list[socket.socket] = []
        self.tcp = self._listen(socket.AF_INET, ("127.0.0.1", 0))
        self._listen(socket.AF_UNIX, self.unix)
        self._listen(socket.AF_UNIX, "\0" + self.abstract)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        self._open.append(datagrams)
        self.udp = datagrams.getsockname()[1]
        self._start(datagrams, lambda: self.heard.append(datagrams.recv(4096)))

    def _listen(self, family: int, address: Any) -> int:
        listener = socket.socket(family)
        listener.bind(address)
        listener.listen(8)
        self._open.append(listener)

        def take() -> None:
            line, _ = listener.accept()
            with line:
                line.settimeout(2)
                self.heard.append(line.recv(4096))

        self._start(listener, take)
        return listener.getsockname()[1] if family == socket.AF_INET else 0

    def _start(self, listener: socket.socket, take: Callable[[], None]) -> None:
        listener.settimeout(0.2)

        def run() -> None:
            while listener.fileno() >= 0:
                with contextlib.suppress(TimeoutError):
                    try:
                        take()
                    except TimeoutError:
                        continue
                    except OSError:
                        return

        threading.Thread(target=run, daemon=True).start()

    def close(self) -> None:
        for listener in self._open:
            listener.close()


@dataclass
class Scene:
    """What came of one notebook full of attacks, and of another learner's beside it."""

    isolation: str
    marks: Path
    graded: Marked
    victim: Marked
    said: dict[str, str]
    heard: bytes
    decoys: list[int | None]
    books: dict[str, float]
    kept: bool
    rooms_left: list[str]
    alive_after: list[int]
    ended: float
    seen: dict[str, Any] = field(default_factory=dict)


QUIET = (*a.LOOKING, *a.REACHING)
NO_FILES = (a.SHARED_FILE, a.SHARED_FILE_FILLER)  # shut with and without walls
VICTIM = """
import os, stat, time
with open("mine.txt", "w") as out:
    out.write({work!r})
for fd in range(1024):
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.pwrite(fd, {file!r}.encode(), os.fstat(fd).st_size)
    except OSError:
        pass
time.sleep({seconds})
"""
IN_MEMORY = [b"kept in memory: " + TOKENS["memory"].encode()]


def play(isolation: str, folder: Path) -> Scene:
    """Lays out what there is to find, runs the attacks beside another learner's notebook, and looks at what has happened."""
    marks, kept = folder / "marks", folder / "kept"
    for made in (marks, kept, folder / "course", folder / "submissions"):
        made.mkdir()
    secret = folder / "course" / f"secret-{secrets.token_hex(4)}"
    secret.write_text(TOKENS["course"])
    secret.chmod(0o600)
    other = folder / "submissions" / f"other-{secrets.token_hex(4)}.ipynb"
    other.write_text(json.dumps({"cells": [TOKENS["other"]]}))
    books = {name: folder / f"{name}.duckdb" for name in ("book", "other_book")}
    for book in books.values():
        with duckdb.connect(str(book)) as con:
            con.execute("create table marks as select 'mallory' as learner, 1::double as points")
    ear = Ear(folder)
    decoys = [subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(120)"]) for _ in range(2)]
    warm = sandbox.shared(isolation).warm
    walls = isolation == SANDBOX
    aim = {
        "walls": walls,
        "roots": ["/"] if walls else [str(folder), os.environ["KESTREL_HOME"]],
        "test_pid": os.getpid(),
        "secret_name": secret.name,
        "secret_file": str(secret),
        "other_name": other.name,
        "tops": ["/kestrel", "/tmp", "/dev"] if walls else [],
        "rooms": [f"{warm.rooms}/*/work/mine.txt", "/proc/[0-9]*/cwd/mine.txt"],
        "sockets": [f"{warm.rooms}/*/k*-1", f"{warm.rooms}/*/kernel-*.json"],
        "patience_s": 0.7 if walls else 8.0,
        "book": str(books["book"]),
        "other_book": str(books["other_book"]),
        "marks": str(marks),
        "server": warm.socket,
        "tcp": ear.tcp,
        "udp": ear.udp,
        "unix": ear.unix,
        "abstract": ear.abstract,
        "decoy": decoys[0].pid,
        "second_decoy": decoys[1].pid,
        "word": f"left-behind-{secrets.token_hex(8)}",
    }
    results: dict[str, Marked] = {}
    victims = VICTIM.format(work=TOKENS["work"], file=TOKENS["file"], seconds=4)
    beside = threading.Thread(
        target=lambda: results.update(victim=grade_cells({3: victims}, solved=False, isolation=isolation))
    )
    try:
        beside.start()
        time.sleep(0.8)
        sources = [HELPERS, *(cell(attack, aim) for attack in (*QUIET, *NO_FILES))]
        # Solved in the sandbox, where the marks must stand; without walls only success counts.
        graded = grade_bytes(bytes_with(sources, solved=walls), isolation=isolation, cell_s=20.0)
        ended = time.monotonic()
        alive_after = processes_of(aim["word"])
        beside.join()
        rooms_left = [p.name for p in Path(warm.rooms).iterdir() if p.is_dir()]
        points = {}
        for name, book in books.items():
            with duckdb.connect(str(book), read_only=True) as con:
                points[name] = con.execute("select points from marks").fetchall()[0][0]
        return Scene(
            isolation,
            marks,
            graded,
            results["victim"],
            said(graded.printed),
            b"|".join(ear.heard),
            [d.poll() for d in decoys],
            points,
            kept.is_dir() and marks.is_dir(),
            rooms_left,
            alive_after,
            ended,
        )
    finally:
        beside.join()
        ear.close()
        for decoy in decoys:
            decoy.kill()
            decoy.wait()


_scenes: dict[str, Scene] = {}


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The scene with the isolation that the test names; played once."""
    isolation = request.param
    if isolation not in _scenes:
        _scenes[isolation] = play(isolation, tmp_path_factory.mktemp("scene"))
    return _scenes[isolation]


def succeeded(attack: Attack, scene: Scene) -> bool:
    """Whether an attack of a scene has shown its success."""
    words = scene.said.get(attack.name, "")
    if attack.shows == TOKEN:
        return any(token in words for token in TOKENS.values())
    if attack.shows == DONE:
        return words.startswith("done")
    if attack.shows == HEARD:
        return attack.name.encode() in scene.heard
    if attack.name == "left behind":
        wait_for((scene.marks / attack.name).exists, scene.ended + 4.0 - time.monotonic())
        return bool(scene.alive_after) or (scene.marks / attack.name).exists()
    if attack.shows == MARK:
        return (scene.marks / attack.name).exists()
    return {
        "gradebook": scene.books["book"] != 1,
        "gradebook by attach": scene.books["other_book"] != 1,
        "signals": any(code is not None for code in scene.decoys),
        "strange files": words == "made" and not scene.rooms_left and scene.kept,
    }[attack.name]


def names(attack: Attack) -> str:
    return attack.name


@pytest.mark.parametrize("scene", [NONE], indirect=True)
@pytest.mark.parametrize("attack", QUIET, ids=names)
def test_without_walls_the_attack_succeeds(attack: Attack, scene: Scene) -> None:
    if attack.root and os.geteuid() != 0:
        pytest.skip("an administrator's attack")
    assert succeeded(attack, scene), scene.said.get(attack.name)


def test_where_a_file_is_handed_on_it_is_found_and_filled() -> None:
    """Standard error of a fork server is a file; what it forks must not be born with it."""
    with tempfile.TemporaryFile() as handed_on:
        handed_on.write(TOKENS["file"].encode())
        handed_on.flush()
        code = carried(*NO_FILES)
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=handed_on, text=True, check=True
        )
    words = said(done.stdout)
    assert TOKENS["file"] in words[a.SHARED_FILE.name]
    assert words[a.SHARED_FILE_FILLER.name].startswith("done")


@pytest.mark.parametrize("scene", [SANDBOX], indirect=True)
@pytest.mark.parametrize("attack", [*QUIET, *NO_FILES], ids=names)
def test_in_the_sandbox_the_attack_fails(attack: Attack, scene: Scene) -> None:
    assert attack.name in scene.said, "it did not get to its end"
    if attack.name == "strange files":  # nothing to gain: what they leave must be cleared
        assert succeeded(attack, scene), scene.said[attack.name]
        return
    assert not succeeded(attack, scene), scene.said[attack.name]


@pytest.mark.parametrize("scene", [SANDBOX], indirect=True)
def test_beside_all_these_attacks_the_marks_stand(scene: Scene) -> None:
    expect_full(scene.graded)
    expect_untouched(scene.victim)
    assert not {"kernel_died", "cell_stopped"} & (scene.graded.codes | scene.victim.codes)
    assert not any(token in json.dumps(scene.graded.result) for token in TOKENS.values())
    assert SEED.hex() not in scene.graded.outcome.executed + json.dumps(scene.graded.result)
    assert scene.rooms_left == []


@pytest.mark.parametrize("isolation", [NONE, SANDBOX])
def test_a_signal_to_its_own_group_reaches_nobody_else(isolation: str) -> None:
    """Where a parent and its child are of one group, it does; each run has a session of its own, with and without walls."""
    code = f"import os, time\nif os.fork() == 0:\n    {a.GROUP_SIGNAL.source.replace(chr(10), '; ')}\ntime.sleep(9)"
    assert subprocess.run([sys.executable, "-c", code], start_new_session=True, check=False).returncode == -9
    server = sandbox.shared(isolation).server
    graded = grade_cells(put_in(a.GROUP_SIGNAL), isolation=isolation)
    assert server.alive, "the fork server of all runs was killed"
    assert "kernel_died" in graded.codes
    expect_full(graded)


# -- too much --------------------------------------------------------------------------------------------------------


def test_file_descriptors_are_limited() -> None:
    if hard_limit_of_files() > 10_100:
        wide = grade_cells(put_in(a.OPEN_FILES), solved=False, isolation=NONE, open_files=10_200)
        assert said(wide.printed)["open files"] == "done"
    graded = grade_cells(put_in(a.OPEN_FILES), solved=False)
    assert "Too many open files" in said(graded.printed)["open files"]
    expect_untouched(graded)


def hard_limit_of_files() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_fork_bomb() -> None:
    free = grade_cells(put_in(a.FORK_BOMB), solved=False, isolation=NONE, processes=300)
    assert said(free.printed)["fork bomb"] == "done"
    graded = grade_cells(put_in(a.FORK_BOMB), processes=300)
    assert said(graded.printed).get("fork bomb") != "done"
    expect_full(graded)
    server = psutil.Process(sandbox.shared(SANDBOX).server.process.pid)
    assert wait_for(lambda: len(server.children(recursive=True)) <= 2, 3), "processes were left behind"


@pytest.mark.parametrize("attack", a.MEMORY_BOMBS, ids=names)
def test_memory_bomb(attack: Attack) -> None:
    wide = grade_cells(put_in(attack), solved=False, isolation=NONE, memory_bytes=4 * 1024**3)
    assert said(wide.printed)[attack.name] == "done"
    graded = grade_cells(put_in(attack), memory_bytes=600 * MB)
    assert said(graded.printed).get(attack.name) != "done"
    expect_full(graded)


def test_disk_fillers() -> None:
    word = secrets.token_hex(8)
    aim = {"word": word}
    free = grade_cells(put_in(*a.DISK_FILLERS, aim=aim), solved=False, isolation=NONE, work_bytes=64 * MB)
    assert {name for name, words in said(free.printed).items() if words.startswith("done")} == {
        attack.name for attack in a.DISK_FILLERS
    }
    graded = grade_cells(put_in(*a.DISK_FILLERS, aim=aim), work_bytes=64 * MB)
    words = said(graded.printed)
    assert set(words) == {attack.name for attack in a.DISK_FILLERS}
    expect_full(graded)
    assert {name for name, text in words.items() if text.startswith("done")} == set()


def test_endless_output() -> None:
    aim = {"rounds": 60}
    wide = grade_bytes(
        bytes_with([HELPERS, *(cell(f, aim) for f in a.FLOODS)], solved=False), isolation=NONE, output_bytes=200 * MB
    )
    assert all(said(wide.printed)[f.name] == "done" for f in a.FLOODS)
    assert len(wide.outcome.executed) > 17_000_000
    endless = {"rounds": 10**9}
    graded = grade_bytes(
        bytes_with([HELPERS, *(cell(f, endless) for f in a.FLOODS)], solved=True),
        output_bytes=MB,
        restarts=6,
        cell_s=20.0,
    )
    expect_full(graded)
    assert "cell_stopped" in graded.codes
    assert len(graded.outcome.executed) < 12_000_000


def test_one_output_of_100_megabytes() -> None:
    shown = ordinary(carried(a.ONE_LARGE_OUTPUT))
    assert shown.size > 100_000_000
    graded = grade_cells(put_in(a.ONE_LARGE_OUTPUT), cell_s=6.0)
    expect_full(graded)
    assert len(graded.outcome.executed) < 5_000_000


# -- hostile messages ------------------------------------------------------------------------------------------------


@dataclass
class Ordinary:
    """What an ordinary client of Jupyter's made of a cell."""

    outputs: list[Any]
    error: str  # its class, empty if there was none

    @property
    def size(self) -> int:
        """Characters of its outputs."""
        return sum(len(str(o)) for o in self.outputs)


def ordinary(source: str) -> Ordinary:
    """Runs a cell with nbclient and a kernel of its own, nothing of ours between them."""
    from nbclient import NotebookClient

    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source), nbformat.v4.new_code_cell("'next'")])
    error = ""
    try:
        NotebookClient(nb, kernel_name="python3", timeout=20, startup_timeout=60).execute()
    except Exception as raised:
        error = type(raised).__name__
    return Ordinary([o for c in nb.cells for o in c.outputs], error)


def hostile(attack: Attack) -> str:
    """The cell of an attack on the connection."""
    return a.WIRE + cell(attack, {})


HURT = {  # how an ordinary client is hurt by each
    "wrong signatures": lambda o: o.error == "ValueError",
    "malformed texts": lambda o: bool(o.error),
    "missing fields": lambda o: bool(o.error),
    "odd transient": lambda o: o.error == "AttributeError",
    "odd display id": lambda o: o.error == "TypeError",
    "odd traceback": lambda o: bool(o.error),
    "odd values of outputs": lambda o: bool(o.error),
    "deep output": lambda o: "application/json" in str(o.outputs),
    "forged end of the cell": lambda o: not o.error and "after the end" not in str(o.outputs),
}


@pytest.mark.parametrize("name", HURT)
def test_an_ordinary_client_is_hurt_by_hostile_messages(name: str) -> None:
    attack = next(m for m in a.MESSAGES if m.name == name)
    shown = ordinary(hostile(attack))
    assert HURT[name](shown), (shown.error, str(shown.outputs)[:500])


@pytest.mark.parametrize("attack", a.MESSAGES, ids=names)
def test_hostile_messages_cost_nothing(attack: Attack) -> None:
    began = time.monotonic()
    graded = grade_bytes(bytes_with([hostile(attack), "print('next cell')"], solved=False), cell_s=8.0)
    assert "lost" not in graded.codes, "the grader's own process was lost"
    expect_untouched(graded)
    assert "next cell" in graded.printed, graded.findings
    assert time.monotonic() - began < 40


def test_all_hostile_messages_together_leave_the_marks() -> None:
    sources = [hostile(m) for m in a.MESSAGES if m is not a.MANY_MESSAGES]
    graded = grade_bytes(bytes_with(sources, solved=True), cell_s=8.0, restarts=12)
    expect_full(graded)


# -- the kernel's life -----------------------------------------------------------------------------------------------


def test_suicides_cost_nothing_else() -> None:
    sources = [HELPERS + cell(attack, {}) for attack in a.SUICIDES]
    free = grade_bytes(bytes_with(sources[:1], solved=False), isolation=NONE)
    assert "kernel_died" in free.codes
    graded = grade_bytes(bytes_with([*sources, cell(a.SYSTEM_EXIT, {})], solved=True), restarts=6)
    assert sum(f.code == "kernel_died" for f in graded.findings) == len(a.SUICIDES)
    expect_full(graded)


def test_threads_that_outlive_their_cell() -> None:
    graded = grade_cells(put_in(a.THREAD_THAT_PRINTS))
    expect_full(graded)
    changed = grade_cells(put_in(a.THREAD_THAT_CHANGES))
    by_task = {t["task"]: t["points"] for t in changed.result["tasks"]}
    assert by_task["a"] == 0
    assert by_task["b"] == sum(r.max_points for r in changed.results if r.task == "b")
    assert not any(r.grader_fault for r in changed.results)


def test_clock_games() -> None:
    sources = [HELPERS + cell(attack, {}) for attack in (*a.CLOCKS, a.STOPPED)]
    began = time.monotonic()
    graded = grade_bytes(bytes_with(sources, solved=True), cell_s=3.0, restarts=6)
    assert sum(f.code == "cell_stopped" for f in graded.findings) == 3, graded.findings
    expect_full(graded)
    assert time.monotonic() - began < 60


# -- the verdict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", [NONE, SANDBOX])
def test_a_stolen_solution(isolation: str) -> None:
    source = carried(a.STOLEN_SOLUTION)
    graded = grade_cells(
        {place_after("task-a"): source, place_after("task-b"): source}, solved=False, isolation=isolation
    )
    if isolation == NONE:
        expect_full(graded)
    else:
        expect_untouched(graded)


@pytest.mark.parametrize("isolation", [NONE, SANDBOX])
def test_a_result_forged_beside_the_run(isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.prepare(isolation)
    monkeypatch.setenv("KESTREL_HOME", str(tmp_path))  # a spool of its own; worlds stay where they are
    aim = {"spool": str(tmp_path / "spool"), "marks": str(tmp_path), "stop": str(tmp_path / "stop")}
    data = lab_bytes(put_in(a.FORGED_RESULT, aim=aim), solved=False)
    limits = Limits(cell_s=20.0)
    job = Job("3.6", data, SEED, syllabus().course["grading_scale"], limits, isolation, sources_digest(topic("3.6")))
    try:
        runner.run_job(job, fresh=True)
        wait_for((tmp_path / "forged").exists, 3 if isolation == NONE else 0.5)
        found = Marked(runner.run_job(job))  # as whoever takes the run up again would
    finally:
        (tmp_path / "stop").touch()
        wait_for(lambda: not processes_of(aim["stop"]), 5)
    assert found.points == (9.75 if isolation == NONE else 0)
    if isolation == SANDBOX:
        expect_untouched(found)


@pytest.mark.parametrize("attack", [a.PRINTED_VERDICTS, a.PATCHES, a.ANSWERING_THREAD], ids=names)
def test_verdicts_are_not_made_in_the_kernel(attack: Attack) -> None:
    graded = grade_cells(put_in(attack), solved=False)
    assert said(graded.printed)[attack.name] == "done"
    assert graded.points == 0
    assert not any(r.outcome == PASSED for r in graded.results)
    assert not any(r.grader_fault for r in graded.results), [r.message for r in graded.results if r.grader_fault]


def test_where_checks_run_in_the_learners_own_process_the_patched_kit_is_believed(tmp_path: Path) -> None:
    """That is why they do not: the same patches, in the notebook of the learner's own."""
    code = f"""
import json, os, sys
sys.modules.setdefault("rfc3987_syntax", None)
from workshop import open_lab
lab = open_lab("3.6", world="practice-7", scale=0.02)
{HELPERS}
def attack(aim):
{chr(10).join("    " + line for line in a.PATCHES.source.splitlines())}
attack({{}})
print("points", sum(r.points for task in "ab" for r in lab.results(task)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert f"points {FULL}" in done.stdout, done.stderr[-2000:]


# The audit's questions are larger than a line holds: nobody takes them, and each kernel is waited for, half a minute.
@pytest.mark.parametrize("topic_id", [pytest.param(t, marks=pytest.mark.slow if t == "2.9" else ()) for t in TOPICS])
def test_invented_answers(topic_id: str) -> None:
    """The grader's questions are answered by the attacker; no answer passes and none is taken for a fault of the grader."""
    for half in (a.ANSWERS[::2], a.ANSWERS[1::2]):
        source = a.INVENTED.format(answers=list(half))
        data = bytes_with([source], solved=False, topic_id=topic_id)
        graded = grade_bytes(data, topic_id, cell_s=20.0)
        assert graded.gradable, graded.findings
        assert not any(r.outcome == PASSED for r in graded.results), [r.check for r in graded.results if r.points]
        assert graded.points == 0
        assert any(r.outcome != NOT_ATTEMPTED for r in graded.results), "no answer has reached a check"
        assert not any(r.grader_fault for r in graded.results), [
            (r.check, r.message) for r in graded.results if r.grader_fault
        ]


@pytest.mark.parametrize("question", a.JUDGE_QUESTIONS)
def test_a_question_to_the_judge_that_cannot_be_answered_is_no_fault_of_the_graders(question: str) -> None:
    source = a.JUDGE_QUESTION.format(questions=[question], count=1)
    sources = {place_after("task-a"): source, place_after("task-b"): source}
    graded = grade_cells(sources, solved=False, cell_s=6.0)
    assert graded.gradable, graded.findings
    assert graded.points == 0
    assert not {"kernel_died", "gave_up"} & graded.codes, graded.findings
    faults = [(r.check, r.message) for r in graded.results if r.grader_fault]
    assert not faults, faults[0]


@pytest.mark.parametrize("isolation", [NONE, SANDBOX])
def test_sql_of_a_learner_reaches_no_file(isolation: str, tmp_path: Path) -> None:
    """The judge is locked with and without walls; an ordinary connection shows that the statements work."""
    file, loot = tmp_path / "secret.txt", tmp_path / "loot"
    file.write_text(TOKENS["course"])
    statements = [sql.format(file=file, loot=loot) for sql in a.JUDGE_SQL]
    if isolation == NONE:
        with duckdb.connect() as con:
            assert TOKENS["course"] in str(con.execute(statements[0]).fetchall())
            con.execute(statements[5])
            assert loot.exists()
            loot.unlink()
    source = f"""
def load(con, *args):
    if type(con).__name__ != "JudgedConnection":
        return  # the notebook's own, which nobody judges
    said = []
    for sql in {statements!r}:
        try:
            said.append(str(con.execute(sql).fetchall())[:200])
        except Exception as error:
            said.append(type(error).__name__)
    raise ValueError(repr(said))
"""
    graded = grade_cells({place_after("task-a"): source}, solved=False, isolation=isolation)
    text = json.dumps(graded.result)
    assert "PermissionException" in text
    assert TOKENS["course"] not in text
    assert [p.name for p in tmp_path.iterdir()] == ["secret.txt"]
    assert graded.points == 0


def test_saved_answers_of_the_practice_world_gain_nothing() -> None:
    cells = {place_after("task-a"): a.SAVED_ANSWERS, place_after("task-b"): a.SAVED_ANSWERS}
    graded = grade_cells(cells, solved=False)
    assert said(graded.printed)["detection"] == "done"
    assert graded.points == 0, [r.check for r in graded.results if r.points]
    assert any(r.outcome == "failed" for r in graded.results)
    assert not any(r.grader_fault for r in graded.results)


def test_a_lab_that_crashes_when_it_is_graded_loses_that_cell_alone() -> None:
    graded = grade_cells({3: a.CRASH_WHEN_GRADED})
    assert "kernel_died" in graded.codes
    expect_full(graded)


# -- what reaches the report -----------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """All tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.values: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values += [value or "" for _, value in attrs]


OF_THE_PAGE = set(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "p",
        "strong",
        "section",
        "div",
        "span",
        "small",
        "table",
        "thead",
        "tbody",
    ]
)
OF_THE_PAGE |= set(["tr", "th", "td", "img", "pre", "footer"])


def expect_clean(page: str) -> None:
    """The page holds the template's own markup alone."""
    seen = Tags(page)
    assert seen.tags <= OF_THE_PAGE, seen.tags - OF_THE_PAGE
    assert not any(name.startswith("on") for name in seen.attributes), seen.attributes
    assert not any("javascript:" in value for value in seen.values)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Marked, Path]:
    """A graded lab that sends script wherever it can."""
    failing = a.SCRIPTED_FAILURE
    cells = {
        3: a.SCRIPTED_OUTPUTS,
        place_after("task-a"): failing + "raise raise_later",
        place_after("task-b"): failing,
    }
    graded = grade_cells(cells, solved=False)
    folder = tmp_path_factory.mktemp("report")
    write({**graded.result, "learner": a.SCRIPT}, graded.outcome.executed, folder)
    return graded, folder


def test_script_does_not_reach_the_page(scripted: tuple[Marked, Path]) -> None:
    graded, folder = scripted
    assert "<script>alert(1)" in json.dumps(graded.result), "nothing hostile has come so far"
    assert graded.points == 0
    expect_clean((folder / "feedback.html").read_text())


def test_script_does_not_stay_in_the_executed_notebook(scripted: tuple[Marked, Path]) -> None:
    _, folder = scripted
    nb = json.loads((folder / "executed.ipynb").read_text())
    kinds = {kind for c in nb["cells"] for o in c.get("outputs", []) for kind in o.get("data", {})}
    assert "text/plain" in kinds
    active = [k for k in kinds if any(word in k.lower() for word in ("html", "svg", "javascript", "xml"))]
    assert active == []


def test_escape_sequences_do_not_reach_the_terminal(scripted: tuple[Marked, Path]) -> None:
    graded, _ = scripted
    text = to_text({**graded.result, "learner": "x\x1b[2Jy"})
    assert "\x1b" not in text
    assert "\x07" not in text


def test_script_in_a_refusal() -> None:
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"lab = open_lab({a.SCRIPT!r})")])
    graded = grade_bytes(nbformat.writes(nb).encode())
    assert not graded.gradable
    assert "<script>" in json.dumps(graded.result)
    expect_clean(to_html(graded.result))


# -- files that are handed in ----------------------------------------------------------------------------------------


MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stdout, sep="\\n")
"""


@pytest.mark.parametrize("kind", ["sparse", "padded"])
def test_a_notebook_of_200_megabytes_is_refused_quickly_and_with_flat_memory(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "large.ipynb"
    with open(file, "wb") as out:
        if kind == "padded":
            out.write(lab_bytes()[:-2])
            for _ in range(200):
                out.write(b" " * 10**6)
            out.write(b"}\n")
        else:
            out.write(lab_bytes())
            out.truncate(200 * 10**6)
    command = [sys.executable, "-m", "grader", "grade", str(file), "--topic", "3.6", "--seed", SEED.hex(), "--json"]
    # Through a process between: the system counts what its parent had at the fork as a process's own.
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True)
    code, peak_kb, text = done.stdout.split("\n", 2)
    assert code == "1"
    result = json.loads(text)
    assert [f["code"] for f in result["findings"]] == ["too_large"]
    assert int(peak_kb) < 400 * 1024, f"{int(peak_kb) / 1024:.0f} MB"


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 3_000_000,
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": ' + b'{"a":' * 1_000_000,
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b', "cells": [{}]}',
        b'{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=["lists", "dicts", "deep cells", "deep metadata", "deep worksheets"],
)
def test_deep_json_is_refused(data: bytes) -> None:
    graded = grade_bytes(data)
    assert not graded.gradable
    assert graded.outcome.tries == 1
    assert graded.codes <= {"not_a_notebook", "damaged", "no_code"}, graded.findings


@pytest.mark.parametrize("depth", [100, 800])
def test_deep_json_in_a_lab_costs_no_marks_or_is_refused(depth: int) -> None:
    nb = json.loads(lab_bytes())
    deep: Any = 1
    for _ in range(depth):
        deep = {"a": deep}
    code = next(c for c in nb["cells"] if c["cell_type"] == "code")
    code["outputs"] = [{"output_type": "display_data", "data": {"application/json": deep}, "metadata": {}}]
    code["metadata"]["deep"] = deep
    nb["metadata"]["deep"] = deep
    graded = grade_bytes(json.dumps(nb).encode())
    assert graded.outcome.tries == 1
    if depth == 100 or graded.gradable:
        expect_full(graded)
    else:
        assert graded.codes == {"damaged"}


# -- faults, and the others ------------------------------------------------------------------------------------------


def job_of(data: bytes, topic_id: str = "3.6", **limits: float) -> Job:
    """A job as grade_bytes makes it."""
    scale = syllabus().course["grading_scale"]
    return Job(topic_id, data, SEED, scale, Limits(**limits), SANDBOX, sources_digest(topic(topic_id)))


def run_all(jobs: dict[str, Job]) -> dict[str, Marked]:
    """Runs jobs side by side, a thread for each."""
    found: dict[str, Marked] = {}
    threads = [
        threading.Thread(target=lambda n=name, j=job: found.update({n: Marked(runner.run_job(j, fresh=True))}))
        for name, job in jobs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_honest_submissions_beside_attackers_get_what_they_get_alone() -> None:
    half = lab_bytes({place_after("task-b"): "def backfill(con, from_day, to_day):\n    raise ValueError('mine')"})
    other = next(t for t in TOPICS if t != "3.6")
    honest = {
        "solved": job_of(lab_bytes()),
        "half": job_of(half),
        "untouched": job_of(lab_bytes(solved=False)),
        "another lab": job_of(lab_bytes(topic_id=other), other),
    }
    alone = {name: Marked(runner.run_job(job, fresh=True)) for name, job in honest.items()}
    assert alone["solved"].points == FULL
    assert 0 < alone["half"].points < FULL
    limits = {"cell_s": 3.0, "memory_bytes": 600 * MB, "processes": 300, "work_bytes": 64 * MB, "output_bytes": MB}
    sources = {
        "bombs": [HELPERS + cell(a.FORK_BOMB, {}), HELPERS + cell(a.MEMORY_BOMBS[1], {})],
        "fillers": [HELPERS + cell(attack, {"word": "w"}) for attack in a.DISK_FILLERS],
        "floods": [HELPERS + cell(a.FLOODS[0], {"rounds": 10**9})],
        "group": [HELPERS + cell(a.GROUP_SIGNAL, {})],
        "suicides": [HELPERS + cell(attack, {}) for attack in a.SUICIDES[:2]],
        "messages": [hostile(m) for m in a.MESSAGES[:2]],
    }
    attackers = {n: job_of(bytes_with(s, solved=False), **limits) for n, s in sources.items()}
    together = run_all({**attackers, **honest})
    for name, marked in alone.items():
        assert together[name].result == marked.result, name
        assert together[name].outcome.tries == 1, f"{name} had to be begun again"


@cache
def steady() -> tuple[Job, dict[str, Any]]:
    """A job that takes its time, and its result when nothing disturbs it."""
    job = job_of(lab_bytes({3: "import time\ntime.sleep(2)"}))
    return job, runner.run_job(job, fresh=True).result


@pytest.mark.parametrize(
    ("victim", "moment"), [("sandbox", 0.7), ("sandbox", 2.2), ("sandbox", 3.0), ("stable", 1.5), ("job", 1.5)]
)
def test_a_process_of_the_grader_killed_in_the_middle_changes_no_result(victim: str, moment: float) -> None:
    job, undisturbed = steady()
    runner.prepare(SANDBOX)
    found: list[Marked] = []
    thread = threading.Thread(target=lambda: found.append(Marked(runner.run_job(job, fresh=True))))
    server = sandbox.shared(SANDBOX).server.process
    stable = runner._stable[0].server.process
    thread.start()
    jobs = wait_for(lambda: psutil.Process(stable.pid).children())
    time.sleep(moment)
    pid = {"sandbox": server.pid, "stable": stable.pid, "job": jobs[0].pid}[victim]
    assert thread.is_alive(), "it was over too soon"
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert found[0].result == undisturbed
    assert found[0].points == FULL


def test_every_promise_has_an_attack() -> None:
    promises = {
        attack.promise
        for group in (QUIET, a.MEMORY_BOMBS, a.DISK_FILLERS, a.FLOODS, a.MESSAGES, a.SUICIDES, a.CLOCKS)
        for attack in group
    }
    promises |= {x.promise for x in vars(a).values() if isinstance(x, Attack)}
    assert len(promises) >= 18, promises
    assert all(attack.shows in {TOKEN, DONE, HEARD, MARK, SEEN} for attack in QUIET)
