import duckdb
import pytest

from worker.warehouses.duckdb.files import RootedSql, root_files


@pytest.fixture
def parser() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@pytest.mark.parametrize(
    ("sql", "rooted"),
    [
        ("FROM 'users.parquet'", "FROM '~/users.parquet'"),
        ("SELECT 'é.csv' FROM 'é/*.csv' WHERE a = 'b.csv'", "SELECT 'é.csv' FROM '~/é/*.csv' WHERE a = 'b.csv'"),
        ("FROM 'a.csv' JOIN 'b.csv' USING (id)", "FROM '~/a.csv' JOIN '~/b.csv' USING (id)"),
        ("FROM read_csv('a.csv', nullstr='n.a')", "FROM read_csv('~/a.csv', nullstr='n.a')"),
        ("FROM read_parquet(['a.parquet', '/b.parquet'])", "FROM read_parquet(['~/a.parquet', '/b.parquet'])"),
        ("WITH x AS (FROM 'x.csv') SELECT (SELECT MAX(i) FROM 'y.csv') FROM x", None),
        ("FROM 'users'", "FROM 'users'"),
        ('FROM "main"."users.parquet"', 'FROM "main"."users.parquet"'),
        ("FROM '~/users.parquet'", "FROM '~/users.parquet'"),
        ("FROM '/data/users.parquet'", "FROM '/data/users.parquet'"),
        ("FROM 'https://host/users.parquet'", "FROM 'https://host/users.parquet'"),
        ("FROM range(3) WHERE 'a.b' < $window_high", "FROM range(3) WHERE 'a.b' < $window_high"),
        ("FROM 'unfinished.csv' WHERE (", "FROM 'unfinished.csv' WHERE ("),
    ],
)
def test_relative_files_are_rooted_and_nothing_else(
    parser: duckdb.DuckDBPyConnection, sql: str, rooted: str | None
) -> None:
    expected = rooted or sql.replace("FROM '", "FROM '~/")
    assert root_files(parser, sql).text == expected


def test_places_are_told_in_the_original() -> None:
    rooted = RootedSql("FROM '~/a' JOIN '~/b' WHERE", (6, 15))
    assert rooted.original_position(rooted.text.index("FROM")) == 0
    assert rooted.original_position(rooted.text.index("a")) == 6
    assert rooted.original_position(rooted.text.index("JOIN")) == 9
    assert rooted.original_position(rooted.text.index("b")) == 15
    assert rooted.original_position(rooted.text.index("WHERE")) == 18
