import pytest

from shared.errors import ModelInvalid
from shared.statement import require_one_select, without_end


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
    assert without_end(sql, "duckdb") == sql
