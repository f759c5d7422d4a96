"""A run's trace, as a collector has it from every process that worked on the run."""

import socket
from dataclasses import replace
from datetime import timedelta

from sandbox import stack
from sandbox.supervisor import Supervisor
from shared import catalog
from shared.run import RunId, RunState
from shared.schedule import Once
from tests.collector import Collector, Seen, assert_one_tree
from tests.system.deployment import UNWEARYING
from tests.system.people import PLANTED, People


def process(span: Seen) -> str:
    return span.process["service.instance.id"]


def test_a_run_is_one_tree_from_beat_to_settle(people: People, collector: Collector) -> None:
    people.add(250)
    people.declare(catalog.Full(), schedule=Once(delay=timedelta(0)))
    deployment = people.deployment
    run_id = deployment.until(
        lambda: next((run.id for run in deployment.operations.runs(people.id)), None), "beat starts the run"
    )
    people.expect(run_id, RunState.SETTLED)
    kinds = {"run", "claim_due", "plan_run", "extract_slice", "query", "upload_chunk", "settle_run"}

    def spans_of_all_rows() -> list[Seen]:
        """Each process sends its spans in its own time, so what one has told says nothing of the next."""
        spans = collector.spans(run_id)
        uploaded = sum(span.attributes["accepted"] for span in spans if span.name == "upload_chunk")
        return spans if uploaded == 250 and {span.name for span in spans} == kinds else []

    spans = deployment.until(spans_of_all_rows, "the collector has spans of every kind, and of all rows")
    root = assert_one_tree(spans, run_id)
    assert (root.attributes["state"], root.attributes["accepted"]) == ("settled", 250)
    by_name = {span.name: span for span in spans}
    assert by_name["query"].parent_id == by_name["extract_slice"].id
    assert len({process(span) for span in spans}) >= 4, "beat, and workers of three kinds"
    assert {span.process["service.name"] for span in spans} == {"warehouse-sync"}
    assert not any(span.is_error for span in spans)
    everything = b"".join(collector.bodies)
    assert PLANTED.encode() not in everything
    assert deployment.secret.read_bytes() not in everything


def test_what_waits_to_be_sent_is_sent_when_a_worker_and_its_children_end(people: People, collector: Collector) -> None:
    deployment = people.deployment
    environment = {**deployment.premises.environment, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    (upload,) = [
        program
        for program in stack.workers(deployment.home, environment, size=stack.Size(upload_processes=1))
        if program.name == "upload"
    ]
    people.declare(catalog.Full())
    people.add(1000)
    deployment.turn_faults(delay_s=0.05)
    with Supervisor(deployment.home, [replace(upload, name="upload-2", ready=None)], patience=UNWEARYING) as supervisor:

        def its_chunks() -> list[tuple[RunId, int]]:
            run_id = people.settle().id
            of_it = {f"{socket.gethostname()}:{pid}" for pid in supervisor.pids("upload-2")}
            return [(run_id, chunk["no"]) for chunk in deployment.chunks(run_id) if chunk["claimant"] in of_it]

        chunks = deployment.until(its_chunks, "the second worker uploads")
    (run_id,) = {run_id for run_id, _ in chunks}
    told = {span.attributes["chunk_no"] for span in collector.spans(run_id) if span.name == "upload_chunk"}
    assert {no for _, no in chunks} <= told
