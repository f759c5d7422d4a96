"""The iterator is asked for as the warehouse has it."""

import pyarrow as pa

from shared import sql
from shared.catalog import Full, Incremental, IteratorType
from shared.columns import column
from worker import draft

SCHEMA = pa.schema(
    [
        column("ID", pa.int64(), "BIGINT"),
        column("UPDATED_AT", pa.timestamp("us", "UTC"), "TIMESTAMP_LTZ"),
        column("TAGS", pa.list_(pa.string()), "ARRAY"),
        column("NAME", pa.string(), "VARCHAR"),
    ]
)


def test_an_iterator_is_asked_for_in_the_results_spelling_with_what_breaks_its_ties() -> None:
    mode = Incremental(iterator_field="updated_at", iterator_data_type=IteratorType.TIMESTAMP)
    asked = draft.asked_by(draft.iterator_of(SCHEMA, mode))
    assert asked == sql.Iterator("UPDATED_AT", IteratorType.TIMESTAMP_TZ, "UTC", "TIMESTAMP_LTZ", ("ID", "NAME"))


def test_a_full_sync_has_no_iterator() -> None:
    assert draft.asked_by(draft.iterator_of(SCHEMA, Full())) is None
