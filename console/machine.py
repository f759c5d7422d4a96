"""``warehouse-sync up``: a whole deployment on one machine, until it is told to stop."""

import secrets
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from console.operations import Operations
from console.sockets import DEFAULT_PORT
from sandbox import stack
from sandbox.flower import DEFAULT_PORT as FLOWER_PORT
from sandbox.home_keys import PUBLIC_KEY, key_variables
from sandbox.kept import keep, kept
from sandbox.ports import free_port, is_free
from sandbox.services import Services, running_services, services_for
from sandbox.supervisor import Supervisor
from shared import endpoints
from shared.access import Role
from shared.errors import MoveNotAllowed
from shared.settings import Settings

_FLOWER_USER = "operator"


def run_machine(settings: Settings, environment: Mapping[str, str], screen: Console) -> None:
    """Start servers, workers, beat, the API and Flower, say where they are, and stop them on SIGINT or SIGTERM.

    Raises:
        MoveNotAllowed: everything of this home runs already.
        ServiceUnavailable: something did not start, or died too often.
        SecretUnavailable: the file with private keys cannot be used.
    """
    home = _home_at_rest(settings)
    stop = _told_to_stop()
    screen.print("Starting PostgreSQL, Valkey, workers, beat, the API and Flower: about twenty seconds", soft_wrap=True)
    with services_for(home, environment) as services:
        keys = key_variables(home, environment)
        endpoints.record(
            home,
            database_url=services.database_url,
            broker_url=services.broker_url,
            public_key=keys[PUBLIC_KEY],
        )
        try:
            operations = Operations(settings)
            operations.migrate()
            token = token_file(operations, home)
            operations.close()
            _supervise(home, {**environment, **keys}, services, _Told(screen, token), stop)
        finally:
            endpoints.forget(home)


def run_services(settings: Settings, environment: Mapping[str, str], screen: Console) -> None:
    """Start the embedded servers and nothing that reads, sends or migrates; stop them on SIGINT or SIGTERM.

    Raises:
        MoveNotAllowed: they run already.
        ServiceUnavailable: one did not start.
    """
    home = _home_at_rest(settings)
    stop = _told_to_stop()
    with services_for(home, environment) as services:
        endpoints.record(home, database_url=services.database_url, broker_url=services.broker_url)
        try:
            screen.print(f"The servers of {home} run, and nothing else, until Ctrl-C", soft_wrap=True)
            stop.wait()
        finally:
            endpoints.forget(home)


def token_file(operations: Operations, home: Path) -> Path:
    """Give a file that only its owner can read, with a token of an admin; one that is revoked is replaced."""
    path = home / "api-token"
    with suppress(OSError):
        held = operations.access.identify(path.read_text(encoding="utf-8").strip())
        if held is not None and held.role is Role.ADMIN:
            return path
    made = operations.access.create_token(f"up-{secrets.token_hex(4)}", Role.ADMIN)
    keep(path, made.text)
    return path


@dataclass(frozen=True, slots=True)
class _Told:
    """What people are told, and where."""

    screen: Console
    token: Path


def _home_at_rest(settings: Settings) -> Path:
    home = settings.home.expanduser().resolve()
    if running_services(home) is not None:
        raise MoveNotAllowed(f"the servers of {home} are up already; does `warehouse-sync up` run in another terminal?")
    return home


def _told_to_stop() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _supervise(
    home: Path, environment: Mapping[str, str], services: Services, told: _Told, stop: threading.Event
) -> None:
    password_file = home / "flower-password"
    password = kept(password_file, partial(secrets.token_urlsafe, 12))
    flower_port, api_port = (default if is_free(default) else free_port() for default in (FLOWER_PORT, DEFAULT_PORT))
    whole = {
        **environment,
        "WAREHOUSE_SYNC_HOME": str(home),
        "WAREHOUSE_SYNC_DATABASE_URL": services.database_url,
        "WAREHOUSE_SYNC_BROKER_URL": services.broker_url,
    }
    programs = [
        *stack.workers(home, whole, size=stack.Size()),
        stack.flower(home, whole, port=flower_port, user=_FLOWER_USER, password=password),
        stack.api(home, whole, port=api_port),
    ]
    with Supervisor(home, programs) as supervisor:
        elsewhere = [
            f"  another program has port {default}, so {name} is at {port}\n"
            for name, default, port in (("the API", DEFAULT_PORT, api_port), ("Flower", FLOWER_PORT, flower_port))
            if port != default
        ]
        told.screen.print(
            f"Everything runs, until Ctrl-C:\n"
            f"  API       http://127.0.0.1:{api_port}  (token in {told.token})\n"
            f"  Flower    http://127.0.0.1:{flower_port}  (user {_FLOWER_USER}, password in {password_file})\n"
            f"{''.join(elsewhere)}"
            f"  logs      {home / 'logs'}\n"
            f"  commands  warehouse-sync apply FILE, trigger PIPELINE --wait, runs",
            soft_wrap=True,
        )
        while not stop.wait(1):
            supervisor.wait(0)
        told.screen.print("Stopping: workers give back what they hold, up to twenty seconds", soft_wrap=True)
