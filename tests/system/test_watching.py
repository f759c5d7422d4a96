"""What operators watch a deployment with, and that neither rows nor secrets are to be seen there."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from shared import catalog
from shared.ledger import Ledger
from shared.run import RunState
from shared.store.ground import metadata
from tests.collector import Collector
from tests.system.deployment import LIMIT_S, Deployment
from tests.system.flower import WORKERS, Flower
from tests.system.people import PLANTED, People


def test_every_worker_answers_a_ping(deployment: Deployment) -> None:
    # Who names those it asks waits for them, and no longer.
    asked = ",".join(f"{name}@{socket.gethostname()}" for name in WORKERS)
    told = ["inspect", "ping", "--json", "--timeout", "30", "--destination", asked]
    ran = subprocess.run(
        [Path(sys.executable).with_name("celery"), "-A", "worker.app", *told],
        cwd=deployment.home,
        env=deployment.premises.environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    answers = json.loads(ran.stdout)
    assert {name.partition("@")[0] for name in answers} == WORKERS
    assert list(answers.values()) == [{"ok": "pong"}] * len(WORKERS)


def test_flower_shows_workers_and_tasks_to_those_who_sign_in(people: People, flower: Flower) -> None:
    people.deployment.until(
        lambda: {name.partition("@")[0] for name in flower.get("/api/workers?refresh=1")} == WORKERS,
        "Flower knows every worker",
    )
    people.declare(catalog.Full())
    people.add(150)
    run = people.settle()
    expected = {str(run.id)} | {str(one["id"]) for one in people.deployment.slices(run.id)}
    expected |= {str(one["id"]) for one in people.deployment.chunks(run.id)}

    def all_succeeded() -> bool:
        succeeded = [task for task in flower.get("/api/tasks").values() if task["state"] == "SUCCESS"]
        return all(any(id_ in task["args"] for task in succeeded) for id_ in expected)

    people.deployment.until(all_succeeded, "Flower shows the tasks of the run as done")
    for path in ("/api/workers", "/api/tasks"):
        with pytest.raises(PermissionError):
            flower.get(path, password="guessed")


def test_a_trigger_sent_through_flower_starts_a_run_and_a_busy_one_is_kept(people: People, flower: Flower) -> None:
    people.declare(catalog.Full())
    people.add(150)
    people.deployment.turn_faults(delay_s=0.2)
    flower.send("warehouse_sync.trigger", people.id)
    operations = people.deployment.operations
    run = people.deployment.until(
        lambda: next(iter(operations.runs(people.id)), None), "the run that Flower asked for is in the store"
    )
    flower.send("warehouse_sync.trigger", people.id)
    people.deployment.until(
        lambda: operations.watching.notices(people.id, limit=9), "the second request's refusal is kept"
    )
    assert people.expect(run.id, RunState.SETTLED).ledger.accepted == 150
    assert [run.id for run in operations.runs(people.id)] == [run.id]
    (notice,) = operations.watching.notices(people.id, limit=9)
    assert notice.message == f"Pipeline {people.id} is already in progress."


def test_neither_rows_nor_secrets_are_seen_in_logs_store_flower_or_traces(
    people: People, flower: Flower, collector: Collector
) -> None:
    people.declare(catalog.Full())
    people.add(200)
    people.write(
        f"""
        UPDATE people SET customer_id = NULL, email = NULL WHERE score = 3;
        UPDATE people SET firstname = repeat('{PLANTED}', 500) WHERE score = 5;
        UPDATE people SET firstname = '{PLANTED} marked' WHERE score IN (7, 20)
        """
    )
    marked = {"attribute": "firstname", "value": f"{PLANTED} marked"}
    people.deployment.turn_faults(reject_marked=marked, drop_after=0.2, seed=1)
    assert people.settle().ledger == Ledger(extracted=200, accepted=196, rejected=4)
    people.deployment.turn_faults(reject_all=True)
    people.expect(people.trigger(), RunState.FAILED)
    failing = People(people.deployment, f"{people.id[:60]}-failing")
    failing.declare(catalog.Full(), query="SELECT CAST(email AS INTEGER) AS customer_id FROM people")
    failing.add(10)
    failing.expect(failing.trigger(), RunState.FAILED)

    seen = people.deployment.logs()
    seen |= {path: json.dumps(flower.get(path)) for path in ("/api/tasks?limit=10000", "/api/workers?refresh=1")}
    seen |= {table.name: dumped(people.deployment, table) for table in metadata.sorted_tables}
    seen["traces"] = b"".join(collector.bodies).decode(errors="replace")
    assert PLANTED in people.file.read_bytes().decode(errors="replace"), "what was planted is there to be found"
    secrets_of_all = {
        "feed": people.deployment.secret.read_text(),
        "database": people.deployment.postgres.address.password,
        "broker": people.deployment.valkey.address.password,
    }
    for place, text in seen.items():
        assert text, f"nothing was seen in {place}"
        assert PLANTED not in text, f"a row's value is in {place}"
        for name, secret in secrets_of_all.items():
            assert secret not in text, f"the {name}'s secret is in {place}"


def dumped(deployment: Deployment, table: sa.Table) -> str:
    return "\n".join(str(dict(row)) for row in deployment.rows(sa.select(table))) or "(no rows)"
