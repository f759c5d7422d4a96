"""Window bounds as Snowflake binds them on its side: a type and a text.

Written here rather than by the client, which would bind every datetime as TIMESTAMP_NTZ, a TIMESTAMP_TZ without its
offset, and count microseconds in floating point.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final, assert_never

from shared.sql import Bound

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_UTC_OFFSET: Final = 1440
"""An offset of zero minutes: offsets are sent plus one day."""


def bind(bound: Bound) -> tuple[str, str]:
    """Give a bound as the client takes it, in its column's own type where the value can be of that."""
    value = bound.value
    match value:
        case datetime():
            return _instant(value, bound.warehouse_type)
        case date():
            return "DATE", str((value - _EPOCH.date()) // timedelta(milliseconds=1))
        case int():
            return "FIXED", str(value)
        case _:
            assert_never(value)


def _instant(value: datetime, warehouse_type: str) -> tuple[str, str]:
    if value.tzinfo is None:
        return "TIMESTAMP_NTZ", _nanoseconds(value.replace(tzinfo=UTC))
    if warehouse_type.startswith("TIMESTAMP_TZ"):
        return "TIMESTAMP_TZ", f"{_nanoseconds(value)} {_UTC_OFFSET}"
    return "TIMESTAMP_LTZ", _nanoseconds(value)


def _nanoseconds(value: datetime) -> str:
    return str((value - _EPOCH) // _MICROSECOND * 1000)
