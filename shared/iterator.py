"""The iterator of a data model: which column it is, how it tells time, and where a window may end (pure).

A window's bounds are instants. The column holds instants, local times, dates or numbers, so a bound must be one that
the column can say exactly and only once: whole units, and never inside an hour that the column's zone repeats when
its clocks go back. ``floor_to_unit`` moves an instant down to such a place and never moves two instants past each
other, so a watermark made of its results does not go back.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, assert_never
from zoneinfo import ZoneInfo

import pyarrow as pa

from shared.catalog import IteratorType
from shared.columns import warehouse_type
from shared.errors import ColumnMissing, IteratorInvalid
from shared.moments import told_exactly

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)
_UNITS: Final = {
    IteratorType.UNIXTIME_S: timedelta(seconds=1),
    IteratorType.UNIXTIME_MS: timedelta(milliseconds=1),
    IteratorType.TIMESTAMP_TZ: _TICK,
}
_ORDERED: Final = (
    pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean,
    pa.types.is_timestamp, pa.types.is_date, pa.types.is_time,
)  # fmt: skip
_TEXTS: Final = ("CHAR", "STRING", "TEXT")
"""What the warehouses' words for types of text have in them; geographies, intervals and JSON arrive as text too."""


def find_iterator(schema: pa.Schema, column: str, declared: IteratorType) -> tuple[str, IteratorType]:
    """Give the iterator column as the result spells it, and how it tells time (never the undecided ``timestamp``).

    The exact spelling wins; otherwise case is ignored where that leaves one column, because warehouses fold it.

    Raises:
        ColumnMissing: the result has no such column, or several that differ only in case.
        IteratorInvalid: the column's type is not the declared one.
    """
    name = _spelled(list(schema.names), column, role="iterator column")
    return name, iterator_type_of(schema.field(name).type, declared, column=name)


def find_user_columns(schema: pa.Schema, columns: Sequence[str]) -> tuple[str, ...]:
    """Give the columns of ``one_row_per`` as the result spells them, each once, by the rule of ``find_iterator``.

    Raises:
        ColumnMissing: the result has no such column, or several that differ only in case.
    """
    names = list(schema.names)
    return tuple(dict.fromkeys(_spelled(names, column, role="one_row_per: column") for column in columns))


def find_row_key(schema: pa.Schema, column: str) -> str:
    """Give the column that tells a row from every other as the result spells it, by the rule of ``find_iterator``.

    Raises:
        ColumnMissing: as ``find_iterator`` does.
    """
    return _spelled(list(schema.names), column, role="row_key: column")


def tie_breakers(schema: pa.Schema, *, besides: Collection[str]) -> tuple[str, ...]:
    """Give the columns, but for ``besides``, that every warehouse can order rows by, in the result's own order.

    Those are numbers, texts, times and booleans. Nested and semi-structured values and geographies are not: some
    warehouses refuse to order them, even where they arrive as text.
    """
    return tuple(field.name for field in schema if field.name not in besides and _has_an_order(field))


def iterator_type_of(arrow_type: Any, declared: IteratorType, *, column: str) -> IteratorType:
    """Give how a column of this Arrow type tells time, if that is what was declared.

    Raises:
        IteratorInvalid: it is not; the message says what to declare or to cast.
    """
    found = _natures(arrow_type)
    if declared in found:
        return declared
    if declared is IteratorType.TIMESTAMP and pa.types.is_timestamp(arrow_type):
        return found[0]
    cure = (
        f"declare {' or '.join(repr(nature.value) for nature in found)}"
        if found
        else "cast it in the data model, e.g. CAST(... AS TIMESTAMP)"
    )
    raise IteratorInvalid(
        f"iterator column {column!r} is declared {declared.value!r}, but the warehouse returns {arrow_type}; {cure}"
    )


def floor_to_unit(instant: datetime, kind: IteratorType, zone: str) -> datetime:
    """Move an instant down to the nearest one that a column of this type can say exactly and only once, in UTC.

    A date's unit is the day of its zone, so a window over dates never reaches into today. A zone-less time inside an
    hour that its zone repeats goes down to where that hour first begins; no later place is unambiguous.

    Raises:
        ValueError: the instant is naive, or the type is the undecided ``timestamp``.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant has a zone; this one is naive")
    moment = instant.astimezone(UTC)
    match kind:
        case IteratorType.DATE:
            return _day_begins_before(moment, ZoneInfo(zone))
        case IteratorType.TIMESTAMP_NTZ:
            return _before_repetition(moment, ZoneInfo(zone))
        case IteratorType.TIMESTAMP_TZ | IteratorType.UNIXTIME_MS | IteratorType.UNIXTIME_S:
            return moment - (moment - _EPOCH) % _UNITS[kind]
        case IteratorType.TIMESTAMP:
            raise ValueError("decide whether the column holds instants or local times first: find_iterator")
        case _:
            assert_never(kind)


def bound_value(instant: datetime, kind: IteratorType, zone: str) -> datetime | date | int:
    """Give a window's bound as the column's own kind of value.

    An aware datetime (UTC) for instants, a naive one local to ``zone`` for zone-less times, a date, or the number of
    seconds or milliseconds since 1970.

    Raises:
        ValueError: the column cannot say this instant exactly and only once; floor it first.
    """
    if floor_to_unit(instant, kind, zone) != instant:
        raise ValueError(f"{told_exactly(instant)} is not a whole unit of a {kind.value} column in {zone}; floor it")
    match kind:
        case IteratorType.DATE:
            return _day_of_beginning(instant, ZoneInfo(zone))
        case IteratorType.TIMESTAMP_NTZ:
            return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
        case IteratorType.UNIXTIME_MS | IteratorType.UNIXTIME_S:
            return (instant - _EPOCH) // _UNITS[kind]
        case _:
            return instant.astimezone(UTC)


def instant_of(value: datetime | date | int | Decimal, kind: IteratorType, zone: str) -> datetime:
    """Give the instant (UTC) that a value of an iterator column means: what ``bound_value`` undoes.

    A later value never means an earlier instant. Where a zone-less time comes twice, the first is meant; one that its
    zone's clocks skip is the last moment before the change. A date is the beginning of its day. What lies outside of
    the years 1 to 9999 is the nearest instant inside.

    Raises:
        ValueError: the value is not of the column's kind, or the type is the undecided ``timestamp``.
    """
    try:
        match kind, value:
            case IteratorType.TIMESTAMP_TZ, datetime(tzinfo=tzinfo) if tzinfo is not None:
                return value.astimezone(UTC)
            case IteratorType.TIMESTAMP_NTZ, datetime(tzinfo=None):
                return _first_said(value, ZoneInfo(zone))
            case IteratorType.DATE, date() if not isinstance(value, datetime):
                return _day_begins(value, ZoneInfo(zone))
            case ((IteratorType.UNIXTIME_MS | IteratorType.UNIXTIME_S), (int() | Decimal())):
                return _EPOCH + int(value) * _UNITS[kind]
    except OverflowError:
        is_early = value.year == 1 if isinstance(value, date) else value < 0
        return _FIRST if is_early else _LAST
    raise ValueError(f"a {kind.value} column does not hold a {type(value).__name__} like this")


def _spelled(names: Sequence[str], column: str, *, role: str) -> str:
    """Find a column as the result spells it; ``role`` begins the sentence where there is none, or several."""
    found = [name for name in names if name == column] or [
        name for name in names if name.casefold() == column.casefold()
    ]
    if not found:
        raise ColumnMissing(f"{role} {column!r} is not in the data model's result; its columns are {', '.join(names)}")
    if len(found) > 1:
        raise ColumnMissing(
            f"{role} {column!r} could be any of {', '.join(found)}; spell it as one of them, "
            "or give the columns of the data model different names"
        )
    return found[0]


def _has_an_order(field: Any) -> bool:
    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        return any(word in warehouse_type(field).upper() for word in _TEXTS)
    return any(is_such(field.type) for is_such in _ORDERED)


def _natures(arrow_type: Any) -> tuple[IteratorType, ...]:
    """Give what a column of this type may be declared as."""
    if pa.types.is_timestamp(arrow_type):
        return (IteratorType.TIMESTAMP_NTZ,) if arrow_type.tz is None else (IteratorType.TIMESTAMP_TZ,)
    if pa.types.is_date(arrow_type):
        return (IteratorType.DATE,)
    if pa.types.is_integer(arrow_type) or (pa.types.is_decimal(arrow_type) and arrow_type.scale == 0):
        return (IteratorType.UNIXTIME_MS, IteratorType.UNIXTIME_S)
    return ()


def _day_begins(day: date, zone: ZoneInfo) -> datetime:
    # Where midnight comes twice, the day begins for us at the second: rows of the day before may be dated until then.
    # Where the clocks skip it, at the change, for the same reason; so does a day that is skipped whole.
    midnight = datetime.combine(day, time(), zone)
    first, second = (midnight.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return second if second >= first else _change_within(second, first, zone)


def _day_begins_before(moment: datetime, zone: ZoneInfo) -> datetime:
    # A local date is a day off at most: by a repeated midnight, or by a midnight that the zone's clocks skip.
    today = moment.astimezone(zone).date()
    return max(
        begins
        for begins in (_day_begins(today + timedelta(days=days), zone) for days in (-2, -1, 0, 1))
        if begins <= moment
    )


def _day_of_beginning(instant: datetime, zone: ZoneInfo) -> date:
    today = instant.astimezone(zone).date()
    return max(
        day
        for day in (today + timedelta(days=days) for days in (-1, 0, 1))
        if _day_begins(day, zone) == instant.astimezone(UTC)
    )


def _first_said(local: datetime, zone: ZoneInfo) -> datetime:
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    # The other way round only for times that the clocks skip: nobody said them, so they are where the clocks were.
    return first if first <= second else _change_within(second, first, zone) - _TICK


def _before_repetition(moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone)
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first >= second:  # Equal outside of changes; the other way round only for times that the clocks skip.
        return moment
    length = second - first
    changes = _change_within(first, second, zone)
    return changes - length


def _change_within(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Find the instant in ``(before, after]`` from which the zone's clocks are set differently."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > _TICK:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after
