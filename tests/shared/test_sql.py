from datetime import UTC, date, datetime

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog import IteratorType
from shared.run import Window
from shared.sql import Bound, Iterator, columns_query, count_query, windowed

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
