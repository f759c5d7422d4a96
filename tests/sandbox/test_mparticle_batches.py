"""What the stand-in takes for a good batch, against mParticle's own JSON Schema where that is at hand."""

import json
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from sandbox.batches import BATCH_BYTES, HISTORICAL_AGE_MS, flaw, identities, oversized
from sandbox.events import EVENTS
from sandbox.fields import DEVICE_IDENTITIES, IDENTITIES

NOW_MS = 1_800_000_000_000
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=9)
values = scalars | st.lists(scalars, max_size=3)
names = st.text(min_size=1, max_size=9)
uuids = st.uuids().map(str) | st.uuids().map(lambda uuid: str(uuid).upper())
milliseconds = st.integers(0, 2**45)
maps = st.dictionaries(names, scalars, max_size=2)
purposes = st.dictionaries(
    names,
    st.fixed_dictionaries(
        {"consented": st.booleans(), "timestamp_unixtime_ms": milliseconds}, optional={"document": scalars}
    ),
    max_size=2,
)
event_data: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "custom_event": {"event_name": names, "custom_event_type": st.sampled_from(["other", "media", "search"])},
    "screen_view": {"screen_name": names},
    "session_start": {},
    "commerce_event": {},
    "first_run": {},
    "breadcrumb": {"label": names},
}
events = st.one_of(
    [
        st.fixed_dictionaries(
            {
                "event_type": st.just(kind),
                "data": st.fixed_dictionaries(
                    data, optional={"timestamp_unixtime_ms": milliseconds, "custom_attributes": maps}
                ),
            }
        )
        for kind, data in event_data.items()
    ]
)
locations = st.fixed_dictionaries(
    {"latitude": st.floats(-90, 90), "longitude": st.integers(-180, 180)}, optional={"city_name": scalars}
)
batches = st.fixed_dictionaries(
    {
        "user_identities": st.dictionaries(st.sampled_from(sorted(IDENTITIES)), scalars, max_size=3).map(
            lambda named: {**named, "customer_id": "1"}
        ),
        "environment": st.sampled_from(["development", "production"]),
    },
    optional={
        "user_attributes": st.dictionaries(names, values, max_size=5) | st.none(),
        "deleted_user_attributes": st.lists(names, max_size=3) | st.none(),
        "source_request_id": names,
        "mpid": st.integers(-(2**63), 2**63 - 1),
        "mp_deviceid": uuids,
        "ip": st.ip_addresses().map(str),
        "device_info": st.fixed_dictionaries(
            {},
            optional={
                "ios_advertising_id": uuids | st.none(),
                "platform": st.sampled_from(["iOS", "xbox", "web"]),
                "brand": scalars,
                "screen_width": st.integers(0, 9999) | st.just(1080.0) | st.none(),
                "is_tablet": st.booleans() | st.none(),
                "att_authorization_status": st.sampled_from(["authorized", "denied"]),
            },
        ),
        "application_info": st.fixed_dictionaries({}, optional={"os": scalars, "package": scalars}),
        "context": st.fixed_dictionaries(
            {},
            optional={
                "location": locations,
                "data_plan": st.fixed_dictionaries({"plan_id": names}, optional={"plan_version": st.integers(1, 9)}),
            },
        ),
        "consent_state": st.fixed_dictionaries({}, optional={"gdpr": purposes, "ccpa": purposes}),
        "integration_attributes": st.dictionaries(names, maps, max_size=2),
        "partner_identities": maps,
        "attribution_info": st.fixed_dictionaries({"service_provider": names, "publisher": names, "campaign": names}),
        "events": st.lists(events, max_size=2) | st.none(),
    },
)

BROKEN: list[dict[str, Any]] = [
    {"typo": 1},
    {"schema_version": 2},
    {"environment": "test"},
    {"environment": None},
    {"user_identities": {"customerid": "1"}},
    {"user_identities": {"customer_id": ["1"]}},
    {"user_identities": "1"},
    {"user_attributes": {"a": {}}},
    {"user_attributes": {"a": [[1]]}},
    {"user_attributes": []},
    {"deleted_user_attributes": [1]},
    {"deleted_user_attributes": {"a": 1}},
    {"mpid": "1"},
    {"mpid": 1.5},
    {"mp_deviceid": "1"},
    {"source_request_id": []},
    {"ip": "300.1.1.1"},
    {"ip": 1},
    {"device_info": {"ios_idfv": "not-a-uuid"}},
    {"device_info": {"fire_advertising_id": 1}},
    {"device_info": {"platform": "ios"}},
    {"device_info": {"platform": None}},
    {"device_info": {"screen_width": "1080"}},
    {"device_info": {"is_dst": 1}},
    {"device_info": {"brand": []}},
    {"device_info": {"color": "red"}},
    {"application_info": {"name": "x"}},
    {"context": {"data_plan": {}}},
    {"context": {"data_plan": {"plan_id": "p", "plan_version": "1"}}},
    {"context": {"location": {"latitude": 1}}},
    {"context": {"location": {"latitude": "1", "longitude": 1}}},
    {"consent_state": {"gdpr": {"p": {"consented": True}}}},
    {"consent_state": {"gdpr": {"p": {"consented": "yes", "timestamp_unixtime_ms": 1}}}},
    {"consent_state": {"other": {}}},
    {"integration_attributes": {"1": "x"}},
    {"partner_identities": {"a": []}},
    {"attribution_info": {"publisher": "p"}},
    {"source_info": {"channel": "post"}},
    {"events": {}},
    {"events": [{"event_type": "custom_event"}]},
    {"events": [{"event_type": "nonsense", "data": {}}]},
    {"events": [{"event_type": "pre_attribution", "data": {}}]},
    {"events": [{"event_type": "push_reaction", "data": {}}]},
    {"events": ["custom_event"]},
]


def reason(batch: object, *, historical: bool = False) -> str | None:
    return flaw(orjson.loads(orjson.dumps(batch)), historical=historical, now_ms=NOW_MS)


@given(batch=batches)
def test_a_good_batch_is_good_to_the_schema_too(batch_schema: Draft7Validator, batch: dict[str, Any]) -> None:
    assert reason(batch) is None
    assert batch_schema.is_valid(batch)


@given(batch=batches, broken=st.sampled_from(BROKEN))
def test_a_broken_batch_is_broken_to_the_schema_too(
    batch_schema: Draft7Validator, batch: dict[str, Any], broken: dict[str, Any]
) -> None:
    assert reason({**batch, **broken}) is not None
    assert not batch_schema.is_valid({**batch, **broken})


def test_no_list_of_names_misses_or_adds_any_of_the_schemas(batch_schema: Draft7Validator) -> None:
    schema = batch_schema.schema
    assert isinstance(schema, dict)
    definitions = schema["definitions"]
    for name in definitions["IdentityType"]["enum"]:
        assert reason({"user_identities": {name: "1"}}) is None
    assert len(definitions["IdentityType"]["enum"]) == len(IDENTITIES)
    for item in schema["properties"]["events"]["items"]["oneOf"]:
        (name,) = definitions[item["$ref"].rpartition("/")[2]]["properties"]["event_type"]["enum"]
        assert name in EVENTS
    assert len(EVENTS) == len(schema["properties"]["events"]["items"]["oneOf"])
    for name in schema["properties"]:
        assert reason({name: None}) != "unknown_field"
    for name in definitions["DeviceInformation"]["properties"]:
        probe = {"mpid": 1, "device_info": {name: None}}
        assert reason(probe) is None or name in {"platform", "att_authorization_status"}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: json.dumps(broken)[:60])
def test_the_reason_names_the_field(broken: dict[str, Any]) -> None:
    found = reason({"user_identities": {"customer_id": "1"}, **broken})
    assert found is not None
    (field,) = broken
    assert found == "unknown_field" if field in {"typo", "schema_version"} else field.rstrip("s") in found


@pytest.mark.parametrize("batch", [None, 1, "x", [], [{}]])
def test_a_batch_is_an_object(batch: object) -> None:
    assert reason(batch) == "not_an_object"


@pytest.mark.parametrize(
    "batch",
    [
        {},
        {"user_identities": {}},
        {"user_identities": None},
        {"user_identities": {"customer_id": "", "email": None}},
        {"device_info": {"brand": "x"}},
        {"partner_identities": {"a": "b"}},
    ],
)
def test_a_batch_about_nobody_has_no_identity(batch: dict[str, Any]) -> None:
    assert reason(batch) == "no_identity"


@pytest.mark.parametrize(
    ("batch", "named"),
    [
        ({"mpid": -5}, {"mpid": "-5"}),
        ({"user_identities": {"email": "a@b", "customer_id": 0}}, {"customer_id": "0", "email": "a@b"}),
        ({"user_identities": {"other": None, "alias": False}}, {"alias": "false"}),
        (
            {"device_info": {"ios_idfv": str(UUID(int=2**128 - 1)).upper()}},
            {"ios_idfv": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
        ),
        ({"device_info": {"amp_id": "Amp-1"}}, {"amp_id": "Amp-1"}),
        ({"mp_deviceid": str(UUID(int=0xA)).upper()}, {"mp_deviceid": "00000000-0000-0000-0000-00000000000a"}),
    ],
)
def test_any_identity_names_a_user(batch: dict[str, Any], named: dict[str, str]) -> None:
    assert reason(batch) is None
    assert identities(batch) == named


def test_every_device_identity_is_a_device_field() -> None:
    for name in DEVICE_IDENTITIES:
        assert reason({"device_info": {name: str(UUID(int=1))}}) is None


@pytest.mark.parametrize(
    ("age_ms", "expected"), [(HISTORICAL_AGE_MS, None), (HISTORICAL_AGE_MS - 1, "historical_too_young")]
)
def test_old_data_is_72_hours_old(age_ms: int, expected: str | None) -> None:
    old = {"event_type": "session_start", "data": {"timestamp_unixtime_ms": NOW_MS - age_ms}}
    assert reason({"mpid": 1, "events": [old]}, historical=True) == expected
    assert reason({"mpid": 1, "events": [old]}) is None


@given(
    sizes=st.lists(st.integers(100, 1000) | st.integers(BATCH_BYTES - 30, BATCH_BYTES + 30), min_size=1, max_size=3),
    spaced=st.booleans(),
    filling=st.sampled_from(["x", "é", "\\", '"', "]},{["]),
)
def test_the_size_of_a_batch_is_what_was_sent(sizes: list[int], spaced: bool, filling: str) -> None:
    parsed = [{"a": filling * (size // len(filling.encode()))} for size in sizes]
    sent = [json.dumps(one).encode() if spaced else orjson.dumps(one) for one in parsed]
    body = (b" [\n" if spaced else b"[") + (b" ,\t" if spaced else b",").join(sent) + b" ]"
    assert oversized(body, parsed) == {at for at, one in enumerate(sent) if len(one) > BATCH_BYTES}
