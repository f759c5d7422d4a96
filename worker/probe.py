"""Answer a question about a connection or a pipeline by asking its warehouse; nothing is sent to mParticle."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import Any, Final

import pyarrow as pa

from shared import sql
from shared.catalog import DataModel, Environment, Incremental, Pipeline, ProtectionLevel
from shared.columns import warehouse_type
from shared.errors import ColumnMissing, DeclarationInvalid, IteratorInvalid, MappingRefused
from shared.mapping.cautions import cautions_of
from shared.mapping.compile import meaning_of
from shared.mapping.compile_events import ColumnMeaning, column_meanings
from shared.mapping.plan import MappingPlan, Path
from shared.probe import Answer, ColumnAnswer, Question, RejectAnswer
from shared.rejects import find_secrets, mask_at, masked, secrets_among
from shared.run import Standing, Window
from shared.snapshot import FrozenIterator
from shared.transformation import FieldTransformation
from worker import draft
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder, Merging
from worker.mparticle.judge import judge_of
from worker.parts import measure
from worker.plan import next_window, on_whole_units
from worker.warehouses.base import Warehouse

_PREVIEW_ID: Final = "preview"
"""In place of a chunk's id: these batches are never sent."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The pipeline that is asked about, where it stands, and the limits that its rows would be checked by."""

    pipeline: Pipeline
    model: DataModel
    transformation: FieldTransformation | None
    protection: ProtectionLevel
    standing: Standing
    environment: Environment | None
    checks: Checks


def sign_in(warehouse: Warehouse) -> Answer:
    """Say as whom the warehouse runs queries, and what time it is there."""
    return Answer(session=dict(warehouse.session()), warehouse_now=warehouse.clock())


def columns(subject: Subject, warehouse: Warehouse) -> Answer:
    """List the columns, what becomes of each, and what keeps the pipeline from running."""
    schema = draft.describe(subject.model, warehouse)
    cautions: tuple[str, ...] = ()
    refused, iterator = None, None
    try:
        iterator = draft.iterator_of(schema, subject.pipeline.sync_mode)
        cautions = _cautions(subject, _mapping(subject, schema, iterator))
    except (ColumnMissing, IteratorInvalid, MappingRefused, DeclarationInvalid) as error:
        refused = str(error)
    return Answer(columns=_columns(subject, schema, iterator), refused=refused, cautions=cautions)


def preview(subject: Subject, warehouse: Warehouse, *, rows: int, now: datetime, go_on: Callable[[], object]) -> Answer:
    """Read some rows and show the batches that they become now, historical ones last; what is secret is masked in both.

    ``go_on`` is called before the query that reads them; what it raises keeps it from being run.
    """
    schema = draft.describe(subject.model, warehouse)
    iterator = draft.iterator_of(schema, subject.pipeline.sync_mode)
    mapping = _mapping(subject, schema, iterator)
    query = sql.preview_query(
        subject.model.sql_query, dialect=warehouse.dialect, iterator=None, window=Window(), rows=rows
    )
    go_on()
    with warehouse.stream(query, batch_rows=rows) as stream:
        table = pa.Table.from_batches(stream, stream.schema)
    judge = judge_of(subject.pipeline.data_plan, names=mapping.names)
    merging = Merging(historical_before_ms=draft.historical_before_ms(subject.pipeline, mapping, now))
    encoder = Encoder(mapping, checks=subject.checks, merging=merging, judge=judge)
    encoded = encoder.encode(table, chunk_id=_PREVIEW_ID)
    secrets = secrets_among(table.column_names, subject.model.secret_columns)
    hidden = [_names(leaf.path) for leaf in mapping.leaves if leaf.column in secrets]
    return Answer(
        columns=_columns(subject, schema, iterator),
        cautions=(*_cautions(subject, mapping), *_historical(len(encoded) - encoded.historical_from)),
        rows=_rows(masked(table, secrets)),
        batches=tuple(_shown(_masked_at(hidden, json.loads(b"[" + bytes(encoded.data).removesuffix(b",") + b"]")))),
        rejects=tuple(RejectAnswer(row=one.row, code=one.code, reason=one.reason) for one in encoded.rejects),
    )


def count(subject: Subject, warehouse: Warehouse, question: Question, *, go_on: Callable[[], object]) -> Answer:
    """Count the rows of a window, and those that no window holds because their iterator is NULL.

    ``go_on`` is as of ``preview``.
    """
    window, iterator = _window(subject, warehouse, question)
    go_on()
    if iterator is None:
        query = sql.count_query(subject.model.sql_query, dialect=warehouse.dialect, iterator=None, window=window)
        with warehouse.stream(query, batch_rows=1) as stream:
            ((row_count,),) = (batch.column(0).to_pylist() for batch in stream)
        return Answer(row_count=int(row_count))
    span = measure(subject.model, warehouse, iterator, replace(window, includes_null=True))
    row_count = span.row_count if window.includes_null else span.row_count - span.null_count
    return Answer(low=window.low, high=window.high, row_count=row_count, null_count=span.null_count)


def cost(subject: Subject, warehouse: Warehouse, question: Question) -> Answer:
    """Say how many bytes the query for a window would read, where the warehouse tells."""
    window, iterator = _window(subject, warehouse, question)
    query = sql.windowed(
        subject.model.sql_query, dialect=warehouse.dialect, iterator=draft.asked_by(iterator), window=window
    )
    return Answer(low=window.low, high=window.high, scanned_bytes=warehouse.scanned_bytes(query))


def _mapping(subject: Subject, schema: pa.Schema, iterator: FrozenIterator | None) -> MappingPlan:
    environment = draft.environment_of(subject.pipeline, subject.environment)
    find_secrets(schema.names, subject.model.secret_columns)
    return draft.compile_mapping(
        subject.pipeline, subject.transformation, schema, environment=environment, iterator=iterator
    )


def _historical(batches: int) -> Iterator[str]:
    if batches:
        yield (
            f"{batches:,} of these events are older than 30 days and go to mParticle's endpoint for historical data, "
            "which is not forwarded to event or data warehouse outputs; historical: never sends them as others"
        )


def _cautions(subject: Subject, mapping: MappingPlan) -> tuple[str, ...]:
    return cautions_of(mapping, protection=subject.protection)


def _window(subject: Subject, warehouse: Warehouse, question: Question) -> tuple[Window, FrozenIterator | None]:
    """Give the window that is asked about: one given, up to the watermark at most, or the next run's."""
    pipeline = subject.pipeline
    schema = draft.describe(subject.model, warehouse)
    iterator = draft.iterator_of(schema, pipeline.sync_mode)
    if iterator is None or not isinstance(pipeline.sync_mode, Incremental):
        return Window(), None
    if question.low is not None or question.high is not None:
        asked = Window(question.low, question.high or subject.standing.watermark, includes_null=question.low is None)
        return on_whole_units(asked, iterator), iterator
    window = next_window(
        pipeline.id,
        pipeline.sync_mode,
        iterator,
        standing=subject.standing,
        delay=pipeline.schedule.delay,
        now=warehouse.clock(),
    )
    return window, iterator


def _columns(subject: Subject, schema: pa.Schema, iterator: FrozenIterator | None) -> tuple[ColumnAnswer, ...]:
    column = None if iterator is None else iterator.column
    if subject.transformation is not None:
        meanings = column_meanings(schema, subject.transformation, iterator=column)
    else:
        meanings = {field.name: _meaning_by_name(subject, field, column) for field in schema}
    return tuple(
        ColumnAnswer(
            name=field.name,
            type=warehouse_type(field),
            becomes=meanings[field.name].becomes,
            refused=meanings[field.name].refused,
        )
        for field in schema
    )


def _meaning_by_name(subject: Subject, field: pa.Field, iterator: str | None) -> ColumnMeaning:
    if field.name == iterator:
        return ColumnMeaning("the iterator; it is not sent")
    destination, refused = meaning_of(field, subject.pipeline.rename)
    return ColumnMeaning(str(destination), refused)


def _names(path: Path) -> tuple[str, ...]:
    return tuple(name for name in path if isinstance(name, str))


def _masked_at(paths: Sequence[tuple[str, ...]], batches: Any) -> Any:
    """Give batches without the values at some paths."""
    return reduce(mask_at, paths, batches)


def _rows(table: pa.Table) -> tuple[dict[str, Any], ...]:
    """Give the rows as JSON can hold them; what is no JSON value by itself as Arrow's text."""
    columns = [
        column.cast(pa.string()) if pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type) else column
        for column in table.columns
    ]
    rows = pa.Table.from_arrays(columns, names=table.column_names).to_pylist()
    return tuple(_shown(json.loads(json.dumps(row, default=str))) for row in rows)


def _shown(value: Any) -> Any:
    """Give a JSON value with a visible sign for U+0000: the store cannot hold that, though a batch that is sent can."""
    match value:
        case str():
            return value.replace("\0", "\N{SYMBOL FOR NULL}")
        case list():
            return [_shown(one) for one in value]
        case dict():
            return {_shown(name): _shown(one) for name, one in value.items()}
        case _:
            return value
