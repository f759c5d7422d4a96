"""What is declared wrongly is refused with the field's name and the expected form."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from shared.catalog import Connection, Incremental, IteratorType, Pipeline, ServiceProvider
from shared.providers.duckdb import DuckDbConfig
from shared.schedule import OnDemand

INCREMENTAL: dict[str, Any] = {"iterator_field": "updated_at", "iterator_data_type": "timestamp"}


@pytest.mark.parametrize(
    ("alias", "meant"),
    [
        ("timestamp_ltz", IteratorType.TIMESTAMP_TZ),
        ("TIMESTAMPTZ", IteratorType.TIMESTAMP_TZ),
        ("datetime", IteratorType.TIMESTAMP_NTZ),
        ("date", IteratorType.DATE),
        ("TIMESTAMP_NTZ", IteratorType.TIMESTAMP_NTZ),
        ("timestamp_unixtime_s", IteratorType.UNIXTIME_S),
    ],
)
def test_the_warehouses_own_names_of_types_are_understood(alias: str, meant: IteratorType) -> None:
    assert Incremental.model_validate({**INCREMENTAL, "iterator_data_type": alias}).iterator_data_type is meant


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"iterator_data_type": "integer"}, "iterator_data_type"),
        ({"iterator_time_zone": "Europe/Atlantis"}, "IANA zone"),
        ({"track_from": "2026-01-01T00:00:00"}, "track_from"),
        ({"track_from": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "track_from must be before until"),
        ({"lookback": "0s"}, r"lookback\n.*greater than"),
        ({"lookback": "-PT1H"}, r"lookback\n.*duration of zero or more"),
        ({"lookback": "31d"}, r"lookback\n.*less than or equal to"),
        ({"lookback": "1 fortnight"}, "lookback"),
        ({"row_key": ""}, "row_key"),
        ({"history_parts": 0}, r"history_parts\n.*greater than or equal to 1"),
        ({"history_parts": 1001}, r"history_parts\n.*less than or equal to 1000"),
        ({"history_part_rows": 0}, "history_part_rows"),
    ],
)
def test_a_sync_mode_is_refused_by_the_field_that_is_wrong(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Incremental.model_validate({**INCREMENTAL, **wrong})


@pytest.mark.parametrize(
    ("declared", "meant"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("30d", timedelta(days=30)),
        ("PT1H", timedelta(hours=1)),
        ("01:30:00", timedelta(hours=1, minutes=30)),
        (3600, timedelta(hours=1)),
    ],
)
def test_a_lookback_may_be_said_in_several_ways(declared: object, meant: timedelta) -> None:
    assert Incremental.model_validate({**INCREMENTAL, "lookback": declared}).lookback == meant


def test_history_is_read_as_one_and_nothing_is_read_again_unless_it_is_declared() -> None:
    mode = Incremental.model_validate(INCREMENTAL)
    assert (mode.history_parts, mode.history_newest_first, mode.history_part_rows) == (1, False, None)
    assert (mode.lookback, mode.row_key) == (None, None)


PIPELINE: dict[str, Any] = {
    "id": "users",
    "name": "Users",
    "connection_id": "lake",
    "data_model_id": "users",
    "feed_id": "main",
}


@pytest.mark.parametrize(
    ("mode", "columns", "said"),
    [
        ({"type": "full"}, ["customer_id"], "one_row_per: a full sync has no iterator"),
        ({"type": "incremental", **INCREMENTAL}, ["email", "Updated_At"], "one_row_per: the iterator"),
        ({"type": "incremental", **INCREMENTAL}, [""], "one_row_per"),
    ],
)
def test_one_row_per_is_refused_where_there_is_no_newest_row(
    mode: dict[str, Any], columns: list[str], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        Pipeline.model_validate({**PIPELINE, "sync_mode": mode, "one_row_per": columns})


def test_one_row_per_names_columns_of_an_incremental_pipeline() -> None:
    mode = {"type": "incremental", **INCREMENTAL}
    declared = Pipeline.model_validate({**PIPELINE, "sync_mode": mode, "one_row_per": ["customer_id", "email"]})
    assert declared.one_row_per == ("customer_id", "email")
    assert Pipeline.model_validate({**PIPELINE, "sync_mode": {"type": "full"}}).one_row_per == ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rename": {"a": "b"}}, "rename: the field transformation says where columns go"),
        ({"one_row_per": ["customer_id"]}, "one_row_per: events are not rows of which only the newest counts"),
        (
            {"sync_mode": {"type": "incremental", **INCREMENTAL, "lookback": "1h"}},
            "sync_mode.lookback: events that are read again would be sent twice; declare a row_key",
        ),
        ({"field_transformation_id": "two words"}, "field_transformation_id"),
    ],
)
def test_what_contradicts_an_event_pipeline_is_refused(wrong: dict[str, Any], said: str) -> None:
    events = {**PIPELINE, "sync_mode": {"type": "incremental", **INCREMENTAL}, "field_transformation_id": "visits"}
    assert Pipeline.model_validate(events).field_transformation_id == "visits"
    with pytest.raises(ValidationError, match=said):
        Pipeline.model_validate({**events, **wrong})


def test_an_event_pipeline_looks_back_by_a_row_key() -> None:
    mode = {"type": "incremental", **INCREMENTAL, "lookback": "1h", "row_key": "id"}
    declared = Pipeline.model_validate({**PIPELINE, "sync_mode": mode, "field_transformation_id": "visits"})
    assert isinstance(declared.sync_mode, Incremental)
    assert declared.sync_mode.row_key == "id"


def test_a_delay_is_never_negative() -> None:
    with pytest.raises(ValidationError, match="delay"):
        OnDemand.model_validate({"delay": "-PT1S"})


def test_a_duckdb_connection_reads_something() -> None:
    with pytest.raises(ValidationError, match="database, folder: name one of them"):
        DuckDbConfig()


def test_what_is_declared_survives_the_store() -> None:
    pipeline = Pipeline(
        id="users",
        name="Users",
        connection_id="lake",
        data_model_id="users",
        feed_id="main",
        sync_mode=Incremental(
            iterator_field="at",
            iterator_data_type=IteratorType.DATE,
            track_from=datetime(2026, 1, 1, tzinfo=UTC),
            lookback=timedelta(hours=36),
            row_key="id",
            history_parts=12,
            history_newest_first=True,
            history_part_rows=1_000_000,
        ),
        one_row_per=("customer_id",),
    )
    connection = Connection(
        id="lake", name="Lake", service_provider=ServiceProvider.DUCKDB, config=DuckDbConfig(folder=Path("/data"))
    )
    for resource in (pipeline, connection):
        assert TypeAdapter(type(resource)).validate_python(resource.model_dump(mode="json")) == resource


def test_names_are_cut_values_rejected_and_new_names_counted_unless_it_is_said_otherwise() -> None:
    limits = Pipeline.model_validate({**PIPELINE, "sync_mode": {"type": "full"}}).limits
    assert {name: beyond.value for name, beyond in limits} == {
        "event_name": "truncate",
        "event_attribute_name": "truncate",
        "user_attribute_name": "truncate",
        "attribute_value": "reject",
        "list_entries": "reject",
        "list_entry": "reject",
        "user_attributes": "reject",
        "distinct_names": "warn",
    }


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"limits": {"distinct_names": "truncate"}}, "cannot be cut to one before it; expected reject or warn"),
        ({"limits": {"attribute_value": "shorten"}}, "'reject', 'truncate' or 'warn'"),
        ({"limits": {"values": "reject"}}, r"limits\.values"),
        ({"limits": {"user_attributes": "truncate"}, "on_null": "delete"}, "limits.user_attributes: truncate leaves"),
        ({"limits": {"user_attributes": "truncate"}, "on_null": "null"}, "expected reject or warn, or on_null: omit"),
    ],
)
def test_limits_that_make_no_sense_are_refused(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Pipeline.model_validate({**PIPELINE, "sync_mode": {"type": "full"}, **declared})
