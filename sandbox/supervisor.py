"""Run a named set of programs together: all up or none, restarted when they die, and never left behind.

* ``start`` returns when every program is ready. One that ends or is not ready in time stops all, with an error that
  names it and shows what it wrote.
* One that dies later is started again after a pause that doubles. After too many times in a row it is given up:
  that is logged, ``failure`` says so, and ``wait`` raises it. The others go on until ``stop``.
* ``stop`` asks all of them at once, gives each its own time, then kills whatever is left of it and of its children.
* If this process dies without ``stop``, a guard process does the same (``sandbox.guard``).

A program's output goes to ``<home>/logs/<name>.log``.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import structlog

from sandbox import processes
from sandbox.child import Child, Program
from sandbox.guard import Guard
from sandbox.home import prepare_home
from shared.errors import ServiceUnavailable

WATCH_INTERVAL_S = 0.2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait and how often to try.

    Attributes:
        ready_s: seconds until all programs must be ready.
        max_restarts: starts after the first one, in a row, before a program is given up.
        first_pause_s: seconds before the first restart; doubles with each.
        stable_s: a program that ran this many seconds is forgiven its earlier deaths.
    """

    ready_s: float = 60.0
    max_restarts: int = 5
    first_pause_s: float = 0.5
    stable_s: float = 60.0


class Supervisor:
    """A set of programs that live together; a context manager that starts and stops them.

    Safe to use from several threads. A child process made by ``fork`` alone must not use it.
    """

    def __init__(self, home: Path, programs: Sequence[Program], *, patience: Patience | None = None) -> None:
        names = [program.name for program in programs]
        if len(set(names)) < len(names):
            raise ValueError(f"programs must have different names; these are {names}")
        self._programs = tuple(programs)
        self._home = home.expanduser().resolve()
        self._patience = patience or Patience()
        self._children: dict[str, Child] = {}
        self._guard: Guard | None = None
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self.failure: ServiceUnavailable | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all programs; returns when every one is ready. Once only.

        Raises:
            ServiceUnavailable: a program ended early, cannot be run, or is not ready in time; all are stopped.
        """
        with ExitStack() as undo:
            undo.callback(self.stop)
            prepare_home(self._home)
            self._guard = Guard()
            for program in self._programs:
                child = Child(program, self.log_path(program.name), self._guard)
                self._children[program.name] = child
                child.start()
            self._wait_until_ready()
            self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
            self._watcher.start()
            undo.pop_all()

    def stop(self) -> None:
        """Stop all programs and everything they started. Safe to repeat."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._lock:
            for child in self._children.values():
                child.signal_stop()
            asked = time.monotonic()
            for child in self._children.values():
                child.collect(max(0.0, asked + child.program.stop_timeout_s - time.monotonic()))
        if self._guard is not None:
            self._guard.dismiss()
        self._over.set()

    def wait(self, limit_s: float | None = None) -> None:
        """Return when the programs are stopped, or after ``limit_s``.

        Raises:
            ServiceUnavailable: a program was given up.
        """
        self._over.wait(limit_s)
        if self.failure is not None:
            raise self.failure

    def log_path(self, name: str) -> Path:
        """Where the program's output goes."""
        return self._home / "logs" / f"{name}.log"

    def pids(self, name: str) -> list[int]:
        """Process ids of the program, itself first, then its children and theirs; empty while it is down."""
        with self._lock:
            return [member.pid for member in self._children[name].family()]

    def cpu_seconds(self, name: str) -> float:
        """User and system time used by the program and its children since ``start``, over all its restarts.

        Not counted: children that were killed together with their parent or outlived it.
        """
        with self._lock:
            return self._children[name].cpu_seconds()

    def rss_bytes(self, name: str) -> int:
        """Resident memory of the program and its children now; pages they share count for each of them."""
        return sum(_rss_bytes(member) for member in self._family(name))

    def peak_rss_bytes(self, name: str) -> int:
        """Sum of the highest resident memory each living process of the program ever had.

        An upper bound of the peak of the sum, from Linux's own count, so no moment is missed. Where the system keeps
        no such count (macOS), the present figure.
        """
        return sum(_peak_rss_bytes(member) for member in self._family(name))

    def _family(self, name: str) -> Iterator[psutil.Process]:
        with self._lock:
            yield from self._children[name].family()

    def _wait_until_ready(self) -> None:
        waiting = dict(self._children)

        def all_ready() -> bool:
            for name, child in self._children.items():
                if child.has_ended():
                    tail = child.log_tail()
                    raise ServiceUnavailable(
                        f"program {name} ended before it was ready, with exit code {child.collect()}; correct what "
                        f"its log {child.log} names. It ends with:\n{tail}"
                    )
            for name, child in list(waiting.items()):
                if child.program.ready is None or child.program.ready():
                    del waiting[name]
            return not waiting

        if not processes.wait_for(all_ready, self._patience.ready_s):
            tails = "\n".join(f"{child.log}:\n{child.log_tail()}" for child in waiting.values())
            raise ServiceUnavailable(
                f"programs not ready after {self._patience.ready_s:g} s: {', '.join(waiting)}; correct what their "
                f"logs name, or allow more time. The logs end with:\n{tails}"
            )

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_INTERVAL_S):
            with self._lock:
                for child in self._children.values():
                    self._tend(child, time.monotonic())

    def _tend(self, child: Child, now: float) -> None:
        if child.restart_at is not None and now >= child.restart_at:
            try:
                child.start()
            except ServiceUnavailable as error:
                self._give_up(child, error)
        elif child.has_ended():
            tail = child.log_tail()
            exit_code = child.collect()
            if now - child.started_at >= self._patience.stable_s:
                child.restarts = 0
            if child.restarts >= self._patience.max_restarts:
                self._give_up(
                    child,
                    ServiceUnavailable(
                        f"program {child.program.name} died {child.restarts + 1} times in a row, last with exit code "
                        f"{exit_code}, and is given up; correct what its log {child.log} names, then start again. "
                        f"It ends with:\n{tail}"
                    ),
                )
                return
            pause_s = self._patience.first_pause_s * 2**child.restarts
            child.restarts += 1
            child.restart_at = now + pause_s
            log.warning(
                "program_died",
                program=child.program.name,
                exit_code=exit_code,
                restart=child.restarts,
                pause_s=pause_s,
            )

    def _give_up(self, child: Child, failure: ServiceUnavailable) -> None:
        child.restart_at = None
        self.failure = self.failure or failure
        log.error("program_given_up", program=child.program.name, reason=str(failure))
        self._over.set()


def _rss_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _peak_rss_bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    try:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        return _rss_bytes(process)
