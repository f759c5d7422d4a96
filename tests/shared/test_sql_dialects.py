"""Every warehouse's own SQL passes where it is one SELECT, and is refused with its place where it is not."""

from datetime import UTC, datetime

import pytest

from shared.catalog import IteratorType
from shared.errors import ModelInvalid
from shared.run import Window
from shared.sql import Bound, Iterator, count_query, preview_query, span_query, windowed
from shared.statement import require_one_select

DIALECTS = ("duckdb", "snowflake", "bigquery", "redshift", "databricks")
LOW, HIGH, LATER = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))

ONE_SELECT = {
    "snowflake": [
        'SELECT ARRAY_AGG(f.value) WITHIN GROUP (ORDER BY f.value ASC) AS "favorite_categories" FROM mp.demo.favs f',
        "select src:customer.id::string as customer_id, f.value from events, lateral flatten(input => src:items) f",
        "select $$a; drop table users$$ as note, $1 from @stage/file.csv",
        "select * from table(result_scan(last_query_id()))",
        "select * from users at(offset => -60*5) qualify row_number() over (partition by id order by ts desc) = 1",
        "select object_construct_keep_null(*) from values (1), (2)",
        "select * from users match_recognize(partition by id order by ts measures a.ts as t pattern (a) define a as 1)",
    ],
    "bigquery": [
        "SELECT ARRAY_AGG(f.value ORDER BY f.value) AS favorite_categories FROM `mp.demo`.favs f",
        "select '''a; drop table users''' as note, r'\\d;' as pattern, b'\\x00;' as raw from `my-project.data.users`",
        "select * except (a) replace (b as c) from data.users where _PARTITIONTIME >= timestamp '2026-01-01'",
        "select struct(1 as a, [1, 2] as b) as s, safe_cast(x as int64) from unnest([1, 2]) as x with offset as o",
        "from data.users |> where id > 1 |> select id",
        "select # a comment; here\n id from data.users",
        "with recursive n as (select 1 as i union all select i + 1 from n where i < 3) select * from n",
    ],
    "redshift": [
        "SELECT SPLIT_TO_ARRAY(LISTAGG(f.value, ',') WITHIN GROUP (ORDER BY f.value), ',') AS favorites FROM favs f",
        "select c.c_orders[0].o_orderkey, '100%' as a, 'b?' as b, x::super as c from customer c",
        "select top 10 id, getdate() from users where name ilike 'a%;'",
        "select distinct on_sale from items where price similar to '(1|2)%'",
        "select c.id, o.key from customer c, c.orders as o at i",
    ],
    "databricks": [
        "SELECT array_sort(collect_list(f.value)) AS favorite_categories FROM mp.demo.favs f",
        "select r'\\d;' as pattern, \"a; b\" as text, raw:items[0].price::double from delta.`/data/users`",
        "select * from users timestamp as of '2026-01-01'",
        "select transform(list, x -> x + 1), named_struct('a', 1) from users lateral view explode(list) t as one",
        "select * except (a) from users tablesample (10 percent)",
        "select try_variant_get(v, '$.a', 'int') from read_files('/data', format => 'json')",
    ],
}
REFUSED = [
    ("drop table users", "'DROP' at line 1, column 1"),
    ("\n  insert into users select 1", "'INSERT' at line 2, column 3"),
    ("update users set a = 1", "'UPDATE' at line 1, column 1"),
    ("delete from users", "'DELETE' at line 1, column 1"),
    ("merge into a using b on a.x = b.x when matched then delete", "'MERGE' at line 1, column 1"),
    ("create table x as\nselect 1", "'CREATE' at line 1, column 1"),
    ("truncate table users", "'TRUNCATE' at line 1, column 1"),
    ("grant select on users to public", "'GRANT' at line 1, column 1"),
    ("call f()", "'CALL' at line 1, column 1"),
    ("select 1;\ndrop table users", "line 2, column 1"),
    ("select 1; select 2", "line 1, column 11"),
    ("select 1) as x where (true", "parenthesis at line 1, column 9"),
    ("", "empty"),
    ("-- nothing", "empty"),
]
OTHERS = {
    "snowflake": [
        "copy into @stage from users",
        "put file:///a @stage",
        "use role accountadmin",
        "execute immediate 'x'",
    ],
    "bigquery": [
        "export data options(uri='gs://x') as select 1",
        "declare x int64",
        "begin transaction",
        "assert true",
    ],
    "redshift": ["unload ('select 1') to 's3://x'", "copy users from 's3://x'", "vacuum users", "lock users"],
    "databricks": [
        "optimize users",
        "copy into users from '/x'",
        "use catalog main",
        "describe users",
        "cache table a",
    ],
}


@pytest.mark.parametrize(("dialect", "sql"), [(dialect, sql) for dialect, all_ in ONE_SELECT.items() for sql in all_])
def test_what_a_warehouse_calls_one_select_is_never_refused(dialect: str, sql: str) -> None:
    require_one_select(sql, dialect)  # Whether it could be decided here or not.
    require_one_select(f"{sql};\n-- done", dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("sql", "place"), REFUSED)
def test_what_writes_or_is_several_statements_is_refused_with_its_place(dialect: str, sql: str, place: str) -> None:
    with pytest.raises(ModelInvalid) as refused:
        require_one_select(sql, dialect)
    assert place in str(refused.value)


@pytest.mark.parametrize(("dialect", "sql"), [(dialect, sql) for dialect, all_ in OTHERS.items() for sql in all_])
def test_a_warehouses_own_commands_are_refused(dialect: str, sql: str) -> None:
    with pytest.raises(ModelInvalid, match="at line 1, column 1"):
        require_one_select(sql, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_with_that_writes_is_refused(dialect: str) -> None:
    with pytest.raises(ModelInvalid, match="at line"):
        require_one_select("with a as (select 1) insert into users select * from a", dialect)


@pytest.mark.parametrize(
    ("dialect", "condition"),
    [
        ("duckdb", '"Updated At" >= $window_low AND "Updated At" < $window_high'),
        ("snowflake", '"Updated At" >= ? AND "Updated At" < ?'),
        ("bigquery", "`Updated At` >= @window_low AND `Updated At` < @window_high"),
        ("databricks", "`Updated At` >= :window_low AND `Updated At` < :window_high"),
    ],
)
def test_a_window_is_written_in_the_dialect_with_its_bounds_as_parameters(dialect: str, condition: str) -> None:
    iterator = Iterator("Updated At", IteratorType.TIMESTAMP_TZ, warehouse_type="TIMESTAMP_TZ")
    query = windowed("select 1", dialect=dialect, iterator=iterator, window=Window(LOW, HIGH))
    assert query.text == f"SELECT * FROM (\nselect 1\n) AS data_model WHERE {condition}"
    assert list(query.parameters.items()) == [
        ("window_low", Bound(LOW, "TIMESTAMP_TZ")),
        ("window_high", Bound(HIGH, "TIMESTAMP_TZ")),
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_previews_and_counts_are_asked_around_the_model_too(dialect: str) -> None:
    preview = preview_query("select 1", dialect=dialect, iterator=None, window=Window(), rows=7)
    assert preview.text == "SELECT * FROM (\nselect 1\n) AS data_model LIMIT 7"
    count = count_query("select 1", dialect=dialect, iterator=None, window=Window())
    assert count.text == "SELECT COUNT(*) AS row_count FROM (\nselect 1\n) AS data_model"


@pytest.mark.parametrize(
    ("dialect", "order", "bounds"),
    [
        ("duckdb", '"At" DESC, "n"', ("$window_low", "$ranked_to", "$window_high")),
        ("snowflake", '"At" DESC NULLS LAST, "n"', ("?", "?", "?")),
        ("bigquery", "`At` DESC, `n`", ("@window_low", "@ranked_to", "@window_high")),
        ("redshift", '"At" DESC NULLS LAST, "n"', ("$1", "$2", "$3")),
        ("databricks", "`At` DESC, `n`", (":window_low", ":ranked_to", ":window_high")),
    ],
)
def test_the_newest_row_is_asked_for_in_the_dialect(dialect: str, order: str, bounds: tuple[str, str, str]) -> None:
    query = windowed(
        "select 1",
        dialect=dialect,
        iterator=Iterator("At", IteratorType.TIMESTAMP_TZ, ties=("n",)),
        window=Window(LOW, HIGH),
        one_row_per=["id"],
        columns=["id", "At"],
        ranked_to=LATER,
    )
    quote = order[0]
    own, model, behind = query.text.split("\n")
    assert own.startswith(
        f"SELECT {quote}id{quote}, {quote}At{quote} FROM (SELECT *, CASE WHEN {quote}id{quote} IS NULL "
    )
    assert own.endswith(
        f"ROW_NUMBER() OVER (PARTITION BY {quote}id{quote} ORDER BY {order}) END AS {quote}row_rank{quote} FROM ("
    )
    assert model == "select 1"
    low, ranked_to, high = (
        f"{quote}At{quote} {operator} {bound}" for operator, bound in zip((">=", "<", "<"), bounds, strict=True)
    )
    assert behind == (
        f") AS data_model WHERE {low} AND {ranked_to}) AS ranked WHERE {quote}row_rank{quote} = 1 AND ({high})"
    )
    assert [bound.value for bound in query.parameters.values()] == [LOW, LATER, HIGH]


@pytest.mark.parametrize(
    ("kind", "word", "first"),
    [
        (IteratorType.UNIXTIME_MS, "numeric(20,0)", 'CAST(MIN("at") AS numeric(20,0))'),
        (IteratorType.UNIXTIME_S, "", 'MIN("at")'),
        (IteratorType.TIMESTAMP_NTZ, "timestamp", 'MIN("at")'),
    ],
)
def test_the_span_of_numbers_keeps_their_type(kind: IteratorType, word: str, first: str) -> None:
    iterator = Iterator("at", kind, warehouse_type=word)
    query = span_query("select 1", dialect="redshift", iterator=iterator, window=Window())
    assert query.text == (
        f"SELECT COUNT(*) AS row_count, {first} AS first_at, {first.replace('MIN', 'MAX')} AS last_at, "
        'COUNT(*) - COUNT("at") AS null_count FROM (\nselect 1\n) AS data_model'
    )
