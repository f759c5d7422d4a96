"""Rejected rows as a table: what of it is shown, what is sent anew."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.columns import JSON
from shared.errors import ColumnMissing
from shared.rejects import CODE, MASK, REASON, ROW, columns_of, find_secrets, mask_at, masked, of_codes, rows_again

ROWS = pa.table({"id": ["a", "b"], "age": [1, 2]})
TABLE = (
    ROWS.append_column(ROW, pa.array([3, 5]))
    .append_column(CODE, pa.array(["no_identity", "invalid_uuid"]))
    .append_column(REASON, pa.array(["no identity", "no UUID"]))
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)


def test_rows_come_back_as_their_query_returned_them() -> None:
    schema = columns_of(TABLE.schema)
    assert schema == ROWS.schema
    assert rows_again(TABLE, schema) == ROWS
    assert rows_again(of_codes(TABLE, {"invalid_uuid"}), schema).to_pylist() == [{"id": "b", "age": 2}]
    assert of_codes(TABLE, set()).num_rows == 0


def test_rows_of_another_type_are_cast_or_refused_without_their_values() -> None:
    narrow = TABLE.set_column(1, "age", pa.array([1, 2], pa.int32()))
    assert rows_again(narrow, ROWS.schema) == ROWS
    worded = TABLE.set_column(1, "age", pa.array(["1", "hunter2"]))
    with pytest.raises(ColumnMissing, match="different types") as refused:
        rows_again(worded, ROWS.schema)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ColumnMissing, match="no column age; they have id"):
        rows_again(TABLE.drop_columns(["age"]), ROWS.schema)


@pytest.mark.parametrize(
    "column",
    [pa.array(["x", None]), pa.array([1, None]), pa.array([["x"], None]), pa.array(["{}", None], JSON)],
    ids=lambda column: str(column.type),
)
def test_a_secret_value_of_any_type_cannot_be_read_and_its_absence_can(column: object) -> None:
    shown = masked(pa.table({"id": ["a", "b"], "secret": column}), {"secret"})
    assert shown.to_pylist() == [{"id": "a", "secret": MASK}, {"id": "b", "secret": None}]
    assert masked(pa.table({"secret": column}).slice(0, 0), {"secret"}).num_rows == 0


@given(value=JSON_VALUES, path=st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple))
def test_nothing_at_a_masked_path_can_be_read(value: object, path: tuple[str, ...]) -> None:
    assert all(found in {MASK, None} for found in found_at(mask_at(value, path), path))


def found_at(value: object, path: tuple[str, ...]) -> list[object]:
    if isinstance(value, list):
        return [found for one in value for found in found_at(one, path)]
    if not path:
        return [value]
    return found_at(value[path[0]], path[1:]) if isinstance(value, dict) and path[0] in value else []


def test_secret_columns_are_found_in_whatever_case_and_every_one_that_could_be_meant() -> None:
    assert find_secrets(["Email", "EMAIL", "age"], ["email"]) == {"Email", "EMAIL"}
    with pytest.raises(ColumnMissing, match="did you mean 'Email'"):
        find_secrets(["Email", "age"], ["emial"])
    with pytest.raises(ColumnMissing, match="'zzz' is not in the data model's result; its columns are Email, age"):
        find_secrets(["Email", "age"], ["zzz"])
