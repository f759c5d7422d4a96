"""Whether a worker is fit for work, checked before it takes its first message."""

from urllib.parse import urlsplit

from shared.endpoints import database_url, spool_url
from shared.errors import SpoolUnwritable
from shared.outage import naming_both
from shared.settings import Settings
from shared.spool import Spool
from shared.store import markers
from shared.store.database import Database


def check_fitness(settings: Settings) -> None:
    """Raise unless the store is migrated, and the spool is writable and the one that every other worker sees.

    Raises:
        StoreUnavailable: the database does not answer; whether the broker does is said as well.
        ServiceUnavailable: no database is known, or its schema is older than this version.
        SpoolUnavailable: the spool does not answer.
        SpoolUnwritable: the spool cannot be written, or is not the others' spool.
    """
    database = Database(database_url(settings), pool_size=1)
    try:
        with naming_both(settings):
            database.require_current_schema()
        require_common_spool(settings, database)
    finally:
        database.close()


def require_common_spool(settings: Settings, database: Database) -> None:
    """Raise unless this process sees the spool that every worker sees.

    Raises:
        StoreUnavailable: the database does not answer.
        SpoolUnavailable: the spool does not answer.
        SpoolUnwritable: the spool cannot be written, or is not the others' spool.
    """
    own = Spool.open(spool_url(settings)).marker()
    with database.transaction() as connection:
        common = markers.agree(connection, "spool", own)
    if own != common:
        raise SpoolUnwritable(
            f"the spool at {place_of_spool(settings)} is not the one that the other workers "
            "use: mount the same folder everywhere, or use a bucket (WAREHOUSE_SYNC_SPOOL_URL). If the spool was moved "
            "on purpose, run `warehouse-sync spool adopt`"
        )


def place_of_spool(settings: Settings) -> str:
    """Give where the spool is, as messages may say it."""
    where = urlsplit(spool_url(settings))  # Without a user or a query: those may hold keys.
    return f"{where.scheme}://{where.hostname or ''}{where.path}"
