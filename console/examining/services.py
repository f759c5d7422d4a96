"""The state database and the broker: do they answer, as this version needs them, with the right time and rights?"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from console.examining.finding import Finding, compared, failed, tried
from console.operations import Operations
from shared.broker_rights import SUFFICES, Tried
from shared.errors import SyncError

STORE: Final = "state database"
BROKER: Final = "broker"
_CLOCK_CURE: Final = "set both machines' clocks by NTP (chrony, systemd-timesyncd)"


def of_store(operations: Operations) -> Iterator[Finding]:
    """Look at the state database: that it answers, its schema, its clock."""
    answers = tried(STORE, operations.check_store, "answers, and its schema is this version's")
    yield answers
    if answers.is_well:
        earliest = datetime.now(UTC)
        try:
            told = operations.dependencies.store_clock()
        except SyncError as error:
            yield failed(f"{STORE}'s clock", error)
        else:
            yield compared(f"{STORE}'s clock", told, earliest=earliest, latest=datetime.now(UTC), cure=_CLOCK_CURE)


def of_broker(operations: Operations) -> Iterator[Finding]:
    """Look at the broker: that it answers, what its user may do, its clock."""
    earliest = datetime.now(UTC)
    try:
        found = operations.dependencies.try_broker()
    except SyncError as error:
        yield failed(BROKER, error)
        return
    latest = datetime.now(UTC)
    if found.refused:
        yield _lacking(found)
    else:
        yield tried(BROKER, operations.check_broker, "answers, and lets its user do all that workers do")
    if found.now is not None:
        yield compared(f"{BROKER}'s clock", found.now, earliest=earliest, latest=latest, cure=_CLOCK_CURE)


def _lacking(found: Tried) -> Finding:
    rules = " ".join(dict.fromkeys(found.refused.values()))
    return Finding(
        BROKER,
        f"user {found.user!r} may not use {', '.join(found.refused)}",
        f"allow it {rules} (`ACL SETUSER {found.user} {rules}`). These rules suffice for everything: "
        f"`ACL SETUSER {found.user} {SUFFICES}`",
    )
