"""One process from Parquet to a receiver, against the floor: sending the same bodies when they are ready.

Both use the same client, the same bodies and the same number of requests in flight. The ratio says how much of what
the network stack alone could do is left after reading, mapping, checking and encoding.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import uvloop

from bench.encode import CHUNK_ID, CHUNK_ROWS, profiles
from bench.sink import sink
from shared.catalog import Environment, NullPolicy
from shared.mapping.compile import compile_user_mapping
from worker.mparticle.answers import Accepted
from worker.mparticle.bodies import body_bytes, pack
from worker.mparticle.check import Checks
from worker.mparticle.client import FeedClient, open_session
from worker.mparticle.encode import Encoder

_IN_FLIGHT: Final = 16
_MAX_BATCHES: Final = 100
_MAX_BYTES: Final = 256_000


def measure(rows: int, repetitions: int) -> dict[str, Any]:
    """Give rows per second and per CPU-second of this process, for the whole way and for the floor."""
    with tempfile.TemporaryDirectory() as folder, sink() as url:
        path = Path(folder) / "users.parquet"
        pq.write_table(profiles(rows, wide=False), path, row_group_size=100_000)
        ready = list(_bodies(path))
        whole: list[tuple[float, float]] = []
        floor: list[tuple[float, float]] = []
        for _ in range(repetitions):
            floor.append(_timed(url, iter(ready)))
            whole.append(_timed(url, _bodies(path)))
    result: dict[str, Any] = {"rows": rows, "bytes_per_row": round(sum(map(len, ready)) / rows)}
    for name, index in (("s", 0), ("cpu_s", 1)):
        whole_s = statistics.median(times[index] for times in whole)
        floor_s = statistics.median(times[index] for times in floor)
        result[f"rows_per_{name}"] = round(rows / whole_s)
        result[f"floor_rows_per_{name}"] = round(rows / floor_s)
        result[f"share_of_floor_{name}"] = round(floor_s / whole_s, 3)
    return result


def _bodies(path: Path) -> Iterator[bytes]:
    file = pq.ParquetFile(path)
    plan = compile_user_mapping(
        file.schema_arrow, environment=Environment.PRODUCTION, on_null=NullPolicy.OMIT, iterator=None
    )
    encoder = Encoder(plan, checks=Checks())
    position = 0
    for batch in file.iter_batches(batch_size=CHUNK_ROWS):
        encoded = encoder.encode(pa.Table.from_batches([batch]), chunk_id=CHUNK_ID, first_row=position)
        position += batch.num_rows
        for body in pack(encoded, max_batches=_MAX_BATCHES, max_events=_MAX_BATCHES, max_bytes=_MAX_BYTES):
            yield body_bytes(encoded, body)


def _timed(url: str, bodies: Iterator[bytes]) -> tuple[float, float]:
    began, cpu_began = time.perf_counter(), time.process_time()
    uvloop.run(_send(url, bodies))
    return time.perf_counter() - began, time.process_time() - cpu_began


async def _send(url: str, bodies: Iterator[bytes]) -> None:
    session = open_session(requests_in_flight=_IN_FLIGHT, timeout_s=60)
    client = FeedClient(session, base_url=url, api_key="key", api_secret="secret")  # noqa: S106 - the sink asks for none

    async def sender() -> None:
        for body in bodies:
            answer = await client.send(body)
            if not isinstance(answer, Accepted):
                raise TypeError(f"the sink answered {answer}")

    await asyncio.gather(*(sender() for _ in range(_IN_FLIGHT)))
    await session.close()
