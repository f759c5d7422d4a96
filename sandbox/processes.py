"""Processes by their number: start one that outlives us, recognise it, end its whole family, read its log's end.

A zombie counts as dead everywhere: in a container nobody may be there to collect it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import psutil

POLL_S = 0.02
ORPHANS_LIMIT_S = 2.0
KILL_LIMIT_S = 10.0
TAIL_LINES = 20
TAIL_BYTES = 8_192

# The shell forks, tells the number on its old output and leaves. The process is then nobody's child: the starter
# neither has to collect it nor takes it along when it ends.
_DETACH = 'exec 3>&1 >&2; "$@" </dev/null 3>&- & echo $! >&3'


def start_detached(argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], log: Path) -> int:
    """Start a process that outlives the caller, in a session of its own, its output appended to ``log``.

    Returns:
        Its process id; whether it keeps running is for the caller to find out.
    """
    with open_log(log) as output:
        started = subprocess.run(  # noqa: S603 - the command is ours; nothing in it comes from outside
            ["/bin/sh", "-c", _DETACH, "sh", *argv],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            check=True,
        )
    return int(started.stdout)


def is_alive(pid: int) -> bool:
    """Whether a process of this number exists and is more than a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def serves(pid: int, folder: Path, names: Iterable[str]) -> bool:
    """Whether process ``pid`` is one of these programs, at work on ``folder``: named in its command, or its own.

    This tells a server from a stranger that was given its number after a crash. Not by its time of birth, which
    moves with the machine's clock; and not by its working folder alone, which root may not read of another user's
    process in a container (it takes ``CAP_SYS_PTRACE``).
    """
    try:
        process = psutil.Process(pid)
        if process.name() not in names or not is_alive(pid):
            return False
        return str(folder) in process.cmdline() or Path(process.cwd()) == folder
    except psutil.Error:
        return False


def family(pid: int) -> list[psutil.Process]:
    """The process (first, if it exists), its descendants, and whoever else is in the session it leads."""
    members: dict[int, psutil.Process] = {}
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        members = {member.pid: member for member in (leader, *leader.children(recursive=True))}
    for other in psutil.pids():
        with suppress(OSError, psutil.NoSuchProcess):
            # A child whose own parent died is adopted by init and found by its session only.
            if other not in members and os.getsid(other) == pid:
                members[other] = psutil.Process(other)
    return list(members.values())


def end_family(pid: int, stop_signal: signal.Signals, timeout_s: float) -> None:
    """Signal the process, give it time to end, then kill whatever is left of its family."""
    members = family(pid)
    with suppress(ProcessLookupError):
        os.kill(pid, stop_signal)
    if wait_for(lambda: not is_alive(pid), timeout_s):
        # Children of a server notice its death by themselves and end in order, which is better than being killed.
        wait_for(lambda: not any(is_alive(member.pid) for member in members), ORPHANS_LIMIT_S)
    kill_all([*members, *family(pid)])


def kill_all(members: Iterable[psutil.Process]) -> None:
    """Kill these processes, each unless its number is somebody else's by now, and wait until all are gone."""
    members = list(members)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    wait_for(lambda: not any(is_alive(member.pid) for member in members), KILL_LIMIT_S)


def wait_for(condition: Callable[[], bool], limit_s: float) -> bool:
    """Ask until the answer is yes or the time is over; the last answer."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def open_log(log: Path) -> BinaryIO:
    """The log file open for appending, readable by its owner only."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def log_size(log: Path) -> int:
    """Bytes in the log so far; 0 if there is none."""
    return log.stat().st_size if log.exists() else 0


def tail(log: Path, *, since_bytes: int = 0) -> str:
    """The last 20 lines written to a log after its first ``since_bytes``; a note instead if there are none."""
    with suppress(FileNotFoundError), log.open("rb") as lines:
        lines.seek(max(since_bytes, log_size(log) - TAIL_BYTES))
        text = lines.read().decode(errors="replace").strip()
        if text:
            return "\n".join(text.splitlines()[-TAIL_LINES:])
    return "(it wrote nothing)"
