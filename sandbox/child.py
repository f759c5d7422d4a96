"""One program under supervision: its processes from start to end, its log, and what it has cost so far.

The program leads a session and process group of its own. That keeps a Ctrl-C in the terminal from reaching it, and
lets everything it started be found and ended with it.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sandbox import processes
from sandbox.guard import Guard
from shared.errors import ServiceUnavailable


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how to tell that it is ready and how to stop it.

    Attributes:
        name: unique among the programs run together; names its log.
        argv: the command; the first word is a path or is looked up in the ``PATH`` of ``environment``.
        environment: all of the program's environment; nothing is added from ours but the guard's mark.
        cwd: its working folder.
        ready: asked again and again until it says yes, from the thread that starts the programs. It says no, and
            raises nothing, while the program is not up yet. None: ready as soon as it runs.
        stop_signal: asks the program, not its children, to end.
        stop_timeout_s: seconds it is given before it and all its children are killed.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    cwd: Path
    ready: Callable[[], bool] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 20.0


class Child:
    """The processes of one program; started any number of times, one time after the other.

    Attributes:
        restarts: how often it was started again since it last ran for long; kept by the supervisor.
        restart_at: when to start it again (``time.monotonic``); None unless it waits for that.
    """

    def __init__(self, program: Program, log: Path, guard: Guard) -> None:
        self.program = program
        self.log = log
        self.restarts = 0
        self.restart_at: float | None = None
        self.started_at = 0.0
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start_bytes = 0
        self._past_cpu_seconds = 0.0

    @property
    def pid(self) -> int | None:
        """Process id of the program itself; None while it is not started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the program.

        Raises:
            ServiceUnavailable: the system cannot run the command.
        """
        self._log_start_bytes = processes.log_size(self.log)
        self.restart_at = None
        try:
            with processes.open_log(self.log) as output:
                self._process = subprocess.Popen(  # noqa: S603 - whoever names the programs decides what runs
                    self.program.argv,
                    env={**self.program.environment, **self._guard.mark},
                    cwd=self.program.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise ServiceUnavailable(
                f"program {self.program.name} cannot be started: {error.strerror}: {error.filename}; its command is "
                f"{self.program.argv[0]}, its folder {self.program.cwd}"
            ) from error
        self.started_at = time.monotonic()
        self._guard.watch(self._process.pid, self.program.stop_signal, self.program.stop_timeout_s)

    def has_ended(self) -> bool:
        """Whether the program was started and is no longer alive; it is not collected by asking."""
        return self._process is not None and not processes.is_alive(self._process.pid)

    def signal_stop(self) -> None:
        """Ask the program to end."""
        if self._process is not None and not self.has_ended():
            with suppress(psutil.NoSuchProcess):
                psutil.Process(self._process.pid).send_signal(self.program.stop_signal)

    def collect(self, wait_s: float = 0) -> int | None:
        """End what is left of the program's family, ``wait_s`` after now at the latest, and note its cost.

        Returns:
            The program's exit code, negative for a signal; None if it does not run.
        """
        if self._process is None:
            return None
        members = processes.family(self._process.pid)
        processes.wait_for(self.has_ended, wait_s)
        # Before it is collected: what it and its finished children have used is known only that long.
        self._past_cpu_seconds = self.cpu_seconds()
        processes.kill_all([*members, *processes.family(self._process.pid)])
        exit_code = self._process.wait()
        self._guard.forget(self._process.pid)
        self._process = None
        return exit_code

    def family(self) -> list[psutil.Process]:
        """Its living processes, the program itself first."""
        members = processes.family(self._process.pid) if self._process else []
        return [member for member in members if processes.is_alive(member.pid)]

    def cpu_seconds(self) -> float:
        """User and system time of the program, all its children and its former starts, ended ones included.

        Not counted: children that were killed together with their parent or outlived it.
        """
        used = self._past_cpu_seconds
        for member in processes.family(self._process.pid) if self._process else []:
            with suppress(psutil.Error):
                times = member.cpu_times()
                used += times.user + times.system + times.children_user + times.children_system
        return used

    def log_tail(self) -> str:
        """The last lines it wrote since its last start."""
        return processes.tail(self.log, since_bytes=self._log_start_bytes)
