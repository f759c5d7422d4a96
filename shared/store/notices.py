"""What happened to a pipeline that an operator should find later: a refused trigger, a fault, rows beyond a limit."""

import sqlalchemy as sa

from shared.notices import Notice, NoticeName
from shared.store.declared_tables import pipelines
from shared.store.tables import notices


def add(connection: sa.Connection, pipeline_id: str, name: NoticeName, message: str) -> bool:
    """Keep a notice; False where there is no such pipeline to keep it for."""
    known = sa.select(pipelines.c.id, sa.literal(name.value), sa.literal(message)).where(pipelines.c.id == pipeline_id)
    added = connection.execute(
        sa.insert(notices)
        .from_select([notices.c.pipeline_id, notices.c.name, notices.c.message], known)
        .returning(notices.c.id)
    )
    return added.one_or_none() is not None


def newest(
    connection: sa.Connection, pipeline_id: str, *, before_id: int | None = None, limit: int = 20
) -> list[Notice]:
    """Give the newest notices of a pipeline; older than ``before_id`` to read on."""
    query = sa.select(notices).where(notices.c.pipeline_id == pipeline_id).order_by(notices.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(notices.c.id < before_id)
    return [
        Notice(row.id, row.pipeline_id, NoticeName(row.name), row.message, row.noticed_at)
        for row in connection.execute(query)
    ]
