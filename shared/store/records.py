"""Who declared what, when, and how often it was changed since: what stands beside each declaration."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError

from shared.catalog import Connection, DataModel, Pipeline
from shared.errors import AlreadyDeclared, ChangedMeanwhile, NotFound, ProcessOutdated
from shared.feed import Feed
from shared.run import PipelineState
from shared.store import locks
from shared.store.declared_tables import connections, data_models, feeds, field_transformations, pipelines
from shared.transformation import FieldTransformation

Kind = TypeVar("Kind", bound=BaseModel)

_TABLES: Final[Mapping[type[BaseModel], tuple[sa.Table, str]]] = {
    Feed: (feeds, "feed"),
    Connection: (connections, "connection"),
    DataModel: (data_models, "data model"),
    FieldTransformation: (field_transformations, "field transformation"),
    Pipeline: (pipelines, "pipeline"),
}


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one declaration; ``version`` counts its changes, from 1, and somebody unknown is ``None``."""

    version: int
    created_at: datetime
    created_by: str | None
    modified_at: datetime | None
    modified_by: str | None


def table_of(kind: type[BaseModel]) -> tuple[sa.Table, str]:
    """Give the table of a kind of declaration, and what people call one."""
    return _TABLES[kind]


def read(kind: type[Kind], document: Mapping[str, Any]) -> Kind:
    """Give the declaration that a stored document is.

    Whatever is stored was valid when it was declared; so one that is not was declared by another version, as happens
    while not all processes are upgraded.

    Raises:
        ProcessOutdated: that version knows what this one does not; the places are named, and no value.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        places = sorted({".".join(map(str, wrong["loc"])) or "as a whole" for wrong in error.errors()})
        raise ProcessOutdated(
            f"{_TABLES[kind][1]} {document.get('id')!r} was declared by a newer version, and this process cannot read "
            f"it ({', '.join(places)}); finish the upgrade, or declare it without that"
        ) from None


def of(connection: sa.Connection, kind: type[BaseModel], resource_id: str) -> Record:
    """Give the record of one declaration, or raise ``NotFound``."""
    table, noun = _TABLES[kind]
    row = connection.execute(_query(table).where(table.c.id == resource_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no {noun} {resource_id!r}; declare it first")
    return to_record(row)


def of_all(connection: sa.Connection, kind: type[BaseModel]) -> dict[str, Record]:
    """Give the record of every declaration of a kind, by id."""
    table, _ = _TABLES[kind]
    return {row["id"]: to_record(row) for row in connection.execute(_query(table)).mappings()}


def require_version(connection: sa.Connection, kind: type[BaseModel], resource_id: str, version: int) -> None:
    """Keep a declaration from being changed until the transaction ends, if it is of the version that was read.

    Raises:
        ChangedMeanwhile: somebody changed or removed it since.
    """
    table, noun = _TABLES[kind]
    found = connection.scalar(sa.select(table.c.version).where(table.c.id == resource_id).with_for_update())
    if found != version:
        stands = "it is gone" if found is None else f"it is at version {found}"
        raise ChangedMeanwhile(
            f"{noun} {resource_id!r} was changed by somebody else: you read version {version}, and {stands}. "
            "Read it again, and make your change once more"
        )


def require_new(connection: sa.Connection, resource: BaseModel, resource_id: str) -> None:
    """Raise unless nothing has this id, or what has it is the same; then creating it once more changes nothing.

    Whoever else would create it waits until the transaction ends, and sees what became of it.

    Raises:
        AlreadyDeclared: something else has it.
    """
    table, noun = _TABLES[type(resource)]
    # No row is there yet that could be locked; and the second to write one would replace the first's.
    locks.take_name(connection, f"{noun} {resource_id}")
    document = connection.scalar(_alive(sa.select(table.c.document), table).where(table.c.id == resource_id))
    if document is not None and document != resource.model_dump(mode="json"):
        raise AlreadyDeclared(
            f"there is a {noun} {resource_id!r} already, and it is another; choose another id, or change that one "
            "(PUT, or `warehouse-sync apply`)"
        )


def to_record(row: sa.RowMapping) -> Record:
    """Give a row of any declaration as its record."""
    return Record(
        version=row["version"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        modified_at=row["modified_at"],
        modified_by=row["modified_by"],
    )


def _query(table: sa.Table) -> sa.Select[Any]:
    columns = (table.c.version, table.c.created_at, table.c.created_by, table.c.modified_at, table.c.modified_by)
    return _alive(sa.select(table.c.id, *columns), table)


def _alive(query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    return query.where(pipelines.c.state != PipelineState.DELETED) if table is pipelines else query
