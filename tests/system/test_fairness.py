"""One pipeline whose feed is dead, one that is huge, ten thousand messages of history: the others run as before."""

import os
import signal
from contextlib import ExitStack
from uuid import uuid4

from sandbox.ports import free_port
from shared.catalog import Full
from shared.messages import Message, TaskName
from shared.run import ChunkState, Lane, RunState
from tests.system.people import People

HISTORY = 10_000


def test_a_feed_that_is_dead_leaves_the_slots_to_others_and_is_tried_ever_less(people: People) -> None:
    deployment = people.deployment
    dead = deployment.premises.feed().model_copy(
        update={"id": "dead", "name": "Dead", "base_url": f"http://127.0.0.1:{free_port()}/v2", "quota_group": "dead"}
    )
    deployment.operations.declare(dead)
    stopped = People(deployment, f"{people.id[:60]}-dead")
    stopped.declare(Full(), feed_id="dead")
    stopped.add(1500)
    stuck = stopped.trigger()
    deployment.until(
        lambda: any(chunk["attempts"] for chunk in deployment.chunks(stuck)), "a chunk of the dead feed was tried"
    )
    people.declare(Full())
    people.add(600)
    assert people.settle().ledger.accepted == 600
    attempts = sum(chunk["attempts"] for chunk in deployment.chunks(stuck))
    assert attempts < len(deployment.chunks(stuck)), "each chunk of the dead feed took a slot"
    assert deployment.operations.watching.run(stuck).waits_for
    assert deployment.run(stuck).state is RunState.UPLOADING
    deployment.operations.cancel(stuck)


def test_a_small_run_overtakes_a_huge_one(people: People) -> None:
    deployment = people.deployment
    huge = People(deployment, f"{people.id[:60]}-huge")
    huge.declare(Full())
    huge.add(8000)
    deployment.turn_faults(delay_s=0.1)
    big = huge.trigger()
    deployment.until(
        lambda: any(chunk["state"] == ChunkState.UPLOADING for chunk in deployment.chunks(big)), "the huge run sends"
    )
    people.declare(Full())
    people.add(50)
    people.settle()
    run = deployment.run(big)
    assert run.state is RunState.UPLOADING, "the small run waited for the huge one"
    assert run.chunks_done < run.chunks_total // 2
    deployment.turn_faults()
    assert huge.expect(big, RunState.SETTLED).ledger.accepted == 8000


def test_ten_thousand_messages_of_history_delay_no_live_run(people: People) -> None:
    deployment = people.deployment
    people.declare_past_history()
    people.add(300)
    with ExitStack() as stack:
        for name in ("extract-backfill", "upload-backfill"):
            for pid in deployment.supervisor.pids(name):
                os.kill(pid, signal.SIGSTOP)
                stack.callback(os.kill, pid, signal.SIGCONT)
        tasks = (TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK)
        deployment.send(*(Message(task, uuid4(), Lane.BACKFILL) for task in tasks for _ in range(HISTORY // 2)))
        assert people.settle().ledger.accepted == 300
        assert deployment.lose_messages() > HISTORY * 0.9, "they were still waiting when the live run had settled"
