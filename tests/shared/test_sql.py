from datetime import UTC, date, datetime

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog import IteratorType
from shared.errors import ModelInvalid
from shared.run import Window
from shared.sql import Bound, Iterator, columns_query, count_query, require_one_select, windowed

UPDATED = Iterator("updated_at", IteratorType.TIMESTAMP_TZ)
LOW, HIGH = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select 1;",
        "select 1 ; ; -- done",
        "-- what it is for\nselect 1 -- note",
        "/* ; */ select ';' as \"a;b\"",
        "with a as (select 1 as x), b as (select 2 as x) select * from a union all select * from b",
        "(select 1) except (select 2)",
        "from users",
        "select * exclude (a) replace (b as c) from users qualify row_number() over (partition by id) = 1",
        "select list_transform(l, x -> x + 1), insert('a', 1, 2, 'b') from 'users.parquet'",
        'select "drop", "delete" from "insert"',
    ],
)
def test_one_select_passes(sql: str) -> None:
    assert require_one_select(sql, "duckdb")


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("drop table users", "'DROP' at line 1, column 1"),
        ("\n  insert into users select 1", "'INSERT' at line 2, column 3"),
        ("update users set a = 1", "'UPDATE' at line 1, column 1"),
        ("merge into a using b on a.x = b.x when matched then delete", "'MERGE' at line 1, column 1"),
        ("create table x as\nselect 1", "'CREATE' at line 1, column 1"),
        ("select *\ninto copy from users", "'INTO' at line 2, column 1"),
        ("with gone as (\n  delete from users returning *\n) select * from gone", "'DELETE' at line 2, column 3"),
        ("with a as (select 1) insert into users select * from a", "'INSERT' at line 1, column 22"),
        ("copy users to 'file.csv'", "'COPY' at line 1, column 1"),
        ("call f()", "'CALL' at line 1, column 1"),
        ("set x = 1", "'SET' at line 1, column 1"),
        ("explain select 1", "'EXPLAIN' at line 1, column 1"),
        ("selec 1", "'SELEC' at line 1, column 1"),
        ("select 1;\ndrop table users", "line 2, column 1"),
        ("select 1; select 2;", "line 1, column 11"),
        ("select nonsense nonsense nonsense; drop table users", "line 1, column 36"),
        ("select 1) as x where (true", "parenthesis at line 1, column 9"),
        ("select (1) from\n (select (2)", "parenthesis at line 2, column 2"),
    ],
)
def test_anything_else_is_refused_with_its_place(sql: str, place: str) -> None:
    with pytest.raises(ModelInvalid) as refused:
        require_one_select(sql, "duckdb")
    assert place in str(refused.value)


@pytest.mark.parametrize("sql", ["", "  \n", ";", "-- nothing", "/* nothing */ ;"])
def test_nothing_is_refused(sql: str) -> None:
    with pytest.raises(ModelInvalid, match="empty"):
        require_one_select(sql, "duckdb")


@pytest.mark.parametrize(
    "sql", ["select a b c d from e", "select 'open", "select 1 /* open", "(" * 5000 + "select 1" + ")" * 5000]
)
def test_what_the_parser_does_not_know_is_left_to_the_warehouse(sql: str) -> None:
    assert not require_one_select(sql, "duckdb")
    assert sql in columns_query(sql, "duckdb").text


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
