import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shared.catalog import Environment, NullPolicy
from shared.errors import ColumnMissing, MappingRefused
from shared.ledger import Reject, RejectCode
from shared.mapping.compile import compile_user_mapping
from shared.mapping.destinations import ValueType
from shared.mapping.plan import Leaf, MappingPlan
from worker.mparticle import assemble
from worker.mparticle.check import Checks
from worker.mparticle.columns import joined
from worker.mparticle.encode import Encoder
from worker.mparticle.prepared import EncodedRows


def encoder_for(rows: Any, *, on_null: NullPolicy = NullPolicy.OMIT, iterator: str | None = None) -> Encoder:
    plan = compile_user_mapping(rows.schema, environment=Environment.DEVELOPMENT, on_null=on_null, iterator=iterator)
    return Encoder(plan, checks=Checks())


def parsed(encoded: EncodedRows) -> Any:
    return json.loads(b"[" + bytes(encoded.data[:-1]) + b"]")


def test_a_row_is_written_as_one_eventless_batch() -> None:
    rows = pa.table(
        {
            "CUSTOMER_ID": [17],
            "mpid": pa.array(["-7402187391"]),
            "ios_idfv": ["68753A44-4D6F-1226-9C60-0050E4C00067"],
            "$FirstName": ["Zoë"],
            "score": [0.5],
            "vip": [True],
            "seen": pa.array([1_700_000_000_120_000], pa.timestamp("us", "UTC")),
            "likes": [["jazz", None, 'a "b"']],
            "nothing": pa.nulls(1),
        }
    )
    encoded = encoder_for(rows).encode(rows, chunk_id="c1", first_row=5)
    assert bytes(encoded.data).decode() == (
        '{"source_request_id":"c1:5","environment":"development","user_identities":{"customer_id":"17"},'
        '"mpid":-7402187391,"device_info":{"ios_idfv":"68753A44-4D6F-1226-9C60-0050E4C00067"},'
        '"user_attributes":{"$FirstName":"Zoë","score":0.5,"vip":true,"seen":"2023-11-14T22:13:20.120Z",'
        '"likes":["jazz","a \\"b\\""]}},'
    )


def test_ids_do_not_move_when_rows_are_rejected() -> None:
    rows = pa.table({"email": ["a@x", None, "c@x", "", "e@x"], "n": [1, 2, 3, 4, 5]})
    encoded = encoder_for(rows).encode(rows, chunk_id="c", first_row=100)
    assert [batch["source_request_id"] for batch in parsed(encoded)] == ["c:100", "c:102", "c:104"]
    assert encoded.rows.tolist() == [100, 102, 104]
    assert [(reject.row, reject.code) for reject in encoded.rejects] == [
        (101, RejectCode.NO_IDENTITY),
        (103, RejectCode.NO_IDENTITY),
    ]


def test_a_chunk_id_may_hold_any_character() -> None:
    rows = pa.table({"email": ["a@x"]})
    encoded = encoder_for(rows).encode(rows, chunk_id='"\\', first_row=0)
    assert parsed(encoded)[0]["source_request_id"] == '"\\:0'


@pytest.mark.parametrize(
    "rows", [pa.table({"email": pa.array([], pa.string())}), pa.schema([("email", pa.string())]).empty_table()]
)
def test_no_rows_give_no_batches(rows: Any) -> None:
    for given in (rows, pa.RecordBatch.from_pylist([], rows.schema)):
        encoded = encoder_for(rows).encode(given, chunk_id="c")
        assert len(encoded.data) == 0
        assert encoded.offsets.tolist() == [0]
        assert encoded.rows.tolist() == []
        assert encoded.rejects == ()


def test_only_bad_rows_give_no_batches() -> None:
    rows = pa.table({"email": pa.array([None, None], pa.string())})
    encoded = encoder_for(rows).encode(rows, chunk_id="c")
    assert encoded.offsets.tolist() == [0]
    assert [reject.row for reject in encoded.rejects] == [0, 1]


def test_many_rows_follow_in_order() -> None:
    count = 40_000
    emails = [f"{number}@x" for number in range(count)]
    emails[20_000] = emails[39_999] = ""
    rows = pa.table({"email": emails, "n": np.arange(count)})
    encoded = encoder_for(rows).encode(rows, chunk_id="c", first_row=7)
    batches = parsed(encoded)
    assert [batch["user_attributes"]["n"] for batch in batches] == [
        number for number in range(count) if number not in {20_000, 39_999}
    ]
    assert [batch["source_request_id"] for batch in batches] == [f"c:{row}" for row in encoded.rows]
    assert [reject.row for reject in encoded.rejects] == [20_007, 40_006]
    assert encoded.offsets[-1] == len(encoded.data)
    assert bytes(encoded.data[: encoded.offsets[1]]).endswith(b"},")


def test_a_table_and_its_record_batches_give_the_same_text() -> None:
    rows = pa.concat_tables([pa.table({"email": ["a@x", None]}), pa.table({"email": ["b@x"]})])
    encoder = encoder_for(rows)
    batches = rows.to_batches()
    parts = [
        encoder.encode(batches[0], chunk_id="c", first_row=0),
        encoder.encode(batches[1], chunk_id="c", first_row=2),
    ]
    assert b"".join(bytes(part.data) for part in parts) == bytes(encoder.encode(rows, chunk_id="c").data)


PIECES: dict[str, list[Any]] = {
    "text": [pa.array(["a", None]), pa.array([], pa.string()), pa.array(["b"])],
    "views": [pa.array(["a", None], pa.string_view()), pa.array(["b"], pa.string_view())],
    "json": [pa.array(['{"a":1}', None], pa.json_()), pa.array(["2"], pa.json_())],
    "uuids": [pa.array([b"x" * 16, None], pa.uuid()), pa.array([b"y" * 16], pa.uuid())],
    "dictionaries": [pa.array(["a", None]).dictionary_encode(), pa.array(["b", "a"]).dictionary_encode()],
    "dictionaries that hold a NULL": [
        pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["a", None])),
        pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array([None, "b"])),
    ],
    "dictionaries of views that hold a NULL": [
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None], pa.string_view())),
        pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array([None, "b"], pa.string_view())),
    ],
    "dictionaries of JSON": [
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["1", None], pa.json_())),
        pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array([None, '"b"'], pa.json_())),
    ],
    "runs": [
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", None])),
        pa.RunEndEncodedArray.from_arrays(pa.array([4], pa.int32()), pa.array(["b"])),
    ],
    "parts of runs": [
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 5], pa.int32()), pa.array(["a", None])).slice(1, 3),
        pa.RunEndEncodedArray.from_arrays(pa.array([4], pa.int32()), pa.array(["b"])).slice(3),
    ],
    "runs of JSON": [
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 5], pa.int32()), pa.array(["[1]", None], pa.json_())).slice(1),
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(['"x"'], pa.json_())),
    ],
    "runs of views": [
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"], pa.string_view())),
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([None], pa.string_view())),
    ],
}
PIECES["lists of runs of JSON"] = [
    pa.ListArray.from_arrays(pa.array([0, count, count], pa.int32()), runs, mask=pa.array([False, True]))
    for runs, count in zip(PIECES["runs of JSON"], [4, 2], strict=True)
]
PIECES["structs of dictionaries that hold a NULL"] = [
    pa.StructArray.from_arrays([piece], names=["b"]) for piece in PIECES["dictionaries that hold a NULL"]
]


def _runs_in_lists() -> Any:
    ids = pa.array([bytes(range(16)), bytes(range(1, 17))], pa.uuid())
    return pa.ListArray.from_arrays(pa.array([0, 1, 3]), pa.RunEndEncodedArray.from_arrays([2, 3], ids))


def _views_of_dictionaries() -> Any:
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["1", '"b"'], pa.json_()))
    return pa.ListViewArray.from_arrays(pa.array([0, 1]), pa.array([1, 2]), words)


PIECES |= {"lists of runs": [_runs_in_lists()] * 2, "views of dictionaries": [_views_of_dictionaries()] * 2}


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
def test_a_column_in_pieces_is_written_like_its_pieces(pieces: list[Any]) -> None:
    column = pa.chunked_array(pieces)
    assert len(joined(column)) == len(column)
    rows = pa.table({"email": ["a@x"] * len(column), "a": column})
    encoder = encoder_for(rows)
    written, first = [], 0
    for piece in pieces:
        one = pa.table({"email": ["a@x"] * len(piece), "a": piece})
        written.append(bytes(encoder.encode(one, chunk_id="c", first_row=first).data))
        first += len(piece)
    assert bytes(encoder.encode(rows, chunk_id="c").data) == b"".join(written)


def test_no_pieces_at_all_are_an_empty_column() -> None:
    assert len(joined(pa.chunked_array([], pa.json_()))) == 0


def test_columns_outside_the_plan_are_ignored() -> None:
    rows = pa.table({"email": ["a@x"], "Updated_At": pa.array([0], pa.timestamp("us"))})
    encoder = encoder_for(rows, iterator="UPDATED_AT")
    assert "user_attributes" not in parsed(encoder.encode(rows, chunk_id="c"))[0]


@pytest.mark.parametrize(
    ("on_null", "attributes", "deleted"),
    [
        (NullPolicy.OMIT, None, None),
        (NullPolicy.NULL, {"a": None, "b": None, "c": None}, None),
        (NullPolicy.DELETE, None, ["a", "b", "c"]),
    ],
)
def test_a_null_attribute_is_left_out_or_null_or_deleted(
    on_null: NullPolicy, attributes: dict[str, None] | None, deleted: list[str] | None
) -> None:
    rows = pa.table(
        {
            "email": ["a@x", "b@x"],
            "push_token": ["t", None],
            "a": pa.array([1, None]),
            "b": pa.array([True, None]),
            "c": pa.array([1.5, float("nan")]),
        }
    )
    full, empty = parsed(encoder_for(rows, on_null=on_null).encode(rows, chunk_id="c"))
    assert full["user_attributes"] == {"a": 1, "b": True, "c": 1.5}
    assert "deleted_user_attributes" not in full
    assert "device_info" not in empty
    assert empty.get("user_attributes") == attributes
    assert empty.get("deleted_user_attributes") == deleted


def test_a_missing_column_is_named_with_those_there_are() -> None:
    encoder = encoder_for(pa.table({"email": ["a@x"], "age": [1]}))
    with pytest.raises(ColumnMissing, match=r"'age'.*user_attributes\.age.*0 times.*\['email'\]"):
        encoder.encode(pa.table({"email": ["a@x"]}), chunk_id="c")


def test_a_column_that_is_there_twice_is_not_guessed() -> None:
    encoder = encoder_for(pa.table({"email": ["a@x"]}))
    twice = pa.Table.from_arrays([pa.array(["a@x"]), pa.array(["b@x"])], names=["email", "email"])
    with pytest.raises(ColumnMissing, match="2 times"):
        encoder.encode(twice, chunk_id="c")


def test_a_column_that_lost_its_meaning_is_refused() -> None:
    encoder = encoder_for(pa.table({"email": ["a@x"], "key": ["k"]}))
    with pytest.raises(MappingRefused, match="'key' has become binary"):
        encoder.encode(pa.table({"email": ["a@x"], "key": [b"k"]}), chunk_id="c")


def test_a_column_may_change_to_another_type_that_has_a_meaning() -> None:
    encoder = encoder_for(pa.table({"email": ["a@x"], "n": [1]}))
    for n in (pa.array(["one"]), pa.array([1.5]), pa.array([1])):
        batch = parsed(encoder.encode(pa.table({"email": ["a@x"], "n": n}), chunk_id="c"))[0]
        assert batch["user_attributes"]["n"] == n[0].as_py()


def test_every_character_survives() -> None:
    text = "".join(chr(number) for number in range(0x300)) + "\u2028\ufeff\uffff\U0001f600"
    rows = pa.table({"email": ["plain", text, "plain", text[:33], '"', "\\", ""], "t": [text] * 7})
    batches = parsed(encoder_for(rows).encode(rows, chunk_id="c"))
    assert [batch["user_identities"]["email"] for batch in batches] == rows["email"].to_pylist()[:6]
    assert all(batch["user_attributes"]["t"] == text for batch in batches)


def test_combinations_of_absent_columns_beyond_what_is_remembered_stay_right() -> None:
    names = [f"a{number}" for number in range(7)]
    encoder = encoder_for(pa.table({"email": ["x"], **{name: [1] for name in names}}))
    for number in range(2**7):
        there = [name for bit, name in enumerate(names) if number >> bit & 1]
        values = {name: pa.array([1 if name in there else None, 1], pa.int64()) for name in names}
        rows = pa.table({"email": ["x", "y"], **values})
        assert list(parsed(encoder.encode(rows, chunk_id="c"))[0].get("user_attributes", {})) == there


def test_text_beyond_arrows_usual_offsets_is_written_with_larger_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"email": ["a@x", None, "c@x"], "likes": [["a"], [], None], "n": [1, 2, 3]})
    usual = encoder_for(rows).encode(rows, chunk_id="c")
    monkeypatch.setattr(assemble, "OFFSET_MAX", 1)
    large = encoder_for(rows).encode(rows, chunk_id="c")
    assert bytes(large.data) == bytes(usual.data)
    assert large.offsets.tolist() == usual.offsets.tolist()


def test_a_plan_that_contradicts_itself_is_not_encoded() -> None:
    leaves = (
        Leaf("email", ("a",), ValueType.STRING, is_identity=True),
        Leaf("email", ("a", "b"), ValueType.STRING, is_identity=True),
    )
    encoder = Encoder(MappingPlan(leaves, (), NullPolicy.OMIT), checks=Checks())
    with pytest.raises(TypeError, match="'a' both as a field and as an object"):
        encoder.encode(pa.table({"email": ["a@x"]}), chunk_id="c")


def test_a_large_batch_is_rejected_alone() -> None:
    rows = pa.table({"email": ["a@x", "b@x", "c@x"], **{f"t{n}": ["x", "é" * 4096, "x"] for n in range(16)}})
    encoded = encoder_for(rows).encode(rows, chunk_id="c")
    assert encoded.rows.tolist() == [0, 2]
    assert encoded.rejects == (
        Reject(1, RejectCode.BATCH_TOO_LARGE, "the batch is larger than 128000 bytes, a batch's limit"),
    )
    assert [batch["source_request_id"] for batch in parsed(encoded)] == ["c:0", "c:2"]
