"""A rejected row keeps its values, its code and its reason."""

import pyarrow as pa

from shared.run import Reject, RejectCode
from worker.rejects import CODE, REASON, ROW, reject_table


def test_rejected_rows_keep_values_code_and_reason_in_their_order() -> None:
    rows = pa.table({"customer_id": ["a", "b", "c"], "age": [1, None, 3]})
    table = reject_table(
        rows,
        [Reject(2, RejectCode.NO_IDENTITY, "no identity"), Reject(1, RejectCode.VALUE_TOO_LONG, "column age")],
    )
    assert table.to_pylist() == [
        {"customer_id": "c", "age": 3, ROW: 2, CODE: "no_identity", REASON: "no identity"},
        {"customer_id": "b", "age": None, ROW: 1, CODE: "value_too_long", REASON: "column age"},
    ]
