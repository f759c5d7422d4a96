"""What a query job is given: parameters in their column's type, labels, its dataset and its time limit (pure)."""

import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import uuid4

from google.cloud.bigquery import DatasetReference, QueryJobConfig, ScalarQueryParameter

from shared.providers.bigquery import BigQueryConfig
from shared.sql import Bound, Query
from worker.warehouses.base import Label

_LONGEST_LABEL: Final = 63
_DECIMALS: Final = frozenset({"NUMERIC", "BIGNUMERIC"})


def new_job_id() -> str:
    """Give a job its name before it exists: a request whose answer was lost can be repeated, and the job cancelled."""
    return f"warehouse_sync_{uuid4().hex}"


def job_config(query: Query, config: BigQueryConfig, *, label: Label, timeout_s: float) -> QueryJobConfig:
    """Give what a query runs with."""
    return QueryJobConfig(
        default_dataset=DatasetReference(config.project_id, config.dataset_id),
        job_timeout_ms=math.ceil(timeout_s * 1000),
        labels=labels_of(label),
        query_parameters=[_parameter(name, bound) for name, bound in query.parameters.items()],
        use_legacy_sql=False,
        # A cached result keeps its own age, and may expire while it is read.
        use_query_cache=False,
    )


def labels_of(label: Label) -> Mapping[str, str]:
    """Give a job's labels; BigQuery allows lower-case letters, digits, ``_`` and ``-`` only, 63 of them."""
    return {_as_label(name): _as_label(value) for name, value in label.tags.items()}


def _as_label(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:_LONGEST_LABEL]


def _parameter(name: str, bound: Bound) -> ScalarQueryParameter:
    kind = bound.warehouse_type or _type_of(bound.value)
    value = Decimal(bound.value) if kind in _DECIMALS and isinstance(bound.value, int) else bound.value
    return ScalarQueryParameter(name, kind, value)


def _type_of(value: datetime | date | int) -> str:
    if isinstance(value, datetime):
        return "DATETIME" if value.tzinfo is None else "TIMESTAMP"
    return "DATE" if isinstance(value, date) else "INT64"
