import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import Environment, NullPolicy
from shared.errors import PayloadUnknown
from shared.ledger import Reject, RejectCode
from shared.limits import Beyond, Limits
from shared.mapping.compile import compile_user_mapping
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder


def rejects_of(
    rows: Any, *, checks: Checks | None = None, on_null: NullPolicy = NullPolicy.OMIT
) -> list[tuple[int, RejectCode]]:
    return [(reject.row, reject.code) for reject in full_rejects_of(rows, checks=checks, on_null=on_null)]


def full_rejects_of(
    rows: Any, *, checks: Checks | None = None, on_null: NullPolicy = NullPolicy.OMIT
) -> tuple[Reject, ...]:
    plan = compile_user_mapping(rows.schema, environment=Environment.PRODUCTION, on_null=on_null, iterator=None)
    return Encoder(plan, checks=checks or Checks()).encode(rows, chunk_id="c").rejects


def test_any_identity_is_enough_and_an_empty_one_is_none() -> None:
    rows = pa.table(
        {
            "email": ["a@x", None, "", None, ""],
            "mpid": pa.array([None, 7, None, None, None], pa.int64()),
            "push_token": [None, None, "t", None, ""],
        }
    )
    assert rejects_of(rows) == [(3, RejectCode.NO_IDENTITY), (4, RejectCode.NO_IDENTITY)]


@pytest.mark.parametrize(
    ("text", "is_uuid"),
    [
        ("68753a44-4d6f-1226-9c60-0050e4c00067", True),
        ("68753A44-4D6F-1226-9C60-0050E4C00067", True),
        ("68753a44-4d6f-1226-9c60-0050e4c0006", False),
        ("68753a44-4d6f-1226-9c60-0050e4c000670", False),
        ("68753a44 4d6f-1226-9c60-0050e4c00067", False),
        ("6875-a44-4d6f-1226-9c60-0050e4c00067", False),
        ("g8753a44-4d6f-1226-9c60-0050e4c00067", False),
        ("68753a44-4d6f-1226-9c60-0050e4c0006:", False),
        ("68753a44-4d6f-1226-9c60-0050e4c0006@", False),
        ("{8753a44-4d6f-1226-9c60-0050e4c00067", False),
        ("68753a444d6f12269c600050e4c000670000", False),
        ("é8753a44-4d6f-1226-9c60-0050e4c0006", False),
    ],
)
def test_a_device_stamp_is_a_uuid(text: str, *, is_uuid: bool) -> None:
    rows = pa.table({"mp_deviceid": ["00000000-0000-0000-0000-000000000000", text, None], "email": ["a", "b", "c"]})
    assert rejects_of(rows) == ([] if is_uuid else [(1, RejectCode.INVALID_UUID)])


@pytest.mark.parametrize(
    ("text", "is_integer"),
    [
        ("0", True),
        ("-1", True),
        ("0042", True),
        ("9223372036854775807", True),
        ("-9223372036854775808", True),
        ("9223372036854775808", False),
        ("-9223372036854775809", False),
        ("1.0", False),
        ("1e3", False),
        ("0x10", False),
        ("+1", False),
        (" 1", False),
        ("\u0661", False),
    ],
)
def test_an_mpid_is_a_64_bit_integer(text: str, *, is_integer: bool) -> None:
    rows = pa.table({"mpid": ["5", text, None], "email": ["a", "b", "c"]})
    assert rejects_of(rows) == ([] if is_integer else [(1, RejectCode.INVALID_INTEGER)])


def test_characters_of_a_value_are_counted_and_not_its_bytes() -> None:
    rows = pa.table({"email": ["a"] * 4, "bio": ["é" * 4096, "é" * 4097, "x" * 4096, "x" * 4097]})
    assert rejects_of(rows) == [(1, RejectCode.VALUE_TOO_LONG), (3, RejectCode.VALUE_TOO_LONG)]


def test_an_identity_has_no_such_limit() -> None:
    assert rejects_of(pa.table({"email": ["x" * 4097]})) == []


def test_an_identity_that_no_batch_can_hold_is_rejected_unwritten() -> None:
    assert rejects_of(pa.table({"email": ["x" * 127_000, "x" * 200_000]})) == [(1, RejectCode.BATCH_TOO_LARGE)]


def test_the_json_text_of_a_struct_is_a_value() -> None:
    bios = [{"bio": "x" * 4086}, {"bio": "x" * 4087}, None]
    rows = pa.table({"email": ["a"] * 3, "s": pa.array(bios, pa.struct([("bio", pa.string())]))})
    assert rejects_of(rows) == [(1, RejectCode.VALUE_TOO_LONG)]


def test_entries_of_a_list_are_counted_as_they_are_sent() -> None:
    lists = [[1] * 1000, [1] * 1001, [1, None] * 1000, None, []]
    rows = pa.table({"email": ["a"] * 5, "likes": pa.array(lists, pa.list_(pa.int64()))})
    assert rejects_of(rows) == [(1, RejectCode.LIST_TOO_LONG)]


def test_an_entry_of_a_list_has_a_limit_of_its_own() -> None:
    lists = [["é" * 512], ["a", "b"], ["a", "é" * 513], [], None, ["x" * 513]]
    rows = pa.table({"email": ["a"] * 6, "likes": lists})
    expected = [(2, RejectCode.LIST_ENTRY_TOO_LONG), (5, RejectCode.LIST_ENTRY_TOO_LONG)]
    assert rejects_of(rows) == expected
    shared = pa.DictionaryArray.from_arrays(pa.array([5, 4, None, 2, 3, 5]), rows["likes"].combine_chunks())
    assert rejects_of(rows.set_column(1, "likes", shared)) == [
        (0, RejectCode.LIST_ENTRY_TOO_LONG),
        (3, RejectCode.LIST_ENTRY_TOO_LONG),
        (5, RejectCode.LIST_ENTRY_TOO_LONG),
    ]


def test_a_row_may_send_a_hundred_attributes_of_more_columns() -> None:
    columns = {f"a{number}": [1, 1] for number in range(99)}
    rows = pa.table({"email": ["a", "b"], **columns, "x": [1, 1], "y": pa.array([None, 1], pa.int64())})
    assert rejects_of(rows) == [(1, RejectCode.TOO_MANY_ATTRIBUTES)]
    assert rejects_of(rows, on_null=NullPolicy.DELETE) == [(1, RejectCode.TOO_MANY_ATTRIBUTES)]
    assert len(rejects_of(rows, on_null=NullPolicy.NULL)) == 2


def test_a_row_is_blamed_for_the_first_rule_it_breaks_and_then_the_first_column() -> None:
    rows = pa.table(
        {
            "long_a": ["x" * 5, "x" * 5, "x"],
            "mp_deviceid": [None, "no uuid", "no uuid"],
            "long_b": ["x" * 5, "x" * 5, "x"],
            "email": ["a", "a", "a"],
            "mpid": ["1", "1", "no integer"],
        }
    )
    rejects = full_rejects_of(rows, checks=replace(Checks(), value_max_chars=4))
    assert [(reject.row, reject.code) for reject in rejects] == [
        (0, RejectCode.VALUE_TOO_LONG),
        (1, RejectCode.INVALID_UUID),
        (2, RejectCode.INVALID_UUID),
    ]
    assert "'long_a'" in rejects[0].reason


def test_reasons_name_column_and_limit_and_never_a_value() -> None:
    secret = "s3cr3t" * 800
    rows = pa.table(
        {
            "email": [None, secret, secret, secret],
            "mp_deviceid": [None, secret, None, None],
            "bio": [secret, None, secret, None],
            "likes": [[secret], [secret], [secret], [secret]],
        }
    )
    rejects = full_rejects_of(rows)
    assert [reject.code for reject in rejects] == [
        RejectCode.NO_IDENTITY,
        RejectCode.INVALID_UUID,
        RejectCode.VALUE_TOO_LONG,
        RejectCode.LIST_ENTRY_TOO_LONG,
    ]
    assert not any("s3cr3t" in reject.reason for reject in rejects)
    assert "'bio'" in rejects[2].reason
    assert "4096" in rejects[2].reason
    assert "512" in rejects[3].reason


def test_frozen_checks_are_the_same_again() -> None:
    checks = Checks(
        value_max_chars=1,
        list_max_entries=2,
        entry_max_chars=3,
        max_attributes=4,
        batch_max_bytes=5,
        name_max_chars=6,
        limits=Limits(attribute_value=Beyond.TRUNCATE, distinct_names=Beyond.REJECT),
    )
    assert Checks.from_json(json.loads(json.dumps(checks.to_json()))) == checks


def test_checks_of_the_release_before_leave_names_as_they_are_and_reject_the_rest() -> None:
    of_the_release_before = {
        "version": 1,
        "value_max_chars": 4096,
        "list_max_entries": 1000,
        "entry_max_chars": 512,
        "max_attributes": 100,
        "batch_max_bytes": 128_000,
    }
    checks = Checks.from_json(of_the_release_before)
    names = dict.fromkeys(("event_name", "event_attribute_name", "user_attribute_name"), Beyond.WARN)
    assert checks == Checks(limits=Limits().model_copy(update=names))


@pytest.mark.parametrize(
    "frozen",
    [
        {},
        {"version": 1},
        {**Checks().to_json(), "version": 1},
        {**Checks().to_json(), "version": 3},
        {**Checks().to_json(), "colour_max_chars": 256},
        {**Checks().to_json(), "limits": {"attribute_value": "shorten"}},
    ],
)
def test_checks_frozen_by_another_release_are_not_guessed(frozen: dict[str, Any]) -> None:
    with pytest.raises(PayloadUnknown, match="release"):
        Checks.from_json(frozen)
