"""Lists of structs as lists of objects of known fields: products, promotions, impressions.

The entries of all rows are one table, which is read, checked and written like rows are. JSON is parsed first; what it
says is then read as text is, so a number keeps its digits.
"""

import json
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import types

from shared.mapping.destinations import ValueType
from shared.mapping.meanings import is_json, is_list, unwrapped
from shared.mapping.plan import Leaf
from worker.mparticle.assemble import Put, Say, Texts, lay_out, place
from worker.mparticle.buffers import Index, Mask, both, texts, validity
from worker.mparticle.columns import Column, plain, spread
from worker.mparticle.needs import Fields, unmet
from worker.mparticle.outline import Shape, entry_layout, masks_of
from worker.mparticle.semistructured import parsed
from worker.mparticle.values import field_texts, runs

ReadMember = Callable[[Leaf, Any], Column]

_LISTED: Final = lay_out([Say(b"["), Put(0), Say(b"]")])


def objects(leaf: Leaf, array: Any, read: ReadMember) -> Column:
    """Read a column of lists as the entries' JSON; a list with an entry that breaks a rule is ``unfit``.

    NULL entries are left out; JSON's ``null`` in place of a list is NULL.

    Args:
        leaf: Its ``members`` say what an entry is made of, its ``needs`` what it must have.
        array: A list of structs, a list of JSON objects, or JSON that is an array of objects.
        read: Reads a member.
    """
    column = plain(array)
    if types.is_null(column.values.type):
        return column
    unfit: Mask | None = None
    codes: Index | None = None
    present = column.present
    if is_json(column.values.type) or (column.entries is not None and is_json(column.entries.values.type)):
        lists = _listed_texts(column) if column.entries is not None else column.values.storage.to_pylist()
        leaf = replace(leaf, members=tuple(_as_text(member) for member in leaf.members))
        structs, bounds, unfit, absent = _from_json(leaf, lists)
        present = column.rows(~absent) if absent.any() else present
    else:
        structs, codes, bounds = _entries(column)
    written, bad = _objects(leaf, structs, codes, read)
    if bad is not None:
        before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(bad)])
        broken = before[bounds[1:]] > before[bounds[:-1]]
        unfit = broken if unfit is None else unfit | broken
    pool, index = runs(*written, bounds)
    listed = place(_LISTED, [Texts(pool, index, None)], [], rows=len(bounds) - 1).gather()
    bad_rows = column.rows(unfit) if unfit is not None and unfit.any() else None
    return Column(texts(*listed), column.codes, present, bad_rows)


def why_no_objects(leaf: Leaf, arrow_type: Any) -> str | None:
    """Say why a column of ``arrow_type`` does not hold what ``leaf`` was planned for, or None if it may."""
    plain_type = unwrapped(arrow_type)
    listed = unwrapped(plain_type.value_type) if is_list(plain_type) else None
    if is_json(plain_type) or (listed is not None and is_json(listed)):
        return None
    if listed is None or not types.is_struct(listed):
        return "a list of structs is expected"
    absent = [member.column for member in leaf.members if listed.get_field_index(member.column.split(".")[0]) < 0]
    return f"its structs have no field {', '.join(absent)} any more" if absent else None


def _entries(column: Column) -> tuple[Any, Index | None, Index]:
    """Give the structs, which of them the entries are, and the bounds of the lists."""
    entries = column.entries
    assert entries is not None  # noqa: S101 - planning accepts lists only
    assert column.bounds is not None  # noqa: S101 - a list has bounds
    return entries.values, entries.codes, column.bounds


def _objects(leaf: Leaf, structs: Any, codes: Index | None, read: ReadMember) -> tuple[tuple[Any, Any], Mask | None]:
    """Write the struct at each of ``codes`` as an object behind a comma, and tell which break a rule."""
    members = list(leaf.members)
    count = len(structs) if codes is None else len(codes)
    columns: list[Column] = []
    for member in members:
        array, present = _member(structs, member.column)
        columns.append(read(member, array).where(present))
    if codes is not None:
        columns = [spread(column, codes) for column in columns]
    bad: Mask | None = None
    for column in columns:
        if column.unfit is not None:
            bad = column.unfit if bad is None else bad | column.unfit
    for finding in unmet(Fields(members, (), columns, rows=count), leaf.needs):
        bad = finding.rows if bad is None else bad | finding.rows
    written = [field_texts(member.value, column) for member, column in zip(members, columns, strict=True)]
    shapes = [Shape.of(text) for text in written]
    layout, derived = entry_layout([member.path for member in members], shapes)
    placed = place(layout, written, masks_of(derived, written), rows=count)
    return placed.gather(), bad


def _member(structs: Any, name: str) -> tuple[Any, Mask | None]:
    """Give a field of the structs, ``outer.inner`` being one of a struct in them, and where that struct is not NULL."""
    if structs.type.get_field_index(name) < 0 and "." in name:
        outer, _, inner = name.partition(".")
        nested = structs.field(outer)
        array, present = _member(nested, inner)
        return array, both(validity(nested), present)
    return structs.field(name), None


class _Number(str):
    """The digits of a number, as JSON had them."""

    __slots__ = ()


def _from_json(leaf: Leaf, lists: list[str | None]) -> tuple[Any, Index, Mask, Mask]:
    """Parse JSON arrays of objects.

    Returns:
        Their entries as structs of text, the bounds, which texts are no such arrays, and which are ``null``.
    """
    known = {member.column: member for member in leaf.members}
    entries: list[dict[str, Any]] = []
    bounds = [0]
    unfit, absent = np.zeros(len(lists), dtype=np.bool_), np.zeros(len(lists), dtype=np.bool_)
    for number, text in enumerate(lists):
        try:
            found = None if text is None else _array(text)
            absent[number] = found is None
            entries += [] if found is None else [_entry(one, known) for one in found if one is not None]
        except (TypeError, ValueError, RecursionError):
            unfit[number] = True
            del entries[bounds[-1] :]
        bounds.append(len(entries))
    arrays = [_member_array(member, entries) for member in leaf.members]
    names = [member.column for member in leaf.members]
    structs = pa.StructArray.from_arrays(arrays, names=names) if names else pa.array([{}] * len(entries), pa.struct([]))
    return structs, np.array(bounds, dtype=np.int32), unfit, absent


def _array(text: str) -> list[Any] | None:
    """Parse a JSON array, or ``null``; numbers keep their digits."""
    _, said = parsed(text.encode())
    listed = json.loads(said, parse_float=_Number, parse_int=_Number)
    if listed is not None and not isinstance(listed, list):
        raise TypeError
    return listed


def _entry(value: Any, known: Mapping[str, Leaf]) -> dict[str, Any]:
    """Give what an entry says by the members' names; it must be an object of nothing but members."""
    if not isinstance(value, dict):
        raise TypeError
    entry = dict(_flattened(value, known))
    for name, said in entry.items():
        if name not in known or (isinstance(said, dict | list) and known[name].value is not ValueType.OBJECTS):
            raise TypeError
        if known[name].has_any_name and not _is_flat(said):
            raise TypeError
    return entry


def _is_flat(said: Any) -> bool:
    return isinstance(said, dict) and not any(isinstance(inner, dict | list) for inner in said.values())


def _flattened(entry: dict[str, Any], known: Container[str]) -> Iterator[tuple[str, Any]]:
    """Give the members of an object; those of an object in it as ``outer.inner``."""
    for name, value in entry.items():
        if isinstance(value, dict) and name not in known:
            yield from ((f"{name}.{inner}", said) for inner, said in value.items() if said is not None)
        elif value is not None:
            yield name, value


def _member_array(member: Leaf, entries: list[dict[str, Any]]) -> Any:
    values = [entry.get(member.column) for entry in entries]
    if member.has_any_name:
        return pa.array([None if value is None else _written(value) for value in values], pa.binary())
    if member.value is ValueType.OBJECTS:
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.json_(pa.string()))
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _written(flat: dict[str, Any]) -> bytes:
    """Write an object of free names, with its values as text; ``null`` is left out."""
    return json.dumps({name: _text(value) for name, value in flat.items() if value is not None}).encode()


def _text(value: Any) -> str:
    """Write a scalar as text; what is none becomes a text that no typed field accepts."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return str(value)
        case _:
            return json.dumps(value)


def _as_text(member: Leaf) -> Leaf:
    """Give the member as it is read from JSON, where an instant is a count."""
    return replace(member, value=ValueType.INT64) if member.value is ValueType.EPOCH_MS else member


def _listed_texts(column: Column) -> list[str | None]:
    assert column.entries is not None  # noqa: S101 - told apart by the caller
    assert column.bounds is not None  # noqa: S101 - the same
    entries = column.entries.values.storage.to_pylist()
    if column.entries.codes is not None:
        entries = [entries[code] for code in column.entries.codes.tolist()]
    ends = column.bounds.tolist()
    return ["[" + ",".join(entries[first:end]) + "]" for first, end in pairwise(ends)]
