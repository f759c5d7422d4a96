"""The audit log: who did what to which declaration, pipeline, token or client. The database itself writes it.

What changes no row that it could watch is noted by whoever does it: that rejected rows were purged, or downloaded with
the values of secret columns.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared.store.access_tables import audit

_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done; ``actor`` is ``None`` where the system did it by itself.

    ``fields`` are what changed of a declaration, by path; the log holds no value of them.
    """

    id: int
    noted_at: datetime
    actor: str | None
    action: str
    kind: str
    subject: str
    fields: tuple[str, ...]


def note(connection: sa.Connection, action: str, kind: str, subject: str) -> None:
    """Note what whoever acts in this transaction does; ``subject`` is an id or a name."""
    actor = sa.func.nullif(sa.func.current_setting("warehouse_sync.actor", True), "")  # noqa: FBT003 - may be unset
    connection.execute(sa.insert(audit).values(actor=actor, action=action, kind=kind, subject=subject, fields=[]))


def newest(
    connection: sa.Connection,
    *,
    kind: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    before_id: int | None = None,
    limit: int = _LIMIT,
) -> list[AuditEntry]:
    """Give the newest entries, of everything or of what is named; older ones than ``before_id`` to read on."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    for column, wanted in ((audit.c.kind, kind), (audit.c.subject, subject), (audit.c.actor, actor)):
        if wanted is not None:
            # What cannot be printed stands nowhere in the log, and PostgreSQL refuses some of it.
            query = query.where(column == wanted if wanted.isprintable() else sa.false())
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    return [
        AuditEntry(row.id, row.noted_at, row.actor, row.action, row.kind, row.subject, tuple(row.fields))
        for row in connection.execute(query)
    ]
