"""What is saved is what was rejected: every type, every digit, in a file that nobody else may read."""

import csv
import json
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from console.downloads import write
from console.formulas import shown_as_text
from console.json_values import texts
from console.saved import format_of, new_file
from shared.columns import JSON
from shared.errors import DeclarationInvalid

NOON = datetime(2024, 1, 31, 12, 30, 0, 123456, tzinfo=ZoneInfo("Europe/Berlin"))
PLAIN = NOON.replace(tzinfo=None)
LONG = Decimal("12345678901234567890.10")
VALUES: dict[str, tuple[Any, Any]] = {
    "integer": (pa.array([2**63 - 1]), 2**63 - 1),
    "unsigned": (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    "float": (pa.array([1.5]), 1.5),
    "nan": (pa.array([float("nan")]), "NaN"),
    "infinity": (pa.array([float("-inf")]), "-Infinity"),
    "boolean": (pa.array([True]), True),
    "text": (pa.array(['ein "Zitat",\n🙂']), 'ein "Zitat",\n🙂'),
    "empty": (pa.array([""]), ""),
    "null": (pa.nulls(1), None),
    "decimal": (
        pa.array([Decimal("12345678901234567890.10")], pa.decimal128(38, 2)),
        Decimal("12345678901234567890.10"),
    ),
    "small": (pa.array([Decimal("0E-10")], pa.decimal128(38, 10)), Decimal("0.0000000000")),
    "instant": (pa.array([NOON], pa.timestamp("us", "Europe/Berlin")), "2024-01-31T11:30:00.123456Z"),
    "nanoseconds": (pa.array([1234567890123456789], pa.timestamp("ns", "UTC")), "2009-02-13T23:31:30.123456789Z"),
    "local": (pa.array([PLAIN], pa.timestamp("us")), "2024-01-31T12:30:00.123456"),
    "date": (pa.array([date(2024, 1, 31)]), "2024-01-31"),
    "time": (pa.array([3_723_000_000_001], pa.time64("ns")), "01:02:03.000000001"),
    "binary": (pa.array([b"\x00\xff"]), "AP8="),
    "uuid": (pa.array([b"\x01" * 16], pa.uuid()), "01010101-0101-0101-0101-010101010101"),
    "json": (pa.array(['{"a":\n 1.10}'], JSON), {"a": Decimal("1.10")}),
    "bad_json": (pa.array(['{"a":'], JSON), '{"a":'),
    "list": (pa.array([["a", None]]), ["a", None]),
    "list_of_json": (pa.array([['{"a":1}', None]]).cast(pa.list_(JSON)), [{"a": 1}, None]),
    "instants": (pa.array([[NOON]], pa.list_(pa.timestamp("ns", "Europe/Berlin"))), ["2024-01-31T11:30:00.123456000Z"]),
    "struct": (
        pa.array(
            [{"x": Decimal("1.10"), "y": PLAIN.replace(microsecond=123_000)}],
            pa.struct([("x", pa.decimal128(9, 2)), ("y", pa.timestamp("ms"))]),
        ),
        {"x": Decimal("1.10"), "y": "2024-01-31T12:30:00.123"},
    ),
    "map": (pa.array([[("k", 1), ("l", None)]], pa.map_(pa.string(), pa.int64())), {"k": 1, "l": None}),
    "dictionary": (pa.array(["a"]).dictionary_encode(), "a"),
}
"""A column of one value, and what that is as JSON."""


def save(tables: Iterable[pa.Table], path: Path, *, may_replace: bool = True) -> int:
    kind = format_of(path)
    with new_file(path, may_replace=may_replace) as file:
        return write(tables, file, kind)


def parsed(line: str) -> Any:
    return json.loads(line, parse_float=Decimal)


@pytest.mark.parametrize("name", VALUES)
def test_json_lines_hold_every_value_exactly(tmp_path: Path, name: str) -> None:
    column, expected = VALUES[name]
    path = tmp_path / "rejects.jsonl"
    assert save([pa.table({"value": column})], path) == 1
    (line,) = path.read_text().splitlines()
    assert parsed(line) == {"value": expected}


@pytest.mark.parametrize("name", VALUES)
def test_csv_holds_every_value_as_text(tmp_path: Path, name: str) -> None:
    column, expected = VALUES[name]
    path = tmp_path / "rejects.CSV"
    save([pa.table({"value": column})], path)
    with path.open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["value"]
    (value,) = row or [""]
    if isinstance(expected, str | None):
        assert value.lower() == (expected or "").lower() or (name, value) == ("infinity", "-inf")
    else:
        assert parsed(value) == expected


@pytest.mark.parametrize("name", VALUES)
def test_parquet_holds_every_value_in_its_own_type_or_as_json(tmp_path: Path, name: str) -> None:
    column, expected = VALUES[name]
    path = tmp_path / "rejects.parquet"
    save([pa.table({"value": column})], path)
    (found,) = parquet.read_table(path)["value"].to_pylist()
    if name == "list_of_json":
        assert parsed(found) == expected
    elif name != "nan":
        assert found == column.to_pylist()[0]


def test_null_and_empty_text_differ_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    save([pa.table({"a": ["", None], "b": [1, 2]})], path)
    assert path.read_text() == '"a","b"\n"",1\n,2\n'


@given(values=st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=1, max_size=20))
def test_any_text_comes_back_as_it_was(values: list[str | None]) -> None:
    column = pa.chunked_array([pa.array(values, pa.string())])
    assert texts(column) == values


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**20), max_value=10**20)))
def test_any_decimal_keeps_its_digits(values: list[Decimal]) -> None:
    column = pa.chunked_array([pa.array(values, pa.decimal128(38, 9))])
    found = texts(column)
    assert [Decimal(one or "") for one in found] == values
    assert not any("e" in (one or "").lower() for one in found)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_tables_come_one_after_the_other_into_a_file_of_its_owners_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rejects.{suffix}"
    alive: list[int] = []

    def tables() -> Iterator[pa.Table]:
        for number in range(3):
            assert not path.exists(), "it appears when it is whole"
            alive.append(number)
            yield pa.table({"number": [number, number], "name": ["a", None]})

    assert save(tables(), path) == 6
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert alive == [0, 1, 2]


def test_a_save_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    path.write_text("of yesterday")

    def tables() -> Iterator[pa.Table]:
        yield pa.table({"a": [1]})
        raise InterruptedError("the spool broke off")

    with pytest.raises(DeclarationInvalid):
        save(tables(), path)
    assert path.read_text() == "of yesterday"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_file_that_is_there_is_left_as_it_is_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    path.write_text("of yesterday")
    with pytest.raises(DeclarationInvalid, match="--overwrite"), new_file(path):
        pytest.fail("nothing is read for a file that cannot be kept")
    with new_file(path, may_replace=True) as file:
        file.write(b"of today")
    assert path.read_text() == "of today"


def test_a_file_that_appears_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"

    def tables() -> Iterator[pa.Table]:
        path.write_text("somebody else's")
        yield pa.table({"a": [1]})

    with pytest.raises(DeclarationInvalid, match="--overwrite"):
        save(tables(), path, may_replace=False)
    assert path.read_text() == "somebody else's"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "-", "=", "-1\n=2"]  # noqa: RUF001
PLAIN_TEXTS = ["a=1", "", " =", "'=1", "ä", "1-2"]
NUMBERS = ["-5", "+49301234567", "-1.50", "-1e-3", "-.5", "5"]


def test_texts_that_a_spreadsheet_would_compute_are_shown_as_they_are_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    texts_of_all = [*FORMULAS, *PLAIN_TEXTS, *NUMBERS, None]
    save([pa.table({"=name": texts_of_all, "n": [-1] * len(texts_of_all)})], path)
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["'=name", "n"]
    assert [row[0] for row in rows] == [*(f"'{one}" for one in FORMULAS), *PLAIN_TEXTS, *NUMBERS, ""]
    assert {row[1] for row in rows} == {"-1"}


def test_decimals_below_zero_stay_numbers_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    save([pa.table({"d": pa.array([Decimal("-1.10"), Decimal("-0.0000001")]), "f": [-1.5, float("-inf")]})], path)
    assert path.read_text().splitlines()[1:] == ['"-1.1000000",-1.5', '"-0.0000001",-inf']


@given(st.text(st.characters(codec="utf-8"), max_size=8))
def test_no_cell_of_csv_begins_like_a_formula_unless_it_is_a_number(text: str) -> None:
    (shown,) = shown_as_text(pa.chunked_array([pa.array([text], pa.string())])).to_pylist()
    assert shown in {text, f"'{text}"}
    if shown[:1] in tuple("=+-@\t\r\n"):
        float(shown)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_other_formats_hold_every_text_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rejects.{suffix}"
    save([pa.table({"=name": FORMULAS})], path)
    rows = (
        parquet.read_table(path).to_pylist()
        if suffix == "parquet"
        else [parsed(line.decode()) for line in path.read_bytes().split(b"\n") if line]
    )
    assert rows == [{"=name": one} for one in FORMULAS]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_later_rows_without_a_column_have_none_there_and_with_another_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rejects.{suffix}"
    first = pa.table({"a": [1], "b": ["x"]})
    assert save([first, pa.table({"a": pa.array([2], pa.int32())})], path) == 2
    if suffix == "parquet":
        assert parquet.read_table(path).to_pylist()[1] == {"a": 2, "b": None}
    for other in (pa.table({"a": [1], "b": ["x"], "c": [1]}), pa.table({"a": ["one"], "b": ["x"]})):
        with pytest.raises(DeclarationInvalid, match=r"end the file's name with \.jsonl"):
            save([first, other], path)
        assert save([first, other], path.with_suffix(".jsonl")) == 2


@pytest.mark.parametrize("name", ["rejects", "rejects.json", "rejects.xlsx"])
def test_another_format_is_refused_with_the_three_that_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(DeclarationInvalid, match=r"\.csv, \.parquet, \.jsonl"):
        save([pa.table({"a": [1]})], tmp_path / name)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationInvalid, match="No such file"):
        save([pa.table({"a": [1]})], tmp_path / "nowhere" / "rejects.csv")


def test_instants_are_shown_in_utc_whatever_their_zone() -> None:
    column = pa.chunked_array([pa.array([NOON], pa.timestamp("us", "Europe/Berlin"))])
    assert texts(column) == [NOON.astimezone(UTC).isoformat().replace("+00:00", "Z")]
