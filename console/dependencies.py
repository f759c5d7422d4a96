"""What the product depends on, looked at from this process: clocks, rights, beats, and the spool."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from shared.broker_rights import Tried, try_commands
from shared.endpoints import broker_url, spool_url
from shared.feed import Feed
from shared.settings import Settings
from shared.spool import Spool
from shared.store import beats, declared, markers
from shared.store.beats import Beat
from shared.store.database import Database


class SpoolSeen(StrEnum):
    """How this process sees the workers' spool."""

    TRIED = "tried"
    """It is theirs, and a file was written, read and removed."""
    NOT_HERE = "not_here"
    """No spool is where this process would look for one."""
    ANOTHER = "another"
    """There is one, and it is not theirs."""


class Dependencies:
    """Looks at dependencies, bound to one state database and a process's settings."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def store_clock(self) -> datetime:
        """Give the state database's time.

        Raises:
            StoreUnavailable: it does not answer.
        """
        with self._database.transaction() as connection:
            now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return now

    def try_broker(self) -> Tried:
        """Try every command that the product needs of its broker, on keys of our own.

        Raises:
            BrokerUnavailable: it does not answer, or refuses the sign-in.
            ServiceUnavailable: no broker is known.
        """
        return try_commands(broker_url(self._settings))

    def beats(self) -> Sequence[Beat]:
        """Give the beats that ticked within a day or so, and how long ago; the latest first.

        Raises:
            StoreUnavailable: the state database does not answer.
        """
        with self._database.transaction() as connection:
            return beats.ticking(connection)

    def try_spool(self) -> SpoolSeen:
        """Try the spool where this process sees the workers'.

        Raises:
            DeclarationInvalid: its URL is none.
            SpoolUnavailable: it does not answer.
            SpoolUnwritable: this process may not read or write it.
        """
        spool = Spool.open(spool_url(self._settings))
        own = spool.known_marker()
        if own is None:
            return SpoolSeen.NOT_HERE
        with self._database.transaction() as connection:
            common = markers.find(connection, "spool")
        if own != common:
            return SpoolSeen.ANOTHER
        spool.try_out()
        return SpoolSeen.TRIED

    def feeds(self) -> Sequence[Feed]:
        """Give every feed by id.

        Raises:
            StoreUnavailable: the state database does not answer.
        """
        with self._database.transaction() as connection:
            return declared.list_all(connection, Feed)
