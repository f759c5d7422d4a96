"""Feeds, connections, data models, field transformations and pipelines as rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.catalog import Connection, DataModel, Full, Incremental, Pipeline, declared_environment
from shared.errors import ChangedMeanwhile, DeclarationInvalid, MoveNotAllowed, NotFound
from shared.feed import Feed, ProtectionLevel
from shared.run import PipelineState, Standing
from shared.store.declared_tables import ACTOR, pipelines
from shared.store.records import read, table_of
from shared.transformation import FieldTransformation

DeclaredResource = Feed | Connection | DataModel | FieldTransformation
"""What pipelines are made of."""
Resource = TypeVar("Resource", Feed, Connection, DataModel, FieldTransformation)
Declaration = TypeVar("Declaration", Feed, Connection, DataModel, FieldTransformation, Pipeline)


@dataclass(frozen=True, slots=True)
class PipelineRow:
    """A pipeline and where it stands."""

    pipeline: Pipeline
    standing: Standing
    faulted_reason: str | None
    state: PipelineState = PipelineState.DRAFT
    next_due_at: datetime | None = None

    @property
    def may_begin(self) -> bool:
        """Whether runs may begin by themselves."""
        return self.state is PipelineState.ACTIVE

    @property
    def is_past_history(self) -> bool:
        """Whether its runs are all on the live lane: a full pipeline's always, an incremental one's after history."""
        return isinstance(self.pipeline.sync_mode, Full) or self.standing.is_history_settled

    def require_begun(self) -> None:
        """Raise ``MoveNotAllowed`` unless the pipeline was activated once."""
        if self.state is PipelineState.DRAFT:
            raise MoveNotAllowed(
                f"pipeline {self.pipeline.id!r} is a draft; `warehouse-sync activate {self.pipeline.id}` comes first"
            )


def put(connection: sa.Connection, resource: DeclaredResource) -> bool:
    """Insert or replace a resource; say whether anything changed.

    Raises:
        DeclarationInvalid: another of its kind has its name.
        ChangedMeanwhile: somebody gave that name away at the same time.
    """
    return _upsert(connection, resource, {"id": resource.id, "document": resource.model_dump(mode="json")})


def put_pipeline(connection: sa.Connection, pipeline: Pipeline) -> bool:
    """Insert or replace a pipeline, a new one as a draft; say whether anything changed.

    Raises:
        NotFound: its connection, data model, field transformation or feed was never declared.
        DeclarationInvalid: its feed may not change profiles, its id belonged to a pipeline that was deleted, or it
            would begin in the future.
        ChangedMeanwhile: somebody removed what it names, or gave its name away, at the same time.
    """
    get(connection, Connection, pipeline.connection_id)
    get(connection, DataModel, pipeline.data_model_id)
    if pipeline.field_transformation_id is not None:
        get(connection, FieldTransformation, pipeline.field_transformation_id)
    require_may_update(pipeline, get(connection, Feed, pipeline.feed_id))
    now, state = connection.execute(
        sa.select(sa.func.now(), sa.select(pipelines.c.state).where(pipelines.c.id == pipeline.id).scalar_subquery())
    ).one()
    if state == PipelineState.DELETED:
        raise DeclarationInvalid(f"pipeline {pipeline.id!r} was deleted, and ids are not used again; give another id")
    track_from = pipeline.sync_mode.track_from if isinstance(pipeline.sync_mode, Incremental) else None
    if track_from is not None and track_from > now:
        raise DeclarationInvalid(
            f"pipeline {pipeline.id!r}: sync_mode.track_from ({track_from}) lies in the future; it is where history "
            "begins. To begin later, set schedule.start"
        )
    row = {
        "id": pipeline.id,
        "document": pipeline.model_dump(mode="json"),
        "connection_id": pipeline.connection_id,
        "data_model_id": pipeline.data_model_id,
        "feed_id": pipeline.feed_id,
        "field_transformation_id": pipeline.field_transformation_id,
    }
    return _upsert(connection, pipeline, row)


def require_may_update(pipeline: Pipeline, feed: Feed) -> None:
    """Raise ``DeclarationInvalid`` where a pipeline of users has a feed that may change no profile."""
    if feed.input_protection_level is ProtectionLevel.READ_ONLY and pipeline.field_transformation_id is None:
        raise DeclarationInvalid(
            f"pipeline {pipeline.id!r}: its feed {feed.id!r} is read_only in mParticle, so nothing that a user "
            "pipeline sends would change a profile; name a feed that may update"
        )


def get(connection: sa.Connection, kind: type[Declaration], resource_id: str) -> Declaration:
    """Give one declaration, or raise ``NotFound``; a deleted pipeline's is there, see ``get_pipeline``."""
    table, noun = table_of(kind)
    document = connection.scalar(sa.select(table.c.document).where(table.c.id == resource_id))
    if document is None:
        raise NotFound(f"there is no {noun} {resource_id!r}; declare it first")
    return read(kind, document)


def transformation_of(connection: sa.Connection, pipeline: Pipeline) -> FieldTransformation | None:
    """Give the field transformation of a pipeline whose rows are events; ``None`` where they are users."""
    if pipeline.field_transformation_id is None:
        return None
    return get(connection, FieldTransformation, pipeline.field_transformation_id)


def get_pipeline(
    connection: sa.Connection, pipeline_id: str, *, lock: bool = False, even_deleted: bool = False
) -> PipelineRow:
    """Give one pipeline, or raise ``NotFound``; ``lock`` keeps others from moving it until the transaction ends.

    A deleted one is there for its runs only (``even_deleted``).
    """
    query = sa.select(pipelines).where(pipelines.c.id == pipeline_id)
    if lock:
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None or (row["state"] == PipelineState.DELETED and not even_deleted):
        if row is not None:
            raise NotFound(f"pipeline {pipeline_id!r} was deleted; its id is not used again")
        raise NotFound(f"there is no pipeline {pipeline_id!r}; declare it first")
    return to_pipeline_row(row)


def require_environment(connection: sa.Connection, row: PipelineRow) -> None:
    """Raise ``DeclarationInvalid`` unless the pipeline, or its connection for it, says where its batches belong."""
    if declared_environment(row.pipeline, get(connection, Connection, row.pipeline.connection_id)) is None:
        raise DeclarationInvalid(
            f"pipeline {row.pipeline.id!r} declares no environment; set it to development or production, "
            "because mParticle takes batches without one for production"
        )


def users_of(connection: sa.Connection, resource: DeclaredResource, *, even_deleted: bool = False) -> list[str]:
    """Give the pipelines that use a resource."""
    column = {
        Feed: pipelines.c.feed_id,
        Connection: pipelines.c.connection_id,
        DataModel: pipelines.c.data_model_id,
        FieldTransformation: pipelines.c.field_transformation_id,
    }
    users = sa.select(pipelines.c.id).where(column[type(resource)] == resource.id)
    if not even_deleted:
        users = users.where(pipelines.c.state != PipelineState.DELETED)
    return list(connection.scalars(users.order_by(pipelines.c.id)))


def delete(connection: sa.Connection, kind: type[Resource], resource_id: str) -> None:
    """Remove a resource that nothing uses.

    Raises:
        NotFound: there is none.
        MoveNotAllowed: pipelines use it, or did and are kept for their runs; the message names them.
        ChangedMeanwhile: somebody declared such a pipeline at the same time.
    """
    table, noun = table_of(kind)
    resource = get(connection, kind, resource_id)
    if users := users_of(connection, resource, even_deleted=True):
        raise MoveNotAllowed(
            f"{noun} {resource_id!r} is used by pipeline {', '.join(users)}; a pipeline that was deleted keeps what it "
            "used, because its runs name it"
        )
    with _alone(noun, resource_id):
        connection.execute(sa.delete(table).where(table.c.id == resource_id))


def list_all(connection: sa.Connection, kind: type[Resource]) -> list[Resource]:
    """Give all resources of a kind by id."""
    table, _ = table_of(kind)
    documents = connection.scalars(sa.select(table.c.document).order_by(table.c.id))
    return [read(kind, document) for document in documents]


def list_pipelines(connection: sa.Connection) -> list[PipelineRow]:
    """Give all pipelines by id, without those that were deleted."""
    query = sa.select(pipelines).where(pipelines.c.state != PipelineState.DELETED).order_by(pipelines.c.id)
    return [to_pipeline_row(row) for row in connection.execute(query).mappings()]


def to_pipeline_row(row: sa.RowMapping) -> PipelineRow:
    """Give a row as the pipeline that it is."""
    return PipelineRow(
        pipeline=read(Pipeline, row["document"]),
        standing=Standing(
            generation=row["generation"],
            watermark=row["watermark"],
            history_to=row["history_to"],
            history_settled_to=row["history_settled_to"],
        ),
        faulted_reason=row["faulted_reason"],
        state=PipelineState(row["state"]),
        next_due_at=row["next_due_at"],
    )


def _upsert(connection: sa.Connection, resource: DeclaredResource | Pipeline, row: dict[str, Any]) -> bool:
    table, noun = table_of(type(resource))
    _require_free_name(connection, resource, table, noun)
    statement = insert(table).values(row)
    replaced = {name: statement.excluded[name] for name in row if name != "id"} | {
        "modified_at": sa.func.now(),
        "modified_by": ACTOR,
        "version": table.c.version + 1,
    }
    # A row comes back where one was written. SQLAlchemy does not count the rows of an INSERT.
    with _alone(noun, resource.id):
        written = connection.execute(
            statement.on_conflict_do_update(
                index_elements=[table.c.id],
                set_=replaced,
                where=table.c.document.is_distinct_from(statement.excluded.document),
            ).returning(table.c.id)
        )
    return written.one_or_none() is not None


@contextmanager
def _alone(noun: str, resource_id: str) -> Iterator[None]:
    """Say by name what only a constraint can see: that somebody else changed what was looked at a moment ago."""
    try:
        yield
    except sa.exc.IntegrityError:
        raise ChangedMeanwhile(
            f"{noun} {resource_id!r}: somebody else gave its name away, or changed what it names or is named by, at "
            "the same time; nothing was done, try again"
        ) from None


def _require_free_name(
    connection: sa.Connection, resource: DeclaredResource | Pipeline, table: sa.Table, noun: str
) -> None:
    """Refuse a name that another of its kind has; of two that claim one at once, a unique index stops the second."""
    named = sa.select(table.c.id).where(table.c.document["name"].astext == resource.name, table.c.id != resource.id)
    if table is pipelines:
        named = named.where(pipelines.c.state != PipelineState.DELETED)
    if (other := connection.scalar(named)) is not None:
        raise DeclarationInvalid(
            f"{noun} {resource.id!r}: its name {resource.name!r} is that of {noun} {other!r}; names are unique, "
            "because people choose by them"
        )
