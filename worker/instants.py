"""When rows changed: an iterator column as instants, whatever the column holds (pure).

Instants are microseconds since 1970 in UTC. They only ever say which of two rows is newer, so a time that the column's
zone repeats counts as the first of the two, in every run alike; a date counts as where its day begins, as in windows.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, assert_never
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shared.catalog import IteratorType
from shared.iterator import instant_of
from shared.snapshot import FrozenIterator

Instants = npt.NDArray[np.int64]

UNKNOWN: Final = np.iinfo(np.int64).min
"""Stands for a row whose iterator is NULL: older than everything."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)
_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND
_DAY: Final = 86_400 * _SECOND
_FIRST: Final = (datetime(2, 1, 1, tzinfo=UTC) - _EPOCH) // _TICK
_LAST: Final = (datetime(9998, 12, 31, tzinfo=UTC) - _EPOCH) // _TICK
"""What lies beyond these, which a zone could move out of the calendar, counts as one of them."""
_PER_UNIT: Final = {"s": _SECOND, "ms": 1_000, "us": 1}


def instants_of(column: Any, iterator: FrozenIterator) -> Instants:
    """Give each row's instant, or ``UNKNOWN``; ``column`` is the iterator's ``pa.ChunkedArray``."""
    pieces = [_instants(piece, iterator) for piece in column.chunks]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)


def ticks(instant: datetime) -> int:
    """Give an instant as microseconds since 1970."""
    return (instant - _EPOCH) // _TICK


def to_datetimes(instants: Instants) -> list[datetime]:
    """Give instants, none of them ``UNKNOWN``, as datetimes in UTC."""
    return [at.replace(tzinfo=UTC) for at in instants.astype("datetime64[us]").tolist()]


def _instants(array: Any, iterator: FrozenIterator) -> Instants:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    absent = pc.is_null(array).to_numpy(zero_copy_only=False)
    instants = _ticks(array, iterator)
    instants[absent] = UNKNOWN
    return instants


def _ticks(array: Any, iterator: FrozenIterator) -> Instants:
    match iterator.type:
        case IteratorType.TIMESTAMP_TZ:
            return _counted(array)
        case IteratorType.TIMESTAMP_NTZ:
            return _local(_counted(array), ZoneInfo(iterator.zone))
        case IteratorType.DATE:
            return _days(_numbers(array.cast(pa.date32()).cast(pa.int32())), iterator)
        case IteratorType.UNIXTIME_MS:
            return _scaled(_numbers(array), 1_000)
        case IteratorType.UNIXTIME_S:
            return _scaled(_numbers(array), _SECOND)
        case IteratorType.TIMESTAMP:
            raise ValueError("a frozen iterator is decided: instants or local times")
        case _:
            assert_never(iterator.type)


def _counted(array: Any) -> Instants:
    counts = _numbers(array.cast(pa.int64()))
    if array.type.unit == "ns":
        return np.clip(counts // 1_000, _FIRST, _LAST)
    return _scaled(counts, _PER_UNIT[array.type.unit])


def _numbers(array: Any) -> Instants:
    try:
        counts: Instants = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    except pa.ArrowInvalid:
        # Some are beyond 64 bits, and so beyond any calendar.
        limits = np.iinfo(np.int64)
        whole = (int(number or 0) for number in array.to_pylist())
        return np.array([max(limits.min, min(number, limits.max)) for number in whole], dtype=np.int64)
    return counts


def _scaled(counts: Instants, per_unit: int) -> Instants:
    return np.clip(counts, _FIRST // per_unit, _LAST // per_unit) * per_unit


def _local(wall: Instants, zone: ZoneInfo) -> Instants:
    """Move local times to instants; clocks change at whole minutes, so that few distinct ones are asked for."""
    minutes, of_row = np.unique(wall // _MINUTE, return_inverse=True)
    offsets = [_offset(minute, zone) for minute in minutes.tolist()]
    return wall - np.array(offsets, dtype=np.int64)[of_row] if offsets else wall


def _offset(minute: int, zone: ZoneInfo) -> int:
    wall = (_EPOCH + timedelta(minutes=minute)).replace(tzinfo=zone)
    return (wall.utcoffset() or timedelta(0)) // _TICK


def _days(days: Instants, iterator: FrozenIterator) -> Instants:
    """Move dates to where their days begin, by the rule that windows have."""
    distinct, of_row = np.unique(np.clip(days, _FIRST // _DAY, _LAST // _DAY), return_inverse=True)
    dates = (date(1970, 1, 1) + timedelta(days=day) for day in distinct.tolist())
    begins = [ticks(instant_of(day, iterator.type, iterator.zone)) for day in dates]
    return np.array(begins, dtype=np.int64)[of_row]
