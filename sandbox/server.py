"""What the two embedded servers have in common: how one is set up, started, found again, ended and repaired.

A server is no child of whoever started it: it stays until it is stopped, and any process that knows the home folder
can find it, use it and stop it. Its state is not remembered but looked up: it runs if the process in its pid file is
alive, is that program, and works on its data folder. A pid file left by a crash therefore harms nothing.
"""

import secrets
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from sandbox import home as homes
from sandbox import ports, processes
from sandbox.binaries import Places
from sandbox.home import Address
from shared.errors import ServiceUnavailable

START_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
PORT_LIMIT_S = 1.0
PORTS_TO_TRY = 5

# Nothing of the starter's environment: it may hold secrets, and PGPORT or PGOPTIONS would change the server.
# LC_ALL because PostgreSQL does not start without a valid locale on macOS.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


class Server(ABC):
    """One embedded server of a home folder; makes nothing and starts nothing until it is told to.

    Attributes:
        folder: its data.
        log: everything it ever wrote, as it does not close or rotate it itself.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    process_names: ClassVar[frozenset[str]]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().resolve()
        self.folder = self.home / self.name
        self.log = self.home / "logs" / f"{self.name}.log"

    @property
    def address(self) -> Address:
        """Where it is found.

        Raises:
            ServiceUnavailable: it was never set up in this home.
        """
        address = homes.read_address(self.home, self.name)
        if address is None:
            raise ServiceUnavailable(f"{self.title} was never started in {self.home}; start the services first")
        return address

    @property
    def pid(self) -> int | None:
        """Its process id while it runs, else None."""
        try:
            pid = int(self._pid_file().read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if processes.serves(pid, self.folder, self.process_names) else None

    @property
    def is_recorded(self) -> bool:
        """Whether the home knows its address."""
        return homes.read_address(self.home, self.name) is not None

    @property
    @abstractmethod
    def url(self) -> str:
        """How clients reach it, password included."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it accepts our password and a trivial question, asked with a limit of a few seconds."""

    def set_up(self, places: Places) -> None:
        """Decide its program, port and password, unless that was done before and the program is still there.

        Data is served by the program that made it for as long as that exists: another one may be of another major
        version. Where the record was lost, a server that still runs cannot be reached any more and is stopped.
        """
        address = homes.read_address(self.home, self.name)
        if address is None:
            self.stop()
            address = Address("", ports.free_port(), secrets.token_urlsafe(24))
        elif Path(address.program).exists():
            return
        homes.write_address(self.home, self.name, replace(address, program=str(self._find(places))))

    def start(self) -> None:
        """Start it, or leave it be if it runs; returns when it answers.

        The port is the one it had before unless somebody else took it meanwhile; then another is chosen and recorded.

        Raises:
            ServiceUnavailable: it did not come up; the sentence ends with what it wrote.
        """
        if self.pid is not None:
            if processes.wait_for(self.answers, START_LIMIT_S):
                return
            raise ServiceUnavailable(self._failure(f"runs (process {self.pid}) and does not answer", 0))
        try:
            self._prepare()
            self._pid_file().unlink(missing_ok=True)
        except OSError as error:
            raise ServiceUnavailable(
                f"{self.title}'s data folder {self.folder} cannot be made: {error.strerror}: {error.filename}; make "
                f"room for it, or choose another home with WAREHOUSE_SYNC_HOME"
            ) from error
        for _ in range(PORTS_TO_TRY):
            # A killed server counts as dead while its last threads still let go of the port.
            if processes.wait_for(self._has_its_port, PORT_LIMIT_S) and self._came_up():
                return
            homes.write_address(self.home, self.name, replace(self.address, port=ports.free_port()))
        raise ServiceUnavailable(
            f"{self.title} found each of {PORTS_TO_TRY} ports of {ports.LOOPBACK} taken; start it again"
        )

    def stop(self) -> None:
        """Stop it in order, having saved everything; by force after 30 s. Nothing to do if it does not run."""
        if (pid := self.pid) is not None:
            processes.end_family(pid, self.stop_signal, STOP_LIMIT_S)

    def kill(self) -> None:
        """End it as a crash would, its own children included; returns when all are gone."""
        if (pid := self.pid) is not None:
            processes.end_family(pid, signal.SIGKILL, STOP_LIMIT_S)

    def wipe(self) -> None:
        """Delete its data; the next start begins with nothing, at the same port, with the same password.

        Raises:
            ServiceUnavailable: it runs.
        """
        if self.pid is not None:
            raise ServiceUnavailable(f"{self.title} runs in {self.folder}; stop it before its data is deleted")
        shutil.rmtree(self.folder, ignore_errors=True)

    @abstractmethod
    def _find(self, places: Places) -> Path:
        """The program of this server."""

    @abstractmethod
    def _pid_file(self) -> Path:
        """Where it writes its process id."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data folder if it is not there."""

    @abstractmethod
    def _configure(self) -> Sequence[str]:
        """Write its configuration for its present address; the command that runs it in the foreground."""

    def _has_its_port(self) -> bool:
        return ports.is_free(self.address.port)

    def _came_up(self) -> bool:
        """Start it once; False if another process was faster to take its port."""
        since = processes.log_size(self.log)
        command = self._configure()
        pid = processes.start_detached(command, cwd=self.folder, environment=ENVIRONMENT, log=self.log)
        processes.wait_for(lambda: not processes.is_alive(pid) or self.answers(), START_LIMIT_S)
        if not processes.is_alive(pid):
            if not self._has_its_port():
                return False
            raise ServiceUnavailable(self._failure("ended right after its start", since))
        # Its pid file is written before it listens, so an answer means that others can find it too.
        if self.pid is None or not self.answers():
            processes.end_family(pid, self.stop_signal, STOP_LIMIT_S)
            raise ServiceUnavailable(self._failure(f"did not answer within {START_LIMIT_S:.0f} s", since))
        return True

    def _failure(self, what: str, since: int) -> str:
        return (
            f"{self.title} {what}. Its program is {self.address.program}, its data {self.folder}; correct what its "
            f"log {self.log} names, or delete the data to begin anew. The log ends with:\n"
            f"{processes.tail(self.log, since_bytes=since)}"
        )
