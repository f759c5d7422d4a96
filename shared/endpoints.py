"""Where a process finds the store, the broker and the spool: named by its environment, or recorded under its home.

Whoever starts the embedded servers records them, so that any other command of the same home finds them.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from shared.errors import ServiceUnavailable
from shared.settings import Settings

_RECORD: Final = "endpoints.json"
_DATABASE: Final = ("PostgreSQL", "WAREHOUSE_SYNC_DATABASE_URL")
_BROKER: Final = ("Redis or Valkey", "WAREHOUSE_SYNC_BROKER_URL")


class ServiceUrls(NamedTuple):
    """Where both services are that most processes need."""

    database: str
    broker: str


def service_urls(settings: Settings) -> ServiceUrls:
    """Give the URLs of the state database and the broker, or raise ``ServiceUnavailable`` with all that is missing."""
    database, broker = known_database_url(settings), known_broker_url(settings)
    if database is None or broker is None:
        found = ((database, _DATABASE), (broker, _BROKER))
        _refuse(settings, *(service for url, service in found if url is None))
    return ServiceUrls(database, broker)


def database_url(settings: Settings) -> str:
    """Give the URL of the state database, or raise ``ServiceUnavailable``."""
    return known_database_url(settings) or _refuse(settings, _DATABASE)


def known_database_url(settings: Settings) -> str | None:
    """Give the URL of the state database, or ``None`` where none is named or recorded."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return _recorded(settings, "database_url")


def broker_url(settings: Settings) -> str:
    """Give the URL of the broker, or raise ``ServiceUnavailable``."""
    return known_broker_url(settings) or _refuse(settings, _BROKER)


def known_broker_url(settings: Settings) -> str | None:
    """Give the URL of the broker, or ``None`` where none is named or recorded."""
    if settings.broker_url is not None:
        return settings.broker_url.get_secret_value()
    return _recorded(settings, "broker_url")


def spool_url(settings: Settings) -> str:
    """Give the URL of the spool: a folder under home where nothing else is configured."""
    return settings.spool_url or (settings.home.expanduser().resolve() / "spool").as_uri()


def public_key(settings: Settings) -> str | None:
    """Give the public key that secrets are sealed to, or ``None`` where none is named or recorded."""
    if settings.public_key is not None:
        return settings.public_key
    return _recorded(settings, "public_key")


def record(home: Path, *, database_url: str, broker_url: str, public_key: str | None = None) -> None:
    """Record the embedded servers of a home and what its secrets are sealed to, readable by its owner only."""
    new = home / f"{_RECORD}.new"
    new.unlink(missing_ok=True)  # One that was left behind may be readable by others.
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"database_url": database_url, "broker_url": broker_url, "public_key": public_key}, file)
    new.rename(home / _RECORD)


def forget(home: Path) -> None:
    """Remove the record: the home's servers are down."""
    (home / _RECORD).unlink(missing_ok=True)


def _refuse(settings: Settings, *missing: tuple[str, str]) -> NoReturn:
    names, variables = zip(*missing, strict=True)
    raise ServiceUnavailable(
        f"{' and '.join(f'no {name}' for name in names)} {'is' if len(names) == 1 else 'are'} known: set "
        f"{' and '.join(variables)}, or start the embedded servers of {settings.home} with `warehouse-sync up`"
    )


def _recorded(settings: Settings, key: str) -> str | None:
    found = _record_of(settings).get(key)
    return found if isinstance(found, str) else None


def _record_of(settings: Settings) -> Mapping[str, object]:
    """Give what is recorded; a record that cannot be read is as none."""
    try:
        found = json.loads((settings.home.expanduser() / _RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
