"""Reading 1M rows x 10 columns from every warehouse, through the vendor's own client, from its stand-in.

The figures are those of the client, our driver and the stand-in together, on one machine: they show that reading
streams, not what a vendor's service can do. Each result is read in a process of its own. Memory is its growth from the
open session to the peak, at a quarter of the rows and at all of them: where it is bounded, the two are alike. Linux
only.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tests.standins.reading import read_apart
from tests.standins.standin import Standin
from tests.standins.starting import standins_in

WAREHOUSES: Final = ("duckdb", "redshift", "snowflake", "bigquery", "databricks")
_ROWS: Final = 1_000_000


def measure() -> dict[str, Any]:
    """Give each warehouse's figures by its name."""
    results = {}
    with tempfile.TemporaryDirectory() as folder, standins_in(Path(folder)) as standins:
        for name in WAREHOUSES:
            results[name] = _one(standins[name])
    return results


def _one(standin: Standin) -> dict[str, Any]:
    found = {}
    for rows in (_ROWS // 4, _ROWS):
        standin.load("bench_users", users(rows))
        found[rows] = read_apart(standin, "SELECT * FROM bench_users")
    fewer, whole = found[_ROWS // 4], found[_ROWS]
    return {
        "rows": whole.rows,
        "rows_per_s": round(whole.rows / whole.took_s),
        "peak_mib": round(whole.peak_mib),
        "growth_mib": round(whole.growth_mib),
        "growth_mib_at_a_quarter": round(fewer.growth_mib),
    }


def users(rows: int) -> pa.Table:
    """Give users with ten columns, one of them the id, one the iterator."""
    numbers = pa.array(range(rows), pa.int64())
    text = numbers.cast(pa.string())
    return pa.table(
        {
            "customer_id": pc.binary_join_element_wise("customer-", text, ""),
            "email": pc.binary_join_element_wise("user", text, "@example.com", ""),
            "first_name": pc.binary_join_element_wise("First", _modulo(numbers, 1000), ""),
            "last_name": pc.binary_join_element_wise("Last", _modulo(numbers, 5000), ""),
            "age": _modulo(numbers, 90).cast(pa.int64()),
            "propensity": pc.divide(_modulo(numbers, 7919).cast(pa.float64()), 7919.0),
            "is_member": pc.equal(pc.bit_wise_and(numbers, 1), 0),
            "joined_on": _modulo(numbers, 2000).cast(pa.int32()).cast(pa.date32()),
            "favorite": pc.binary_join_element_wise("category ", _modulo(numbers, 3), ""),
            "updated_at": pc.add(pc.multiply(numbers, 1_000_000), 1_600_000_000_000_000).cast(pa.timestamp("us")),
        }
    )


def _modulo(numbers: pa.Array, divisor: int) -> pa.Array:
    whole = pc.multiply(pc.divide(numbers, divisor), divisor)
    return pc.subtract(numbers, whole).cast(pa.string())
