"""The two services every process needs, a PostgreSQL and a Redis or Valkey: given by address, or embedded.

For each of the two the first of these decides: its address in the environment; the server in the wheels of the extra
``embedded``; the machine's own program. What is named by address is never started, checked or stopped here.

Embedded servers belong to a home folder, not to the process that started them. Starting twice attaches to the running
servers; homes do not know each other, so any number of them run side by side::

    start_services(home, os.environ)    up, or still up; they stay when this process ends
    running_services(home)              found by any other process, or None
    stop_services(home)                 down, by whichever process
    with services_for(home, ...):       up for a block; down afterwards and also if this process is killed, unless
                                        they ran before
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.binaries import Places
from sandbox.guard import Guard
from sandbox.home import locked, prepare_home
from sandbox.postgres import Postgres
from sandbox.server import STOP_LIMIT_S, Server
from sandbox.valkey import Valkey

DATABASE_URL = "WAREHOUSE_SYNC_DATABASE_URL"
BROKER_URL = "WAREHOUSE_SYNC_BROKER_URL"


@dataclass(frozen=True, slots=True)
class Services:
    """Where the state database and the broker are; both URLs hold passwords.

    Attributes:
        database_url: ``postgresql+psycopg://...`` when embedded, else as given.
        broker_url: ``redis://...`` when embedded, else as given.
    """

    database_url: str = field(repr=False)
    broker_url: str = field(repr=False)


def start_services(home: Path, environment: Mapping[str, str], *, places: Places | None = None) -> Services:
    """Have both services up and return where they are. Safe to repeat, also from several processes at once.

    Args:
        home: the folder for data, logs and passwords; made if absent, closed to other users.
        environment: may name either service by URL; its ``PATH`` is where programs are looked for.
        places: other places to look for programs.

    Raises:
        ServiceUnavailable: no program found, or a server did not come up; one that was started before is stopped.
    """
    services, _ = _start(home, environment, places)
    return services


def stop_services(home: Path) -> None:
    """Stop the home's embedded servers in order, whoever started them; nothing to do where none run."""
    if not home.expanduser().exists():
        return
    with locked(home.expanduser()):
        for server in (Valkey(home), Postgres(home)):
            server.stop()


def running_services(home: Path, environment: Mapping[str, str] | None = None) -> Services | None:
    """Where the services are if each is named in the environment or runs embedded and answers; else None."""
    given = environment or {}
    postgres, valkey = Postgres(home), Valkey(home)
    database_url = given.get(DATABASE_URL) or _url_if_up(postgres)
    broker_url = given.get(BROKER_URL) or _url_if_up(valkey)
    return Services(database_url, broker_url) if database_url and broker_url else None


@contextmanager
def services_for(home: Path, environment: Mapping[str, str], *, places: Places | None = None) -> Iterator[Services]:
    """Have both services up while the block runs; stop those that were not up before.

    They are stopped too when this process is killed outright: a guard process sees to that.

    Raises:
        ServiceUnavailable: as for ``start_services``.
    """
    home = prepare_home(home)
    with Guard() as guard:
        services, started = _start(home, environment, places)
        try:
            for server in started:
                if (pid := server.pid) is not None:
                    guard.watch(pid, server.stop_signal, STOP_LIMIT_S)
            yield services
        finally:
            with locked(home):
                for server in reversed(started):
                    server.stop()


def _start(home: Path, environment: Mapping[str, str], places: Places | None) -> tuple[Services, list[Server]]:
    home = prepare_home(home)
    places = places or Places.usual(environment)
    postgres, valkey = Postgres(home), Valkey(home)
    started: list[Server] = []
    with locked(home), ExitStack() as undo:
        for server, variable in ((postgres, DATABASE_URL), (valkey, BROKER_URL)):
            if environment.get(variable):
                continue
            server.set_up(places)
            if server.pid is None:
                undo.callback(server.stop)
                server.start()
                started.append(server)
            else:
                server.start()
        undo.pop_all()
        return Services(
            environment.get(DATABASE_URL) or postgres.url, environment.get(BROKER_URL) or valkey.url
        ), started


def _url_if_up(server: Server) -> str | None:
    return server.url if server.pid is not None and server.is_recorded and server.answers() else None
