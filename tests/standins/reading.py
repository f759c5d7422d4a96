"""Read a query in a process of its own, and say how fast and in how much memory."""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

from shared.catalog import Connection
from shared.run import Window
from shared.settings import Settings
from shared.sql import windowed
from tests.standins.standin import Standin
from worker.warehouses.base import Label
from worker.warehouses.registry import open_warehouse

_BATCH_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading took; ``growth_mib`` is from the open and used session to the peak."""

    rows: int
    took_s: float
    peak_mib: float
    growth_mib: float


def read_apart(standin: Standin, model: str) -> Reading:
    """Read all rows of a model, and keep none. Linux only."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        return apart.submit(_read, standin.connection().model_dump_json(), dict(standin.variables()), model).result()


def _read(connection: str, variables: Mapping[str, str], model: str) -> Reading:
    os.environ.update(variables)
    pa.set_cpu_count(1)
    declared = Connection.model_validate_json(connection)
    with open_warehouse(declared, Settings(), label=Label("run apart")) as warehouse:
        query = windowed(model, dialect=warehouse.dialect, iterator=None, window=Window())
        warehouse.describe(query)
        before = _peak_mib()
        began = time.perf_counter()
        with warehouse.stream(query, batch_rows=_BATCH_ROWS) as stream:
            rows = sum(batch.num_rows for batch in stream)
        took_s = time.perf_counter() - began
        peak = _peak_mib()
    return Reading(rows, took_s, peak, peak - before)


def _peak_mib() -> float:
    # Not getrusage: a child's begins with what its parent held.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
