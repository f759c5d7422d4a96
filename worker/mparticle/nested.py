"""Structs, maps and lists of them as their JSON text.

A user attribute holds no object, so such a value is sent as a string of JSON. Nothing is left out of it: a NULL inside
is ``null``. JSON inside stands as it is.
"""

from dataclasses import replace
from typing import Any

import pyarrow as pa
from pyarrow import types

from shared.mapping.meanings import is_compound, is_json
from worker.mparticle.assemble import Placed, Put, Say, Texts, lay_out, place
from worker.mparticle.buffers import offsets, texts
from worker.mparticle.columns import plain, unlisted
from worker.mparticle.escape import quoted
from worker.mparticle.semistructured import compact
from worker.mparticle.values import json_texts, runs


def documents(array: Any) -> Any:
    """Write every value of a struct, map or list array as JSON; what stands for a NULL value is arbitrary.

    Returns:
        A string array of the same length. ``semistructured.NO_JSON`` is in those texts, and only in those, in which
        something was to be JSON and is none.
    """
    if types.is_struct(array.type):
        placed = _objects(array)
    elif types.is_map(array.type):
        placed = _maps(array)
    else:
        placed = _lists(array)
    bounds, content = placed.gather()
    return texts(bounds, content).cast(pa.string())


def _objects(array: Any) -> Placed:
    children = [_child(array.field(number)) for number in range(array.type.num_fields)]
    parts: list[Say | Put] = [Say(b"{")]
    for number, field in enumerate(array.type):
        parts.append(Say((b"," if number else b"") + quoted(field.name) + b":"))
        parts += _parts(number, children[number])
    return _placed([*parts, Say(b"}")], children, len(array))


def _lists(array: Any) -> Placed:
    bounds, flat = unlisted(array)
    entries = [_child(flat)]
    written = _placed([Say(b","), *_parts(0, entries[0])], entries, len(flat)).gather()
    pool, index = runs(*written, bounds)
    return _placed([Say(b"["), Put(0), Say(b"]")], [Texts(pool, index, None)], len(array))


def _maps(array: Any) -> Placed:
    bounds = offsets(array)
    first, count = int(bounds[0]), int(bounds[-1] - bounds[0])
    keys = json_texts(plain(array.keys.slice(first, count)))
    entries = [
        replace(keys, opening=keys.opening or b'"', closing=keys.closing or b'"'),
        _child(array.items.slice(first, count)),
    ]
    parts = [Say(b","), *_parts(0, replace(entries[0], present=None)), Say(b":"), *_parts(1, entries[1])]
    pool, index = runs(*_placed(parts, entries, count).gather(), bounds - bounds[0])
    return _placed([Say(b"{"), Put(0), Say(b"}")], [Texts(pool, index, None)], len(array))


def _child(array: Any) -> Texts:
    column = plain(array)
    if is_compound(column.values.type):
        pool = documents(column.values).cast(pa.binary())
        return Texts(pool, column.codes, column.present)
    return json_texts(compact(column) if is_json(column.values.type) else column)


def _parts(number: int, column: Texts) -> list[Say | Put]:
    if column.present is None:
        return [Say(column.opening), Put(number), Say(column.closing)]
    when = (number,)
    return [Say(column.opening, when), Put(number), Say(column.closing, when), Say(b"null", unless=when)]


def _placed(parts: list[Say | Put], columns: list[Texts], rows: int) -> Placed:
    return place(lay_out(parts), columns, [column.present for column in columns], rows=rows)
