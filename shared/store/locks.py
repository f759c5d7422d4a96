"""The advisory locks of the product, all of them: what each keeps apart, and how it is taken.

Where rows can be locked, rows are; these are for what no row stands for yet, or several do. Each ends with its
transaction, so that a holder's death frees it and it also works behind a pooler of transactions.

A transaction takes them before it locks any row, most only one, and several in the order in which they stand below:
so nobody who holds rows waits for one, and nobody waits in a circle.

PostgreSQL knows three kinds of keys here, and two of them meet: a lock of everybody's is a number of 64 bits, as is a
lock of a name that may be given away (a hash, which hits one of the others by a chance that is none); a lock of each is
two numbers of 32 bits, and those are a space of their own.
"""

from enum import Enum, unique
from typing import Final
from zlib import crc32

import sqlalchemy as sa


@unique
class Lock(Enum):
    """One for everybody. The numbers mean nothing and stay what they are: releases run side by side."""

    MIGRATING = 7_346_125_881
    """Two migrations at once wait for each other."""
    APPLYING = 7_346_125_907
    """Two documents at once would wait for each other's rows in different orders."""
    LOOKING = 7_346_125_882
    """One look at what is the matter decides at a time; who finds it taken looks another time."""
    NAMING = 7_348_000_000
    """Names of tokens and clients are given one after the other: two tables cannot share a unique index."""
    COUNTING = 7_346_125_906
    """Who counts for several pipelines counts alone: two would lock rows of totals in different orders."""


@unique
class LockOfEach(Enum):
    """One for each of something; two of those that share a number only wait for each other now and then."""

    TURN = 7_346
    """Of each pipeline: history shares it while it sends, and newer rows wait for that (:mod:`shared.store.turns`)."""
    EVENT_NAMES = 7_347
    """Of each workspace: new names of events get their places one after the other."""


_IS_WAITED_FOR: Final = sa.text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = :class AND objid = :number"
    " AND objsubid = 2 AND mode = 'ExclusiveLock' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)


def take(connection: sa.Connection, lock: Lock) -> None:
    """Wait for a lock, and keep it until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock.value)))


def take_if_free(connection: sa.Connection, lock: Lock) -> bool:
    """Take a lock until the transaction ends, unless somebody has it; say whether it was taken."""
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(lock.value))))


def take_of(connection: sa.Connection, lock: LockOfEach, of: str) -> None:
    """Wait for the lock of one, until all who share it have let go, and keep it until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock.value, _number(of))))


def share_of(connection: sa.Connection, lock: LockOfEach, of: str) -> None:
    """Share the lock of one until the transaction ends; waits for those who came first and want it alone."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(lock.value, _number(of))))


def is_waited_for(connection: sa.Connection, lock: LockOfEach, of: str) -> bool:
    """Say whether somebody waits to have the lock of one alone."""
    return bool(connection.scalar(_IS_WAITED_FOR, {"class": lock.value, "number": _number(of)}))


def take_name(connection: sa.Connection, name: str) -> None:
    """Wait for the lock of a name that nothing has yet, so that no row can be locked; kept as by :func:`take`."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def _number(of: str) -> int:
    return crc32(of.encode()) & 0x7FFF_FFFF
