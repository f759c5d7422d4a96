"""Any set of declarations that can be: each kind, each provider, each schedule, with names that YAML could misread."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from console.declarations import KINDS, Resource
from shared.catalog import Connection, DataModel, Pipeline
from shared.feed import Feed
from shared.transformation import FieldTransformation
from tests.shared.test_connections import CONFIGS

_CHARS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
_AWKWARD = st.sampled_from(
    ["yes", "null", "~", "1e3", "0x1F", "2026-01-01", "12:30:00", "- a", "a: b", "#", "!!str", "'", '"', "<<", "=", " "]
)
NAMES = st.one_of(_AWKWARD, st.text(_CHARS, min_size=1, max_size=40))
TITLES = NAMES.map(lambda name: " ".join("".join(one for one in name if one.isprintable()).split())).filter(bool)
"""Names of what is declared: shown as they are."""
SQL = st.one_of(
    st.sampled_from(
        ["SELECT *\nFROM users\nWHERE a > 1", "  SELECT 1\n", "SELECT 1 \nFROM a\n\n", "SELECT\t1\r\nFROM a"]
    ),
    st.text(_CHARS, min_size=1, max_size=80),
)
SECRETS = st.sampled_from(["env:WAREHOUSE_SYNC_SECRET_A", "file:/run/secrets/a b", "file:/run/secrets/ä: #"])
_ZONES = st.one_of(
    st.just(UTC), st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
)
INSTANTS = st.builds(
    datetime.fromtimestamp,
    st.one_of(st.integers(10**8, 10**9), st.floats(1e8, 1e9)),
    _ZONES,
)
DURATIONS = st.one_of(
    st.sampled_from(["90s", "5m", "1h", "2d", "0s", "PT1.5S", 0.25]),
    st.timedeltas(timedelta(0), timedelta(days=400)),
)
_DATA_POINT = {
    "match": {"type": "custom_event", "criteria": {"event_name": "bought", "custom_event_type": "other"}},
    "validator": {
        "type": "json_schema",
        "definition": {"properties": {"data": {"required": ["on", "1"], "maximum": 1.5}}},
    },
}
_CONFIGS: dict[str, list[dict[str, Any]]] = {
    "duckdb": [{"folder": "/data"}, {"database": "/a b.duckdb", "memory_limit_mib": 64}],
    "snowflake": [
        CONFIGS["snowflake"],
        {**CONFIGS["snowflake"], "schema": "PUBLIC", "role": "yes", "environment": "production"},
        {**CONFIGS["snowflake"], "password": None, "private_key": "env:WAREHOUSE_SYNC_SECRET_K"},
    ],
    "bigquery": [CONFIGS["bigquery"]],
    "redshift": [CONFIGS["redshift"], {**CONFIGS["redshift"], "port": 5440, "tls": "verify-ca"}],
    "databricks": [CONFIGS["databricks"], {**CONFIGS["databricks"], "catalog": "main", "schema": "on"}],
}


def _named(kind: str, count: int) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Give ids and names of one kind, each once."""
    names = st.lists(TITLES, min_size=count, max_size=count, unique=True)
    return names.map(lambda found: [(f"{kind}-{no}", name) for no, name in enumerate(found)])


@st.composite
def _schedules(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(INSTANTS)
    delay = {"delay": draw(DURATIONS)} if draw(st.booleans()) else {}
    return draw(
        st.sampled_from(
            [
                {"type": "on_demand", **delay},
                {"type": "once", **delay},
                {"type": "once", "start": start, **delay},
                {"type": "cron", "expression": "30 6 * * MON-FRI", **delay},
                {"type": "cron", "expression": "*/5 * * * *", "end": start + timedelta(days=20_000)},
                {"type": "interval", "frequency": draw(st.sampled_from(["hourly", "Daily"])), "start": start, **delay},
            ]
        )
    )


@st.composite
def _modes(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"type": "full"}
    said = {
        "iterator_time_zone": st.just("Europe/Berlin"),
        "track_from": INSTANTS,
        "until": st.just(datetime(2030, 1, 1, tzinfo=UTC)),
        "row_key": NAMES,
        "history_parts": st.integers(1, 1000),
        "history_newest_first": st.booleans(),
    }
    mode = {name: draw(value) for name, value in said.items() if draw(st.booleans())}
    if "row_key" in mode and draw(st.booleans()):
        mode["lookback"] = draw(st.sampled_from(["90s", "1h", "30d", "PT0.5S"]))
    types = st.sampled_from(["timestamp", "timestamp_ltz", "datetime", "date", "timestamp_unixtime_ms"])
    return {"type": "incremental", "iterator_field": draw(NAMES), "iterator_data_type": draw(types), **mode}


@st.composite
def _pipelines(draw: st.DrawFn, pipeline_id: str, name: str, *, has_events: bool) -> Pipeline:
    said: dict[str, st.SearchStrategy[Any]] = {
        "environment": st.sampled_from(["development", "production"]),
        "schedule": _schedules(),
        "merge": st.booleans(),
        "historical": st.just("never"),
        "max_rejected_ratio": st.sampled_from([None, 0.25]),
        "max_rejected_rows": st.sampled_from([None, 0]),
        "volume": st.sampled_from(
            [None, {"max_rows": 1_000}, {"max_ratio": 2.5}, {"min_rows": 1}, {"min_ratio": 0.25, "max_rows": 1_000}]
        ),
        "limits": st.just({"attribute_value": "truncate"}),
        "data_plan": st.just({"document": {"data_points": [_DATA_POINT]}, "on_violation": "reject"}),
    }
    if has_events:
        said["field_transformation_id"] = st.just("transformation-0")
    else:
        said["rename"] = st.dictionaries(NAMES, NAMES, max_size=3)
    fields = {field: draw(value) for field, value in said.items() if draw(st.booleans())}
    ids = {"connection_id": f"connection-{draw(st.integers(0, 4))}", "data_model_id": "model-0", "feed_id": "feed-0"}
    return Pipeline.model_validate({"id": pipeline_id, "name": name, **ids, "sync_mode": draw(_modes()), **fields})


@st.composite
def resources(draw: st.DrawFn) -> list[Resource]:
    """Give feeds, a connection of each provider, models, a transformation and pipelines that fit together."""
    found: list[Resource] = []
    for feed_id, name in draw(_named("feed", 2)):
        fields = {"base_url": "https://s2s.us1.mparticle.com/v2", "api_key": draw(NAMES), "api_secret": draw(SECRETS)}
        speed = draw(st.sampled_from([270, 0.5, 100.0, 1e30]))
        found.append(Feed.model_validate({"id": feed_id, "name": name, **fields, "batches_per_s": speed}))
    for (connection_id, name), provider in zip(draw(_named("connection", 5)), _CONFIGS, strict=True):
        config = draw(st.sampled_from(_CONFIGS[provider]))
        declared = {"id": connection_id, "name": name, "service_provider": provider, "config": config}
        found.append(Connection.model_validate(declared))
    for model_id, name in draw(_named("model", 2)):
        hidden = draw(st.lists(NAMES, max_size=2))
        declared = {"id": model_id, "name": name, "sql_query": draw(SQL), "secret_columns": hidden}
        found.append(DataModel.model_validate(declared))
    value = draw(st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(-1e9, 1e9), NAMES))
    mappings = [
        {"mapping_type": "static", "destination": "events.event_type", "value": "session_start"},
        {"mapping_type": "column", "source": draw(NAMES), "destination": "user_identities.email"},
        {"mapping_type": "static", "destination": "user_attributes.any", "value": value},
    ]
    (named,) = draw(_named("transformation", 1))
    found.append(FieldTransformation.model_validate({"id": named[0], "name": named[1], "mappings": mappings}))
    for pipeline_id, name in draw(_named("pipeline", draw(st.integers(0, 2)))):
        found.append(draw(_pipelines(pipeline_id, name, has_events=draw(st.booleans()))))
    return found


def in_order(found: list[Resource]) -> list[Resource]:
    """Give resources as a document has them: each kind by id."""
    kinds = list(KINDS.values())
    return sorted(found, key=lambda one: (kinds.index(type(one)), one.id))
