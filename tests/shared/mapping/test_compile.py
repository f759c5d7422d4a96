import json
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import Environment, NullPolicy
from shared.columns import JSON, column
from shared.errors import MappingRefused, PayloadUnknown
from shared.mapping.compile import compile_user_mapping
from shared.mapping.destinations import ValueType
from shared.mapping.plan import Constant, Leaf, MappingPlan

EMAIL = ("email", pa.string())


def compiled(*columns: tuple[str, Any], iterator: str | None = None) -> MappingPlan:
    return compile_user_mapping(
        pa.schema(list(columns)), environment=Environment.PRODUCTION, on_null=NullPolicy.OMIT, iterator=iterator
    )


def refusal(*columns: tuple[str, Any]) -> str:
    with pytest.raises(MappingRefused) as caught:
        compiled(*columns)
    return str(caught.value)


def test_columns_map_by_their_names_and_every_batch_has_the_environment() -> None:
    plan = compiled(("CustomerID", pa.int64()), ("MPID", pa.string()), ("$Age", pa.int8()), ("a.b", pa.string()))
    assert plan.leaves == (
        Leaf("CustomerID", ("user_identities", "customer_id"), ValueType.STRING, is_identity=True),
        Leaf("MPID", ("mpid",), ValueType.INT64, is_identity=True),
        Leaf("$Age", ("user_attributes", "$Age"), ValueType.ATTRIBUTE, is_identity=False),
        Leaf("a.b", ("user_attributes", "a.b"), ValueType.ATTRIBUTE, is_identity=False),
    )
    assert plan.constants == (Constant(("environment",), "production"),)


def test_the_iterator_is_no_attribute_in_whatever_case() -> None:
    plan = compiled(EMAIL, ("UPDATED_AT", pa.timestamp("us")), iterator="updated_at")
    assert [leaf.column for leaf in plan.leaves] == ["email"]


def test_an_iterator_may_be_of_a_type_without_meaning() -> None:
    assert compiled(EMAIL, ("at", pa.duration("s")), iterator="at").leaves


def test_identities_alone_are_enough() -> None:
    assert len(compiled(EMAIL).leaves) == 1


def test_a_query_without_identity_is_refused() -> None:
    message = refusal(("age", pa.int64()))
    assert "no column is an identity" in message
    assert "customer_id" in message


@pytest.mark.parametrize(
    ("first", "second", "destination"),
    [
        ("customerid", "customer_id", "user_identities.customer_id"),
        ("EMAIL", "email", "user_identities.email"),
        ("age", "age", "user_attributes.age"),
    ],
)
def test_two_columns_for_one_destination_are_refused(first: str, second: str, destination: str) -> None:
    message = refusal(EMAIL, (first, pa.string()), (second, pa.string()))
    assert repr(first) in message
    assert repr(second) in message
    assert destination in message


def test_attributes_whose_names_differ_in_case_are_two() -> None:
    assert len(compiled(EMAIL, ("level", pa.int8()), ("Level", pa.int8())).leaves) == 3


def test_all_reasons_are_given_at_once_each_with_column_type_and_cure() -> None:
    message = refusal(
        ("customer_id", pa.float64()),
        ("mpid", pa.decimal128(10, 2)),
        ("mp_deviceid", pa.int64()),
        ("email", pa.bool_()),
        ("photo", pa.binary()),
        ("lasted", pa.duration("s")),
        ("", pa.string()),
    )
    assert "7 to correct" in message
    for part in (
        "'customer_id' (double): a float does not keep every digit",
        "'mpid' (decimal128(10, 2)): an identity has no decimal places",
        "'mp_deviceid' (int64): a UUID is expected; cast",
        "'email' (bool): an identity is text or an integer; cast",
        "'photo' (binary): bytes have no JSON form; encode them in SQL",
        "'lasted' (duration[s]): a span of time has no agreed JSON form; convert it in SQL",
        "it has no name; give it one",
    ):
        assert part in message


def test_a_refusal_speaks_of_types_as_the_warehouse_does() -> None:
    schema = pa.schema([column("email", JSON, "VARIANT"), column("key", pa.binary(), "BYTES")])
    with pytest.raises(MappingRefused) as caught:
        compile_user_mapping(schema, environment=Environment.PRODUCTION, on_null=NullPolicy.OMIT, iterator=None)
    assert "column 'email' (VARIANT): JSON is ambiguous as an identity" in str(caught.value)
    assert "column 'key' (BYTES): bytes" in str(caught.value)


def test_a_plan_survives_being_frozen_as_json() -> None:
    for on_null in NullPolicy:
        plan = compile_user_mapping(
            pa.schema([EMAIL, ("mpid", pa.int64()), ("a.b", pa.string())]),
            environment=Environment.DEVELOPMENT,
            on_null=on_null,
            iterator=None,
        )
        assert MappingPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    "damage",
    [{"version": 3}, {"version": None}, {"leaves": [{"column": "a"}]}, {"on_null": "maybe"}, {"constants": None}],
)
def test_a_plan_of_another_form_is_not_guessed(damage: dict[str, Any]) -> None:
    with pytest.raises(PayloadUnknown):
        MappingPlan.from_json({**compiled(EMAIL).to_json(), **damage})


def test_a_renamed_column_is_mapped_by_its_other_name() -> None:
    schema = pa.schema([("CUST", pa.string()), ("FirstName", pa.string()), ("plan", pa.string())])
    plan = compile_user_mapping(
        schema,
        environment=Environment.PRODUCTION,
        on_null=NullPolicy.OMIT,
        iterator=None,
        rename={"cust": "customer_id", "firstname": "$firstname"},
    )
    assert [(leaf.column, leaf.path, leaf.is_identity) for leaf in plan.leaves] == [
        ("CUST", ("user_identities", "customer_id"), True),
        ("FirstName", ("user_attributes", "$firstname"), False),
        ("plan", ("user_attributes", "plan"), False),
    ]


def test_renaming_what_is_not_there_or_to_what_is_taken_is_refused() -> None:
    schema = pa.schema([("email", pa.string()), ("firstname", pa.string()), ("$firstname", pa.string())])
    with pytest.raises(MappingRefused) as refused:
        compile_user_mapping(
            schema,
            environment=Environment.PRODUCTION,
            on_null=NullPolicy.OMIT,
            iterator=None,
            rename={"firstname": "$firstname", "surname": "$lastname"},
        )
    assert "no column 'surname'" in str(refused.value)
    assert "all go to 'user_attributes.$firstname'" in str(refused.value)
