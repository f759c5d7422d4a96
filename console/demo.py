"""``warehouse-sync demo``: a full and an incremental sync of sample data on this machine, checked on both sides."""

import json
import secrets
import shutil
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from console import verdict
from console.here import client_here
from console.operations import Operations
from console.progress import follow, ledger_table
from console.shapes.reconstructed import RunShape
from sandbox import stack
from sandbox.child import Program
from sandbox.demo import build_warehouse, change_users
from sandbox.home_keys import PUBLIC_KEY
from sandbox.premises import UNLIMITED, Premises, prepare_premises
from sandbox.services import running_services, services_for
from sandbox.supervisor import Supervisor
from shared import endpoints
from shared.errors import MoveNotAllowed
from shared.run import RunId


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo's user may choose."""

    users: int
    quota: float | None
    keep: bool
    as_json: bool


def run_demo(home: Path, environment: Mapping[str, str], options: Options) -> bool:
    """Show both syncs and say whether every count agrees.

    Raises:
        MoveNotAllowed: a demo is still running in this home.
        ServiceUnavailable: a server or a worker does not start.
    """
    screen = Console(stderr=options.as_json)
    place = home.expanduser().resolve() / "demo"
    if running_services(place) is not None:
        raise MoveNotAllowed(f"a demo is still running in {place}; end it first (Ctrl-C in its terminal)")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    screen.print(f"[bold]1/5[/] PostgreSQL and Valkey start in {place}")
    with services_for(place, environment) as services:
        premises = prepare_premises(place, services)
        endpoints.record(
            place,
            database_url=services.database_url,
            broker_url=services.broker_url,
            public_key=premises.environment[PUBLIC_KEY],
        )
        demo = _Demo(premises, options, screen)
        try:
            return demo.show()
        finally:
            demo.close()
            endpoints.forget(place)


class _Demo:
    def __init__(self, premises: Premises, options: Options, screen: Console) -> None:
        self._premises = premises
        self._options = options
        self._screen = screen
        self._pipeline = f"demo-{secrets.token_hex(4)}"
        self._operations = Operations(premises.settings())
        self._client = client_here(premises.settings())

    def close(self) -> None:
        self._client.close()
        self._operations.close()

    def show(self) -> bool:
        """Run all steps and print what they came to."""
        users, warehouse = self._options.users, self._premises.warehouse
        self._screen.print(f"[bold]2/5[/] a warehouse of {users:,} users is built: {warehouse}")
        build_warehouse(warehouse, users=users, now=datetime.now(UTC))
        self._declare()
        self._screen.print("[bold]3/5[/] workers, beat and a stand-in mParticle start")
        with Supervisor(self._premises.home, self._programs()):
            first = self._sync(f"[bold]4/5[/] first sync, all {users:,} users")
            change_users(warehouse, count=users // 100, now=datetime.now(UTC))
            second = self._sync(f"[bold]5/5[/] 1 % changed: incremental sync of {users // 100:,} users")
            is_right = self._report((first, second))
            if self._options.keep:
                self._leave_running()
        return is_right

    def _programs(self) -> list[Program]:
        quota = self._options.quota
        enforced = () if quota is None else ("--batches-per-s", str(quota))
        workers = stack.workers(self._premises.home, self._premises.environment, size=stack.Size())
        return [self._premises.feed_program(*enforced), *workers]

    def _declare(self) -> None:
        self._operations.migrate()
        self._operations.declare(self._premises.feed(batches_per_s=self._options.quota or UNLIMITED))
        self._operations.declare(self._premises.connection())
        self._operations.declare(self._premises.data_model())
        self._operations.declare(self._premises.pipeline(self._pipeline))
        self._operations.lives.begin(self._pipeline)

    def _sync(self, title: str) -> RunShape:
        (run_id,) = self._operations.trigger(self._pipeline)
        return follow(self._client, run_id, title, self._screen)

    def _report(self, runs: tuple[RunShape, RunShape]) -> bool:
        counters = self._premises.ask("/counters")
        result = verdict.outcome(runs, self._operations.claimants([RunId(run.id) for run in runs]), counters)
        found = verdict.problems(result, runs, users=self._options.users)
        if self._options.as_json:
            print(json.dumps(result))  # noqa: T201 - what --json promises, on standard output
        else:
            self._screen.print(ledger_table(runs))
            profile = self._premises.ask("/profiles?customer_id=customer-0")
            self._screen.print("One finished profile:", escape(json.dumps(profile, ensure_ascii=False, indent=2)))
        for problem in found:
            self._screen.print(f"[red]{escape(problem)}[/]")
        if not found:
            self._screen.print(
                f"[green]Both ledgers balance, and the stand-in mParticle counts the same:[/] "
                f"{counters['batches']:,} batches, {counters['profiles']:,} profiles, "
                f"{counters['duplicates']} repeats, {counters['dropped']} dropped"
            )
        return not found

    def _leave_running(self) -> None:
        self._screen.print(
            f"Still running, until Ctrl-C:\n"
            f"  stand-in mParticle  {self._premises.feed_url}\n"
            f"  logs                {self._premises.home / 'logs'}\n"
            f"  commands            WAREHOUSE_SYNC_HOME={self._premises.home} warehouse-sync runs"
        )
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()
