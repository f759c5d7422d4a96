"""What a job is given."""

import re
from datetime import UTC, date, datetime
from typing import Any

import pytest

from shared.providers.bigquery import BigQueryConfig
from shared.sql import Bound, Query
from tests.standins.bigquery import email_of
from worker.warehouses.base import Label
from worker.warehouses.bigquery.jobs import job_config, labels_of, new_job_id

CONFIG = BigQueryConfig(
    project_id="my-project",
    dataset_id="mp",
    region="us-east4",
    service_account_id=email_of("reader"),
    service_account_key="env:WAREHOUSE_SYNC_SECRET_KEY",
)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def given(**bounds: Bound) -> dict[str, Any]:
    config = job_config(Query("SELECT 1", bounds), CONFIG, label=Label("run 7"), timeout_s=1.5)
    found: dict[str, Any] = config.to_api_repr()
    return found


@pytest.mark.parametrize(
    ("value", "warehouse_type", "kind", "text"),
    [
        (NOON, "TIMESTAMP", "TIMESTAMP", "2026-03-01 12:00:00+00:00"),
        (NOON.replace(tzinfo=None), "DATETIME", "DATETIME", "2026-03-01T12:00:00.000000"),
        (date(2026, 3, 1), "DATE", "DATE", "2026-03-01"),
        (12, "INT64", "INT64", "12"),
        (12, "NUMERIC", "NUMERIC", "12"),
        (12, "BIGNUMERIC", "BIGNUMERIC", "12"),
        (NOON, "", "TIMESTAMP", "2026-03-01 12:00:00+00:00"),
        (NOON.replace(tzinfo=None), "", "DATETIME", "2026-03-01T12:00:00.000000"),
        (date(2026, 3, 1), "", "DATE", "2026-03-01"),
        (12, "", "INT64", "12"),
    ],
)
def test_a_bound_is_a_parameter_of_its_columns_type(value: Any, warehouse_type: str, kind: str, text: str) -> None:
    (parameter,) = given(window_low=Bound(value, warehouse_type))["query"]["queryParameters"]
    assert parameter["name"] == "window_low"
    assert parameter["parameterType"] == {"type": kind}
    assert parameter["parameterValue"] == {"value": text}


def test_a_microsecond_survives() -> None:
    exact = NOON.replace(microsecond=1)
    (parameter,) = given(window_low=Bound(exact, "TIMESTAMP"))["query"]["queryParameters"]
    assert datetime.fromisoformat(parameter["parameterValue"]["value"]) == exact


def test_the_warehouse_knows_the_time_limit_and_the_dataset() -> None:
    job = given()
    assert job["jobTimeoutMs"] == "1500"
    assert job["query"]["defaultDataset"] == {"projectId": "my-project", "datasetId": "mp"}
    assert job["query"]["useLegacySql"] is False


def test_labels_are_what_bigquery_allows() -> None:
    labels = labels_of(Label("run 4F0-ä", pipeline_id="Users/EU " * 20))
    assert labels["product"] == "warehouse-sync"
    assert labels["run"] == "4f0--"
    assert labels["pipeline"].startswith("users-eu-users-eu")
    assert all(re.fullmatch(r"[a-z0-9_-]{1,63}", text) for text in (*labels, *labels.values()))


def test_no_two_jobs_have_one_name() -> None:
    assert len({new_job_id() for _ in range(100)}) == 100
