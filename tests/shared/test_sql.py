from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog import IteratorType
from shared.run import Window
from shared.sql import Bound, Iterator, Span, columns_query, count_query, span_of, span_query, windowed

UPDATED = Iterator("updated_at", IteratorType.TIMESTAMP_TZ)
LOW, HIGH = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("sql", ["select 1 as x", "select 1 as x;", "select 1 as x -- note", "select 1 as x; -- note;"])
def test_neither_a_comment_nor_a_semicolon_swallows_the_wrapper(sql: str) -> None:
    query = columns_query(sql, "duckdb")
    assert query.text == "SELECT * FROM (\nselect 1 as x\n) AS data_model LIMIT 0"
    assert query.lines_before == 1
    assert query.parameters == {}


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_column_name_is_quoted_into_one_identifier(name: str) -> None:
    text = windowed("select 1", dialect="duckdb", iterator=Iterator(name, UPDATED.type), window=Window(low=LOW)).text
    condition = text.removeprefix("SELECT * FROM (\nselect 1\n) AS data_model WHERE ").removesuffix(" >= $window_low")
    assert condition == '"' + name.replace('"', '""') + '"'
    assert len(sqlglot.tokenize(condition, dialect="duckdb")) == 1


def test_a_window_is_half_open_and_bound_as_parameters() -> None:
    query = windowed("select 1", dialect="duckdb", iterator=UPDATED, window=Window(LOW, HIGH))
    assert query.text.endswith(' WHERE "updated_at" >= $window_low AND "updated_at" < $window_high')
    assert query.parameters == {"window_low": Bound(LOW), "window_high": Bound(HIGH)}


@pytest.mark.parametrize(
    ("window", "condition", "names"),
    [
        (Window(), "", set()),
        (Window(includes_null=True), "", set()),
        (Window(low=LOW), ' WHERE "updated_at" >= $window_low', {"window_low"}),
        (
            Window(high=HIGH, includes_null=True),
            ' WHERE ("updated_at" < $window_high) OR "updated_at" IS NULL',
            {"window_high"},
        ),
    ],
)
def test_only_what_is_bounded_is_asked(window: Window, condition: str, names: set[str]) -> None:
    query = windowed("select 1", dialect="duckdb", iterator=UPDATED, window=window)
    assert query.text.removeprefix("SELECT * FROM (\nselect 1\n) AS data_model") == condition
    assert set(query.parameters) == names


def test_a_bound_has_the_iterators_own_type() -> None:
    iterator = Iterator("day", IteratorType.DATE, "America/New_York")
    query = windowed(
        "select 1", dialect="duckdb", iterator=iterator, window=Window(low=datetime(2026, 1, 1, 5, tzinfo=UTC))
    )
    assert query.parameters == {"window_low": Bound(date(2026, 1, 1))}


def test_bounds_without_an_iterator_or_between_its_units_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="needs an iterator"):
        windowed("select 1", dialect="duckdb", iterator=None, window=Window(low=LOW))
    between = Window(low=LOW.replace(hour=5))
    with pytest.raises(ValueError, match="floor it"):
        windowed("select 1", dialect="duckdb", iterator=Iterator("day", IteratorType.DATE), window=between)


def test_counting_asks_for_the_same_window() -> None:
    window = Window(LOW, HIGH, includes_null=True)
    rows = windowed("select 1", dialect="duckdb", iterator=UPDATED, window=window)
    count = count_query("select 1", dialect="duckdb", iterator=UPDATED, window=window)
    assert count.text == rows.text.replace("SELECT *", "SELECT COUNT(*) AS row_count", 1)
    assert count.parameters == rows.parameters


def test_the_newest_row_of_each_user_is_asked_for_inside_the_window() -> None:
    query = windowed(
        "select 1",
        dialect="duckdb",
        iterator=UPDATED,
        window=Window(LOW, HIGH),
        one_row_per=["customer_id", "email"],
        columns=["customer_id", "email", "updated_at", "Row_Rank"],
    )
    assert query.text == (
        'SELECT "customer_id", "email", "updated_at", "Row_Rank" FROM (SELECT *, '
        'CASE WHEN "customer_id" IS NULL AND "email" IS NULL THEN 1 ELSE '
        'ROW_NUMBER() OVER (PARTITION BY "customer_id", "email" ORDER BY "updated_at" DESC) END AS "row_rank_2" '
        "FROM (\nselect 1\n) AS data_model "
        'WHERE "updated_at" >= $window_low AND "updated_at" < $window_high) AS ranked WHERE "row_rank_2" = 1'
    )
    assert query.lines_before == 1
    assert list(query.parameters) == ["window_low", "window_high"]


def test_ranking_behind_the_window_returns_no_row_from_there() -> None:
    window = Window(high=LOW, includes_null=True)
    query = windowed(
        "select 1",
        dialect="duckdb",
        iterator=UPDATED,
        window=window,
        ranked_to=HIGH,
        one_row_per=["id"],
        columns=["id"],
    )
    assert query.text.partition(" AS data_model")[2] == (
        ' WHERE ("updated_at" < $ranked_to) OR "updated_at" IS NULL) AS ranked'
        ' WHERE "row_rank" = 1 AND (("updated_at" < $window_high) OR "updated_at" IS NULL)'
    )
    assert query.parameters == {"ranked_to": Bound(HIGH), "window_high": Bound(LOW)}


@pytest.mark.parametrize("ranked_to", [None, LOW, HIGH])
def test_ranking_up_to_the_windows_end_asks_nothing_more(ranked_to: datetime | None) -> None:
    for window in (Window(LOW, HIGH), Window(low=LOW)):
        plain = windowed(
            "select 1", dialect="duckdb", iterator=UPDATED, window=window, one_row_per=["id"], columns=["id"]
        )
        assert plain == windowed(
            "select 1",
            dialect="duckdb",
            iterator=UPDATED,
            window=window,
            ranked_to=ranked_to,
            one_row_per=["id"],
            columns=["id"],
        )


def test_without_one_row_per_all_rows_are_asked_for() -> None:
    window = Window(LOW, HIGH)
    plain = windowed("select 1", dialect="duckdb", iterator=UPDATED, window=window)
    assert plain == windowed(
        "select 1", dialect="duckdb", iterator=UPDATED, window=window, columns=["id"], ranked_to=HIGH
    )


@pytest.mark.parametrize(("iterator", "columns"), [(None, ["id"]), (UPDATED, [])])
def test_one_row_per_user_without_an_iterator_or_columns_is_our_mistake(
    iterator: Iterator | None, columns: list[str]
) -> None:
    with pytest.raises(ValueError, match="one row per user needs"):
        windowed("select 1", dialect="duckdb", iterator=iterator, window=Window(), one_row_per=["id"], columns=columns)


@given(st.lists(st.from_regex(r"(?i)\A(row_rank(_[0-9])?|id)\Z"), min_size=1, max_size=12, unique=True))
def test_no_column_is_called_like_the_rank_in_whatever_case(columns: list[str]) -> None:
    query = windowed(
        "select 1", dialect="duckdb", iterator=UPDATED, window=Window(), one_row_per=["id"], columns=columns
    )
    rank = query.text.rpartition("WHERE ")[2].removesuffix(" = 1").strip('"')
    assert rank.lower() not in {column.lower() for column in columns}


def test_the_span_asks_for_the_same_window() -> None:
    window = Window(LOW, HIGH, includes_null=True)
    rows = windowed("select 1", dialect="duckdb", iterator=UPDATED, window=window)
    span = span_query("select 1", dialect="duckdb", iterator=UPDATED, window=window)
    assert span.text.partition(" FROM ")[2] == rows.text.partition(" FROM ")[2]
    assert span.parameters == rows.parameters


def test_a_span_is_read_by_position_and_below_microseconds_rounded_down() -> None:
    before_1970_ns = -1_500
    answer = pa.table(
        {
            "ROW_COUNT": pa.array([3], pa.int64()),
            "FIRST_AT": pa.array([before_1970_ns], pa.timestamp("ns", "UTC")),
            "LAST_AT": pa.array([1_999], pa.timestamp("ns", "UTC")),
            "NULL_COUNT": pa.array([Decimal(1)], pa.decimal128(38, 0)),
        }
    )
    epoch, tick = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    assert span_of(answer, UPDATED) == Span(3, epoch - 2 * tick, epoch + tick, 1)
