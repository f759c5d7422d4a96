"""What every warehouse promises about memory: four times the rows need hardly more of it."""

import sys
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.standins.reading import read_apart

FEWER, MORE = 80_000, 320_000
FILLING = 500
"""Bytes of a row: all rows together are then a multiple of what is allowed."""
SLACK_MIB = 40


def people(rows: int) -> pa.Table:
    numbers = pa.array(range(rows), pa.int64()).cast(pa.string())
    return pa.table({"customer_id": numbers, "note": pc.utf8_lpad(numbers, width=FILLING, padding="x")})


@pytest.mark.skipif(sys.platform == "darwin", reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_rows(subject: Any) -> None:
    growth = {}
    for rows in (FEWER, MORE):
        subject.load("people", people(rows))
        reading = read_apart(subject.standin, "SELECT customer_id, note FROM people")
        assert reading.rows == rows
        growth[rows] = reading.growth_mib
    assert growth[MORE] < growth[FEWER] + SLACK_MIB + subject.keeps_mib, growth
    assert growth[MORE] < 300
