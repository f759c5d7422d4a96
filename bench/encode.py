"""How many rows a second become batches, against the usual way: rows to dictionaries to ``json.dumps``.

Users at 12 and at 60 columns, and events at 12.

Both sides write the same batches, which is verified first by parsing them. The encoder also checks every row; the usual
way does not. Repetitions alternate between the two, on one core, and medians are compared.

Usage: python -m bench.encode [--rows N] [--repetitions N] [--json]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.catalog import Environment, NullPolicy
from shared.mapping.compile import compile_user_mapping
from shared.mapping.destinations import ValueType
from shared.mapping.plan import EVENT_DATA, EVENT_TIME, EVENT_TYPE, Constant, Leaf, MappingPlan, Need
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder

CHUNK_ID: Final = "6f1c2a52-8f4e-4a57-9a43-6f2f0a1f5d0b"
CHUNK_ROWS: Final = 10_000
SEED: Final = 20261123

UsualWay = Callable[[Any, str], bytes]


def profiles(rows: int, *, wide: bool) -> Any:
    """Make a table of 12 columns such as a user data model returns, or of 60."""
    random = np.random.default_rng(SEED)
    columns = _twelve(random, rows)
    for number in range(48 if wide else 0):
        columns[f"trait_{number:02}"] = _trait(random, rows, number)
    return pa.table(columns)


def purchases(rows: int) -> Any:
    """Make a table of 12 columns such as an event data model returns: whose, what, when, where, and six attributes."""
    random = np.random.default_rng(SEED)
    users = random.integers(0, max(1, rows // 5), rows)
    return pa.table(
        {
            "customer_id": pa.array([f"cus_{number:010}" for number in users.tolist()]),
            "email": pa.array([f"user.{number}@example.com" for number in users.tolist()]),
            "event_name": _names(random, rows, ("Purchase", "View product", "Search", "Add to basket", "Décision")),
            "happened_at": _times(random, rows),
            "os_version": _names(random, rows, ("17.1", "16.4.1", "14", "13")),
            "platform": _names(random, rows, ("iOS", "Android", "web")),
            "sku": pa.array([f"sku-{value:06}" for value in random.integers(0, 99_999, rows).tolist()]),
            "price": _money(random, rows),
            "quantity": pa.array(random.integers(1, 9, rows), mask=_nulls(random, rows, 0.1)),
            "is_gift": pa.array(random.random(rows) < 0.1),
            "coupon": pa.array([f"C{value}" for value in (users % 97).tolist()], mask=_nulls(random, rows, 0.7)),
            "score": pa.array(random.random(rows)),
        }
    )


PURCHASES: Final = MappingPlan(
    leaves=(
        Leaf("customer_id", ("user_identities", "customer_id"), ValueType.STRING, is_identity=True),
        Leaf("email", ("user_identities", "email"), ValueType.STRING, is_identity=True),
        Leaf("event_name", (*EVENT_DATA, "event_name"), ValueType.TEXT),
        Leaf("happened_at", EVENT_TIME, ValueType.EPOCH_MS),
        Leaf("os_version", ("device_info", "os_version"), ValueType.TEXT),
        Leaf("platform", ("device_info", "platform"), ValueType.CHOICE, choices=("iOS", "Android", "web")),
        *(
            Leaf(name, (*EVENT_DATA, "custom_attributes", name), ValueType.SCALAR)
            for name in ("sku", "price", "quantity", "is_gift", "coupon", "score")
        ),
    ),
    constants=(
        Constant(("environment",), "production"),
        Constant(EVENT_TYPE, "custom_event"),
        Constant((*EVENT_DATA, "custom_event_type"), "transaction"),
    ),
    on_null=NullPolicy.OMIT,
    needs=(Need(EVENT_DATA, ("event_name", "custom_event_type")),),
)
"""What becomes of the columns of ``purchases``."""


def usual_way_of_events(table: Any, chunk_id: str) -> bytes:
    """Write batches of one event each as most programs would."""
    batches = []
    for position, row in enumerate(table.to_pylist()):
        attributes = {
            name: _jsonable(row[name])
            for name in ("sku", "price", "quantity", "is_gift", "coupon", "score")
            if row[name] is not None
        }
        batches.append(
            json.dumps(
                {
                    "source_request_id": f"{chunk_id}:{position}",
                    "environment": "production",
                    "user_identities": {"customer_id": row["customer_id"], "email": row["email"]},
                    "device_info": {"os_version": row["os_version"], "platform": row["platform"]},
                    "events": [
                        {
                            "event_type": "custom_event",
                            "data": {
                                "custom_event_type": "transaction",
                                "event_name": row["event_name"],
                                "timestamp_unixtime_ms": round(row["happened_at"].timestamp() * 1000),
                                "custom_attributes": attributes,
                            },
                        }
                    ],
                }
            )
        )
    return ("[" + ",".join(batches) + "]").encode()


def usual_way(table: Any, chunk_id: str) -> bytes:
    """Write batches as most programs would: one dictionary a row."""
    batches = []
    for position, row in enumerate(table.to_pylist()):
        identities = {name: row[name] for name in ("customer_id", "email") if row[name] is not None}
        attributes = {
            name: _jsonable(value)
            for name, value in row.items()
            if name not in {"customer_id", "email"} and value is not None
        }
        batches.append(
            json.dumps(
                {
                    "source_request_id": f"{chunk_id}:{position}",
                    "environment": "production",
                    "user_identities": identities,
                    "user_attributes": attributes,
                }
            )
        )
    return ("[" + ",".join(batches) + "]").encode()


def measure(rows: int, repetitions: int) -> list[dict[str, Any]]:
    """Compare both ways for users at 12 and at 60 columns, and for events.

    Returns:
        For each: rows a second of both, their ratio, and the bytes of JSON a row.
    """
    results = []
    for wide in (False, True):
        table = profiles(rows, wide=wide)
        plan = compile_user_mapping(
            table.schema, environment=Environment.PRODUCTION, on_null=NullPolicy.OMIT, iterator=None
        )
        results.append({"of": "users", **_compared(table, plan, usual_way, repetitions)})
    results.append({"of": "events", **_compared(purchases(rows), PURCHASES, usual_way_of_events, repetitions)})
    return results


def _compared(table: Any, plan: MappingPlan, usually: UsualWay, repetitions: int) -> dict[str, Any]:
    encoder = Encoder(plan, checks=Checks())
    rows = table.num_rows
    chunks = [table.slice(start, CHUNK_ROWS).combine_chunks() for start in range(0, rows, CHUNK_ROWS)]
    size = _verify(encoder, chunks, usually)
    usual, encoded = [], []
    for _ in range(repetitions):
        usual.append(sum(_seconds(partial(usually, chunk, CHUNK_ID)) for chunk in chunks))
        encoded.append(sum(_seconds(partial(encoder.encode, chunk, chunk_id=CHUNK_ID)) for chunk in chunks))
    return {
        "columns": table.num_columns,
        "rows": rows,
        "bytes_per_row": round(size / rows),
        "usual_rows_per_s": round(rows / statistics.median(usual)),
        "encoder_rows_per_s": round(rows / statistics.median(encoded)),
        "ratio": round(statistics.median(usual) / statistics.median(encoded), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="encoder against the usual way, one core")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    results = measure(arguments.rows, arguments.repetitions)
    if arguments.json:
        print(json.dumps({"bench": "encode", "results": results}))
        return
    print(f"{'of':>8}{'columns':>8}{'B/row':>8}{'usual rows/s':>15}{'encoder rows/s':>17}{'ratio':>8}")
    for result in results:
        print(
            f"{result['of']:>8}{result['columns']:>8}{result['bytes_per_row']:>8}{result['usual_rows_per_s']:>15,}"
            f"{result['encoder_rows_per_s']:>17,}{result['ratio']:>8}"
        )


def _verify(encoder: Encoder, chunks: list[Any], usually: UsualWay) -> int:
    size = 0
    for chunk in chunks:
        encoded = encoder.encode(chunk, chunk_id=CHUNK_ID)
        if encoded.rejects or json.loads(b"[" + encoded.data[:-1] + b"]") != json.loads(usually(chunk, CHUNK_ID)):
            raise SystemExit("the encoder and the usual way disagree; nothing was measured")
        size += len(encoded.data)
    return size


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _jsonable(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case Decimal():
            return float(value)
        case _:
            return value


def _twelve(random: np.random.Generator, rows: int) -> dict[str, Any]:
    ids = random.permutation(rows * 7)[:rows].tolist()
    return {
        "customer_id": pa.array([f"cus_{number:010}" for number in ids]),
        "email": pa.array([f"user.{number}@example.com" for number in ids], mask=_nulls(random, rows, 0.03)),
        "$firstname": _names(random, rows, ("Zoë", "Jürgen", "Ana", "Mateusz", "Siobhán", "Lee", "O'Neil", "Ngozi")),
        "$city": _names(random, rows, ("Berlin", "São Paulo", "New York", "Kraków", "Lagos", "東京")),
        "age": pa.array(random.integers(18, 90, rows), mask=_nulls(random, rows, 0.1)),
        "lifetime_value": _money(random, rows),
        "churn_score": pa.array(random.random(rows)),
        "is_member": pa.array(random.random(rows) < 0.4),
        "last_order_at": _instants(random, rows),
        "birthday": pa.array(random.integers(0, 15_000, rows).astype(np.int32), mask=_nulls(random, rows, 0.2)).cast(
            pa.date32()
        ),
        "referrer": pa.array([f"https://shop.example.com/campaign/{number % 997}?src=mail" for number in ids]),
        "interests": _lists(random, rows),
    }


def _trait(random: np.random.Generator, rows: int, number: int) -> Any:
    match number % 6:
        case 0:
            return _names(random, rows, ("gold", "silver", "bronze", "none"))
        case 1:
            return pa.array(random.integers(0, 10_000, rows), mask=_nulls(random, rows, 0.15))
        case 2:
            return pa.array(random.random(rows).round(4))
        case 3:
            return pa.array(random.random(rows) < 0.5)
        case 4:
            return _instants(random, rows)
        case _:
            return pa.array([f"segment-{value:05}" for value in random.integers(0, 99_999, rows).tolist()])


def _names(random: np.random.Generator, rows: int, names: tuple[str, ...]) -> Any:
    return pa.array(names).take(pa.array(random.integers(0, len(names), rows)))


def _money(random: np.random.Generator, rows: int) -> Any:
    return pa.array((random.random(rows) * 5000).round(2)).cast(pa.decimal128(12, 2))


def _times(random: np.random.Generator, rows: int) -> Any:
    """Whole milliseconds, because floats of seconds do not keep others apart."""
    return pa.array(random.integers(1_600_000_000_000, 1_790_000_000_000, rows)).cast(pa.timestamp("ms", "UTC"))


def _instants(random: np.random.Generator, rows: int) -> Any:
    # Never whole milliseconds: the usual way writes six digits or none, the encoder as few as it can, three at a time.
    counts = random.integers(1_600_000_000_000, 1_790_000_000_000, rows) * 1000 + random.integers(1, 1000, rows)
    return pa.array(counts, mask=_nulls(random, rows, 0.1)).cast(pa.timestamp("us", "UTC"))


def _lists(random: np.random.Generator, rows: int) -> Any:
    bounds = np.concatenate([[0], np.cumsum(random.integers(0, 5, rows))]).astype(np.int32)
    entries = _names(random, int(bounds[-1]), ("running", "cooking", "jazz", "gardening", "chess", "sailing"))
    return pa.ListArray.from_arrays(pa.array(bounds), entries)


def _nulls(random: np.random.Generator, rows: int, share: float) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = random.random(rows) < share
    return mask


if __name__ == "__main__":
    main()
