"""Examples of requests, for the API's description; each is one that would be taken."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from shared.catalog import Connection, DataModel, Pipeline
from shared.feed import Feed
from shared.transformation import FieldTransformation

FEED: Final[dict[str, Any]] = {
    "id": "us1",
    "name": "US input",
    "base_url": "https://s2s.us1.mparticle.com/v2",
    "api_key": "us1-0123456789abcdef",
    "api_secret": "env:WAREHOUSE_SYNC_SECRET_US1",
}
CONNECTION: Final[dict[str, Any]] = {
    "id": "lake",
    "name": "Production Snowflake",
    "service_provider": "Snowflake",
    "config": {
        "account_identifier": "gd12345",
        "region": "us-central1.gcp",
        "warehouse": "SYNC",
        "database": "PROD",
        "role": "MPARTICLE",
        "user": "MPARTICLE_SYNC",
        "password": "env:WAREHOUSE_SYNC_SECRET_SNOWFLAKE",
    },
}
DATA_MODEL: Final[dict[str, Any]] = {
    "id": "people",
    "name": "People",
    "type": "sql",
    "sql_query": "SELECT customer_id AS customerid, email, plan, updated_at FROM app.customers",
}
FIELD_TRANSFORMATION: Final[dict[str, Any]] = {
    "id": "visits",
    "name": "Visits",
    "destination_type": "event_batch",
    "mappings": [
        {"mapping_type": "static", "destination": "events.event_type", "value": "session_start"},
        {"mapping_type": "column", "source": "email", "destination": "user_identities.email"},
        {"mapping_type": "ignore", "source": "loaded_at"},
    ],
}
PIPELINE: Final[dict[str, Any]] = {
    "id": "people-to-us1",
    "name": "People to the US input",
    "connection_id": "lake",
    "data_model_id": "people",
    "feed_id": "us1",
    "environment": "development",
    "sync_mode": {"type": "incremental", "iterator_field": "updated_at", "iterator_data_type": "timestamp"},
    "schedule": {"type": "on_demand"},
}
DOCUMENT: Final[dict[str, Any]] = {
    "feeds": [FEED],
    "connections": [CONNECTION],
    "data_models": [DATA_MODEL],
    "pipelines": [{**PIPELINE, "state": "active"}],
}
EXAMPLES: Final[Mapping[type[BaseModel], dict[str, Any]]] = {
    Feed: FEED,
    Connection: CONNECTION,
    DataModel: DATA_MODEL,
    FieldTransformation: FIELD_TRANSFORMATION,
    Pipeline: PIPELINE,
}
"""By what they declare."""
