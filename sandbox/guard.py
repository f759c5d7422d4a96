"""A small process that outlives this one just long enough to end what this one was running.

It waits at the other end of a pipe. Whatever happens to us, SIGKILL included, the system closes our end, and the guard
ends everything it was told to watch: the stop signal, the time to comply, then SIGKILL to whole process groups.

Why not Linux's ``PR_SET_PDEATHSIG``: it fires when the *thread* that started a child ends, is lost when a program
changes its user, does not reach grandchildren, and Linux alone has it. Between the birth of a child and the note to
the guard there is a moment in which we could be killed too; for this, children carry a mark in their environment
(``Guard.mark``), by which the guard finds the ones it was never told of.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Self

import psutil

MARK = "WAREHOUSE_SYNC_GUARD"
POLL_S = 0.05
SWEEPS = 5

Watched = tuple[psutil.Process, int, float]
"""A process, the number of its stop signal, and how many seconds it has to comply."""


class Guard:
    """Our end of the pipe; a context manager whose exit dismisses the guard without ending anybody.

    Children made by ``fork`` alone inherit our end and keep it open; do not make any.

    Attributes:
        mark: an entry for the environment of every child to be watched.
    """

    def __init__(self) -> None:
        token = secrets.token_hex(16)
        self.mark = {MARK: token}
        # In a session of its own: a Ctrl-C in our terminal must not reach it. `-I`: nothing around us changes what it
        # imports; this file needs only psutil.
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this file
            [sys.executable, "-I", __file__, token],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Without the mark of a guard above us, who would kill ours before it has done its work.
            env={name: value for name, value in os.environ.items() if name != MARK},
            cwd="/",
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    @property
    def pid(self) -> int:
        """The guard's process id."""
        return self._process.pid

    def watch(self, pid: int, stop_signal: signal.Signals, stop_timeout_s: float) -> None:
        """End process ``pid`` and its group when we are gone."""
        self._tell({"watch": pid, "signal": int(stop_signal), "timeout_s": stop_timeout_s})

    def forget(self, pid: int) -> None:
        """Process ``pid`` has ended; its number may soon be somebody else's."""
        self._tell({"forget": pid})

    def dismiss(self) -> None:
        """Send the guard home; whatever it watched is ours to end. Safe to repeat."""
        if self._process.poll() is None:
            self._tell({"dismiss": True})
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def _tell(self, order: dict[str, float]) -> None:
        # A guard that somebody killed guards nothing, but is no reason to stop the work.
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(order) + "\n")


def stand_guard(token: str) -> None:
    """Follow orders from standard input; when it ends without a dismissal, end whom we watch."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watched: dict[int, Watched] = {}
    for line in sys.stdin:
        match json.loads(line):
            case {"watch": int(pid), "signal": int(number), "timeout_s": float() | int() as timeout_s}:
                with suppress(psutil.NoSuchProcess):
                    watched[pid] = psutil.Process(pid), number, timeout_s
            case {"forget": int(pid)}:
                watched.pop(pid, None)
            case {"dismiss": True}:
                return
    _end(watched)
    _sweep(token)


def _end(watched: dict[int, Watched]) -> None:
    # psutil refuses to signal a process that was given the number of the one it was made for.
    for process, number, _ in watched.values():
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    begun = time.monotonic()
    for process, _, timeout_s in watched.values():
        while _is_alive(process) and time.monotonic() < begun + timeout_s:
            time.sleep(POLL_S)
    for pid, (process, _, _) in watched.items():
        with suppress(psutil.NoSuchProcess):
            process.kill()
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _sweep(token: str) -> None:
    """Kill whoever carries our mark; several times, as one of them may be starting another."""
    for _ in range(SWEEPS):
        found = False
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == token and process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    found = True
        if not found:
            return
        time.sleep(POLL_S)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    stand_guard(sys.argv[1])
