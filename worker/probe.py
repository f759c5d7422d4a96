"""Answer a question about a connection or a pipeline by asking its warehouse; nothing is sent to mParticle."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from shared import sql
from shared.catalog import DataModel, Incremental
from shared.errors import ColumnMissing, DeclarationInvalid, IteratorInvalid, MappingRefused
from shared.probe import Answer, Question
from shared.rejects import find_secrets
from shared.run import Window
from shared.snapshot import FrozenIterator
from worker import draft
from worker.parts import measure
from worker.plan import next_window, on_whole_units
from worker.sample import Subject, answers, meaning_by_name, read_rows, read_sample, shown_rows
from worker.warehouses.base import Warehouse

_PREVIEW_ID: Final = "preview"
"""In place of a chunk's id: these batches are never sent."""


def sign_in(warehouse: Warehouse) -> Answer:
    """Say as whom the warehouse runs queries, and what time it is there."""
    return Answer(session=dict(warehouse.session()), warehouse_now=warehouse.clock())


def query(model: DataModel, warehouse: Warehouse, *, rows: int, go_on: Callable[[], object]) -> Answer:
    """Run a data model's query: its columns, what each becomes for users by its name, and some rows.

    ``go_on`` is called before the query that reads rows; what it raises keeps it from being run.
    """
    schema = draft.describe(model, warehouse)
    find_secrets(schema.names, model.secret_columns)
    meanings = {field.name: meaning_by_name(field, None, MappingProxyType({})) for field in schema}
    table = read_rows(model, warehouse, rows=rows, go_on=go_on)
    return Answer(columns=answers(schema, meanings), rows=shown_rows(table, model))


def columns(subject: Subject, warehouse: Warehouse) -> Answer:
    """List the columns, what becomes of each, and what keeps the pipeline from running."""
    schema = draft.describe(subject.model, warehouse)
    cautions: tuple[str, ...] = ()
    refused, iterator = None, None
    try:
        iterator = draft.iterator_of(schema, subject.pipeline.sync_mode)
        cautions = subject.cautions(subject.mapping(schema, iterator))
    except (ColumnMissing, IteratorInvalid, MappingRefused, DeclarationInvalid) as error:
        refused = str(error)
    return Answer(columns=subject.columns(schema, iterator), refused=refused, cautions=cautions)


def preview(subject: Subject, warehouse: Warehouse, *, rows: int, now: datetime, go_on: Callable[[], object]) -> Answer:
    """Read some rows and show the batches that they become now, historical ones last; what is secret is masked in both.

    ``go_on`` is as of ``query``.
    """
    sample = read_sample(subject, warehouse, rows=rows, ids=_PREVIEW_ID, now=now, go_on=go_on)
    return Answer(
        columns=sample.columns,
        cautions=sample.cautions,
        rows=shown_rows(sample.table, subject.model),
        batches=sample.batches,
        rejects=sample.rejects,
    )


def count(subject: Subject, warehouse: Warehouse, question: Question, *, go_on: Callable[[], object]) -> Answer:
    """Count the rows of a window, and those that no window holds because their iterator is NULL.

    ``go_on`` is as of ``query``.
    """
    window, iterator = _window(subject, warehouse, question)
    go_on()
    if iterator is None:
        counting = sql.count_query(subject.model.sql_query, dialect=warehouse.dialect, iterator=None, window=window)
        with warehouse.stream(counting, batch_rows=1) as stream:
            ((row_count,),) = (batch.column(0).to_pylist() for batch in stream)
        return Answer(row_count=int(row_count))
    span = measure(subject.model, warehouse, iterator, replace(window, includes_null=True))
    row_count = span.row_count if window.includes_null else span.row_count - span.null_count
    return Answer(low=window.low, high=window.high, row_count=row_count, null_count=span.null_count)


def cost(subject: Subject, warehouse: Warehouse, question: Question) -> Answer:
    """Say how many bytes the query for a window would read, where the warehouse tells."""
    window, iterator = _window(subject, warehouse, question)
    windowed = sql.windowed(
        subject.model.sql_query, dialect=warehouse.dialect, iterator=draft.asked_by(iterator), window=window
    )
    return Answer(low=window.low, high=window.high, scanned_bytes=warehouse.scanned_bytes(windowed))


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
