"""``warehouse-sync up``: a whole deployment on one machine, until it is told to stop."""

import secrets
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from console.operations import Operations
from sandbox import stack
from sandbox.home_keys import PUBLIC_KEY, key_variables
from sandbox.ports import free_port
from sandbox.services import Services, running_services, services_for
from sandbox.supervisor import Supervisor
from shared import endpoints
from shared.errors import MoveNotAllowed
from shared.settings import Settings

_FLOWER_USER = "operator"


def run_machine(settings: Settings, environment: Mapping[str, str], screen: Console) -> None:
    """Start servers, workers, beat and Flower, say where they are, and stop them on SIGINT or SIGTERM.

    Raises:
        MoveNotAllowed: everything of this home runs already.
        ServiceUnavailable: something did not start, or died too often.
        SecretUnavailable: the file with private keys cannot be used.
    """
    home = settings.home.expanduser().resolve()
    if running_services(home) is not None:
        raise MoveNotAllowed(f"the servers of {home} are up already; does `warehouse-sync up` run in another terminal?")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
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
            operations.close()
            _supervise(home, {**environment, **keys}, services, screen, stop)
        finally:
            endpoints.forget(home)


def _supervise(
    home: Path, environment: Mapping[str, str], services: Services, screen: Console, stop: threading.Event
) -> None:
    password, port = secrets.token_urlsafe(12), free_port()
    whole = {
        **environment,
        "WAREHOUSE_SYNC_HOME": str(home),
        "WAREHOUSE_SYNC_DATABASE_URL": services.database_url,
        "WAREHOUSE_SYNC_BROKER_URL": services.broker_url,
    }
    programs = [
        *stack.workers(home, whole, size=stack.Size()),
        stack.flower(home, whole, port=port, user=_FLOWER_USER, password=password),
    ]
    with Supervisor(home, programs) as supervisor:
        screen.print(
            f"Everything runs, until Ctrl-C:\n"
            f"  Flower    http://127.0.0.1:{port}  (user {_FLOWER_USER}, password {password})\n"
            f"  logs      {home / 'logs'}\n"
            f"  commands  warehouse-sync apply FILE, trigger PIPELINE --wait, runs"
        )
        while not stop.wait(1):
            supervisor.wait(0)
