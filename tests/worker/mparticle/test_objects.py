"""Lists of structs, and JSON arrays of objects, as the lists of products, promotions and impressions of an event."""

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.columns import JSON
from shared.mapping.destinations import ValueType
from shared.mapping.plan import Leaf, Need
from worker.mparticle.columns import Column
from worker.mparticle.read import read
from worker.mparticle.values import field_texts

PRODUCT = (
    Leaf("id", ("id",), ValueType.TEXT),
    Leaf("price", ("price",), ValueType.NUMBER),
    Leaf("count", ("quantity",), ValueType.INT64),
    Leaf("added", ("added_to_cart_time_ms",), ValueType.EPOCH_MS),
    Leaf("more.size", ("custom_attributes", "size"), ValueType.SCALAR),
)
PRODUCTS = Leaf("p", ("events", 0, "data", "products"), ValueType.OBJECTS, members=PRODUCT, needs=(Need((), ("id",)),))
IMPRESSIONS = Leaf(
    "i",
    ("events", 0, "data", "product_impressions"),
    ValueType.OBJECTS,
    members=(
        Leaf("list", ("product_impression_list",), ValueType.TEXT),
        Leaf("products", ("products",), ValueType.OBJECTS, members=PRODUCT, needs=(Need((), ("id",)),)),
    ),
)
STRUCT = pa.struct(
    [
        ("id", pa.string()),
        ("price", pa.float64()),
        ("count", pa.int64()),
        ("added", pa.timestamp("us", "UTC")),
        ("more", pa.struct([("size", pa.string())])),
    ]
)
UNFIT = object()
"""What stands for a value that rejects its row."""


def said(array: Any, leaf: Leaf = PRODUCTS) -> list[Any]:
    """Give what each row's list says; None where it is absent."""
    column: Column = read(leaf, array)
    found: list[Any] = []
    for row in range(len(array)):
        if column.present is not None and not column.present[row]:
            found.append(None)
        elif column.unfit is not None and column.unfit[row]:
            found.append(UNFIT)
        else:
            at = row if column.codes is None else column.codes[row]
            found.append(json.loads(column.values[int(at)].as_py()))
    texts = field_texts(leaf.value, column)
    assert (texts.opening, texts.closing) == (b"", b"")
    return found


def test_a_struct_is_an_object_of_its_fields_that_have_a_value() -> None:
    rows = [
        [
            {"id": 'a"', "price": 1.5, "count": 2, "added": 5_999, "more": {"size": "L"}},
            {"id": "b", "price": None, "count": None, "added": None, "more": {"size": None}},
        ],
        None,
        [],
        [None, {"id": "c", "more": None}, None],
    ]
    assert said(pa.array(rows, pa.list_(STRUCT))) == [
        [
            {
                "id": 'a"',
                "price": 1.5,
                "quantity": 2,
                "added_to_cart_time_ms": 5,
                "custom_attributes": {"size": "L"},
            },
            {"id": "b"},
        ],
        None,
        [],
        [{"id": "c"}],
    ]


SOME: list[Any] = [[{"id": "a", "price": 1.5}, {"id": "b"}], None, [None, {"id": "c"}], []]
SAID = [[{"id": "a", "price": 1.5}, {"id": "b"}], None, [{"id": "c"}], []]
LAYOUTS: dict[str, Any] = {
    "list": pa.array(SOME, pa.list_(STRUCT)),
    "large list": pa.array(SOME, pa.large_list(STRUCT)),
    "view": pa.array(SOME, pa.list_view(STRUCT)),
    "slice": pa.concat_arrays([pa.array([[{"id": "z"}]], pa.list_(STRUCT)), pa.array(SOME, pa.list_(STRUCT))])[1:],
    "dictionary": pa.DictionaryArray.from_arrays(
        pa.array([1, None, 2, 0], pa.int8()),
        pa.array([[], SOME[0], SOME[2]], pa.list_(STRUCT)),
    ),
    "text views inside": pa.array(
        [value and [one and {"price": None, "more": None, **one} for one in value] for value in SOME],
        pa.list_(
            pa.struct(
                [
                    ("id", pa.string_view()),
                    ("price", pa.float64()),
                    ("count", pa.int64()),
                    ("added", pa.timestamp("us")),
                    ("more", pa.struct([("size", pa.string_view())])),
                ]
            )
        ),
    ),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3, 4], pa.int32()), pa.array(SOME, pa.list_(STRUCT))),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_list_says_the_same_in_every_layout(layout: str) -> None:
    assert said(LAYOUTS[layout]) == SAID


def test_a_list_of_a_fixed_size_is_one_too() -> None:
    pairs = pa.array([[{"id": "a"}, None], None], pa.list_(STRUCT, 2))
    assert said(pairs) == [[{"id": "a"}], None]


def test_an_entry_without_what_it_needs_rejects_its_row_alone() -> None:
    rows = [[{"id": "a"}], [{"id": "a"}, {"price": 1.5}], [{"id": None}], [None], None]
    assert said(pa.array(rows, pa.list_(STRUCT))) == [[{"id": "a"}], UNFIT, UNFIT, [], None]


def test_a_value_in_an_entry_that_does_not_fit_rejects_its_row_alone() -> None:
    struct = pa.struct([("id", pa.string()), ("price", pa.string())])
    leaf = Leaf("p", ("x",), ValueType.OBJECTS, members=PRODUCT[:2])
    rows = [[{"id": "a", "price": "1.50"}], [{"id": "a", "price": "dear"}], [{"id": "b", "price": None}]]
    assert said(pa.array(rows, pa.list_(struct)), leaf) == [[{"id": "a", "price": 1.5}], UNFIT, [{"id": "b"}]]


def test_what_a_null_list_or_entry_still_holds_is_neither_sent_nor_judged() -> None:
    ids = pa.StructArray.from_arrays([pa.array(["a", None, "c"])], ["id"], mask=pa.array([False, True, False]))
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), ids, mask=pa.array([False, True]))
    leaf = Leaf("p", ("x",), ValueType.OBJECTS, members=PRODUCT[:1], needs=(Need((), ("id",)),))
    assert said(lists, leaf) == [[{"id": "a"}], None]


def test_impressions_hold_products_of_their_own() -> None:
    impression = pa.struct([("list", pa.string()), ("products", pa.list_(STRUCT))])
    rows = [
        [{"list": "home", "products": [{"id": "a", "more": {"size": "S"}}, None]}, {"list": "empty", "products": []}],
        [{"list": "none", "products": None}, None],
        [{"list": "bad", "products": [{"price": 1.5}]}],
        None,
    ]
    assert said(pa.array(rows, pa.list_(impression)), IMPRESSIONS) == [
        [
            {"product_impression_list": "home", "products": [{"id": "a", "custom_attributes": {"size": "S"}}]},
            {"product_impression_list": "empty", "products": []},
        ],
        [{"product_impression_list": "none"}],
        UNFIT,
        None,
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('[{"id":"a","price":1.50,"count":2}]', [{"id": "a", "price": 1.5, "quantity": 2}]),
        (
            ' [ {"id" : 7 , "more" : {"size": "L", "none": null}} , null ] ',
            [{"id": "7", "custom_attributes": {"size": "L"}}],
        ),
        ('[{"id":"a","added":1700000000000}]', [{"id": "a", "added_to_cart_time_ms": 1_700_000_000_000}]),
        ('[{"id":"\\u00e9\\n","unknown":null}]', [{"id": "é\n"}]),
        ('[{"id":"a","price":undefined}]', [{"id": "a"}]),
        ("[]", []),
        ("[null]", []),
        ("null", None),
        ("undefined", None),
        ('[{"id":"a","unknown":1}]', UNFIT),
        ('[{"price":1.5}]', UNFIT),
        ('[{"id":"a","count":1.5}]', UNFIT),
        ('[{"id":"a","price":"dear"}]', UNFIT),
        ('[{"id":["a"]}]', UNFIT),
        ('[{"id":{"a":1}}]', UNFIT),
        ('{"id":"a"}', UNFIT),
        ('"a"', UNFIT),
        ("7", UNFIT),
        ("[7]", UNFIT),
        ("[[]]", UNFIT),
        ('[{"id":"a"}', UNFIT),
        ("", UNFIT),
        ('[{"id":"\\ud800"}]', UNFIT),
        ("[" * 2_000 + "]" * 2_000, UNFIT),
    ],
)
def test_json_is_an_array_of_objects_or_rejects_its_row_alone(text: str, value: Any) -> None:
    around = '[{"id":"x"}]'
    found = said(pa.array([around, text, None, around], JSON))
    assert found == [[{"id": "x"}], value, None, [{"id": "x"}]]


def test_a_number_of_json_keeps_its_digits() -> None:
    column = read(PRODUCTS, pa.array(['[{"id":12345678901234567890.10,"price":0.10000000000000000001}]'], JSON))
    assert column.values[0].as_py() == b'[{"id":"12345678901234567890.10","price":0.10000000000000000001}]'


def test_a_list_of_json_objects_is_like_an_array_of_them() -> None:
    rows = pa.array([['{"id":"a"}', None, "null"], [], None, ['{"id":1}', "7"]], pa.list_(pa.string()))
    assert said(rows.cast(pa.list_(JSON))) == [[{"id": "a"}], [], None, UNFIT]


def test_impressions_of_json_hold_products_of_their_own() -> None:
    text = '[{"list":"home","products":[{"id":"a","price":1.0}]},{"list":"x","products":null}]'
    found = said(pa.array([text, '[{"list":"home","products":[{}]}]', '[{"products":7}]'], JSON), IMPRESSIONS)
    expected = [
        {"product_impression_list": "home", "products": [{"id": "a", "price": 1.0}]},
        {"product_impression_list": "x"},
    ]
    assert found == [expected, UNFIT, UNFIT]


def test_a_column_of_nothing_and_one_without_rows_are_empty() -> None:
    assert said(pa.nulls(2)) == [None, None]
    assert said(pa.array([], pa.list_(STRUCT))) == []
    assert said(pa.array([], JSON)) == []


ENTRY = st.none() | st.fixed_dictionaries(
    {
        "id": st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
        "price": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
        "count": st.none() | st.integers(-9, 9),
    }
)


@settings(deadline=None)
@given(st.lists(st.none() | st.lists(ENTRY, max_size=3), max_size=5))
def test_structs_and_json_of_the_same_values_say_the_same(rows: list[Any]) -> None:
    leaf = Leaf("p", ("x",), ValueType.OBJECTS, members=PRODUCT[:3], needs=(Need((), ("id",)),))
    kind = pa.struct([("id", pa.string()), ("price", pa.float64()), ("count", pa.int64())])
    structs = said(pa.array(rows, pa.list_(kind)), leaf)
    texts = said(pa.array([None if row is None else json.dumps(row) for row in rows], JSON), leaf)
    assert structs == texts
    names = {"id": "id", "price": "price", "count": "quantity"}
    assert structs == [
        None
        if row is None
        else [{names[name]: value for name, value in one.items() if value is not None} for one in row if one]
        for row in rows
    ]
