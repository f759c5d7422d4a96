"""The home folder: private, changed by one process at a time, and it knows where its servers are found.

``services.json`` in it holds each embedded server's program, port and password, so that a second process finds the
servers that a first one started, and a restart keeps the ports that clients know. Folder 0700, file 0600.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sandbox.processes import wait_for
from shared.errors import ServiceUnavailable

LOCK_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where one embedded server is found: the program that serves it, a port of 127.0.0.1, a password."""

    program: str
    port: int
    password: str = field(repr=False)


def prepare_home(home: Path) -> Path:
    """Make the folder and close it to others; its absolute path.

    Raises:
        ServiceUnavailable: it cannot be made or is somebody else's.
    """
    home = home.expanduser().resolve()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
    except OSError as error:
        raise ServiceUnavailable(
            f"home folder {home} cannot be used: {error.strerror}; set WAREHOUSE_SYNC_HOME to a folder of your own"
        ) from error
    return home


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Nobody else starts or stops servers of this home meanwhile; the system frees the lock of one who dies.

    Raises:
        ServiceUnavailable: another process has been at it for two minutes.
    """
    lock = os.open(home / "services.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not wait_for(lambda: _try_lock(lock), LOCK_LIMIT_S):
            raise ServiceUnavailable(
                f"another process has been starting or stopping the services of {home} for {LOCK_LIMIT_S:.0f} s; "
                f"wait for it, or end it"
            )
        yield
    finally:
        os.close(lock)


def read_address(home: Path, name: str) -> Address | None:
    """Where the named server was last found; None before it was first started.

    Raises:
        ServiceUnavailable: the record cannot be understood.
    """
    record = home / "services.json"
    try:
        known = json.loads(record.read_text()).get(name)
        return Address(**known) if known else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise ServiceUnavailable(
            f"{record} is not what was written there; delete it and start again: the data is kept, ports and "
            f"passwords are made anew"
        ) from error


def write_address(home: Path, name: str, address: Address) -> None:
    """Record where the named server is found, keeping what is known of the others; all or nothing."""
    record = home / "services.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    new = home / "services.json.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(known | {name: asdict(address)}, file, indent=2)
    new.rename(record)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
