"""The sample warehouse: three tables of users in a DuckDB file, and the query that joins them.

The tables, the columns and the joins are those of the example in mParticle's user guide for Warehouse Sync.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb

ITERATOR: Final = "date_updated"
QUERY: Final = """\
SELECT
    a.date_updated,
    a.customer_id,
    a.firstname AS "$firstname",
    c.propensity_to_buy AS "propensity_to_buy",
    ARRAY_AGG(f.value ORDER BY f.value) AS "favorite_categories"
FROM mp.demo.attr a
JOIN mp.demo.calc c ON a.customer_id = c.customer_id
JOIN mp.demo.favs f ON a.customer_id = f.customer_id
GROUP BY
    a.date_updated,
    a.customer_id,
    a.firstname,
    c.propensity_to_buy
"""

_TABLES: Final = """\
CREATE SCHEMA demo;
CREATE TABLE demo.attr AS
    SELECT
        $now::TIMESTAMP - INTERVAL 1 DAY - (i % 86400) * INTERVAL 1 SECOND AS date_updated,
        'customer-' || i AS customer_id,
        ['Ada', 'Björn', 'Chloé', 'Dmitri', 'Emi', 'Fatima', 'Grace', 'Håkon'][1 + i % 8] AS firstname
    FROM range($users) t(i);
CREATE TABLE demo.calc AS
    SELECT round((i * 7919 % 1000) / 1000.0, 3) AS propensity_to_buy, 'customer-' || i AS customer_id
    FROM range($users) t(i);
CREATE TABLE demo.favs AS
    SELECT
        ['books', 'garden', 'music', 'outdoor', 'shoes', 'tools', 'toys'][1 + (i + j * j) % 7] AS value,
        'customer-' || i AS customer_id
    FROM range($users) t(i), range(3) u(j)
    WHERE j <= i % 3;
"""


def build_warehouse(path: Path, *, users: int, now: datetime) -> None:
    """Write the sample tables with ``users`` users, last changed a day before ``now`` or earlier."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as warehouse:
        for statement in filter(str.strip, _TABLES.split(";\n")):
            parameters = {"now": now.replace(tzinfo=None), "users": users}
            used = {name: value for name, value in parameters.items() if f"${name}" in statement}
            warehouse.execute(statement, used)


def change_users(path: Path, *, count: int, now: datetime) -> None:
    """Change the first ``count`` users as of ``now``; nobody may have the file open meanwhile."""
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute(
            "UPDATE demo.attr SET date_updated = $now, firstname = 'Zoë'"
            " WHERE customer_id IN (SELECT 'customer-' || i FROM range($count) t(i))",
            {"now": now.replace(tzinfo=None), "count": count},
        )
        warehouse.execute(
            "UPDATE demo.calc SET propensity_to_buy = 0.999"
            " WHERE customer_id IN (SELECT 'customer-' || i FROM range($count) t(i))",
            {"count": count},
        )
