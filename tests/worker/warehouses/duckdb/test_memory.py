import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

READER = """
import json, resource, sys
from pathlib import Path
from shared.catalog import Connection, ServiceProvider
from shared.providers.duckdb import DuckDbConfig
from shared.run import Window
from shared.settings import Settings
from shared.sql import windowed
from worker.warehouses.base import Label
from worker.warehouses.registry import open_warehouse

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def read(model):
    query = windowed(model, dialect="duckdb", iterator=None, window=Window())
    with warehouse.stream(query, batch_rows=10_000) as stream:
        return sum(len(batch) for batch in stream)

database, model = Path(sys.argv[1]), sys.argv[2]
config = DuckDbConfig(database=database)
connection = Connection(id="d", name="d", service_provider=ServiceProvider.DUCKDB, config=config)
with open_warehouse(connection, Settings(duckdb_folders=(database.parent,)), label=Label("run 7")) as warehouse:
    read("SELECT 1 AS id")
    before = peak_mib()
    print(json.dumps({"rows": read(model), "growth_mib": peak_mib() - before}))
"""
SCAN = "SELECT *, md5(i::VARCHAR) AS a, md5(j::VARCHAR) AS b, 'user' || i || '@example.com' AS c FROM wide"
TABLES = """
CREATE TABLE wide AS SELECT i, i * 2 AS j, i % 7 AS k FROM range(2000000) t(i);
CREATE TABLE attr AS SELECT
    TIMESTAMPTZ '2026-01-01' AS date_updated, 'c' || i AS customer_id, 'first ' || i % 1000 AS firstname
    FROM range(500000) t(i);
CREATE TABLE calc AS SELECT customer_id, 0.5 AS propensity_to_buy FROM attr;
CREATE TABLE favs AS SELECT 'c' || i % 500000 AS customer_id, 'category ' || hash(i) % 50 AS value
    FROM range(1500000) t(i);
"""
GROUPED = """
SELECT a.date_updated, a.customer_id, a.firstname AS "$firstname", c.propensity_to_buy AS "propensity_to_buy",
    ARRAY_AGG(f.value ORDER BY f.value ASC) AS "favorite_categories"
FROM attr a JOIN calc c ON a.customer_id = c.customer_id JOIN favs f ON a.customer_id = f.customer_id
GROUP BY a.date_updated, a.customer_id, a.firstname, c.propensity_to_buy
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS tells the peak in other units")
def test_memory_is_bounded_whatever_the_size_of_the_result(tmp_path: Path) -> None:
    database = tmp_path / "large.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute(TABLES)
    for model, expected in ((SCAN, 2_000_000), (GROUPED, 500_000)):
        told = subprocess.run(
            [sys.executable, "-c", READER, str(database), model],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        measured = json.loads(told.stdout)
        assert measured["rows"] == expected
        assert measured["growth_mib"] < 300
