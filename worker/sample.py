"""Some rows of a pipeline's data model, and the batches that they become, exactly as a run would make them.

What is shown of them hides the values of secret columns; what is sent does not.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import pyarrow as pa

from shared import sql
from shared.catalog import DataModel, Environment, Pipeline
from shared.columns import warehouse_type
from shared.feed import ProtectionLevel
from shared.mapping.cautions import cautions_of
from shared.mapping.compile import meaning_of
from shared.mapping.compile_events import ColumnMeaning, column_meanings
from shared.mapping.plan import MappingPlan, Path
from shared.probe import ColumnAnswer, RejectAnswer
from shared.rejects import find_secrets, mask_at, masked, secrets_among
from shared.run import Standing, Window
from shared.snapshot import FrozenIterator
from shared.transformation import FieldTransformation
from worker import draft
from worker.instants import instants_of
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder
from worker.mparticle.judge import judge_of
from worker.mparticle.prepared import EncodedRows
from worker.warehouses.base import Warehouse


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
    batch_max_events: int

    def mapping(self, schema: pa.Schema, iterator: FrozenIterator | None) -> MappingPlan:
        """Compile the mapping for the columns of the pipeline's query.

        Raises:
            DeclarationInvalid: nothing says which environment the batches belong to.
            ColumnMissing: a secret column is not among the columns.
            MappingRefused: the columns cannot all become fields.
        """
        environment = draft.environment_of(self.pipeline, self.environment)
        find_secrets(schema.names, self.model.secret_columns)
        return draft.compile_mapping(
            self.pipeline, self.transformation, schema, environment=environment, iterator=iterator
        )

    def cautions(self, mapping: MappingPlan) -> tuple[str, ...]:
        """Say what runs allow and may not be expected."""
        return cautions_of(mapping, protection=self.protection)

    def columns(self, schema: pa.Schema, iterator: FrozenIterator | None) -> tuple[ColumnAnswer, ...]:
        """Say of each column what becomes of it."""
        column = None if iterator is None else iterator.column
        if self.transformation is not None:
            meanings = column_meanings(schema, self.transformation, iterator=column)
        else:
            meanings = {field.name: meaning_by_name(field, column, self.pipeline.rename) for field in schema}
        return answers(schema, meanings)


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows as they were read, and what becomes of them."""

    subject: Subject
    iterator: FrozenIterator | None
    mapping: MappingPlan
    table: pa.Table
    encoded: EncodedRows

    @property
    def columns(self) -> tuple[ColumnAnswer, ...]:
        """What becomes of each column."""
        return self.subject.columns(self.table.schema, self.iterator)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What runs allow and may not be expected."""
        return (*self.subject.cautions(self.mapping), *self._historical())

    @property
    def batches(self) -> tuple[Any, ...]:
        """The batches, historical ones last, as JSON that may be shown."""
        secrets = secrets_among(self.table.column_names, self.subject.model.secret_columns)
        hidden = [_names(leaf.path) for leaf in self.mapping.leaves if leaf.column in secrets]
        batches = json.loads(b"[" + bytes(self.encoded.data).removesuffix(b",") + b"]")
        return tuple(_shown(_masked_at(hidden, batches)))

    @property
    def rejects(self) -> tuple[RejectAnswer, ...]:
        """The rows that the checks refuse."""
        return tuple(RejectAnswer(row=one.row, code=one.code, reason=one.reason) for one in self.encoded.rejects)

    def _historical(self) -> Iterator[str]:
        if batches := len(self.encoded) - self.encoded.historical_from:
            yield (
                f"{batches:,} of these batches hold events older than 30 days and go to mParticle's endpoint for "
                "historical data, which is not forwarded to event or data warehouse outputs; historical: never sends "
                "them as others"
            )


def read_sample(
    subject: Subject,
    warehouse: Warehouse,
    *,
    rows: int,
    ids: str,
    now: datetime,
    go_on: Callable[[], object],
) -> Sample:
    """Read some rows, and make the batches that a run planned now would make of them.

    Args:
        subject: The pipeline.
        warehouse: Where its query runs.
        rows: How many rows, at most.
        ids: Begins the batches' ids, in place of a chunk's id.
        now: What events are older than.
        go_on: Called before the query that reads rows; what it raises keeps it from being run.

    Raises:
        SyncError: as ``Subject.mapping`` and the warehouse do.
    """
    schema = draft.describe(subject.model, warehouse)
    iterator = draft.iterator_of(schema, subject.pipeline.sync_mode)
    mapping = subject.mapping(schema, iterator)
    table = read_rows(subject.model, warehouse, rows=rows, go_on=go_on)
    encoder = Encoder(
        mapping,
        checks=subject.checks,
        merging=draft.merging_of(subject.pipeline, mapping, now, most_events=subject.batch_max_events),
        judge=judge_of(subject.pipeline.data_plan, names=mapping.names),
    )
    age = None if iterator is None else instants_of(table.column(iterator.column), iterator)
    return Sample(subject, iterator, mapping, table, encoder.encode(table, chunk_id=ids, age=age))


def read_rows(model: DataModel, warehouse: Warehouse, *, rows: int, go_on: Callable[[], object]) -> pa.Table:
    """Read some rows of a data model; ``go_on`` is as of ``read_sample``."""
    query = sql.preview_query(model.sql_query, dialect=warehouse.dialect, iterator=None, window=Window(), rows=rows)
    go_on()
    with warehouse.stream(query, batch_rows=rows) as stream:
        return pa.Table.from_batches(stream, stream.schema)


def shown_rows(table: pa.Table, model: DataModel) -> tuple[dict[str, Any], ...]:
    """Give rows as JSON can hold them, secret values hidden; what is no JSON value by itself as Arrow's text."""
    table = masked(table, secrets_among(table.column_names, model.secret_columns))
    columns = [
        column.cast(pa.string()) if pa.types.is_temporal(column.type) or pa.types.is_decimal(column.type) else column
        for column in table.columns
    ]
    rows = pa.Table.from_arrays(columns, names=table.column_names).to_pylist()
    return tuple(_shown(json.loads(json.dumps(row, default=str))) for row in rows)


def meaning_by_name(field: pa.Field, iterator: str | None, rename: Mapping[str, str]) -> ColumnMeaning:
    """Say what a column becomes for users, by its name."""
    if field.name == iterator:
        return ColumnMeaning("the iterator; it is not sent")
    destination, refused = meaning_of(field, rename)
    return ColumnMeaning(str(destination), refused)


def answers(schema: pa.Schema, meanings: Mapping[str, ColumnMeaning]) -> tuple[ColumnAnswer, ...]:
    """Give columns with their types and meanings."""
    return tuple(
        ColumnAnswer(
            name=field.name,
            type=warehouse_type(field),
            becomes=meanings[field.name].becomes,
            refused=meanings[field.name].refused,
        )
        for field in schema
    )


def _names(path: Path) -> tuple[str, ...]:
    return tuple(name for name in path if isinstance(name, str))


def _masked_at(paths: Sequence[tuple[str, ...]], batches: Any) -> Any:
    """Give batches without the values at some paths."""
    return reduce(mask_at, paths, batches)


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
