"""What /metrics tells of a deployment is exactly what happened in it, and what is the matter where something is."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sandbox.ports import free_port
from sandbox.server import STOP_LIMIT_S
from shared import catalog
from shared.ledger import Ledger
from shared.run import RunState
from tests.system.deployment import Deployment, fetch
from tests.system.people import People

REJECTED: Final = 7
SOME_NOBODY: Final = f"""
    SELECT CASE WHEN row_number() OVER (ORDER BY customer_id) > {REJECTED} THEN customer_id END AS customer_id, score
    FROM people
"""


@pytest.fixture
def port(deployment: Deployment) -> Iterator[int]:
    """The port on which a server of the deployment tells nothing but its metrics."""
    found = free_port()
    argv = [str(Path(sys.executable).with_name("warehouse-sync")), "serve", "--port", str(free_port())]
    environment = {**os.environ, **deployment.premises.environment, "WAREHOUSE_SYNC_METRICS_PORT": str(found)}
    with subprocess.Popen(argv, env=environment, cwd=deployment.home, stderr=subprocess.DEVNULL) as server:
        try:
            yield found
        finally:
            server.terminate()
            server.wait(STOP_LIMIT_S)


def told(deployment: Deployment, port: int, **labels: str) -> Mapping[tuple[str, str], float]:
    """Give the samples that have these labels, by their name and whatever other label they have."""

    def answered() -> str | None:
        try:
            return fetch(port, "/metrics").decode()
        except ConnectionRefusedError:
            return None

    found = {}
    for family in text_string_to_metric_families(deployment.until(answered, "the server answers")):
        for sample in family.samples:
            if labels.items() <= sample.labels.items():
                others = [value for name, value in sorted(sample.labels.items()) if name not in labels]
                found[(sample.name.removeprefix("warehouse_sync_"), ",".join(others))] = sample.value
    return found


def test_metrics_tell_three_answers_of_429_seven_rejected_rows_and_a_refused_sign_in(people: People, port: int) -> None:
    deployment = people.deployment
    people.declare(catalog.Full(), query=SOME_NOBODY)
    people.add(150)
    deployment.turn_faults(status=429, retry_after_s=1, next=3)
    before = deployment.counters()["requests"]
    run = people.settle()
    assert run.ledger == Ledger(extracted=150, accepted=150 - REJECTED, rejected=REJECTED)
    requests = deployment.counters()["requests"] - before

    # An attempt records its last requests before it gives the chunk back, so a run that is over has told all.
    found = told(deployment, port, pipeline=people.id, lane="live")
    assert found[("requests_total", "throttled")] == 3
    assert found[("requests_total", "accepted")] == requests - 3
    assert found[("rows_total", "rejected")] == REJECTED
    assert found[("rows_total", "accepted")] == found[("batches_sent_total", "")] == 150 - REJECTED
    assert found[("rows_extracted_total", "")] == 150
    assert found[("runs_ended_total", "settled")] == 1
    assert found[("bytes_sent_total", "")] > 0

    deployment.turn_faults(status=401)
    people.expect(people.trigger(), RunState.FAILED)
    found = told(deployment, port, pipeline=people.id, lane="live")
    assert found[("requests_total", "sign_in_refused")] >= 1
    assert found[("runs_ended_total", "failed")] == 1
    assert (found[("rows_extracted_total", "")], found[("rows_total", "accepted")]) == (300, 150 - REJECTED)
    everything = told(deployment, port)
    assert everything[("runs", "live,failed")] >= 1
    assert everything[("store_up", "")] == everything[("broker_up", "")] == 1
    assert everything[("queue_messages", "upload")] >= 0
    assert everything[("chunk_run_seconds_count", "live")] >= 2
