"""What a pipeline would do, as its warehouse tells without running it: the columns, the iterator, the mapping.

A run freezes these when it is planned; a probe shows them before there is a run.
"""

from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from shared import sql, statement
from shared.catalog import DataModel, Environment, Full, Incremental, Pipeline
from shared.columns import warehouse_type
from shared.errors import DeclarationInvalid
from shared.iterator import find_iterator, tie_breakers
from shared.mapping.compile import compile_user_mapping
from shared.mapping.compile_events import compile_event_mapping
from shared.mapping.plan import MappingPlan
from shared.snapshot import FrozenIterator
from shared.transformation import FieldTransformation
from worker.mparticle.check import Checks
from worker.mparticle.encode import Merging
from worker.mparticle.named import within_names
from worker.warehouses.base import Warehouse

HISTORICAL_AGE: Final = timedelta(days=30)
"""Older events belong to the historical endpoint, which takes none under 72 hours. Source: mParticle HTTP API."""


def describe(model: DataModel, warehouse: Warehouse) -> pa.Schema:
    """Give the columns of a data model.

    Raises:
        ModelInvalid: its SQL is not one SELECT, or the warehouse refuses it.
        RightsMissing: the warehouse refuses to show a table.
        QueryTimedOut: describing took longer than the query's limit.
    """
    statement.require_one_select(model.sql_query, warehouse.dialect)
    return warehouse.describe(sql.columns_query(model.sql_query, warehouse.dialect))


def iterator_of(schema: pa.Schema, mode: Incremental | Full) -> FrozenIterator | None:
    """Give the iterator as the warehouse has it; ``None`` for a full sync.

    Raises:
        ColumnMissing: it is not among the columns.
        IteratorInvalid: it is not of the declared type.
    """
    if isinstance(mode, Full):
        return None
    column, kind = find_iterator(schema, mode.iterator_field, mode.iterator_data_type)
    field: Any = schema.field(column)
    return FrozenIterator(
        column=column,
        type=kind,
        zone=mode.iterator_time_zone,
        warehouse_type=warehouse_type(field),
        ties=tie_breakers(schema, besides=(column,)),
    )


def asked_by(iterator: FrozenIterator | None) -> sql.Iterator | None:
    """Give an iterator as queries name it."""
    if iterator is None:
        return None
    return sql.Iterator(iterator.column, iterator.type, iterator.zone, iterator.warehouse_type, iterator.ties)


def environment_of(pipeline: Pipeline, named: Environment | None) -> Environment:
    """Give the environment of a pipeline's batches, as it or its connection names it.

    Raises:
        DeclarationInvalid: neither does.
    """
    if named is None:
        raise DeclarationInvalid(f"pipeline {pipeline.id!r} declares no environment; set development or production")
    return named


def compile_mapping(
    pipeline: Pipeline,
    transformation: FieldTransformation | None,
    schema: pa.Schema,
    *,
    environment: Environment,
    iterator: FrozenIterator | None,
) -> MappingPlan:
    """Give the plan by which a pipeline's rows become batches: events by its field transformation, users by name.

    Raises:
        MappingRefused: the columns cannot all become fields, or the pipeline's limits refuse a name; the message says
            which and why.
    """
    column = None if iterator is None else iterator.column
    if transformation is not None:
        mapping = compile_event_mapping(
            schema, transformation, environment=environment, on_null=pipeline.on_null, iterator=column
        )
    else:
        mapping = compile_user_mapping(
            schema, environment=environment, on_null=pipeline.on_null, iterator=column, rename=pipeline.rename
        )
    within_names(mapping, Checks(limits=pipeline.limits))
    return mapping


def merging_of(pipeline: Pipeline, mapping: MappingPlan, planned_at: datetime, *, most_events: int) -> Merging:
    """Give which rows of a run share a batch, and which events of it are historical."""
    return Merging(
        max_events=most_events if pipeline.merge else 1,
        users=pipeline.merge and not mapping.has_events,
        historical_before_ms=_historical_before_ms(pipeline, mapping, planned_at),
    )


def _historical_before_ms(pipeline: Pipeline, mapping: MappingPlan, planned_at: datetime) -> int | None:
    """Give the instant before which events count as historical, in ms since 1970; ``None`` where none does."""
    if not mapping.has_events or pipeline.historical == "never":
        return None
    return int((planned_at - HISTORICAL_AGE).timestamp() * 1000)
