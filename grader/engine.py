"""The papermill engine: runs a notebook cell by cell in a limited kernel and probes it where its check cells stand.

It stays within papermill's extension point (its registry of engines): papermill parameterises, we execute. A cell that fails
does not stop the others; a kernel that dies is started again for what follows.
"""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode, ValidationError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines

from grader.carrier import KernelCarrier, KernelDied
from grader.findings import Finding
from grader.kernels import KERNEL_NAME, Room, Watchdog
from grader.limits import Limits
from grader.wire import KernelMisbehaved
from workshop.authoring import tags

Probe = Callable[[KernelCarrier, str], None]
START_S = 60


@dataclass
class Execution:
    """What the engine is asked to do and what it found. ``probes``: task letters by the index of the cell after which
    they are judged; ``probe(carrier, letter)`` judges one; ``lost(letter)`` says that no kernel was left to judge it.
    ``died``: how often a kernel or judge ended by itself."""

    room: Room
    limits: Limits
    probes: dict[int, list[str]]
    probe: Probe
    lost: Callable[[str, str], None]
    findings: list[Finding] = field(default_factory=list)
    died: int = 0
    notebook: NotebookNode | None = None


class KestrelEngine(Engine):
    """Papermill's engine named "kestrel". Wants ``execution`` (an Execution) among papermill's engine arguments."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, *, execution: Execution, **kwargs: Any) -> None:
        """Runs the notebook in ``nb_man``."""
        # papermill has put a cell of its own after the parameters: our indices are of the notebook as it was.
        injected = next((i for i, c in enumerate(nb_man.nb.cells) if "injected-parameters" in tags(c)), None)
        if injected is not None:
            execution.probes = {i + (i >= injected): letters for i, letters in execution.probes.items()}
        client = GradingClient(nb_man, execution)
        client.execute()
        execution.notebook = copy.deepcopy(nb_man.nb)  # before papermill marks what failed


papermill_engines.register("kestrel", KestrelEngine)


class GradingClient(PapermillNotebookClient):
    """nbclient with a watchdog, an output limit, probes and restarts."""

    def __init__(self, nb_man: Any, execution: Execution) -> None:
        super().__init__(nb_man, kernel_name=KERNEL_NAME, timeout=None, startup_timeout=START_S, record_timing=False)
        self.execution = execution
        self.limits = execution.limits
        self.shutdown_kernel = "immediate"
        self.carrier: KernelCarrier | None = None
        self.watchdog: Watchdog | None = None
        self.restarts = 0
        self.killers: set[int] = set()
        self.tried_again: set[str] = set()
        self.leaving = False
        self.on_cell_executed = self._executed
        self._output_bytes = 0
        self._cell_output_bytes = 0

    def create_kernel_manager(self) -> AsyncKernelManager:
        """A manager whose kernel is reached by sockets in the run's own folder, not by TCP ports."""
        self.km = self.execution.room.manager()
        return self.km

    def papermill_execute_cells(self) -> None:
        """Runs all cells; probes where told."""
        self._attach()
        try:
            index = 0
            while index < len(self.nb.cells):
                if self._run_cell(index) and self._probe(index):
                    index += 1
                elif not self._restart(index):
                    self._lose(index)
                    return
                else:
                    index += 1
        finally:
            if self.watchdog:
                self.watchdog.close()
            if self.carrier:
                self.execution.died += self.carrier.judge.died
                self.carrier.close()

    def wait_for_reply(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """papermill asks for the kernel's language at the end; we know it, and the kernel may be gone."""
        return {"content": {"language_info": {"name": "python"}}}

    # -- cells -------------------------------------------------------------------------------------------------------

    def _run_cell(self, index: int, *, replay: bool = False) -> bool:
        """Runs one cell. False: the kernel is gone."""
        cell = self.nb.cells[index]
        if cell.cell_type != "code" or not cell.source.strip():
            return True
        self._cell_output_bytes = 0
        if not replay:
            self.nb_man.cell_start(cell, index)
        self.watchdog.begin(self.limits.cell_s)
        alive = True
        self.leaving = False
        try:
            self.execute_cell(cell, index)
            alive = not self.leaving
        except CellExecutionError as error:
            if not replay and "raises-exception" not in tags(cell):
                self._note(index, "cell_failed", f"Cell {index + 1} raised {_short(error)}.", "note")
        except KernelMisbehaved as error:
            alive = False
            self.watchdog.reason = str(error)
        except (DeadKernelError, CellTimeoutError, RuntimeError):
            alive = False
        except (AttributeError, TypeError, ValueError, LookupError, ValidationError):
            # nbclient takes messages apart: what gets through the checks and still trips it is the kernel's doing.
            alive = False
            self.watchdog.reason = "the kernel sent what cannot be read"
        finally:
            reason = self.watchdog.end()
            if not replay:
                self.nb_man.cell_complete(cell, cell_index=index)
        if reason and not replay:
            self._note(index, "cell_stopped", f"Cell {index + 1} was stopped: {reason}.")
        elif not alive and not replay:
            self._note(index, "kernel_died", f"The kernel died in cell {index + 1}.")
        if not alive:
            self.killers.add(index)
            self.execution.died += not reason
        return alive

    def _executed(self, *, execute_reply: dict[str, Any], **_: Any) -> None:
        """exit() and quit() let the cell end well and the kernel go afterwards: its reply says so."""
        payload = execute_reply.get("content", {}).get("payload") or []
        self.leaving = any(isinstance(p, dict) and p.get("source") == "ask_exit" for p in payload)

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        """Counts what the kernel prints; beyond the limit nothing is kept and the cell is stopped."""
        if msg["msg_type"] in {"stream", "display_data", "execute_result", "error", "update_display_data"}:
            size = len(str(msg["content"])) if msg["msg_type"] != "stream" else len(msg["content"].get("text", ""))
            self._output_bytes += size
            self._cell_output_bytes += size
            if self._cell_output_bytes > self.limits.output_bytes:
                self.watchdog.trip(f"it printed more than {self.limits.output_bytes / 2**20:.0f} MB")
                self.watchdog.still_answering()
                return None
            if self._output_bytes > 5 * self.limits.output_bytes:
                return None
        return super().process_message(msg, cell, cell_index)

    # -- probes ------------------------------------------------------------------------------------------------------

    def _probe(self, index: int) -> bool:
        """Judges the tasks that stand at this cell. False: the kernel is gone."""
        waiting = list(self.execution.probes.get(index, ()))
        while waiting:
            letter = waiting[0]
            try:
                self.execution.probe(self.carrier, letter)
                self.carrier.release()
            except KernelDied:
                self.execution.died += 1
                if letter not in self.tried_again:
                    # Perhaps an earlier cell had doomed it (a thread, a timer): once more in a fresh kernel.
                    self.tried_again.add(letter)
                    self.execution.probes[index] = waiting
                    return False
                self._note(index, "kernel_died", f"The kernel died while task {letter} was judged.")
                self.execution.lost(
                    letter, "The kernel died while this was judged: a check's call ended it or used too much memory."
                )
                self.execution.probes[index] = waiting[1:]
                return False
            waiting.pop(0)
        self.execution.probes.pop(index, None)
        return True

    # -- the kernel's life -------------------------------------------------------------------------------------------

    def _attach(self) -> None:
        process = self.km.provisioner.process
        room = self.execution.room
        self.watchdog = Watchdog(process, self.limits, room.warm.isolated)
        if self.carrier is None:
            self.carrier = KernelCarrier(room, self._interrupt, self._alive)
        self.carrier.connect(self.km.get_connection_info(), process.pid, self.km.provisioner.line)

    def _interrupt(self) -> None:
        self.km.provisioner.process.send_signal(signal.SIGINT)

    def _alive(self) -> bool:
        return bool(run_sync(self.km.is_alive)())

    def _restart(self, index: int) -> bool:
        """A new kernel, with the cells before this one run again (those that killed one left out)."""
        self.restarts += 1
        if self.restarts > self.limits.restarts or self.watchdog.out_of_time:
            return False
        self.watchdog.close()
        self.carrier.disconnect()
        run_sync(self._async_cleanup_kernel)()
        self.create_kernel_manager()
        self.start_new_kernel()
        self.start_new_kernel_client()
        self._attach()
        for earlier in range(index + 1):
            if earlier not in self.killers and not self._run_cell(earlier, replay=True):
                return self._restart(index)
        return self._probe(index) or self._restart(index)

    def _lose(self, index: int) -> None:
        for at in sorted(self.execution.probes):
            for letter in self.execution.probes[at]:
                self.execution.lost(letter, "There was no kernel left to judge this: it had died too often.")
        self._note(
            index,
            "gave_up",
            "The kernel died too often or the notebook ran too long; the cells after this one were not run.",
        )

    def _note(self, index: int, code: str, text: str, level: str = "warning") -> None:
        self.execution.findings.append(Finding(code, text, level))


def _short(error: CellExecutionError) -> str:
    text = f"{error.ename}: {error.evalue}".strip().splitlines()
    return (text[0] if text else "an error")[:300]
