"""Every warehouse through the whole path, by real workers and vendors' clients: plan, extract, upload, settle."""

import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from console.doctor import examine
from shared import catalog
from shared.catalog import IteratorType, Pipeline
from shared.ledger import Ledger
from shared.probe import ProbeKind, Question
from shared.run import WORKING, Run, RunId, RunState
from shared.schedule import OnDemand
from shared.store.tables import slices
from tests.standins.standin import Standin
from tests.standins.starting import Standins
from tests.system.deployment import LIMITS, Claim, Deployment, deployed

PLANTED = "planted.example"
ROWS = 3000
MANY = 20_000
A_DAY = timedelta(days=1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asked = metafunc.config.getoption("--warehouses").split(",")
    names = [name for name in asked if name not in ("duckdb", "continuable")]
    metafunc.parametrize("standin", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def standin(request: pytest.FixtureRequest, standins: Standins) -> Standin:
    return standins[request.param]


@pytest.fixture(scope="module")
def deployment(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Workers that may sign in to the stand-in; extractions publish and continue as often as they can."""
    limits = {
        **LIMITS,
        **standin.variables(),
        "WAREHOUSE_SYNC_SLICE_CHUNKS": "1",
        "WAREHOUSE_SYNC_EXTRACT_LEASE_S": "3",
        "WAREHOUSE_SYNC_CHUNK_MAX_ROWS": "500",
        "WAREHOUSE_SYNC_RECORD_BATCH_ROWS": "250",
        "WAREHOUSE_SYNC_BODY_MAX_BATCHES": "100",
    }
    with deployed(tmp_path_factory.mktemp(standin.name), limits=limits) as running:
        yield running


class Subject:
    """Users in the stand-in's warehouse, and a pipeline of theirs."""

    def __init__(self, deployment: Deployment, standin: Standin, name: str) -> None:
        self.deployment = deployment
        self.standin = standin
        self.id = f"{standin.name}-{name}"
        self.table = f"users_{name}"

    def load(self, rows: int, *, changed_at: datetime) -> None:
        ids = [f"{self.id}-{row}" for row in range(rows)]
        columns = {
            "customer_id": pa.array(ids),
            "email": pa.array([f"{one}@{PLANTED}" for one in ids]),
            "score": pa.array([row / 7 for row in range(rows)]),
            "changed_at": pa.array([changed_at] * rows, pa.timestamp("us")),
        }
        self.standin.load(self.table, pa.table(columns))

    def declare(self, query: str | None = None) -> None:
        operations = self.deployment.operations
        allowed = operations.settings.model_copy(update={"warehouse_hosts": ("127.0.0.1", "localhost")})
        operations.settings = operations.declarations._settings = allowed
        operations.declare(self.standin.connection())
        sql = query or f"SELECT customer_id, email, score, changed_at FROM {self.table}"
        operations.declare(catalog.DataModel(id=self.id, name=self.id, sql_query=sql))
        mode: catalog.Incremental | catalog.Full = catalog.Incremental(
            iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP
        )
        operations.declare(
            Pipeline(
                id=self.id,
                name=self.id,
                connection_id="subject",
                data_model_id=self.id,
                feed_id="sandbox",
                environment=catalog.Environment.DEVELOPMENT,
                sync_mode=catalog.Full() if query else mode,
                schedule=OnDemand(delay=timedelta(0)),
            )
        )
        operations.lives.begin(self.id)

    def trigger(self) -> RunId:
        (run_id,) = self.deployment.operations.trigger(self.id)
        return run_id

    def settled(self, run_id: RunId) -> Run:
        run = self.deployment.ended(run_id, limit_s=120)
        assert run.state is RunState.SETTLED, f"{run.error_kind}: {run.error}\n{self.deployment.situation()}"
        return run

    def what_changed(self) -> Run | None:
        """Give a run over what changed since the last, or nothing while the warehouse's clock says that nothing did."""
        run = self.settled(self.trigger())
        return run if run.ledger.extracted else None

    def received(self) -> dict[str, Any]:
        """Every batch of this subject's that the stand-in mParticle took, and how often, by id."""
        found = {}
        for run in self.deployment.operations.runs(self.id):
            for chunk in self.deployment.chunks(run.id):
                found.update(self.deployment.received(str(chunk["id"])))
        return found


@pytest.fixture
def subject(deployment: Deployment, standin: Standin, request: pytest.FixtureRequest) -> Iterator[Subject]:
    deployment.turn_faults()
    yield Subject(deployment, standin, request.node.originalname.removeprefix("test_")[:20].strip("_"))
    deployment.wake()


def test_users_are_synced_whole_and_then_only_what_changed(subject: Subject) -> None:
    yesterday = datetime.now(UTC).replace(tzinfo=None) - A_DAY
    subject.load(ROWS, changed_at=yesterday)
    subject.declare()
    first = subject.settled(subject.trigger())
    assert first.ledger == Ledger(extracted=ROWS, accepted=ROWS)
    again = subject.settled(subject.trigger())
    assert again.ledger == Ledger()
    assert again.window.high is not None
    subject.load(70, changed_at=again.window.high.replace(tzinfo=None))
    changed = subject.deployment.until(subject.what_changed, "the warehouse's clock has passed the change")
    assert changed.ledger == Ledger(extracted=70, accepted=70)
    assert len(subject.received()) == ROWS + 70


def test_operators_may_ask_before_they_run(subject: Subject) -> None:
    subject.load(10, changed_at=datetime.now(UTC).replace(tzinfo=None) - A_DAY)
    subject.declare()
    ask = subject.deployment.operations.ask
    assert ask(Question(kind=ProbeKind.TEST, connection_id="subject")).session
    preview = ask(Question(kind=ProbeKind.PREVIEW, pipeline_id=subject.id, rows=3))
    assert len(preview.batches) == 3
    assert all(PLANTED in batch["user_identities"]["email"] for batch in preview.batches)
    assert ask(Question(kind=ProbeKind.COUNT, pipeline_id=subject.id)).row_count == 10
    findings = [one for one in examine(subject.deployment.operations, "subject") if subject.id in one.subject]
    assert findings
    assert all(one.is_well for one in findings), findings


def test_a_cancelled_run_cancels_its_query(subject: Subject) -> None:
    subject.load(1, changed_at=datetime.now(UTC).replace(tzinfo=None))
    subject.declare(f"SELECT 'customer' AS customer_id, id FROM ({subject.standin.endless}) AS forever")
    run_id = subject.trigger()
    deployment = subject.deployment
    deployment.until(lambda: subject.standin.running_queries() > 0, "the warehouse works on the query", 60)
    deployment.operations.cancel(run_id)
    deployment.until(lambda: subject.standin.running_queries() == 0, "the warehouse has stopped working on it", 60)
    assert deployment.run(run_id).state is RunState.CANCELLED
    deployment.operations.abandon(run_id)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_extraction_repeats_nothing_and_loses_nothing(subject: Subject, seed: int) -> None:
    subject.id += f"-{seed}"
    subject.load(MANY, changed_at=datetime.now(UTC).replace(tzinfo=None) - A_DAY)
    subject.declare()
    run_id = subject.trigger()
    deployment = subject.deployment
    pid = _stopped_reader(deployment, run_id, random.Random(seed))
    published = {row["no"] for row in deployment.slices(run_id) if row["state"] == "published"}
    _kill(deployment, pid)
    run = subject.settled(run_id)
    assert run.ledger == Ledger(extracted=MANY, accepted=MANY)
    assert len(subject.received()) == MANY
    found = deployment.slices(run_id)
    if subject.standin.is_continuable:
        results = {_result(row["position"]) for row in found}
        assert len(found) > 1
        assert not published or len(results) == 1, "the result that was half read was continued"
    else:
        assert len(found) == 1


def test_nothing_of_rows_or_secrets_is_logged(subject: Subject) -> None:
    secrets = [value for name, value in subject.standin.variables().items() if "SECRET" in name]
    for name, text in subject.deployment.logs().items():
        assert PLANTED not in text, name
        assert not any(secret in text for secret in secrets), name


def _stopped_reader(deployment: Deployment, run_id: RunId, moment: random.Random) -> int:
    """Stop a process that provably reads at a random moment; give its id. What is stopped gives nothing back."""

    def reads() -> list[Claim]:
        return [claim for claim in deployment.claims(run_id) if claim.table is slices]

    deployment.until(reads, "the extraction begins")
    time.sleep(moment.uniform(0, 0.1))  # The moment itself, not a wait for anything.

    def stopped() -> int | None:
        for claim in reads():
            os.kill(claim.pid, signal.SIGSTOP)
            if any(other.pid == claim.pid for other in reads()):
                return claim.pid
            os.kill(claim.pid, signal.SIGCONT)
        assert deployment.run(run_id).state in WORKING, "the run was over before it was struck"
        return None

    return deployment.until(stopped, "a reader is stopped at work")


def _kill(deployment: Deployment, pid: int) -> None:
    name = next(name for name in deployment.programs if pid in deployment.supervisor.pids(name))
    deployment.kill_family(name)


def _result(position: dict[str, Any]) -> tuple[Any, ...]:
    """What of a position names the result, and not how far."""
    return tuple(sorted((name, value) for name, value in position.items() if isinstance(value, str)))
