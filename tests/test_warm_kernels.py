"""Warm kernels through an ordinary kernel spec, and the sandbox that they stand in."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import grade_cells, lab_bytes
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from nbclient.util import run_sync

from grader import runner, sandbox
from grader.carrier import KernelCarrier
from grader.forked import Forked, ServerGone, is_there
from grader.kernels import KERNEL_NAME, room
from grader.limits import Limits
from grader.line import Line, LineBroken
from grader.sandbox import SANDBOX, Sandbox, bubblewrap
from grader.wire import MAX_BAD, KernelMisbehaved, StrictSession
from workshop.checks import LearnerError
from workshop.errors import WorkshopError
from workshop.trusted import Lab

PLAIN = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, str]]:
    """The environment in which other programs find warm kernels, as the command prints it."""
    command = [sys.executable, "-m", "grader", "kernels", "--world", "practice-7", "--scale", "0.002"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        name, value = re.fullmatch(r"export (\w+)=(.*)\n", line).groups()
        assert KERNEL_NAME in process.stdout.readline()
        yield {**PLAIN, name: value}
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert not Path(value).exists()


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook with a saved output that a clean run gives, and one that shows where it runs."""
    nb = nbformat.v4.new_notebook()
    first = nbformat.v4.new_code_cell("print(6 * 7)", execution_count=1)
    first.outputs = [nbformat.v4.new_output("stream", name="stdout", text="42\n")]
    where = "import os, socket\nprint(os.getpid(), socket.gethostname(), os.listdir(os.environ['KESTREL_WORLDS']))"
    nb.cells = [first, nbformat.v4.new_code_cell(f"# NBVAL_IGNORE_OUTPUT\n{where}", execution_count=2)]
    path = tmp_path / "in.ipynb"
    nbformat.write(nb, path)
    return path


def test_papermill_runs_a_notebook_on_a_warm_kernel(served: dict[str, str], notebook: Path) -> None:
    out = notebook.with_name("out.ipynb")
    command = [sys.executable, "-m", "papermill", str(notebook), str(out), "-k", KERNEL_NAME, "--no-progress-bar"]
    subprocess.run(command, env=served, check=True, capture_output=True)
    nb = nbformat.read(out, as_version=4)
    assert nb.cells[0].outputs[0].text == "42\n"
    pid, host, *worlds = nb.cells[1].outputs[0].text.split()
    assert (int(pid), host) == (2, "kestrel")
    assert "practice-7.duckdb" in " ".join(worlds)


def test_nbval_compares_on_a_warm_kernel(served: dict[str, str], notebook: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "nbval.plugin", "--nbval", str(notebook)]
    command += ["--nbval-kernel-name", KERNEL_NAME, "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--rootdir", str(notebook.parent)]
    env = {**served, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    nb = nbformat.read(notebook, as_version=4)
    nb.cells[0].source = "print(43)"
    nbformat.write(nb, notebook)
    assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 1


def test_any_client_starts_interrupts_and_restarts_a_warm_kernel(served: dict[str, str]) -> None:
    specs = KernelSpecManager(kernel_dirs=[f"{served['JUPYTER_PATH']}/kernels"])
    manager = KernelManager(kernel_name=KERNEL_NAME, kernel_spec_manager=specs)
    manager.start_kernel()
    try:
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=20)
        assert client.execute_interactive("x = 1", timeout=20)["content"]["status"] == "ok"
        asked = client.execute("while True: pass")
        time.sleep(0.3)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=20)
        assert reply["parent_header"]["msg_id"] == asked
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        manager.restart_kernel(now=True)
        client.stop_channels()
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=20)
        assert client.execute_interactive("x", timeout=20)["content"]["ename"] == "NameError"
        client.stop_channels()
    finally:
        manager.shutdown_kernel(now=True)
    assert not manager.is_alive()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not let a process choose its cores")
def test_each_job_has_a_core_where_there_are_jobs_for_all() -> None:
    cores = os.sched_getaffinity(0)
    shows = {2: "import os; print('CORES', sorted(os.sched_getaffinity(0)))"}
    runner.share_cores(len(cores))
    try:
        with runner._cores.one() as first, runner._cores.one() as second:
            assert len(first) == len(second) == 1
            assert first != second or len(cores) == 1
        assert re.search(r"CORES \[\d+\]", grade_cells(shows, solved=False).printed)
    finally:
        runner.share_cores(0)
    assert f"CORES {sorted(cores)}" in grade_cells(shows, solved=False).printed


# -- the fork server ----------------------------------------------------------------------------------------------------


def test_forks_share_no_random_numbers_and_inherit_nothing_that_is_open() -> None:
    source = """
import os, random, threading, duckdb, numpy
print("RANDOM", random.random(), numpy.random.random())
print("THREADS", sorted(t.name for t in threading.enumerate()))
print("ENV", sorted(os.environ))
"""
    first, second = (grade_cells({2: source}, solved=False).printed for _ in range(2))
    said = [re.search(r"RANDOM (\S+) (\S+)", text).groups() for text in (first, second)]
    assert said[0][0] != said[1][0] and said[0][1] != said[1][1]
    # All that ipykernel itself starts; nothing is left of a server's.
    threads = set(re.findall(r"'([^']+)'", re.search(r"THREADS (.*)", first)[1]))
    assert {t for t in threads if "_watch_pipe_fd" not in t} <= {
        "MainThread",
        "IOPub",
        "Heartbeat",
        "Control",
        "Shell channel",
    }
    names = set(re.findall(r"'([^']+)'", re.search(r"ENV (.*)", first)[1]))
    assert not {n for n in names if n.startswith(("KESTREL_", "PYTEST"))} - {"KESTREL_WORLDS"}


SESSION = """
import signal, threading, time
def answer():
    return 42
def leave_a_thread(call):
    def later():
        time.sleep(0.1)
        try:
            call(1)
        except EOFError:
            said.append("refused")
    said.clear()
    threading.Thread(target=later).start()
said = []
def leave_a_timer():
    def ring(*_):
        raise RuntimeError("ring")
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
def sleep():
    time.sleep(60)
class Out(BaseException):
    pass
def out():
    raise Out
"""


def test_a_kernel_serves_many_commands_in_a_session_and_cells_after_it() -> None:
    """What one command leaves behind, a thread that asks or a timer that raises, costs the next one nothing."""
    with room(sandbox.shared(SANDBOX).warm, Limits()) as place:
        manager = place.manager()
        run_sync(manager.start_kernel)()
        client = manager.client()
        client.start_channels()
        run_sync(client.wait_for_ready)(timeout=20)

        def cell(source: str) -> str:
            return run_sync(client._async_execute_interactive)(source, timeout=20)["content"]["status"]

        process = manager.provisioner.process
        carrier = KernelCarrier(place, lambda: process.send_signal(signal.SIGINT), run_sync(manager.is_alive))
        carrier.connect(manager.get_connection_info(), process.pid, manager.provisioner.line)
        lab = Lab("3.6", SimpleNamespace(name="none"), bytes(16), carrier, ())
        try:
            assert cell(SESSION) == "ok"
            assert [lab.call("answer") for _ in range(3)] == [42] * 3
            asked: list[int] = []
            lab.call("leave_a_thread", lab.callback(asked.append))
            time.sleep(0.3)
            assert lab.call("answer") == 42
            time.sleep(0.3)
            assert lab.value("said") == ["refused"]
            assert asked == []
            lab.call("leave_a_timer")
            time.sleep(0.3)
            assert lab.call("answer") == 42
            with pytest.raises(LearnerError, match="before it had an answer"):
                lab.call("out")
            with pytest.raises(LearnerError, match="did not come back"):
                lab.call("sleep", timeout_s=1)
            assert lab.call("answer") == 42
            lab.call("leave_a_thread", lab.callback(asked.append))
            carrier.release()
            assert cell("assert answer() == 42") == "ok"
            time.sleep(0.3)
            assert lab.call("answer", timeout_s=5) == 42
            assert lab.value("said") == ["refused"]
        finally:
            carrier.close()
            client.stop_channels()
            run_sync(manager.shutdown_kernel)(now=True)


def test_a_module_that_starts_a_thread_is_not_preloaded(tmp_path: Path) -> None:
    (tmp_path / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    )
    env = {**PLAIN, "PYTHONPATH": str(tmp_path)}
    code = "from grader.inside.forks import preload; preload(['threaded'])"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "has started a thread" in done.stderr


def test_a_server_that_is_not_there_is_no_learners_fault(tmp_path: Path) -> None:
    assert not is_there(str(tmp_path / "none"))
    with pytest.raises(ServerGone):
        Forked(str(tmp_path / "none"), {"kind": "kernel"})


def test_nonsense_asked_of_a_server_harms_nobody() -> None:
    warm = sandbox.shared(SANDBOX).warm
    for nonsense in (b"{}\n", b'{"kind": "shell"}\n', b"[1]\n", b"\xff\xfe\n", b"x" * 70_000 + b"\n", b""):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(warm.socket)
            line.sendall(nonsense)
            line.shutdown(socket.SHUT_WR)
            line.settimeout(10)
            assert line.recv(100) == b""
    assert grade_cells(solved=False).gradable


def test_what_a_killed_grader_leaves_is_cleared_by_the_next(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from grader.sandbox import Sandbox
made = Sandbox("sandbox")
made.await_ready()
print(made.warm.runs, made.warm.rooms, made.server.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    env = {**PLAIN, "KESTREL_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    runs, rooms, pid = done.stdout.split()
    assert Path(runs).exists() and Path(rooms).exists()
    subprocess.run(
        [sys.executable, "-c", "from grader.sandbox import Sandbox; Sandbox('sandbox').close()"], env=env, check=True
    )
    assert not Path(runs).exists() and not Path(rooms).exists()
    for _ in range(100):  # the server ends by itself when whoever started it has gone
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


# -- where the sandbox cannot be -------------------------------------------------------------------------------------------


def run_grader(tmp_path: Path, bwrap: str | None, *options: str) -> subprocess.CompletedProcess[str]:
    """Grades with a PATH that has another bwrap, or none."""
    tools = tmp_path / "bin"
    tools.mkdir()
    if bwrap is not None:
        (tools / "bwrap").write_text(f"#!/bin/sh\n{bwrap}\n")
        (tools / "bwrap").chmod(0o755)
    path = tmp_path / "lab.ipynb"
    path.write_bytes(lab_bytes(solved=False))
    env = {**PLAIN, "PATH": str(tools)}
    command = [sys.executable, "-m", "grader", "grade", str(path), "--seed", "5eed" * 8, *options]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("bwrap", "words"),
    [
        (None, "needs bubblewrap"),
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "No permissions to create new namespace"),
    ],
)
def test_where_there_is_no_sandbox_one_line_says_so_and_the_ways_out(
    tmp_path: Path, bwrap: str | None, words: str
) -> None:
    done = run_grader(tmp_path, bwrap)
    assert done.returncode == 1
    assert words in done.stderr
    assert "--isolation none" in done.stderr and "apt-get install bubblewrap" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_sandbox_that_is_killed_while_it_starts_is_started_again(tmp_path: Path) -> None:
    once = f'mkdir {tmp_path}/been || exec {shutil.which("bwrap")} "$@"\nkill -9 $$'
    done = run_grader(tmp_path, f"PATH={PLAIN['PATH']}\n{once}", "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "been").is_dir() and json.loads(done.stdout)["points"] == 0


def test_a_sandbox_that_is_always_killed_while_it_starts_is_an_error(tmp_path: Path) -> None:
    done = run_grader(tmp_path, "kill -9 $$")
    assert done.returncode == 1
    assert "killed while it started" in done.stderr and done.stderr.count("\n") == 1


def test_without_isolation_it_names_the_risk_and_is_never_chosen_by_itself(tmp_path: Path) -> None:
    done = run_grader(tmp_path, None, "--isolation", "none", "--json")
    assert done.returncode == 0, done.stderr
    assert "run as you" in done.stderr
    assert json.loads(done.stdout)["points"] == 0


def test_an_isolation_that_is_not_there_is_refused() -> None:
    with pytest.raises(WorkshopError, match="no isolation"):
        Sandbox("docker")


def test_what_lies_in_a_folder_that_is_seen_is_covered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone below /usr, or a home there: the sandbox sees /usr, but not these."""
    (tmp_path / "usr" / "home").mkdir(parents=True)
    monkeypatch.setattr(sandbox, "SYSTEM", (*sandbox.SYSTEM, str(tmp_path / "usr")))
    monkeypatch.setenv("KESTREL_HOME", str(tmp_path / "usr" / "home"))
    command = bubblewrap(tmp_path)
    assert command.index(str(tmp_path / "usr")) < command.index(str(tmp_path / "usr" / "home"))
    assert command[command.index(str(tmp_path / "usr" / "home")) - 1] == "--tmpfs"


# -- the connection --------------------------------------------------------------------------------------------------------


def test_a_withheld_package_is_not_in_the_sandbox() -> None:
    code = """
try:
    import avro.compatibility
    print("It is there")
except ModuleNotFoundError as error:
    print("It fails:", error)
"""
    assert "It fails: No module named 'avro.compatibility'" in grade_cells({2: code}, solved=False).printed


def message(session: StrictSession, kind: str, content: object, **header: object) -> list[bytes]:
    """The frames of a signed message, as a kernel sends them."""
    head = {**session.msg_header(kind), **header}
    frames = [json.dumps(part, default=str).encode() for part in (head, {}, {}, content)]
    return [session.sign(frames), *frames]


GOOD = {"name": "stdout", "text": "x"}


@pytest.mark.parametrize(
    ("kind", "content", "header"),
    [
        ("stream", {"name": "stdout"}, {}),
        ("stream", {"name": "elsewhere", "text": "x"}, {}),
        ("stream", {"name": "stdout", "text": ["x"]}, {}),
        ("stream", [], {}),
        ("stream", None, {}),
        ("error", {"ename": "E", "evalue": "x", "traceback": [1]}, {}),
        ("execute_result", {"data": {}, "metadata": {}}, {}),
        ("display_data", {"data": "<b>", "metadata": {}}, {}),
        ("execute_reply", {}, {}),
        ("status", {"execution_state": 1}, {}),
        ("stream", GOOD, {"msg_type": 7}),
        ("stream", GOOD, {"msg_id": None}),
        ("comm_open", {}, {}),
        ("display_data", {"data": {"application/json": json.loads("[" * 60 + "]" * 60)}, "metadata": {}}, {}),
    ],
)
def test_messages_of_another_shape_are_dropped(kind: str, content: object, header: dict[str, object]) -> None:
    session = StrictSession(key=b"k")
    assert session.deserialize(message(session, "stream", GOOD))["content"] == GOOD
    got = session.deserialize(message(session, kind, content, **header))
    assert (got["msg_type"], got["parent_header"], session.bad) == ("kestrel_dropped", {}, 1)


def test_wrong_signatures_and_broken_frames_are_dropped_until_there_are_too_many() -> None:
    session = StrictSession(key=b"k")
    good = message(session, "stream", GOOD)
    broken = [
        [b"0" * 64, *good[1:]],
        [b"", *good[1:]],
        good[:3],
        [],
        [good[0], b"{", *good[2:]],
        [session.sign([b"\xff", b"", b"", b""]), b"\xff", b"", b"", b""],
        [session.sign([b"[" * 5000] * 4), *[b"[" * 5000] * 4],
        [*good, *[b""] * 100],
    ]
    for frames in broken:
        assert session.deserialize(frames)["msg_type"] == "kestrel_dropped"
    assert session.bad == len(broken)
    assert session.feed_identities([b"no delimiter"]) == ([], [])
    with pytest.raises(KernelMisbehaved):
        for _ in range(MAX_BAD):
            session.deserialize(broken[0])


def test_a_flood_and_endless_talk_end_the_reading() -> None:
    session = StrictSession(key=b"k")
    session.bytes = 2**40
    with pytest.raises(KernelMisbehaved, match="floods"):
        session.feed_identities([b"x"])
    session = StrictSession(key=b"k")
    session.deadline = time.monotonic() - 1
    with pytest.raises(KernelMisbehaved, match="time is over"):
        session.feed_identities([b"x"])


def frame(text: bytes = b"text", **head: object) -> bytes:
    """A frame as the kernel's agent sends it."""
    return json.dumps({"nonce": "a", "kind": "request", "n": 1, "size": len(text), **head}).encode() + b"\n" + text


@pytest.mark.parametrize(
    "garbage",
    [
        b"no json\n",
        b"[1]\n",
        b"x" * 600,
        b"[" * 400 + b"\n",
        frame(size=-1),
        frame(size=2**40),
        frame(size="4"),
        frame(size=True),
        frame(kind="verdict"),
        frame(nonce=5),
        frame(n=None),
    ],
)
def test_garbage_on_the_line_breaks_it_and_frames_before_are_read(garbage: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        line = Line(ours)
        theirs.sendall(frame(b"one")[:-2])
        assert line.receive() is None
        theirs.sendall(b"ne" + frame(b"\xff", kind="answer") + garbage)
        assert line.receive().text == "one"
        assert line.waiting().kind == "answer"
        with pytest.raises(LineBroken):
            line.waiting()
        theirs.close()
        with pytest.raises(LineBroken):
            line.receive()
        line.close()


# -- runs stand apart --------------------------------------------------------------------------------------------------------


def test_a_run_leaves_nothing_for_the_next_and_has_limits_of_its_own() -> None:
    places = "('/tmp', str(pathlib.Path.home()), '/dev/shm')"
    write = f"import pathlib\nfor p in {places}:\n    pathlib.Path(p, 'left').touch()"
    look = f"import pathlib\nprint('LEFT', [p for p in {places} if pathlib.Path(p, 'left').exists()])"
    grade_cells({2: write}, solved=False)
    assert "LEFT []" in grade_cells({2: look}, solved=False).printed


def test_a_room_is_gone_when_its_run_is() -> None:
    warm = sandbox.shared(SANDBOX).warm
    with room(warm, Limits()) as place:
        made = [place.root, place.worlds]
        assert all(p.exists() for p in made)
    assert not any(p.exists() for p in made)


def test_closing_stops_what_runs_and_nothing_starts_it_again() -> None:
    """In a process of its own: this one's servers are shared with other tests."""
    code = f"""
import sys, threading, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import grade_cells
from grader import runner
said = []
def work():
    try:
        grade_cells({{2: "import time; time.sleep(30)"}}, solved=False)
    except Exception as error:
        said.append(str(error))
thread = threading.Thread(target=work)
thread.start()
time.sleep(6)
runner.close()
thread.join(20)
print(said, runner._stable)
"""
    done = subprocess.run([sys.executable, "-c", code], env=PLAIN, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['Grading was stopped.'] []", done.stdout + done.stderr
