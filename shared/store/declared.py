"""Feeds, connections, data models and pipelines as rows."""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import insert

from shared.catalog import Connection, DataModel, Feed, Pipeline, ProtectionLevel
from shared.errors import DeclarationInvalid, NotFound
from shared.run import Standing
from shared.store.tables import connections, data_models, feeds, pipelines

Resource = TypeVar("Resource", Feed, Connection, DataModel)

_TABLES: Final[dict[type[BaseModel], tuple[sa.Table, str]]] = {
    Feed: (feeds, "feed"),
    Connection: (connections, "connection"),
    DataModel: (data_models, "data model"),
}


@dataclass(frozen=True, slots=True)
class PipelineRow:
    """A pipeline and where it stands."""

    pipeline: Pipeline
    standing: Standing
    faulted_reason: str | None


def put(connection: sa.Connection, resource: Feed | Connection | DataModel) -> bool:
    """Insert or replace a resource; say whether anything changed."""
    table, _ = _TABLES[type(resource)]
    return _upsert(connection, table, {"id": resource.id, "document": resource.model_dump(mode="json")})


def put_pipeline(connection: sa.Connection, pipeline: Pipeline) -> bool:
    """Insert or replace a pipeline; say whether anything changed.

    Raises:
        NotFound: its connection, data model or feed was never declared.
        DeclarationInvalid: its feed may not change profiles, or its sync mode changes although it has a watermark.
    """
    get(connection, Connection, pipeline.connection_id)
    get(connection, DataModel, pipeline.data_model_id)
    feed = get(connection, Feed, pipeline.feed_id)
    if feed.input_protection_level is ProtectionLevel.READ_ONLY:
        raise DeclarationInvalid(
            f"pipeline {pipeline.id!r}: its feed {feed.id!r} is read_only in mParticle, so nothing that a user "
            "pipeline sends would change a profile; name a feed that may update"
        )
    _require_same_mode(connection, pipeline)
    row = {
        "id": pipeline.id,
        "document": pipeline.model_dump(mode="json"),
        "connection_id": pipeline.connection_id,
        "data_model_id": pipeline.data_model_id,
        "feed_id": pipeline.feed_id,
    }
    return _upsert(connection, pipelines, row)


def _require_same_mode(connection: sa.Connection, pipeline: Pipeline) -> None:
    """Refuse a sync mode under which the watermark that the pipeline has would mean something else."""
    found = connection.execute(
        sa.select(pipelines.c.document, pipelines.c.history_to).where(pipelines.c.id == pipeline.id)
    ).one_or_none()
    if found is None or found.history_to is None:
        return

    def meaning(declared: Pipeline) -> dict[str, Any]:
        return declared.sync_mode.model_dump(exclude={"until"})

    if meaning(Pipeline.model_validate(found.document)) != meaning(pipeline):
        raise DeclarationInvalid(
            f"pipeline {pipeline.id!r}: sync_mode cannot change once rows were read by it (only until may), because "
            "its watermark would then leave out or repeat rows; declare a pipeline with another id instead"
        )


def get(connection: sa.Connection, kind: type[Resource], resource_id: str) -> Resource:
    """Give one resource, or raise ``NotFound``."""
    table, noun = _TABLES[kind]
    document = connection.scalar(sa.select(table.c.document).where(table.c.id == resource_id))
    if document is None:
        raise NotFound(f"there is no {noun} {resource_id!r}; declare it first")
    return kind.model_validate(document)


def get_pipeline(connection: sa.Connection, pipeline_id: str, *, lock: bool = False) -> PipelineRow:
    """Give one pipeline, or raise ``NotFound``; ``lock`` keeps others from moving it until the transaction ends."""
    query = sa.select(pipelines).where(pipelines.c.id == pipeline_id)
    if lock:
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no pipeline {pipeline_id!r}; declare it first")
    return _pipeline_row(row)


def users_of(connection: sa.Connection, resource: Feed | Connection | DataModel) -> list[str]:
    """Give the pipelines that use a resource."""
    column = {Feed: pipelines.c.feed_id, Connection: pipelines.c.connection_id, DataModel: pipelines.c.data_model_id}
    return list(connection.scalars(sa.select(pipelines.c.id).where(column[type(resource)] == resource.id)))


def list_connections(connection: sa.Connection) -> list[Connection]:
    """Give all connections by id."""
    documents = connection.scalars(sa.select(connections.c.document).order_by(connections.c.id))
    return [Connection.model_validate(document) for document in documents]


def list_pipelines(connection: sa.Connection) -> list[PipelineRow]:
    """Give all pipelines by id."""
    return [_pipeline_row(row) for row in connection.execute(sa.select(pipelines).order_by(pipelines.c.id)).mappings()]


def _pipeline_row(row: sa.RowMapping) -> PipelineRow:
    return PipelineRow(
        pipeline=Pipeline.model_validate(row["document"]),
        standing=Standing(
            generation=row["generation"],
            watermark=row["watermark"],
            history_to=row["history_to"],
            history_settled_to=row["history_settled_to"],
        ),
        faulted_reason=row["faulted_reason"],
    )


def _upsert(connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> bool:
    statement = insert(table).values(row)
    replaced = {name: statement.excluded[name] for name in row if name != "id"} | {"modified_at": sa.func.now()}
    # A row comes back where one was written. SQLAlchemy does not count the rows of an INSERT.
    written = connection.execute(
        statement.on_conflict_do_update(
            index_elements=[table.c.id],
            set_=replaced,
            where=table.c.document.is_distinct_from(statement.excluded.document),
        ).returning(table.c.id)
    )
    return written.one_or_none() is not None
