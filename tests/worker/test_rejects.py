"""A rejected row keeps its values, its code and its reason."""

from typing import Any

import pyarrow as pa
import pytest

from shared.columns import JSON
from shared.ledger import Reject, RejectCode
from shared.rejects import CODE, REASON, ROW
from worker.rejects import reject_table


def test_rejected_rows_keep_values_code_and_reason_in_their_order() -> None:
    rows = pa.table({"customer_id": ["a", "b", "c"], "age": [1, None, 3], "traits": pa.array(["1", None, "{}"], JSON)})
    table = reject_table(
        rows,
        [Reject(2, RejectCode.NO_IDENTITY, "no identity"), Reject(1, RejectCode.VALUE_TOO_LONG, "column age")],
    )
    assert table.to_pylist() == [
        {"customer_id": "c", "age": 3, "traits": "{}", ROW: 2, CODE: "no_identity", REASON: "no identity"},
        {"customer_id": "b", "age": None, "traits": None, ROW: 1, CODE: "value_too_long", REASON: "column age"},
    ]
    assert table.schema.field("traits").type == JSON


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "c"], pa.string_view()),
        pa.array([b"a", None, b"c"], pa.binary_view()),
        pa.array([["a"], None, ["c"]], pa.list_view(pa.string())),
        pa.array([["1"], None, ["{}"]]).cast(pa.list_(JSON)),
        pa.array(["a", None, "c"]).dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), pa.array(["1", None, "{}"], JSON)),
        pa.array([None, None, None]),
    ],
    ids=lambda column: str(column.type),
)
def test_values_of_any_type_are_kept(column: Any) -> None:
    rows = pa.table({"a": column})
    for given in (rows, pa.concat_tables([rows, rows])):
        table = reject_table(given, [Reject(row, RejectCode.NO_IDENTITY, "no identity") for row in (2, 1)])
        assert table["a"].to_pylist() == [column[2].as_py(), column[1].as_py()]
        assert reject_table(given, []).num_rows == 0
