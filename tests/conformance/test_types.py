"""What every warehouse promises about values: what was stored is what arrives."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from shared.run import Window
from shared.sql import columns_query, windowed

COLUMNS = {
    "flag": (pa.bool_(), [True, False, None]),
    "small": (pa.int16(), [-(2**15), 2**15 - 1, None]),
    "big": (pa.int64(), [-(2**63), 2**63 - 1, None]),
    "price": (pa.decimal128(18, 4), [Decimal("-0.0001"), Decimal("99999999999999.9999"), None]),
    "ratio": (pa.float64(), [-1.5, 1e300, None]),
    "name": (pa.string(), ["", "Zoë 😀 'quoted' \"twice\"\n", None]),
    "born": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31), None]),
    "seen": (
        pa.timestamp("us", "UTC"),
        [datetime(1900, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, 1, 2, 3, 4, UTC), None],
    ),
    "local": (pa.timestamp("us"), [datetime(2026, 3, 29, 2, 30), datetime(1969, 12, 31, 23, 59, 59), None]),  # noqa: DTZ001 - zone-less
    "opens": (pa.time64("us"), [time(0), time(23, 59, 59, 999_999), None]),
    "raw": (pa.binary(), [b"", b"\x00\xff", None]),
    "tags": (pa.list_(pa.string()), [[], ["a", None], None]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_value_arrives_as_it_was_stored(subject: Any, name: str) -> None:
    arrow_type, values = COLUMNS[name]
    subject.load("things", pa.table({"no": [0, 1, 2], name: pa.array(values, arrow_type)}))
    arrow_type, values = subject.held_otherwise.get(name, (arrow_type, values))
    model = "SELECT * FROM things"
    with subject.opened() as warehouse:
        assert warehouse.describe(columns_query(model, warehouse.dialect)).field(name).type == arrow_type
        query = windowed(model, dialect=warehouse.dialect, iterator=None, window=Window())
        with warehouse.stream(query, batch_rows=1) as stream:
            rows = {row["no"]: row[name] for batch in stream for row in batch.to_pylist()}
    assert [rows[no] for no in range(3)] == values
