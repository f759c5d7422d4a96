"""The embedded PostgreSQL: a data folder made by ``initdb``, one role, one database, TCP on 127.0.0.1 only.

TCP and no unix socket: a socket's path has room for 107 bytes, and a home folder may be longer. Clients sign in as
``warehouse_sync`` with a password (SCRAM). The superuser that ``initdb`` makes has no entry in ``pg_hba.conf`` and so
cannot sign in at all; what takes one is done before the server runs, in PostgreSQL's single-user mode.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import psycopg

from sandbox import ports, processes
from sandbox.account import account_for, public_copy
from sandbox.binaries import Places, find_postgres
from sandbox.server import ENVIRONMENT, Server
from shared.errors import ServiceUnavailable

ROLE = DATABASE = "warehouse_sync"
CREATE_LIMIT_S = 120.0
ANSWER_LIMIT_S = 3

# Modest: it shares a machine with the workers. Nothing that survives a power cut is traded for speed.
SETTINGS = f"""\
listen_addresses = '{ports.LOOPBACK}'
unix_socket_directories = ''
max_connections = 200
shared_buffers = '64MB'
max_wal_size = '256MB'
fsync = on
synchronous_commit = on
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
"""
SETTINGS_FILE = "warehouse_sync.conf"
SIGN_IN = f"host all {ROLE} {ports.LOOPBACK}/32 scram-sha-256\n"


class Postgres(Server):
    """PostgreSQL in ``<home>/postgres``."""

    name: ClassVar[str] = "postgres"
    title: ClassVar[str] = "PostgreSQL"
    process_names: ClassVar[frozenset[str]] = frozenset({"postgres"})
    # "Fast shutdown": sessions are ended, everything is written. SIGTERM would wait for clients to leave.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    @property
    def url(self) -> str:
        """A SQLAlchemy URL for psycopg 3."""
        return self._url("postgresql+psycopg")

    def answers(self) -> bool:
        """Whether it runs ``SELECT 1`` for us."""
        try:
            with psycopg.connect(self._url("postgresql"), connect_timeout=ANSWER_LIMIT_S) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def set_up(self, places: Places) -> None:
        """As for every server; and a password made anew is given to a role that exists already."""
        known = self.is_recorded
        super().set_up(places)
        if not known and self._has_data():
            self._pid_file().unlink(missing_ok=True)
            self._single_user(self.folder, f"ALTER ROLE {ROLE} PASSWORD '{self.address.password}'")

    def _find(self, places: Places) -> Path:
        folder = find_postgres(places)
        return folder if account_for(self.folder).reaches(folder) else public_copy(folder, places.public)

    def _pid_file(self) -> Path:
        return self.folder / "postmaster.pid"

    def _has_data(self) -> bool:
        return (self.folder / "PG_VERSION").exists()

    def _prepare(self) -> None:
        if self._has_data():
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            raise ServiceUnavailable(
                f"{self.folder} is for PostgreSQL's data and holds something else; move that away, or choose another "
                f"home with WAREHOUSE_SYNC_HOME"
            )
        # Made aside and renamed when complete: a start that dies on the way leaves no half-made data folder.
        new = self.home / f"{self.name}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        account_for(new).own(new)
        self._run(new, ["initdb", "-D", str(new), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
        with (new / "postgresql.conf").open("a") as settings:  # what initdb found out about the machine stays
            settings.write(f"include_if_exists '{SETTINGS_FILE}'\n")
        self._write(new, "pg_hba.conf", SIGN_IN)
        self._single_user(
            new,
            f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{self.address.password}'",
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
        )
        new.rename(self.folder)

    def _configure(self) -> Sequence[str]:
        self._write(self.folder, SETTINGS_FILE, f"{SETTINGS}port = {self.address.port}\n")
        program = str(Path(self.address.program) / "postgres")
        return account_for(self.folder).command([program, "-D", str(self.folder)])

    def _single_user(self, data: Path, *statements: str) -> None:
        """Run SQL as the superuser while no server runs; by its input, so that no list of processes shows it."""
        program = ["postgres", "--single", "-D", str(data)]
        # A statement that fails must fail the command, and must not be quoted: it holds a password.
        strict = ["-c", "exit_on_error=on", "-c", "log_min_error_statement=panic"]
        self._run(data, [*program, *strict, "postgres"], "".join(f"{statement}\n" for statement in statements))

    def _run(self, data: Path, command: list[str], text: str = "") -> None:
        program = str(Path(self.address.program) / command[0])
        try:
            ran = subprocess.run(  # noqa: S603 - our own command line; passwords only in its input
                account_for(data).command([program, *command[1:]]),
                input=text,
                cwd=data,
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=CREATE_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceUnavailable(
                f"{program} could not make or change {data}: {type(error).__name__}; it must be executable and end "
                f"within {CREATE_LIMIT_S:.0f} s"
            ) from error
        if ran.returncode != 0:
            words = "\n".join(ran.stdout.splitlines()[-processes.TAIL_LINES :])
            raise ServiceUnavailable(
                f"{program} failed with exit code {ran.returncode} on {data}; correct what it names:\n{words}"
            )

    def _write(self, data: Path, file: str, text: str) -> None:
        path = data / file
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as settings:
            settings.write(text)
        account_for(data).own(path)

    def _url(self, scheme: str) -> str:
        address = self.address
        return f"{scheme}://{ROLE}:{address.password}@{ports.LOOPBACK}:{address.port}/{DATABASE}"
