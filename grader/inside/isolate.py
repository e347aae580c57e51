"""The walls around one run, put up by the run's own process before anything of a learner's is read.

Linux system calls by ctypes: Python's standard library has them from 3.12 on only (unshare, setns) or not at all (mount,
seccomp). Constants are those of the kernel's uapi headers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
SECCOMP_MODE_FILTER = 2
LAST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x20080522
INODES_PER_MB = 64
SHARED_MEMORY_BYTES = 64 * 1024**2
VISIBLE_PROC = ("meminfo", "cpuinfo", "stat", "filesystems", "loadavg", "uptime", "version")

RUNS, WORLDS, WORK, EMPTY = "/kestrel/runs", "/kestrel/worlds", "/kestrel/work", "/kestrel/empty"
# A clone may lie in /tmp: then that is read-only for runs, which have TMPDIR.
OURS_IN_TMP = any(Path(p).is_relative_to("/tmp") for p in (sys.prefix, sys.base_prefix, __file__))

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Walls:
    """Limits of one run. Bytes and seconds; ``processes`` counts threads too, as the kernel does."""

    memory_bytes: int
    cpu_s: int
    processes: int
    open_files: int
    file_bytes: int
    work_bytes: int


def _call(name: str, *args: object) -> int:
    done = getattr(_libc, name)(*args)
    if done == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return done


def unshare(flags: int) -> None:
    """unshare(2)."""
    _call("unshare", ctypes.c_int(flags))


def setns(fd: int, kind: int) -> None:
    """setns(2)."""
    _call("setns", ctypes.c_int(fd), ctypes.c_int(kind))


def prctl(option: int, *args: int) -> None:
    """prctl(2)."""
    _call("prctl", ctypes.c_int(option), *(ctypes.c_ulong(a) for a in (*args, 0, 0, 0, 0)[:4]))


def end_with_parent() -> None:
    """Has the calling process killed when the one that forked it ends, where the system can do that."""
    if sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _call(
        "mount",
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() if data else None,
    )


def _tmpfs(target: str, size: int, flags: int = 0) -> None:
    inodes = max(256, size // 2**20 * INODES_PER_MB)
    _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV | flags, f"size={size},nr_inodes={inodes},mode=0755")


def _bind(source: str, target: str, flags: int = 0) -> None:
    _mount(source, target, None, MS_BIND)
    _mount(source, target, None, MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | flags)


def enter_namespaces(run: str, walls: Walls) -> None:
    """Gives the calling process (single-threaded) and its next child namespaces of their own: they see the read-only
    system, the worlds of their run, and an empty work folder of limited size; no other run, no network, and the child, which
    is the first of a new process namespace, no process but its own children."""
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path("/proc/self", name).write_text(text, encoding="ascii")
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _bind(f"{RUNS}/{run}/worlds", WORLDS, MS_RDONLY)
    _tmpfs(RUNS, 4096, MS_RDONLY)
    _tmpfs(WORK, walls.work_bytes)
    os.mkdir(f"{WORK}/.tmp")
    if OURS_IN_TMP:
        _mount("/tmp", "/tmp", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    else:
        _bind(f"{WORK}/.tmp", "/tmp")
    _tmpfs("/dev/shm", SHARED_MEMORY_BYTES)
    _hide_proc()


def _hide_proc() -> None:
    """A second proc cannot be mounted inside bubblewrap: what libraries read of the machine is shown, processes are not."""
    _tmpfs(EMPTY, 65536)
    for name in VISIBLE_PROC:
        Path(EMPTY, name).touch()
        _bind(f"/proc/{name}", f"{EMPTY}/{name}", MS_RDONLY | MS_NOEXEC)
    _mount(EMPTY, "/proc", None, MS_BIND | MS_REC)
    _mount(EMPTY, "/proc", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    _call("umount2", EMPTY.encode(), ctypes.c_int(MNT_DETACH))


def set_limits(walls: Walls, *, processes: bool = True) -> None:
    """Limits of the calling process and of what it starts. Without walls, ``processes`` would count all of the user's."""
    for what, value in (
        (resource.RLIMIT_DATA, walls.memory_bytes),
        (resource.RLIMIT_CPU, walls.cpu_s),
        *([(resource.RLIMIT_NPROC, walls.processes)] if processes else []),
        (resource.RLIMIT_NOFILE, walls.open_files),
        (resource.RLIMIT_FSIZE, walls.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (limit, limit))


def drop_privileges() -> None:
    """No capability is left, none can come back, and system calls that only administrators need are refused."""
    for capability in range(LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the kernel knows fewer
                raise
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    _call("capset", header, bytes(24))
    _filter_system_calls()


# -- seccomp -------------------------------------------------------------------------------------------------------------

# Numbers by (x86_64, aarch64). What administrators need, what lets a process look into or rebuild its surroundings, and
# what holds memory that no process's size shows.
DENIED = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "open_by_handle_at": (304, 265),
    "mknodat": (259, 33),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
}
CLONE, CLONE3, SOCKET = (56, 220), (435, 435), (41, 198)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NEW_NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | 0x02000000
X32_BIT = 0x40000000
FAMILIES = (1, 2, 10)  # unix, inet, inet6: the latter two find no network


def _filter_system_calls() -> None:
    """A seccomp filter for the machines whose numbers we know; elsewhere the namespaces alone stand."""
    if platform.machine() not in MACHINES:
        return
    column, audit = MACHINES[platform.machine()]
    program = _program(column, audit)
    code = ctypes.create_string_buffer(b"".join(program))
    fprog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(program), ctypes.addressof(code)))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(fprog))


def _program(column: int, audit: int) -> list[bytes]:
    """The filter in the kernel's classic BPF (seccomp(2)): each instruction is code, jump if true, jump if false, value."""

    def load(offset: int) -> bytes:
        return struct.pack("=HBBI", 0x20, 0, 0, offset)

    def unless(jump: int, value: int, skip: int = 1) -> bytes:
        """Skips the next instruction(s) unless the comparison holds."""
        return struct.pack("=HBBI", jump, 0, skip, value)

    def give(value: int) -> bytes:
        return struct.pack("=HBBI", 0x06, 0, 0, value)

    equal, at_least, has_bits = 0x15, 0x35, 0x45
    number, machine, argument = 0, 4, 16  # offsets in struct seccomp_data
    denied = give(ERRNO | errno.EPERM)
    lines = [load(machine), struct.pack("=HBBI", equal, 1, 0, audit), give(KILL), load(number)]
    lines += [unless(at_least, X32_BIT), denied] if column == 0 else []
    for numbers in DENIED.values():
        lines += [unless(equal, numbers[column]), denied]
    # glibc falls back to clone, whose flags can be looked at, where clone3 is not there.
    lines += [unless(equal, CLONE3[column]), give(ERRNO | errno.ENOSYS)]
    lines += [unless(equal, CLONE[column], 4), load(argument), unless(has_bits, NEW_NAMESPACES), denied, give(ALLOW)]
    lines += [unless(equal, SOCKET[column], 2 + 2 * len(FAMILIES)), load(argument)]
    for family in FAMILIES:
        lines += [unless(equal, family), give(ALLOW)]
    lines += [give(ERRNO | errno.EAFNOSUPPORT), give(ALLOW)]
    return lines
