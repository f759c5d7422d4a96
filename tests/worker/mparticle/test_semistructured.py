import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import Environment, NullPolicy
from shared.columns import JSON
from shared.ledger import RejectCode
from shared.mapping.compile import compile_user_mapping
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder
from worker.mparticle.prepared import EncodedRows

PRETTY = """[
  "Home & Garden",
  "B\\u00fccher",
  "5\\" nails",
  undefined,
  null
]"""


def rows_of(*texts: str | None) -> Any:
    return pa.table({"email": ["a@x"] * len(texts), "a": pa.array(texts, JSON)})


def encoded(rows: Any, *, on_null: NullPolicy = NullPolicy.OMIT, checks: Checks | None = None) -> EncodedRows:
    plan = compile_user_mapping(rows.schema, environment=Environment.DEVELOPMENT, on_null=on_null, iterator=None)
    return Encoder(plan, checks=checks or Checks()).encode(rows, chunk_id="c")


def written(text: str | None) -> str | None:
    """Give what stands in the batch for one JSON text; None if nothing does."""
    result = encoded(rows_of(text))
    assert result.rejects == ()
    _, _, value = bytes(result.data).decode().partition('"user_attributes":{"a":')
    return value.removesuffix("}},") or None


def rejects_of(rows: Any, *, checks: Checks | None = None) -> list[tuple[int, RejectCode]]:
    return [(reject.row, reject.code) for reject in encoded(rows, checks=checks).rejects]


def test_an_array_over_several_lines_is_a_list() -> None:
    batch = json.loads(bytes(encoded(rows_of(PRETTY)).data).removesuffix(b","))
    assert batch["user_attributes"] == {"a": ["Home & Garden", "Bücher", '5" nails']}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"gold"', '"gold"'),
        ('""', '""'),
        (' "a\\/b" ', '"a/b"'),
        ("true", "true"),
        ("false", "false"),
        ("null", None),
        ("undefined", None),
        ("NaN", None),
        ("-inf", None),
        ("Infinity", None),
        ("[]", "[]"),
        ("[ ]", "[]"),
        ("[null, NaN]", "[]"),
        ("[true, 1.0 ,\n-0, 1e2, null]", "[true,1.0,-0,1e2]"),
        ("[undefined, 1.10]", "[1.10]"),
        ('["null", "a, b", "]", "NaN \\" inf", nan]', '["null","a, b","]","NaN \\" inf"]'),
    ],
)
def test_a_json_value_is_what_it_says(text: str, value: str | None) -> None:
    assert written(text) == value


@pytest.mark.parametrize(
    "digits",
    ["0", "-0", "1.10", "1E5", "-1.5e-07", "12345678901234567890123456789.00", "0.1000000000000000055511151231257827"],
)
def test_a_number_keeps_its_digits(digits: str) -> None:
    assert written(f"\n {digits} ") == digits
    assert written(f"[ {digits}, null ]") == f"[{digits}]"
    assert written(f'{{ "a" : {digits} }}') == json.dumps(f'{{"a":{digits}}}')


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{ }", "{}"),
        ('{"b": 1, "a": [ 1 , null ], "b": 2}', '{"b":1,"a":[1,null],"b":2}'),
        ('{"a b": " c\\n\\" ", "é": "\\u00e9"}', '{"a b":" c\\n\\" ","é":"\\u00e9"}'),
        ('[ {"a": null} , null ]', '[{"a":null},null]'),
        ("[[], 1.0]", "[[],1.0]"),
        ('{"a": undefined, "b": [NaN, -Infinity]}', '{"a":null,"b":[null,null]}'),
        ("[" * 600 + " " + "]" * 600, "[" * 600 + "]" * 600),
    ],
)
def test_objects_and_arrays_that_hold_compounds_are_their_text_and_nothing_is_left_out(
    text: str, document: str
) -> None:
    assert json.loads(written(text) or "") == document


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\0",
        "tru",
        "'a'",
        '"a\nb"',
        '"\\ud800"',
        "{",
        '{"a":1}}',
        "[1,]",
        "1 2",
        "01",
        "+1",
        "1e400",
        "undefined undefined",
        "[" * 1100 + "]" * 1100,
    ],
)
def test_what_is_no_json_rejects_its_row_alone_and_is_not_told(text: str) -> None:
    result = encoded(rows_of('"a"', text, None, "[1]"))
    (reject,) = result.rejects
    assert (reject.row, reject.code, reject.reason) == (1, RejectCode.INVALID_JSON, "column 'a': not JSON")
    assert result.rows.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("on_null", "attributes", "deleted"),
    [(NullPolicy.OMIT, None, None), (NullPolicy.NULL, {"a": None}, None), (NullPolicy.DELETE, None, ["a"])],
)
@pytest.mark.parametrize("text", [None, "null", "undefined"])
def test_json_null_is_sql_null(
    text: str | None, on_null: NullPolicy, attributes: dict[str, None] | None, deleted: list[str] | None
) -> None:
    full, empty = json.loads(b"[" + bytes(encoded(rows_of('"x"', text), on_null=on_null).data)[:-1] + b"]")
    assert full["user_attributes"] == {"a": "x"}
    assert empty.get("user_attributes") == attributes
    assert empty.get("deleted_user_attributes") == deleted


def test_the_limits_hold_for_json() -> None:
    texts = [
        json.dumps("é" * 4096),
        json.dumps("é" * 4097),
        json.dumps({"a": "é" * 4088}, ensure_ascii=False),
        json.dumps({"a": "é" * 4089}, ensure_ascii=False),
        json.dumps([1] * 1000 + [None]),
        json.dumps([1] * 1001),
        json.dumps(["é" * 512, 1]),
        json.dumps([1, "é" * 513]),
        json.dumps([[1] * 1001]),
        "1" + "0" * 300,
    ]
    assert rejects_of(rows_of(*texts)) == [
        (1, RejectCode.VALUE_TOO_LONG),
        (3, RejectCode.VALUE_TOO_LONG),
        (5, RejectCode.LIST_TOO_LONG),
        (7, RejectCode.LIST_ENTRY_TOO_LONG),
    ]
    shared = pa.DictionaryArray.from_arrays(pa.array([3, None, 7, 0, 7]), rows_of(*texts)["a"].combine_chunks())
    assert rejects_of(pa.table({"email": ["a@x"] * 5, "a": shared})) == [
        (0, RejectCode.VALUE_TOO_LONG),
        (2, RejectCode.LIST_ENTRY_TOO_LONG),
        (4, RejectCode.LIST_ENTRY_TOO_LONG),
    ]


def test_json_null_is_not_counted_as_an_attribute_and_large_batches_are_found() -> None:
    rows = rows_of("null", "1").append_column("b", pa.array([1, 1]))
    assert rejects_of(rows, checks=replace(Checks(), max_attributes=1)) == [(1, RejectCode.TOO_MANY_ATTRIBUTES)]
    text = json.dumps(["x" * 500] * 300)
    assert rejects_of(rows_of("1", text)) == [(1, RejectCode.BATCH_TOO_LARGE)]


def test_a_list_of_json_is_what_the_array_of_the_same_values_is() -> None:
    lists = [['"a"', None, "null", "1.50"], ["1", "{ }", None], [], None, ['"a"', "{"], ["1,2"], ["[1", "2]"]]
    rows = pa.table({"email": ["a@x"] * 7, "a": pa.array(lists, pa.list_(pa.string())).cast(pa.list_(JSON))})
    result = encoded(rows)
    batches = json.loads(b"[" + bytes(result.data)[:-1] + b"]")
    assert [batch.get("user_attributes") for batch in batches] == [
        {"a": ["a", 1.5]},
        {"a": "[1,{},null]"},
        {"a": []},
        None,
    ]
    assert [(reject.row, reject.code) for reject in result.rejects] == [
        (row, RejectCode.INVALID_JSON) for row in (4, 5, 6)
    ]


def test_json_inside_of_a_struct_stands_as_json() -> None:
    kind = pa.struct([("id", pa.int64()), ("j", pa.string())])
    structs = [
        {"id": 1, "j": '{ "x": [1.0, null] }'},
        {"id": 2, "j": "null"},
        {"id": 3, "j": None},
        None,
        {"id": 4, "j": "{"},
    ]
    values = pa.array(structs, kind).cast(pa.struct([("id", pa.int64()), ("j", JSON)]))
    result = encoded(pa.table({"email": ["a@x"] * 5, "a": values}))
    batches = json.loads(b"[" + bytes(result.data)[:-1] + b"]")
    assert [batch.get("user_attributes") for batch in batches] == [
        {"a": '{"id":1,"j":{"x":[1.0,null]}}'},
        {"a": '{"id":2,"j":null}'},
        {"a": '{"id":3,"j":null}'},
        None,
    ]
    assert [(reject.row, reject.code) for reject in result.rejects] == [(4, RejectCode.INVALID_JSON)]


def test_bytes_that_are_no_text_are_no_json() -> None:
    broken = pa.array([b'"\xff"', b'"a"'], pa.binary()).view(pa.string())
    rows = pa.table({"email": ["a@x", "b@x"], "a": broken.cast(JSON)})
    assert rejects_of(rows) == [(0, RejectCode.INVALID_JSON)]


def test_no_rows_and_only_nulls_are_fine() -> None:
    assert encoded(rows_of()).rows.tolist() == []
    assert encoded(rows_of(None, None)).rows.tolist() == [0, 1]
    nulls = pa.table({"email": ["a@x"], "a": pa.nulls(1, JSON)})
    assert encoded(nulls).rows.tolist() == [0]
