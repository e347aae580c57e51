"""Attacks on the grader, as data: what a stranger's notebook may try. tests/test_attacks.py runs them.

``source`` is the body of a function ``attack(aim)``, put into a cell of its own (see ``cell``). ``aim`` is a dict that tells it
where the test has laid something out for it: files in the test's own folder, ports on which the test listens, a process of the
test's own. Nothing else is aimed at, all that is spent is bounded, and what is left on the machine is cleared by the attack or
by the test. What the function returns, or the error that stopped it, is printed on one line that the test reads back.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from typing import Any

SAYS = "attack says "

# How an attack shows its success.
TOKEN = "token"  # it says a secret that only the test and the place where it lies know
DONE = "done"  # it says "done": what should not be possible was possible
MARK = "mark"  # a file in the test's folder that bears its name
HEARD = "heard"  # a listener of the test has received its name
SEEN = "seen"  # the test looks itself: at a process, a database, marks


@dataclass(frozen=True)
class Attack:
    """``promise``: what it goes against; ``shows``: how success shows. ``root``: without walls it needs an administrator."""

    name: str
    promise: str
    source: str
    shows: str = DONE
    root: bool = False


def cell(attack: Attack, aim: dict[str, Any]) -> str:
    """The source of the cell that carries the attack out and prints what came of it."""
    body = textwrap.indent(textwrap.dedent(attack.source).strip("\n"), "    ")
    return (
        f"def attack(aim):\n{body}\n\n"
        f"try:\n    said = attack({aim!r})\n"
        "except BaseException as error:\n"
        "    said = f'stopped by {type(error).__name__}: {error}'\n"
        f"print({chr(10) + SAYS!r} + {attack.name!r} + ': ' + ascii(str(said)[:4000]), flush=True)\n"
    )


def said(printed: str) -> dict[str, str]:
    """What the attacks of a run have said, by name."""
    lines = re.findall(rf"^{SAYS}([\w ]+): ('.*'|\".*\")$", printed, re.MULTILINE)
    return {name: ast.literal_eval(text) for name, text in lines}


# -- looking around, and reaching out ------------------------------------------------------------------------------------------

# Put before the attacks of one notebook: finds files by name; the walk is done once.
HELPERS = """
import builtins, os, sys, glob, re, json, time, socket, ctypes, subprocess

def _files(aim):
    if not hasattr(builtins, "_walked"):
        builtins._walked = []
        for root in aim["roots"]:
            for folder, inside, names in os.walk(root):
                inside[:] = [d for d in inside if os.path.join(folder, d) not in
                             ("/usr", "/proc", "/sys", "/lib", "/lib64", "/bin", "/sbin", "/nix")]
                builtins._walked += [os.path.join(folder, n) for n in names]
    return builtins._walked

def _named(aim, name):
    return [p for p in _files(aim) if os.path.basename(p) == name]
"""

LOOKING = (
    Attack(
        "own environment",
        "reading the grader's environment",
        """
        parents = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                parents.append(open(path, "rb").read())
            except OSError:
                pass
        own = "\\0".join(f"{k}={v}" for k, v in os.environ.items()).encode()
        found = [m.decode() for text in [own, *parents] for m in re.findall(rb"KESTREL_TEST_PASSWORD=([^\\0]*)", text)]
        return f"{len(parents)} environments read: {found}"
        """,
        TOKEN,
    ),
    Attack(
        "memory of the grader",
        "reading the grader's environment",
        """
        pid, found = aim["test_pid"], []
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                place, rights = line.split()[:2]
                low, high = (int(x, 16) for x in place.split("-"))
                if "rw" not in rights or high - low > 2**27 or "[v" in line:
                    continue
                try:
                    memory.seek(low)
                    found += re.findall(rb"kept in memory: ([0-9a-f]{32})", memory.read(high - low))
                except (OSError, ValueError, OverflowError):
                    continue
        return f"memory of {pid} read: {found}"
        """,
        TOKEN,
        root=True,
    ),
    Attack(
        "course secret",
        "the course secret",
        """
        found = [open(p).read() for p in _named(aim, aim["secret_name"])]
        return f"among {len(_files(aim))} files: {found}"
        """,
        TOKEN,
    ),
    Attack(
        "symlink to the secret",
        "symlinks and device nodes in the work folder",
        """
        os.symlink(aim["secret_file"], "innocent.txt")
        os.symlink(os.path.dirname(aim["secret_file"]), "folder")
        os.symlink("/", "everything")
        return open("innocent.txt").read()
        """,
        TOKEN,
    ),
    Attack(
        "hard link to the secret",
        "symlinks and device nodes in the work folder",
        """
        os.link(aim["secret_file"], aim["secret_file"] + ".link")
        with open(aim["secret_file"] + ".link") as same:
            return same.read()
        """,
        TOKEN,
    ),
    Attack(
        "truth",
        "reading truth",
        """
        import duckdb
        for path in _files(aim):
            if "truth" in os.path.basename(path) and path.endswith(".duckdb"):
                try:
                    with duckdb.connect(path, read_only=True) as con:
                        tables = con.sql("select table_name from duckdb_tables()").fetchall()
                    return f"done: {path} {tables}"
                except duckdb.Error:
                    continue
        return f"no truth among {len(_files(aim))} files"
        """,
    ),
    Attack(
        "home of the grader",
        "reading truth",
        """
        folders = [os.environ.get("KESTREL_HOME"), *(r for r in aim["roots"] if r != "/"), os.path.expanduser("~/.kestrel")]
        for folder in filter(None, folders):
            if os.path.isdir(os.path.join(folder, "worlds")) and os.path.isdir(os.path.join(folder, "spool")):
                return f"done: {os.listdir(folder)}"
        raise LookupError(folders)
        """,
    ),
    Attack(
        "write to the world",
        "reading truth",
        """
        place = os.environ["KESTREL_WORLDS"]
        files = [os.path.join(place, n) for n in os.listdir(place)]
        for file in files:  # opened for writing, and left as it is
            open(file, "r+b").close()
        return f"done: {files}"
        """,
    ),
    Attack(
        "solutions and checks",
        "reading solutions, checks.py, answers.py",
        """
        import workshop
        repository = os.path.dirname(os.path.dirname(workshop.__file__))
        found = []
        for folder, inside, names in os.walk(repository):
            inside[:] = [d for d in inside if d not in (".venv", "node_modules")]
            for name in names:
                if name in ("checks.py", "answers.py", "lab.py", "lesson.py") and "curriculum" in folder:
                    found.append(os.path.join(folder, name))
                elif ".git" in folder and name == "HEAD":
                    found.append(os.path.join(folder, name))
        assert found, "no curriculum in the repository"
        return f"done: {found}"
        """,
    ),
    Attack(
        "solutions by import",
        "reading solutions, checks.py, answers.py",
        """
        from workshop.topics import load_checks, topic
        from workshop.authoring import task_source
        return f"done: {load_checks(topic('3.6')).checks[0]} {task_source(topic('3.6'), 'a', solved=True)[:200]}"
        """,
    ),
    Attack(
        "sources of the grader",
        "reading solutions, checks.py, answers.py",
        """
        import workshop
        import grader.certify
        return f"done: {open(grader.certify.__file__).read()[:100]}"
        """,
    ),
    Attack(
        "kit opened for writing",
        "patching the kit",
        """
        import workshop.checks, grader.inside.isolate
        for module in (workshop.checks, grader.inside.isolate, os, json):  # opened for writing, and left as it is
            open(module.__file__, "r+b").close()
        return "done"
        """,
        root=True,
    ),
    Attack(
        "submission of another",
        "reading another submission",
        """
        found = [open(p).read() for p in _named(aim, aim["other_name"])]
        return f"among {len(_files(aim))} files: {found}"
        """,
        TOKEN,
    ),
    Attack(
        "work folder of another",
        "reading another submission",
        """
        end = time.time() + aim["patience_s"]
        while time.time() < end:
            places = [os.path.join(f, "mine.txt") for top in aim["tops"] for f, _, names in os.walk(top) if "mine.txt" in names]
            for path in [*places, *(p for place in aim["rooms"] for p in glob.glob(place))]:
                try:
                    return f"{path}: {open(path).read()}"
                except OSError:
                    continue
            time.sleep(0.1)
        raise LookupError("nothing of another run")
        """,
        TOKEN,
    ),
    Attack(
        "gradebook",
        "writing the gradebook",
        """
        import duckdb
        with duckdb.connect(aim["book"]) as con:
            con.execute("update marks set points = 10 where learner = 'mallory'")
        return "done"
        """,
        SEEN,
    ),
    Attack(
        "gradebook by attach",
        "writing the gradebook",
        """
        from workshop.lab import graded_connections
        con = graded_connections()(WORLD).cursor()
        con.execute(f"attach '{aim['other_book']}' as book")
        con.execute("update book.marks set points = 10 where learner = 'mallory'")
        con.execute("detach book")
        return "done"
        """,
        SEEN,
    ),
    Attack(
        "file of the test",
        "writing the gradebook",
        """
        with open(os.path.join(aim["marks"], "file of the test"), "w") as mark:
            mark.write("was here")
        return "done"
        """,
        MARK,
    ),
    Attack(
        "connection files",
        "connection-file theft",
        """
        import jupyter_core.paths
        places = [*aim["sockets"], jupyter_core.paths.jupyter_runtime_dir() + "/kernel-*.json"]
        end = time.time() + aim["patience_s"]
        while time.time() < end:
            found = [p for place in places for p in glob.glob(place)]
            found += [os.path.join(f, n) for top in aim["tops"] for f, _, names in os.walk(top) for n in names
                      if n.startswith("kernel-") or re.fullmatch(r"k[0-9a-f]{6}-[1-5]", n)]
            if found:
                return f"done: {found[:20]}"
            time.sleep(0.1)
        raise LookupError("no connection of another kernel")
        """,
    ),
    Attack(
        "question to the fork server",
        "connection-file theft",
        """
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(2)
            line.connect(aim["server"])
            return f"done: connected to {aim['server']}"
        """,
    ),
)

REACHING = (
    Attack(
        "tcp",
        "network",
        """
        with socket.create_connection(("127.0.0.1", aim["tcp"]), timeout=2) as line:
            line.sendall(b"tcp")
        return "done"
        """,
        HEARD,
    ),
    Attack(
        "udp",
        "network",
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.sendto(b"udp", ("127.0.0.1", aim["udp"]))
        return "done"
        """,
        HEARD,
    ),
    Attack(
        "unix socket",
        "network",
        """
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(2)
            line.connect(aim["unix"])
            line.sendall(b"unix socket")
        return "done"
        """,
        HEARD,
    ),
    Attack(
        "abstract unix socket",
        "network",
        """
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(2)
            line.connect("\\0" + aim["abstract"])
            line.sendall(b"abstract unix socket")
        return "done"
        """,
        HEARD,
    ),
    Attack(
        "name look up",
        "network",
        """
        # A question to a name server (RFC 1035): the name that is asked for carries the loot out.
        name = b"".join(bytes([len(part)]) + part for part in (b"name look up", b"example", b"org")) + b"\\0"
        question = b"\\x12\\x34\\x01\\x00\\x00\\x01" + bytes(6) + name + b"\\x00\\x01\\x00\\x01"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.sendto(question, ("127.0.0.1", aim["udp"]))
        return "done"
        """,
        HEARD,
    ),
    Attack(
        "loopback of the machine",
        "network",
        """
        up = []
        for index, name in socket.if_nameindex():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                import fcntl, struct
                flags = struct.unpack("16xH", fcntl.ioctl(probe, 0x8913, struct.pack("16s16x", name.encode()))[:18])[0]
                if flags & 1:
                    up.append(name)
        assert up, "no interface is up"
        return f"done: {up}"
        """,
    ),
    Attack(
        "signals",
        "signals to the grader",
        """
        import signal
        me, sent = os.getpid(), []
        pid = os.getppid()
        for target in (aim["decoy"], aim["second_decoy"]):
            try:
                os.kill(target, signal.SIGTERM)
                sent.append(target)
            except ProcessLookupError:
                pass
        if aim["walls"] and os.getcwd() == "/kestrel/work":  # behind walls it may try everything that it sees
            libc = ctypes.CDLL(None)
            for target in [pid, 1, *range(2, 400)]:
                # Its own threads answer to numbers, too; tgkill knows who leads.
                if target == me or libc.syscall(234, target, target, 0) != 0:
                    continue
                for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGINT, signal.SIGUSR1):
                    try:
                        os.kill(target, number)
                        sent.append((target, number))
                    except (ProcessLookupError, PermissionError):
                        pass
            try:
                os.kill(-1, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        return f"sent to {sent}"
        """,
        SEEN,
    ),
    Attack(
        "left behind",
        "a process left behind",
        """
        code = f"import time; time.sleep(3); open({aim['marks'] + '/left behind'!r}, 'w').write('late')"
        first = os.fork()
        if first == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-S", "-E", "-c", code, aim["word"]])
            os._exit(0)
        os.waitpid(first, 0)
        return "done"
        """,
        MARK,
    ),
    Attack(
        "system calls",
        "namespace and mount system calls",
        """
        libc = ctypes.CDLL(None, use_errno=True)
        none = ctypes.c_void_p(None)
        def call(number, *args):
            return libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in args))
        def mounts():
            if call(272, 0x10000000 | 0x00020000) == -1:
                return -1
            return libc.mount(b"none", b"/mnt", b"tmpfs", 0, None)
        def nothing_new(flags):
            made = call(56, flags | 17, 0, 0, 0, 0)
            if made == 0:
                os._exit(0)
            return made
        tries = {  # numbers of x86_64
            "unshare user": lambda: call(272, 0x10000000),
            "unshare files": lambda: call(272, 0x00020000),
            "unshare net": lambda: call(272, 0x40000000),
            "mount": mounts,
            "clone user": lambda: nothing_new(0x10000000),
            "ptrace": lambda: call(101, 0, 0, 0, 0),
            "memfd_create": lambda: call(319, b"x", 0),
            "shmget": lambda: call(31, call(29, 0, 4096, 0o1600), 0, 0),  # and taken away again
            "msgget": lambda: call(71, call(68, 0, 0o1600), 0, 0),
            "keyctl": lambda: call(250, 0, -3, 0),
            "netlink": lambda: socket.socket(16, socket.SOCK_RAW, 0).fileno(),
            "packet": lambda: socket.socket(17, socket.SOCK_RAW, 0).fileno(),
        }
        worked = []
        for name, attempt in tries.items():
            child = os.fork()  # whatever works, works in a process that ends at once
            if child == 0:
                code = 1
                try:
                    code = 0 if attempt() != -1 else 1
                finally:
                    os._exit(code)
            if os.waitpid(child, 0)[1] == 0:
                worked.append(name)
        assert worked, "all refused"
        return f"done: {worked}"
        """,
        root=True,
    ),
    Attack(
        "device nodes",
        "symlinks and device nodes in the work folder",
        """
        import stat
        os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        with open("device", "rb") as device:
            return f"done: {device.read(3)}"
        """,
        root=True,
    ),
    Attack(
        "strange files",
        "symlinks and device nodes in the work folder",
        """
        with socket.socket(socket.AF_UNIX) as line:
            line.bind("socket")
        os.symlink("/nowhere/at/all", "dangling")
        os.symlink("loop", "loop")
        os.symlink(aim["marks"], "marks")
        open(b"\\xff\\xfe\\n<script>", "w").close()
        os.mkdir("locked", 0)
        here = os.getcwd()
        for _ in range(400):
            os.mkdir("d")
            os.chdir("d")
        os.chdir(here)
        return "made"
        """,
        SEEN,
    ),
)

SHARED_FILE = Attack(
    "file shared by all runs",
    "reading another submission",
    """
    import stat
    found = []
    for fd in range(1024):  # whatever file this process was born with
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                found.append(os.pread(fd, 10**6, 0))
        except OSError:
            continue
    return f"files held open: {found}"
    """,
    TOKEN,
)

# Processes that a fork server has made are born into its group, and a group knows no namespaces.
GROUP_SIGNAL = Attack("signal to its group", "signals to the grader", "import signal\nos.kill(0, signal.SIGKILL)", SEEN)

OPEN_FILES = Attack(
    "open files",
    "numbers of file descriptors",
    """
    kept = []
    try:
        while len(kept) < 10_000:
            kept.append(os.open(os.devnull, os.O_RDONLY))
        return "done"
    finally:
        for fd in kept:
            os.close(fd)
    """,
)

# -- too much --------------------------------------------------------------------------------------------------------------

FORKS = """
import os, time
if os.fork():
    os._exit(0)  # an orphan makes the others
os.setsid()
end, made = time.time() + 4, 0
try:
    while made < 700:
        if os.fork() == 0:
            time.sleep(max(0, end - time.time()))
            os._exit(0)
        made += 1
except OSError:
    pass
print(made, flush=True)
time.sleep(max(0, end - time.time()))
"""
FORK_BOMB = Attack(
    "fork bomb",
    "fork bomb",
    f"""
    first = subprocess.Popen([sys.executable, "-S", "-E", "-c", {FORKS!r}], stdout=subprocess.PIPE)
    made = int(first.stdout.readline())
    assert made == 700, f"only {{made}} processes"
    time.sleep(1.5)
    return "done"
    """,
)

MEMORY_BOMBS = (
    Attack(
        "memory of one process",
        "memory bomb",
        """
        kept = []
        for _ in range(14):
            kept.append(bytearray(b"x") * (50 * 2**20))
        time.sleep(1)
        return "done"
        """,
    ),
    Attack(
        "memory of ten processes",
        "memory bomb",
        """
        children = []
        for _ in range(10):
            child = os.fork()
            if child == 0:
                try:
                    kept = bytearray(b"x") * (70 * 2**20)
                    time.sleep(2)
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(child)
        ended = [os.waitpid(c, 0)[1] for c in children]
        assert ended == [0] * 10, ended
        return "done"
        """,
    ),
    Attack(
        "memory shared with nobody",
        "memory bomb",
        """
        import mmap
        kept = mmap.mmap(-1, 700 * 2**20)  # anonymous and shared: limits of private memory do not count it
        for at in range(0, len(kept), 4096):
            kept[at] = 1
        time.sleep(1)
        return "done"
        """,
    ),
)

DISK_FILLERS = (
    *(
        Attack(
            f"filling {name}",
            "disk filler",
            f"""
            import tempfile
            path = os.path.join({place}, "filler" + aim["word"])
            try:
                with open(path, "wb", 0) as out:
                    for _ in range(80):
                        assert out.write(bytes(2**20)) == 2**20, "cut off"
                return "done"
            finally:
                os.unlink(path)
            """,
        )
        for name, place in (
            ("the work folder", "os.getcwd()"),
            ("the temporary folder", "tempfile.gettempdir()"),
            ("tmp", "'/tmp'"),
            ("shared memory", "'/dev/shm'"),
        )
    ),
    Attack(
        "many small files",
        "disk filler",
        """
        made = 0
        os.mkdir("many")
        try:
            for made in range(8000):
                open(f"many/{made}", "w").close()
            return "done"
        finally:
            for name in os.listdir("many"):
                os.unlink(f"many/{name}")
        """,
    ),
)
SHARED_FILE_FILLER = Attack(
    "filling a file held open",
    "disk filler",
    """
    import stat
    for fd in range(1024):
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                continue
        except OSError:
            continue
        size = os.fstat(fd).st_size
        try:
            for at in range(80):
                os.pwrite(fd, bytes(2**20), size + at * 2**20)
            return f"done: {fd}"
        except OSError:
            continue
        finally:
            os.ftruncate(fd, size)
    raise LookupError("no file held open could be filled")
    """,
)

FLOODS = (
    Attack("flood of prints", "endless output", "for i in range(aim['rounds']): print('x' * 100_000)\nreturn 'done'"),
    Attack(
        "flood past python",
        "endless output",
        """
        for i in range(aim["rounds"]):
            os.write(1, b"y" * 65_000 + b"\\n")
            os.write(2, b"z" * 65_000 + b"\\n")
        return "done"
        """,
    ),
    Attack(
        "flood of displays",
        "endless output",
        """
        from IPython.display import display
        for i in range(aim["rounds"]):
            display({"text/plain": "w" * 100_000}, raw=True)
        return "done"
        """,
    ),
)
ONE_LARGE_OUTPUT = Attack("one large output", "endless output", "print('v' * 100_000_000)\nreturn 'done'")

# -- hostile messages ------------------------------------------------------------------------------------------------------

# What the attacks on the Jupyter connection share: sending anything on the kernel's own sockets.
WIRE = """
import os, json, time, threading

class Wire:
    def __init__(self):
        self.kernel = get_ipython().kernel
        self.session = self.kernel.session
        self.parent = self.kernel.get_parent()
        who = getattr(self.kernel, "_shell_parent_ident", None)
        self.ident = who.get() if who is not None else self.kernel._parent_ident["shell"]

    def frames(self, kind, content, parent=None, ident=None):
        message = self.session.msg(kind, content=content, parent=self.parent if parent is None else parent)
        return self.session.serialize(message, ident=ident)

    def publish(self, frames):
        self.kernel.iopub_socket.send_multipart(frames)

    def show(self, kind, content):
        self.publish(self.frames(kind, content, ident=b"x"))

    def reply(self, content, parent=None):
        frames = self.frames("execute_reply", content, parent, self.ident)
        self.kernel.shell_stream.send_multipart(frames)
        self.kernel.shell_stream.flush()
"""


def _wire(name: str, source: str) -> Attack:
    return Attack(name, "hostile messages", "wire = Wire()\n" + textwrap.dedent(source).strip("\n"), SEEN)


MESSAGES = (
    _wire(
        "wrong signatures",
        """
        for i in range(2000):
            frames = wire.frames("stream", {"name": "stdout", "text": "wrong"}, ident=b"x")
            frames[2] = b"%064x" % i
            wire.publish(frames)
        """,
    ),
    _wire(
        "malformed texts",
        """
        for text in (b"{no json", b"", b"[]", b"null", b"7", b"\\xff\\xfe", b"[" * 100_000, b'{"a":' * 50_000):
            for at in (3, 4, 5, 6):
                frames = wire.frames("stream", {"name": "stdout", "text": "malformed"}, ident=b"x")
                frames[at] = text
                frames[2] = wire.session.sign(frames[3:7])
                wire.publish(frames)
        for n in range(7):
            wire.publish([b"x"] * n + [b"<IDS|MSG>"] * (n % 2) + [b"y"] * n + [b"z"])
        wire.publish([b"x", b"<IDS|MSG>", *[b"{}"] * 200])
        """,
    ),
    _wire(
        "replies that nobody asked for",
        """
        for i in range(3000):
            wire.reply({"status": "ok", "payload": [], "n": i}, {"header": {"msg_id": f"nobody-{i}"}})
        """,
    ),
    _wire(
        "questions that nobody awaits",
        """
        for i in range(2000):
            frames = wire.frames("input_request", {"prompt": "points?", "password": False}, ident=wire.ident)
            wire.kernel.stdin_socket.send_multipart(frames)
        """,
    ),
    _wire(
        "missing fields",
        """
        for kind in ("stream", "display_data", "execute_result", "error", "status", "clear_output", "update_display_data",
                     "execute_input", "comm_open", "comm_msg", "unheard_of"):
            for content in ({}, {"name": "stdout"}, {"data": None}, {"text": 5, "name": []}, {"execution_state": ["idle"]},
                            {"data": [], "metadata": 3}, {"ename": "x", "evalue": "y", "traceback": [1, {}]}):
                wire.show(kind, content)
        """,
    ),
    _wire("odd transient", """wire.show("display_data", {"data": {}, "metadata": {}, "transient": "x"})"""),
    _wire(
        "odd display id",
        """wire.show("display_data", {"data": {}, "metadata": {}, "transient": {"display_id": ["x"]}})""",
    ),
    _wire(
        "displays updated after they are gone",
        """
        shown = {"data": {"text/plain": "a"}, "metadata": {}, "transient": {"display_id": "one"}}
        wire.show("display_data", shown)
        wire.show("stream", {"name": "stdout", "text": "b"})
        wire.show("stream", {"name": "stdout", "text": "c"})
        wire.show("display_data", shown)
        wire.show("clear_output", {"wait": True})
        wire.show("update_display_data", shown)
        wire.show("stream", {"name": "stdout", "text": "d"})
        wire.show("update_display_data", shown)
        get_ipython().run_line_magic("config", "Application.log_level = 50")
        """,
    ),
    _wire("odd payload", """wire.reply({"status": "ok", "payload": 5, "execution_count": 1})"""),
    _wire(
        "odd traceback",
        """wire.reply({"status": "error", "ename": {"a": 1}, "evalue": ["x"], "traceback": [1, {}, None]})""",
    ),
    _wire(
        "odd values of outputs",
        """
        wire.show("display_data", {"data": {"text/plain": {"a": [1]}, "image/png": 7}, "metadata": {"a": [None]}})
        wire.show("execute_result", {"data": {"": None}, "metadata": {}, "execution_count": 10**30})
        wire.show("stream", {"name": "stdout", "text": "\\ud800 lone surrogate\\x00"})
        wire.show("error", {"ename": "\\ud800", "evalue": "\\x1b[2J", "traceback": ["\\ud800"]})
        wire.show("execute_input", {"execution_count": {"deep": [[[[1]]]]}, "code": "x"})
        """,
    ),
    _wire(
        "deep output",
        """
        for depth in (40, 60, 900):
            value = 1
            for _ in range(depth):
                value = {"a": value}
            wire.show("display_data", {"data": {"application/json": value}, "metadata": {}})
        """,
    ),
    _wire(
        "forged end of the cell",
        """
        wire.reply({"status": "ok", "payload": [], "execution_count": 1, "user_expressions": {}})
        wire.show("status", {"execution_state": "idle"})
        time.sleep(0.5)
        wire.show("stream", {"name": "stdout", "text": "after the end"})
        """,
    ),
    _wire(
        "very many small messages",
        """
        import hmac, hashlib
        key = wire.session.key
        frames = wire.frames("stream", {"name": "stdout", "text": "."}, ident=b"x")
        ident, mark, _, header, parent, metadata, content = frames
        for i in range(100_000):
            content = b'{"name":"stdout","text":"","n":%d}' % i
            signature = hmac.new(key, header + parent + metadata + content, hashlib.sha256).hexdigest().encode()
            wire.publish([ident, mark, signature, header, parent, metadata, content])
        """,
    ),
)
FORGED_END = next(a for a in MESSAGES if a.name == "forged end of the cell")
MANY_MESSAGES = next(a for a in MESSAGES if a.name == "very many small messages")

# -- the kernel's life -------------------------------------------------------------------------------------------------------

SUICIDES = (
    Attack("kill", "kernel suicide", "import signal\nos.kill(os.getpid(), signal.SIGKILL)"),
    Attack("exit at once", "kernel suicide", "os._exit(0)"),
    Attack("abort", "kernel suicide", "os.abort()"),
    Attack("segmentation fault", "kernel suicide", "ctypes.string_at(8)"),
)
SYSTEM_EXIT = Attack("system exit", "sys.exit", "import builtins\nbuiltins.tried = True\nraise SystemExit(3)")

THREAD_THAT_PRINTS = Attack(
    "thread that prints for ever",
    "threads that outlive the cell",
    """
    import threading
    def talk():
        while True:
            print("still here", "x" * 1000)
            sys.stderr.write("and here")
            time.sleep(0.001)
    threading.Thread(target=talk, daemon=True).start()
    return "done"
    """,
)
THREAD_THAT_CHANGES = Attack(
    "thread that changes a task",
    "threads that outlive the cell",
    """
    import threading
    space = get_ipython().user_ns
    def change():
        while True:
            space["load"] = lambda *args: ["another", "answer"]
            time.sleep(0.001)
    threading.Thread(target=change, daemon=True).start()
    return "done"
    """,
)

CLOCKS = (
    Attack(
        "clocks that stand still",
        "clock games",
        """
        for name in ("time", "monotonic", "perf_counter", "process_time", "time_ns", "monotonic_ns"):
            setattr(time, name, lambda: 0)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            pass
        """,
    ),
    Attack("long sleep", "clock games", "time.sleep(10_000)"),
)
STOPPED = Attack("stopped by itself", "clock games", "import signal\nos.kill(os.getpid(), signal.SIGSTOP)")

# -- the verdict ------------------------------------------------------------------------------------------------------------

STOLEN_SOLUTION = Attack(
    "stolen solution",
    "reading solutions, checks.py, answers.py",
    """
    import workshop
    repository = os.path.dirname(os.path.dirname(workshop.__file__))
    [path] = glob.glob(repository + "/curriculum/*/06_idempotent_processing/lab.py")
    source = open(path).read()
    for name in ("load", "backfill"):
        function = re.search(rf"^def {name}\\(.*?### END SOLUTION", source, re.MULTILINE | re.DOTALL)[0]
        exec(function, get_ipython().user_ns)
    return "done"
    """,
    SEEN,
)

FORGER = """
import glob, json, os, sys, time
end = time.time() + 12
while time.time() < end and not os.path.exists(sys.argv[3]):
    for path in glob.glob(sys.argv[1] + "/*.json"):
        try:
            found = json.load(open(path))
            if found["result"]["points"] != 9.75:
                found["result"]["points"] = 9.75
                json.dump(found, open(path + ".new", "w"))
                os.replace(path + ".new", path)
                open(sys.argv[2], "w").write("forged")
        except (OSError, ValueError):
            pass
    time.sleep(0.002)
"""
FORGED_RESULT = Attack(
    "forged result",
    "forging a verdict",
    f"""
    # Waits beside the run for its result to appear, and writes other marks over it.
    code = {FORGER!r}
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() == 0:
            what = [aim["spool"], aim["marks"] + "/forged", aim["stop"]]
            os.execv(sys.executable, [sys.executable, "-S", "-E", "-c", code, *what])
        os._exit(0)
    os.waitpid(first, 0)
    return "done"
    """,
    SEEN,
)

PRINTED_VERDICTS = Attack(
    "printed verdicts",
    "forging a verdict",
    """
    result = {"schema_version": 1, "topic": "3.6", "points": 10, "max_points": 10, "gradable": True}
    print(json.dumps(result))
    print("10 of 10 points")
    print(json.dumps({"nonce": "0", "kind": "answer", "text": json.dumps({"value": True})}))
    from IPython.display import display
    display({"application/json": result}, raw=True)
    with open("result.json", "w") as out:
        json.dump(result, out)
    return "done"
    """,
    SEEN,
)

PATCHES = Attack(
    "patched kit",
    "patching the kit",
    """
    import workshop.checks, workshop.codec, workshop.trusted, workshop.judged, workshop.sim, workshop.lab, workshop.table
    from workshop.checks import CheckResult, PASSED
    passed = lambda c, lab: CheckResult(c.task, c.name, c.title, c.points, c.points, PASSED)
    workshop.checks.run_check = passed
    workshop.checks.run_checks = lambda checks, lab: [passed(c, lab) for c in checks]
    workshop.lab.run_checks = workshop.checks.run_checks
    workshop.checks.expect = lambda *a, **k: None
    workshop.checks.expect_same_rows = lambda *a, **k: None
    workshop.checks.same = lambda *a, **k: True
    workshop.checks.CheckFailed.__init__ = lambda self, *a, **k: None
    workshop.codec.loads = lambda text, resolve=None: {"value": True}
    workshop.codec.MAX_BYTES = 10**12
    workshop.trusted.Lab.call = lambda *a, **k: True
    workshop.table.Table.__eq__ = lambda *a: True
    for name in list(vars(workshop.sim)):
        if callable(getattr(workshop.sim, name)):
            setattr(workshop.sim, name, lambda *a, **k: None)
    return "done"
    """,
    SEEN,
)

# Replaces what serves the grader's commands; ``answers`` are texts (JSON, as they would come from the codec).
INVENTED = """
import contextlib, workshop.remote, workshop.agent
answers, asked = {answers}, []

def serve(nonce):
    line = workshop.remote._lines[0]
    answer = answers[len(asked) % len(answers)]
    asked.append(line.command(nonce))
    with contextlib.suppress(EOFError):
        line.ask("wrong", "answer", "passed")
    line.ask(nonce, "answer", answer)

workshop.remote.serve = serve
workshop.agent.Agent.serve = lambda self, command, request: answers[0]
"""
ANSWERS = (
    '{"value": true}',
    '{"value": null}',
    '{"passed": true, "points": 10}',
    '{"outcome": "passed"}',
    "no json",
    "[]",
    "null",
    '{"value": ' + "[" * 30 + "]" * 30 + "}",
    '{"value": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"value": {"$": "table", "columns": ["a"], "rows": [[1, 2]]}}',
    '{"value": {"$": "table", "columns": 5, "rows": null}}',
    '{"value": {"$": "table", "columns": ["order_id", "order_id"], "rows": [[{"$": "decimal", "v": "sNaN"}, 1]]}}',
    '{"value": {"$": "decimal", "v": "1E+999999"}}',
    '{"value": {"$": "decimal", "v": "NaN"}}',
    '{"value": {"$": "float", "v": "nan"}}',
    '{"value": [{"$": "float", "v": "inf"}, NaN, 1e999, -Infinity]}',
    '{"value": {"$": "int", "v": "' + "9" * 400 + '"}}',
    '{"value": {"$": "object", "v": "object1"}}',
    '{"value": {"$": "con", "v": "x"}}',
    '{"value": {"$": "map", "v": [[{"$": "map", "v": []}, 1]]}}',
    '{"value": {"$": "set", "v": [{"a": 1}]}}',
    '{"value": {"$": "timedelta", "v": [999999999, 0, 0]}}',
    '{"value": {"$": "datetime", "v": "9999-12-31T23:59:59-12:00"}}',
    '{"value": {"$": "bytes", "v": "%%%"}}',
    '{"value": {"a": {"$": 5}}}',
    '{"value": [{"a": 1}, {"b": [{}]}, {"a": {"$": "decimal", "v": "sNaN"}}]}',
    '{"value": [[], [1], ["x"], [null]]}',
    '{"value": "\\ud800<script>alert(1)</script>"}',
    '{"value": {"": {"": {"": []}}}}',
    '{"value": -1e308}',
    '{"error": 5}',
    '{"error": {"type": ["x"], "message": {"a": 1}, "where": 7, "printed": null}}',
    '{"error": {"type": "Crash", "message": ""}}',
)

# A thread answers what the grader has asked, before the kit does.
ANSWERING_THREAD = Attack(
    "answering thread",
    "forging a verdict",
    """
    import threading, workshop.remote
    nonces, real, line = [], workshop.remote.serve, workshop.remote._lines[0]
    def listening(nonce):
        nonces.append(nonce)
        real(nonce)
    workshop.remote.serve = listening
    def talk():
        while True:
            if nonces:
                for n, text in enumerate(('{"value": true}', '{"passed": true}'), 1_000_000):
                    head = {"nonce": nonces[-1], "kind": "answer", "n": n, "size": len(text)}
                    try:
                        with workshop.remote._turn:
                            line._out.write(json.dumps(head).encode() + b"\\n" + text.encode())
                            line._out.flush()
                    except Exception:
                        pass
            time.sleep(0.01)
    threading.Thread(target=talk, daemon=True).start()
    return "done"
    """,
    SEEN,
)

# In place of a task's function: each call tries the next thing with the judge's database.
JUDGE_QUESTIONS = (
    "con.execute('select * from range(4000000)')",
    "con.execute('select ?', [[{'a': [None, {'b': {1, 2}}]}]])",
    "con.execute('select ?, ?', {'x': 1, 7: b'x'})",
    "con._request('no json')",
    'con._request(\'{"database": "db1"}\')',
    'con._request(\'{"database": [], "sql": {"a": 1}, "parameters": 7}\')',
    'con._request(\'{"callback": "callback99", "args": 5}\')',
    "con._request('[1]')",
    "con.execute(\"select repeat('x', 100000000)\")",
    "con.execute('select ' + '(' * 3000 + '1' + ')' * 3000)",
    "con.execute('drop schema raw cascade; drop table orders; drop table orders_daily; create view orders as select 1')",
)
JUDGE_QUESTION = """
asked = []
def load(con, *args):
    question = {questions}[len(asked) % {count}]
    asked.append(question)
    exec(question, {{"con": con}})
backfill = load
"""

# SQL by which the judge's database might reach a file; {file} holds a secret, {loot} is to be written.
JUDGE_SQL = (
    "select * from read_text('{file}')",
    "select * from read_csv('{file}')",
    "select content from read_blob('{file}')",
    "select * from glob('/**')",
    "attach '{loot}.duckdb' as loot",
    "copy (select 42) to '{loot}'",
    "export database '{loot}'",
    "set enable_external_access=true",
    "set lock_configuration=false",
    "install httpfs",
    "load httpfs",
)

# -- detecting that it is graded ---------------------------------------------------------------------------------------------

DETECTION = """
import os
import workshop.lab
signs = {
    "environment": "KESTREL_WORLDS" in os.environ,
    "class": type(lab).__name__ == "GradedLab",
    "world": not WORLD.startswith("practice"),
    "name": os.environ.get("HOME") == os.getcwd(),
}
"""
SAVED_ANSWERS = (
    DETECTION
    + """
if any(signs.values()):
    def load(con, batch_id):  # what was right on the practice world
        con.execute("insert into orders values (1, 1, 'placed', '2026-06-01', 1, 'US', 'web', 10.00, ?, '2026-06-01')",
                    [batch_id])
        con.execute("insert into orders_daily values ('2026-06-01', 1, 0, 10.00, '2026-06-01')")
    def backfill(con, from_day, to_day):
        load(con, "saved")
    print("attack says detection: 'done'")
"""
)
CRASH_WHEN_GRADED = (
    DETECTION
    + """
if any(signs.values()):
    os._exit(7)
"""
)

# -- script in outputs --------------------------------------------------------------------------------------------------------

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>"
SCRIPTED_OUTPUTS = f"""
from IPython.display import HTML, SVG, Javascript, Markdown, display
attack = {SCRIPT!r}
display(HTML(attack))
display(SVG('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(4)</script></svg>'))
display(Javascript("alert(5)"))
display(Markdown(attack))
display({{"text/latex": attack, "application/vnd.other+json": {{"a": attack}}, "text/plain": attack}}, raw=True)
display({{"TEXT/HTML": attack, "text/html; charset=utf-8": attack, "image/svg+xml;x": attack}}, raw=True)
print(attack + "\\x1b]0;title\\x07\\x1b[2J\\u202e")
"""
SCRIPTED_FAILURE = f"""
class Bad(Exception):
    pass
Bad.__name__ = Bad.__qualname__ = {SCRIPT!r}
def load(con, batch_id):
    print({SCRIPT!r})
    raise Bad({SCRIPT!r} + "\\x1b]0;title\\x07\\x1b[2J")  # <script>alert(6)</script>
def backfill(con, from_day, to_day):
    con.execute("create or replace table orders as select '{SCRIPT}' as \\"{SCRIPT}\\"")
    raise ValueError("</p></main></html>" + {SCRIPT!r})
raise_later = Bad({SCRIPT!r})
"""
