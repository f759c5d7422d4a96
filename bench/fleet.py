"""The fleet: the whole Celery path with real PostgreSQL, real Valkey and real worker processes, into the stand-in.

Rows per CPU-second divides the rows by the CPU time that every process of ours spent on the run: all workers and beat.
The embedded servers' CPU time is told beside it. The stand-in's own is not counted: in life that is mParticle's.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import psutil

from console.operations import Operations
from sandbox import stack
from sandbox.postgres import Postgres
from sandbox.premises import Premises, prepare_premises
from sandbox.services import services_for
from sandbox.supervisor import Supervisor
from sandbox.valkey import Valkey
from shared import catalog
from shared.providers.duckdb import DuckDbConfig
from shared.run import Run, RunState

_OURS: Final = ("control", "extract", "upload", "extract-backfill", "upload-backfill", "beat")
_SIZE: Final = stack.Size(upload_processes=2)
FILE: Final = "SELECT * FROM mp.main.users"
PARQUET: Final = "SELECT * FROM 'users.parquet'"


def measure(rows: int, *, latency_s: float = 0.0, repetitions: int = 3, source: str = FILE) -> dict[str, Any]:
    """Sync ``rows`` users x 10 columns in full, several times, and give the median run's figures.

    The source is a table of a DuckDB file or a Parquet file. Memory is compared on Parquet: of its own files DuckDB
    keeps pages in memory, up to the connection's limit, so there the size of the file shows too.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        with services_for(home, {}) as services:
            premises = prepare_premises(home, services)
            build_users(premises.warehouse, rows=rows)
            operations = _declared(premises, source)
            programs = [
                premises.feed_program("--storing", "off"),
                *stack.workers(home, premises.environment, size=_SIZE),
            ]
            with Supervisor(home, programs) as supervisor:
                premises.ask("/faults", method="PUT", content={"delay_s": latency_s})
                results = [_one(premises, operations, supervisor) for _ in range(repetitions + 1)][1:]
            operations.close()
    return sorted(results, key=lambda result: result["rows_per_cpu_s"])[len(results) // 2]


def build_users(path: Path, *, rows: int) -> None:
    """Write a table of users with 10 columns, one of them the id, one the iterator."""
    with duckdb.connect(str(path)) as warehouse:
        warehouse.execute(
            "CREATE OR REPLACE TABLE users AS SELECT 'customer-' || i AS customer_id,"
            " 'user' || i || '@example.com' AS email, 'First' || i % 1000 AS \"$firstname\","
            " 'Last' || i % 5000 AS \"$lastname\", i % 90 AS age, round((i * 7919 % 1000) / 1000.0, 3) AS propensity,"
            " i % 2 = 0 AS is_member, DATE '2020-01-01' + (i % 2000)::INTEGER AS joined_on,"
            " ['books', 'music', 'toys'][1 + i % 3] AS favorite, $now::TIMESTAMP - INTERVAL 1 DAY AS updated_at"
            " FROM range($rows) t(i)",
            {"rows": rows, "now": datetime.now(UTC).replace(tzinfo=None)},
        )
        warehouse.execute(f"COPY users TO '{path.parent / 'users.parquet'}'")


def _declared(premises: Premises, source: str) -> Operations:
    operations = Operations(premises.settings())
    operations.migrate()
    folder = premises.warehouse.parent
    config = DuckDbConfig(folder=folder) if source == PARQUET else premises.connection().config
    for resource in (
        premises.feed(),
        catalog.Connection(id="sample", name="Sample", service_provider=catalog.ServiceProvider.DUCKDB, config=config),
        catalog.DataModel(id="users", name="Users", sql_query=source),
        premises.pipeline("fleet", catalog.Full()),
    ):
        operations.declare(resource)
    operations.lives.begin("fleet")
    return operations


def _one(premises: Premises, operations: Operations, supervisor: Supervisor) -> dict[str, Any]:
    servers = (Postgres(premises.home), Valkey(premises.home))

    def spent() -> dict[str, float]:
        ours = {name: supervisor.cpu_seconds(name) for name in _OURS}
        return ours | {"servers": sum(_tree_cpu_s(server.pid) for server in servers)}

    before = spent()
    run = _settled(operations)
    after = spent()
    used = {name: after[name] - before[name] for name in before}
    ours_s = sum(used[name] for name in _OURS)
    seconds = _seconds(run)
    return {
        "rows": run.ledger.accepted,
        "took_s": round(seconds, 2),
        "rows_per_s": round(run.ledger.accepted / seconds),
        "cpu_s": round(ours_s, 2),
        "rows_per_cpu_s": round(run.ledger.accepted / ours_s),
        "rows_per_cpu_s_with_servers": round(run.ledger.accepted / (ours_s + used["servers"])),
        "cpu_s_by_process": {name: round(value, 2) for name, value in used.items()},
        "peak_mib": {name: round(supervisor.peak_rss_bytes(name) / 2**20) for name in ("extract", "upload")},
        "mib_of_one_uploader": round(_largest(supervisor.pids("upload")) / 2**20),
    }


def _settled(operations: Operations) -> Run:
    (run_id,) = operations.trigger("fleet")
    run = operations.wait(run_id)
    if run.state is not RunState.SETTLED:
        raise RuntimeError(f"the run is {run.state}: {run.error}")
    return run


def _seconds(run: Run) -> float:
    if run.ended_at is None:
        raise RuntimeError("a settled run has ended")
    return (run.ended_at - run.created_at).total_seconds()


def _tree_cpu_s(pid: int | None) -> float:
    if pid is None:
        return 0.0
    root = psutil.Process(pid)
    return sum(sum(member.cpu_times()[:4]) for member in [root, *root.children(recursive=True)])


def _largest(pids: list[int]) -> int:
    return max(psutil.Process(pid).memory_info().rss for pid in pids)
