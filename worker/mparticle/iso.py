"""Dates, times and timestamps as ISO 8601 text."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pyarrow import types

from worker.mparticle.buffers import Bytes, Index, numbers
from worker.mparticle.columns import DAY_S, PER_S, iso_range
from worker.mparticle.digits import GROUPS, Counts, cut, field, lines

_DATE_CHARS: Final = len("2006-01-02")
_TIME_CHARS: Final = len("15:04:05")
_STEP: Final = 1000
_STEPS: Final = {"s": 0, "ms": 1, "us": 2, "ns": 3}
"""Groups of three sub-second digits."""
_WIDTH: Final = 32
_ERA_DAYS: Final = 146_097
_ERA_BEGAN: Final = 719_468
"""Days of the 400 years after which the calendar repeats, and from 0000-03-01 to 1970-01-01."""
_NEW_YEAR: Final = 306
"""Days from 1 March to 1 January."""

_MONTHS: Final = (31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29)
_MONTH_DAYS: Final = np.frombuffer(
    b"".join(
        b"-%02d-%02dT " % ((month + 2) % 12 + 1, day + 1) for month, days in enumerate(_MONTHS) for day in range(days)
    ),
    dtype=np.uint64,
)
"""``-MM-DDT`` of the days from 1 March on, so that 29 February is the last."""
_MINUTES: Final = np.frombuffer(
    b"".join(b"%02d:%02d:  " % divmod(minute, 60) for minute in range(1440)), dtype=np.uint64
)
_SECONDS: Final = np.frombuffer(b"".join(b"%02d" % second for second in range(60)), dtype=np.uint16)
_FIRST_DIGITS: Final = np.frombuffer(b"".join(b".%03d" % part for part in range(_STEP)), dtype=np.uint32)
_MORE_DIGITS: Final = np.frombuffer(b"".join(b"%03d " % part for part in range(_STEP)), dtype=np.uint32)


def iso_texts(values: Any) -> tuple[Any, Index]:
    """Write a date, time or timestamp array; what stands for values that ISO 8601 cannot write is arbitrary.

    Sub-second digits are written three at a time and none that are zero, so nothing is lost. A zone is not written.

    Returns:
        A pool, and the position in it of each value's text.
    """
    arrow_type = values.type
    counts = np.clip(numbers(values), *iso_range(arrow_type))
    target = lines(len(counts), _WIDTH)
    if types.is_date(arrow_type):
        _write_date(target, counts if types.is_date32(arrow_type) else counts // (DAY_S * PER_S["ms"]))
        return cut(target, 0, _DATE_CHARS)
    per_s = PER_S[arrow_type.unit]
    seconds = counts // per_s
    time_at = 0
    parts = counts - seconds * per_s
    if types.is_timestamp(arrow_type):
        days = seconds // DAY_S
        _write_date(target, days)
        seconds -= days * DAY_S
        time_at = _DATE_CHARS + 1
    return cut(target, 0, _write_time(target, seconds, parts.astype(np.int32), _STEPS[arrow_type.unit], at=time_at))


def _write_date(target: Bytes, days: Counts) -> None:
    """Find year and day of the year by the arithmetic of the proleptic Gregorian calendar, years beginning in March.

    Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    """
    shifted = days.astype(np.int32, copy=False) + np.int32(_ERA_BEGAN)
    era = shifted // _ERA_DAYS
    day = shifted - era * _ERA_DAYS
    year = (day - day // 1460 + day // 36_524 - day // (_ERA_DAYS - 1)) // 365
    day -= 365 * year + year // 4 - year // 100
    year += era * 400 + (day >= _NEW_YEAR)
    field(target, GROUPS.take(year), 0)
    field(target, _MONTH_DAYS.take(day), 4)


def _write_time(target: Bytes, seconds: Counts, parts: npt.NDArray[np.int32], steps: int, *, at: int) -> Index | int:
    """Write the time of day and as many steps of sub-second digits as the column needs; give where each text ends."""
    seconds = seconds.astype(np.int32, copy=False)
    minutes = seconds // 60
    field(target, _MINUTES.take(minutes), at)
    field(target, _SECONDS.take(seconds - minutes * 60), at + len("15:04:"))
    end = at + _TIME_CHARS
    if not parts.any():
        return end
    ends = np.full(len(target), end, dtype=np.int32)
    table, chars = _FIRST_DIGITS, len(".006")
    for step in range(steps):
        size = np.int32(_STEP ** (steps - step - 1))
        first = parts // size
        field(target, table.take(first), end)
        # A group counts if it or one behind it is not zero.
        ends += (parts > 0) * np.int32(chars)
        parts = parts - first * size
        end += chars
        table, chars = _MORE_DIGITS, len("006")
    return ends
