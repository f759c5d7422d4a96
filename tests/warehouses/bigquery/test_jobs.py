"""What the server sees of a query, and how one ends."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import IteratorType
from shared.errors import CredentialsRefused, DeclarationInvalid, ModelInvalid, QueryTimedOut, WarehouseUnreachable
from shared.run import Window
from shared.sql import Iterator, columns_query, windowed
from tests.standins.bigquery import DATASET, PROJECT, BigQueryStandin, email_of, key_of
from tests.warehouses.bigquery.conftest import Opened

LOW = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(LOW, LOW + timedelta(days=1))


def last_job(standin: BigQueryStandin) -> dict[str, Any]:
    configuration: dict[str, Any] = standin.jobs()[-1]["configuration"]
    return configuration


def test_a_job_tells_product_pipeline_and_run(opened: Opened, standin: BigQueryStandin) -> None:
    with opened() as warehouse:
        warehouse.clock()
    assert last_job(standin)["labels"] == {"product": "warehouse-sync", "run": "7", "pipeline": "users-eu"}


def test_a_window_is_bound_as_parameters_of_the_columns_type(opened: Opened, standin: BigQueryStandin) -> None:
    model = "SELECT 1 AS id, DATETIME '2026-03-01 12:00:00' AS changed_at"
    iterator = Iterator("changed_at", IteratorType.TIMESTAMP_NTZ, "UTC", "DATETIME")
    query = windowed(model, dialect="bigquery", iterator=iterator, window=WINDOW)
    with opened() as warehouse, warehouse.stream(query, batch_rows=10) as stream:
        assert sum(len(batch) for batch in stream) == 1
    parameters = last_job(standin)["query"]["queryParameters"]
    assert [(one["name"], one["parameterType"]) for one in parameters] == [
        ("window_low", {"type": "DATETIME"}),
        ("window_high", {"type": "DATETIME"}),
    ]
    assert "2026-03-02" not in last_job(standin)["query"]["query"]


def test_unqualified_tables_are_the_datasets(opened: Opened, standin: BigQueryStandin) -> None:
    with opened() as warehouse:
        warehouse.clock()
    assert last_job(standin)["query"]["defaultDataset"] == {"projectId": PROJECT, "datasetId": DATASET}


def test_the_session_is_the_service_accounts_in_utc(opened: Opened) -> None:
    with opened() as warehouse:
        assert warehouse.session() == {
            "user": email_of("reader"),
            "project": PROJECT,
            "dataset": DATASET,
            "region": "US",
        }
        assert warehouse.clock().tzinfo is not None


def test_the_server_ends_a_query_at_its_limit_by_itself(opened: Opened, standin: BigQueryStandin) -> None:
    query = windowed(standin.endless, dialect="bigquery", iterator=None, window=Window())
    with (
        opened(timeout_s=2) as warehouse,
        pytest.raises(QueryTimedOut, match="2 s"),
        warehouse.stream(query, batch_rows=10) as stream,
    ):
        list(stream)
    assert last_job(standin)["jobTimeoutMs"] == "2000"
    deadline = time.monotonic() + 20
    while standin.running_queries():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_place_is_told_in_the_models_own_lines(opened: Opened) -> None:
    model = "SELECT id,\n  no_such_function(id) AS x\nFROM (SELECT 1 AS AS id)"
    with opened() as warehouse, pytest.raises(ModelInvalid, match="line 3, column") as refused:
        warehouse.describe(columns_query(model, "bigquery"))
    assert "Syntax error" in str(refused.value)


def test_a_dataset_that_does_not_exist_is_the_connections_mistake(opened: Opened) -> None:
    with opened(dataset_id="no_such_dataset") as warehouse, pytest.raises(WarehouseUnreachable, match="dataset_id"):
        warehouse.describe(columns_query("SELECT id FROM users", "bigquery"))


def test_another_accounts_signature_is_refused(
    opened: Opened, standin: BigQueryStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = key_of("reader", standin.private_keys["nobody"], token_uri=f"{standin.address}/token")
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_BIGQUERY_READER", forged)
    with pytest.raises(CredentialsRefused, match="Invalid JWT Signature") as refused, opened():
        pass
    assert "PRIVATE" not in str(refused.value)


def test_an_account_that_google_does_not_know_is_refused(
    opened: Opened, standin: BigQueryStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = key_of("stranger", standin.private_keys["reader"], token_uri=f"{standin.address}/token")
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_BIGQUERY_READER", stranger)
    with pytest.raises(CredentialsRefused, match="account not found"), opened(service_account_id=email_of("stranger")):
        pass


def test_another_accounts_key_is_refused_before_it_is_used(opened: Opened) -> None:
    with pytest.raises(DeclarationInvalid, match="client_email"), opened(service_account_id=email_of("nobody")):
        pass


def test_the_guides_example_gives_each_users_favourites_as_a_list(opened: Opened, standin: BigQueryStandin) -> None:
    standin.load("attr", pa.table({"date_updated": [LOW, LOW], "customer_id": ["a", "b"], "firstname": ["Ann", "Bob"]}))
    standin.load("calc", pa.table({"propensity_to_buy": [0.5, 0.25], "customer_id": ["a", "b"]}))
    standin.load("favs", pa.table({"value": ["tea", "art", "sun"], "customer_id": ["a", "a", "b"]}))
    model = """
SELECT
    a.date_updated,
    a.customer_id,
    a.firstname AS firstname,
    c.propensity_to_buy AS propensity_to_buy,
    ARRAY_AGG(f.value ORDER BY f.value ASC) AS favorite_categories
FROM mp.attr a
JOIN mp.calc c ON a.customer_id = c.customer_id
JOIN mp.favs f ON a.customer_id = f.customer_id
GROUP BY
    a.date_updated,
    a.customer_id,
    a.firstname,
    c.propensity_to_buy
"""
    query = windowed(model, dialect="bigquery", iterator=None, window=Window())
    with opened() as warehouse, warehouse.stream(query, batch_rows=10) as stream:
        found = {row["customer_id"]: row for batch in stream for row in batch.to_pylist()}
        assert stream.schema.field("favorite_categories").type == pa.list_(pa.string())
    assert found["a"]["favorite_categories"] == ["art", "tea"]
    assert found["b"] == {
        "date_updated": LOW,
        "customer_id": "b",
        "firstname": "Bob",
        "propensity_to_buy": 0.25,
        "favorite_categories": ["sun"],
    }
