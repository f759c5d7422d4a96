"""Values as the server sends them to Arrow arrays, a column at a time (pure).

What Arrow's type can hold arrives exactly, years before 1 and after 9999 included. 'infinity' and '-infinity', which
only PostgreSQL has, arrive as the outermost value of their type.
"""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

Received = Sequence[Any]

_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01, from where the server counts, in microseconds since 1970."""
_MOST: Final = 2**63 - 1
_DATE: Final = re.compile(r"(\d+)-(\d\d)-(\d\d)( BC)?")
_OUTERMOST_DAYS: Final = {"infinity": 2**31 - 1, "-infinity": -(2**31)}
_DAYS_OF_400_YEARS: Final = 146_097


def numbers(received: Received, arrow_type: Any) -> pa.Array:
    """Give decimals of their text."""
    return pa.array(received, pa.string()).cast(arrow_type)


def dates(received: Received, arrow_type: Any) -> pa.Array:
    """Give dates of their ISO text."""
    texts = pa.array(received, pa.string())
    try:
        return texts.cast(arrow_type)
    except pa.ArrowInvalid:  # Arrow reads the years 0 to 9999 only.
        return pa.array([None if text is None else _days(text) for text in received], pa.int32()).cast(arrow_type)


def times(received: Received, arrow_type: Any) -> pa.Array:
    """Give times of their ISO text; 24:00:00 is the end of the day."""
    return pa.array([None if text is None else _microseconds(text) for text in received], pa.int64()).cast(arrow_type)


def timestamps(received: Received, arrow_type: Any) -> pa.Array:
    """Give timestamps of their microseconds since 2000."""
    counts = pa.array(received, pa.int64())
    fitting = pc.min_element_wise(counts, pa.scalar(_MOST - _EPOCH_US), skip_nulls=False)
    return pc.add(fitting, pa.scalar(_EPOCH_US)).cast(arrow_type)


def months(received: Received, arrow_type: Any) -> pa.Array:
    """Give intervals of their number of months."""
    return pa.array([None if count is None else pa.MonthDayNano([count, 0, 0]) for count in received], arrow_type)


def json_texts(received: Received, arrow_type: Any) -> pa.Array:
    """Give JSON of its text."""
    return pa.ExtensionArray.from_storage(arrow_type, pa.array(received, arrow_type.storage_type))


def bytes_of_hex(received: Received, arrow_type: Any) -> pa.Array:
    """Give bytes of their hexadecimal digits."""
    return pa.array([None if digits is None else bytes.fromhex(digits) for digits in received], arrow_type)


def _days(text: str) -> int:
    found = _DATE.fullmatch(text)
    if found is None:
        return _OUTERMOST_DAYS[text]
    year = 1 - int(found[1]) if found[4] else int(found[1])
    cycles, year_of_cycle = divmod(year, 400)
    # Python has no year 0, so a cycle's years are counted from 400, a leap year like each that begins a cycle.
    same_day = date(year_of_cycle + 400, int(found[2]), int(found[3]))
    return (same_day - date(1970, 1, 1)).days + (cycles - 1) * _DAYS_OF_400_YEARS


def _microseconds(text: str) -> int:
    hours, minutes, seconds = text.split(":")
    whole, _, fraction = seconds.partition(".")
    return ((int(hours) * 60 + int(minutes)) * 60 + int(whole)) * 1_000_000 + int(fraction.ljust(6, "0"))
