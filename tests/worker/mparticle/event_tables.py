"""Random plans of event pipelines, and tables of every Arrow type that their fields take."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from shared.catalog import NullPolicy
from shared.mapping.destinations import ValueType
from shared.mapping.plan import EVENT_DATA, EVENT_TYPE, Constant, Leaf, MappingPlan, Path
from tests.worker.mparticle import test_encode_oracle as attributes
from tests.worker.mparticle.event_fields import BATCH, COMMON, IDENTITIES, KINDS, Spot, needs_of
from tests.worker.mparticle.test_encode_oracle import (
    ANY_JSON,
    BLANK,
    FAMILIES,
    INSTANTS,
    JSON_SCALAR,
    MPIDS,
    NUMBERS,
    STRINGS,
    TEXT,
    TEXT_IDENTITIES,
    UUIDS,
    Build,
    hidden,
    integers,
    is_bare,
    lists,
    runs,
    shared,
    typed,
)

Column = tuple[Build, st.SearchStrategy[Any]]


class Made:
    """A plan and rows for it; Hypothesis warns of the length that both have when they are printed in full."""

    def __init__(self, plan: MappingPlan, table: Any) -> None:
        self.plan = plan
        self.table = table

    def __repr__(self) -> str:
        told = [f"{self.plan.on_null} {[(one.path[-1], one.value) for one in self.plan.constants]}"]
        for leaf in self.plan.leaves:
            # Arrow prints what Python has no value for, such as dates of the year 20000.
            values = " ".join(str(self.table.column(leaf.column)).split())
            kind = str(self.table.schema.field(leaf.column).type)
            told.append(f"{leaf.column} {leaf.value} {leaf.path} {leaf.event_types} {kind[:100]}: {values[:300]}")
        return "\n".join(told)


JSON_NUMBER = st.one_of(
    st.sampled_from(["0", "-0", "1.10", "1E5", "-1.5e-07", "1e+3", "123456789012345678901234567890"]),
    st.integers(-(10**6), 10**6).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map("{:f}".format),
)
NO_NUMBER = st.sampled_from(["", " 1", "1 ", "01", "+1", ".5", "1.", "NaN", "0x1F", "1,5", "one", "-", "\uff11", "1\n"])
TRUTH = st.sampled_from(["true", "False", "TRUE", "tRuE", "false"])
ADDRESS = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
NO_ADDRESS = st.sampled_from(["", "1.2.3", "300.1.1.1", "fe80::1%eth0", "::g", " 1.2.3.4", "1.2.3.4\n", "01.2.3.4"])
WHOLE = [
    *((typed(getattr(pa, f"int{bits}")()), integers(bits, signed=True)) for bits in (8, 16, 32, 64)),
    *((typed(getattr(pa, f"uint{bits}")()), integers(bits, signed=False)) for bits in (8, 16, 32)),
    (typed(pa.decimal128(18, 0)), attributes.decimals(pa.decimal128(18, 0))),
    shared(typed(pa.int64()), integers(64, signed=True)),
    runs(typed(pa.int32()), integers(32, signed=True)),
]
WIDE = [
    (typed(pa.uint64()), integers(64, signed=False)),
    (typed(pa.decimal128(38, 0)), attributes.decimals(pa.decimal128(21, 0))),
]
NUMERIC = [column for column in NUMBERS if column[0]([]).type not in {pa.bool_(), pa.bool8()}]
DATED = [column for column in INSTANTS if not pa.types.is_time(column[0]([]).type)]
NOTHING: list[Column] = [(lambda values: pa.nulls(len(values)), st.none())]


def texts(strategy: st.SearchStrategy[str]) -> list[Column]:
    """Give a strategy's texts in all of Arrow's layouts for them."""
    return [
        *((typed(kind), strategy) for kind in (pa.string(), pa.large_string(), pa.string_view())),
        (lambda values: pa.array(values, pa.string()).dictionary_encode(), strategy),
        shared(typed(pa.string()), strategy),
        runs(typed(pa.large_string()), strategy),
        (typed(pa.opaque(pa.string(), "name", "vendor")), strategy),
    ]


def with_others(columns: Sequence[Column]) -> list[Column]:
    """Add dictionaries and runs of the first, the middle and the last of some columns, and the type of NULLs."""
    some = [columns[0], columns[len(columns) // 2], columns[-1]]
    return [*columns, *(shared(*column) for column in some), *(runs(*column) for column in some), *NOTHING]


ANYTHING = [column for family in FAMILIES for column in family]
FIT: dict[ValueType, list[Column]] = {
    ValueType.TEXT: with_others([*STRINGS, *texts(TEXT), *NUMBERS, *INSTANTS]),
    ValueType.SCALAR: ANYTHING,
    ValueType.ATTRIBUTE: ANYTHING,
    ValueType.NUMBER: [*with_others(NUMERIC), *texts(JSON_NUMBER)],
    ValueType.INT64: [*with_others(WHOLE), *texts(integers(64, signed=True).map(str))],
    ValueType.BOOLEAN: [
        *with_others(
            [
                (typed(pa.bool_()), st.booleans()),
                *((typed(kind), st.integers(0, 1)) for kind in (pa.int8(), pa.uint64(), pa.decimal128(1, 0))),
                (
                    lambda values: pa.ExtensionArray.from_storage(pa.bool8(), pa.array(values, pa.int8())),
                    integers(8, signed=True),
                ),
            ]
        ),
        *texts(TRUTH),
    ],
    ValueType.EPOCH_MS: [*with_others(DATED), *WHOLE],
    ValueType.UUID: [
        *texts(st.uuids().map(str) | st.uuids().map(lambda one: str(one).upper())),
        STRINGS[6],
        *NOTHING,
    ],
    ValueType.IP: [*texts(ADDRESS), *NOTHING],
    ValueType.TEXTS: [
        *texts(TEXT),
        *(lists(*column, layout) for column in texts(TEXT)[:3] for layout in ("plain", "large", "view")),
        lists(*shared(typed(pa.string()), TEXT), "plain"),
        shared(*lists(typed(pa.string()), TEXT, "plain")),
    ],
    ValueType.STRING: TEXT_IDENTITIES,
}
"""Columns by what their field accepts, all or nearly all of whose values it does."""

UNFIT: dict[ValueType, list[Column]] = {
    ValueType.NUMBER: texts(JSON_NUMBER | NO_NUMBER),
    ValueType.INT64: [*WIDE, *MPIDS, *texts(NO_NUMBER | JSON_NUMBER)],
    ValueType.BOOLEAN: [
        *texts(TRUTH | st.sampled_from(["", "yes", "1", " true", "\u017false"])),
        (typed(pa.int64()), st.integers(-1, 2)),
        (typed(pa.decimal256(5, 0)), st.integers(-1, 2)),
    ],
    ValueType.EPOCH_MS: WIDE,
    ValueType.UUID: UUIDS,
    ValueType.IP: texts(ADDRESS | NO_ADDRESS),
}
"""Columns with values that their field refuses."""


@st.composite
def plans(draw: st.DrawFn, *, event_type: str | None = None) -> tuple[MappingPlan, dict[str, Column]]:
    """A plan for one type of event, or for several where a column says which, and a column for each of its leaves.

    ``event_type`` is the one of a constant; None leaves it open, and whether a column says it.
    """
    some = st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=4, unique=True)
    by_column = event_type is None and draw(st.integers(0, 2)) > 0
    event_types = tuple(draw(some)) if by_column else (event_type or draw(st.sampled_from(sorted(KINDS))),)
    fields: list[tuple[Spot, tuple[str, ...]]] = [
        (spot, ()) for spot in draw(st.lists(st.sampled_from(IDENTITIES), min_size=1, max_size=3, unique=True))
    ]
    fields += [(spot, ()) for spot in _some(draw, BATCH, 5)]
    for spot, only_for in _of_events(draw, event_types):
        fields.append((spot, () if len(only_for) == len(event_types) else only_for))
    if by_column:
        fields.append((Spot(EVENT_TYPE, ValueType.CHOICE, choices=tuple(KINDS)), ()))
    leaves, columns = [], {}
    constants = [Constant(("environment",), "production")]
    if not by_column:
        constants.append(Constant(EVENT_TYPE, event_types[0]))
    for number, (spot, only_for) in enumerate(draw(st.permutations(fields))):
        value = _constant(spot)
        if value is not None and not spot.is_identity and spot.path != EVENT_TYPE and draw(st.integers(0, 3)) == 0:
            constants.append(Constant(spot.path, value, event_types=only_for))
            continue
        name = f"c{number}"
        leaves.append(
            Leaf(
                name,
                spot.path,
                spot.value,
                is_identity=spot.is_identity,
                choices=spot.choices,
                event_types=only_for,
                members=spot.members,
                needs=spot.needs,
            )
        )
        words = st.sampled_from(event_types) if spot.path == EVENT_TYPE else None
        columns[name] = _column(draw, leaves[-1], words)
    policies = list(NullPolicy)
    if any(leaf.path == ("deleted_user_attributes",) for leaf in leaves):
        policies.remove(NullPolicy.DELETE)
    needs = needs_of(event_types, [leaf.path for leaf in leaves] + [constant.path for constant in constants])
    return MappingPlan(tuple(leaves), tuple(constants), draw(st.sampled_from(policies)), needs), columns


@st.composite
def event_tables(draw: st.DrawFn, *, event_type: str | None = None, most: int = 6) -> Made:
    """A plan, and a table of a few rows, in chunks, each a slice of something larger."""
    plan, columns = draw(plans(event_type=event_type))
    rows = draw(st.integers(0, most))
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    whole = before + rows + after
    arrays = {}
    for name, (build, strategy) in columns.items():
        sometimes = st.one_of(st.none(), strategy) if draw(st.integers(0, 5)) == 0 else strategy
        array = build(draw(st.lists(sometimes, min_size=whole, max_size=whole)))
        if array.null_count == 0 and is_bare(array.type) and draw(st.integers(0, 4)) == 0:
            array = hidden(array, draw(st.lists(st.booleans(), min_size=whole, max_size=whole)))
        arrays[name] = array.slice(before, rows)
    table = pa.table(arrays)
    if can_be_joined(table) and draw(st.booleans()):
        cut = draw(st.integers(0, rows))
        table = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    return Made(plan, table)


def _of_events(draw: st.DrawFn, event_types: tuple[str, ...]) -> list[tuple[Spot, tuple[str, ...]]]:
    """Choose fields of events, each with the types that have it, and no two of which are in each other's way."""
    chosen: dict[Path, tuple[Spot, list[str]]] = {}
    for spot in _some(draw, COMMON, 6):
        chosen[spot.path] = (spot, list(event_types))
    for event_type in event_types:
        kind = KINDS[event_type]
        others = _some(draw, kind.others, 5)
        if event_type == "commerce_event" and draw(st.integers(0, 5)):
            # Without an action the row has little to say.
            others = [kind.others[0], *others]
        for spot in (*kind.needed, *others):
            known, only_for = chosen.get(spot.path, (spot, []))
            if spot.value is known.value and not _clashes(spot.path, chosen):
                both = tuple(word for word in known.choices if word in spot.choices)
                chosen[spot.path] = (
                    replace(known, choices=both),
                    [*only_for, *([event_type] * (event_type not in only_for))],
                )
    return [(spot, tuple(only_for)) for spot, only_for in chosen.values()]


def _clashes(path: Path, chosen: dict[Path, Any]) -> bool:
    """Whether a field would be inside of another one, or around it."""
    return any(one != path and (one[: len(path)] == path or path[: len(one)] == one) for one in chosen)


def _some(draw: st.DrawFn, all_of: Sequence[Spot], most: int) -> list[Spot]:
    """Choose some fields, and with some of an object usually what it must have."""
    found = draw(st.lists(st.sampled_from(all_of), max_size=most, unique=True)) if all_of else []
    if draw(st.integers(0, 7)):
        tops = {spot.path[:-1] for spot in found if len(spot.path) > len(EVENT_DATA) + 1 or spot.path[0] != "events"}
        found += [spot for spot in all_of if spot.path[:-1] in tops and len(spot.path) > 1 and spot not in found]
    kept: dict[Path, Spot] = {}
    for spot in found:
        if not _clashes(spot.path, kept):
            kept[spot.path] = spot
    return list(kept.values())


def _constant(spot: Spot) -> str | bool | int | float | None:
    match spot.value:
        case ValueType.CHOICE:
            return spot.choices[-1]
        case ValueType.TEXT | ValueType.SCALAR | ValueType.ATTRIBUTE:
            return '"é"'
        case ValueType.BOOLEAN:
            return False
        case ValueType.INT64 | ValueType.EPOCH_MS:
            return 1_700_000_000_000
        case ValueType.NUMBER:
            return 1.25
        case _:
            return None


def _column(draw: st.DrawFn, leaf: Leaf, words: st.SearchStrategy[str] | None = None) -> Column:
    """Choose how a leaf's values are stored, and what they are."""
    is_clean = draw(st.integers(0, 7)) > 0
    if leaf.value is ValueType.CHOICE:
        fit = st.sampled_from(leaf.choices) if words is None else words
        return draw(st.sampled_from(texts(fit if is_clean else fit | st.sampled_from(["", "nonsense", "Purchase"]))))
    if leaf.value is ValueType.OBJECTS:
        return _entries(draw, leaf)
    kinds = FIT[leaf.value] if is_clean else UNFIT.get(leaf.value, FIT[leaf.value])
    return draw(st.sampled_from(kinds))


def _entries(draw: st.DrawFn, leaf: Leaf) -> Column:
    """Choose between lists of structs, JSON, and lists of JSON."""
    form = draw(st.sampled_from(["plain", "large", "view", "shared", "json", "list of json"]))
    if form == "json":
        return typed(pa.json_()), json_lists(leaf, is_clean=draw(st.integers(0, 3)) > 0)
    if form == "list of json":
        return lists(typed(pa.json_()), json_entries(leaf, is_clean=draw(st.integers(0, 3)) > 0), "plain")
    build, strategy = _structs(draw, leaf.members)
    if form == "shared":
        return shared(*lists(build, strategy, "plain"))
    # Arrow 26 cannot flatten list views of what holds extension types or runs.
    return lists(build, strategy, "large" if form == "view" and _is_odd(build([]).type) else form)


def _structs(draw: st.DrawFn, members: Sequence[Leaf]) -> Column:
    """Choose how structs of some members are stored; those named ``outer.inner`` are in a struct of their own."""
    own = [member for member in members if "." not in member.column]
    kinds = {member.column: _column(draw, member) for member in own}
    outer: dict[str, dict[str, Column]] = {}
    for member in members:
        if member not in own:
            top, _, inner = member.column.partition(".")
            outer.setdefault(top, {})[inner] = _column(draw, member)
    kinds |= {name: _struct_column(inner) for name, inner in outer.items()}
    return _struct_column(kinds)


def _struct_column(kinds: dict[str, Column]) -> Column:
    def build(values: list[Any]) -> Any:
        arrays = [one([None if value is None else value[name] for value in values]) for name, (one, _) in kinds.items()]
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(arrays, names=list(kinds), mask=mask)

    usually = {name: st.one_of(st.none(), strategy, strategy, strategy) for name, (_, strategy) in kinds.items()}
    return build, st.fixed_dictionaries(usually)


def _is_odd(kind: Any) -> bool:
    """Whether values of a type hold any that stand in an extension type, in runs or in a dictionary."""
    if pa.types.is_nested(kind):
        return any(_is_odd(kind.field(number).type) for number in range(kind.num_fields))
    return bool(
        isinstance(kind, pa.BaseExtensionType) or pa.types.is_run_end_encoded(kind) or pa.types.is_dictionary(kind)
    )


def can_be_joined(table: Any) -> bool:
    """Whether Arrow 26 joins the chunks of all columns; no warehouse's client makes such as it cannot."""
    return not any(
        (pa.types.is_nested(kind) and _is_odd(kind))
        or (pa.types.is_dictionary(kind) and (pa.types.is_nested(kind.value_type) or _is_odd(kind.value_type)))
        for kind in table.schema.types
    )


JSON_OF: dict[ValueType, st.SearchStrategy[str]] = {
    ValueType.TEXT: JSON_SCALAR,
    ValueType.NUMBER: JSON_NUMBER | JSON_NUMBER.map(json.dumps),
    ValueType.INT64: integers(64, signed=True).map(str),
    ValueType.EPOCH_MS: st.integers(0, 2**45).map(str),
    ValueType.BOOLEAN: st.sampled_from(["true", "false", '"TRUE"']),
}
"""The text of JSON that a member accepts."""


def json_lists(leaf: Leaf, *, is_clean: bool) -> st.SearchStrategy[str]:
    """Give arrays of objects as JSON text; with something wrong in some of them unless they are clean."""
    array = st.builds(attributes._array, st.lists(json_entries(leaf, is_clean=is_clean), max_size=3), BLANK)
    return array | st.just("null") if is_clean else array | ANY_JSON


def json_entries(leaf: Leaf, *, is_clean: bool) -> st.SearchStrategy[str]:
    """Give objects as JSON text."""
    own = {member.column: _json_member(member, is_clean=is_clean) for member in leaf.members}
    fields: dict[str, st.SearchStrategy[str]] = {name: value for name, value in own.items() if "." not in name}
    outer = {name.partition(".")[0] for name in own if "." in name}
    for top in outer:
        inner = {name.partition(".")[2]: value for name, value in own.items() if name.startswith(f"{top}.")}
        fields[top] = _json_object(inner)
    needed = {name for need in leaf.needs for name in need.fields} if is_clean else set()
    whole = _json_object(fields, needed)
    if is_clean:
        return st.one_of(whole, whole, whole, st.just("null"))
    return st.one_of(whole, whole, ANY_JSON, st.just('{"nobody knows": 1}'), st.just('{"price": "a lot"}'))


def _json_member(member: Leaf, *, is_clean: bool) -> st.SearchStrategy[str]:
    if member.value is ValueType.OBJECTS:
        return json_lists(member, is_clean=is_clean)
    value = JSON_OF[member.value]
    return value if is_clean else st.one_of(value, value, JSON_SCALAR, st.sampled_from(["[1]", '{"a":1}', "[]", '""']))


def _json_object(fields: dict[str, st.SearchStrategy[str]], needed: set[str] = frozenset()) -> st.SearchStrategy[str]:  # type: ignore[assignment]
    named = st.fixed_dictionaries(
        {name: value for name, value in fields.items() if name in needed},
        optional={name: value for name, value in fields.items() if name not in needed},
    )
    return st.builds(
        lambda members, blank: attributes._object(list(members), list(members.values()), blank), named, BLANK
    )
