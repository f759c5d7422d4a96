"""One pipeline whose feed is dead, one that is huge, ten thousand messages of history: the others run as before."""

import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from shared.catalog import Full
from shared.messages import Message, TaskName
from shared.run import ChunkState, Lane, RunState
from tests.system.people import People

HISTORY = 10_000


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens on, nor will: it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_feed_that_is_dead_leaves_the_slots_to_others_and_is_tried_ever_less(people: People, nobody: int) -> None:
    deployment = people.deployment
    dead = deployment.premises.feed().model_copy(
        update={"id": "dead", "name": "Dead", "base_url": f"http://127.0.0.1:{nobody}/v2", "quota_group": "dead"}
    )
    deployment.operations.declare(dead)
    stopped = People(deployment, f"{people.id[:60]}-dead")
    stopped.declare(Full(), feed_id="dead")
    stopped.add(5000)  # Tried once a second at most, while the others may take ten on a slow machine.
    stuck = stopped.trigger()
    deployment.until(
        lambda: any(chunk["attempts"] for chunk in deployment.chunks(stuck)), "a chunk of the dead feed was tried"
    )
    people.declare(Full())
    people.add(600)
    assert people.settle().ledger.accepted == 600
    attempts = sum(chunk["attempts"] for chunk in deployment.chunks(stuck))
    assert attempts < len(deployment.chunks(stuck)), "each chunk of the dead feed took a slot"
    # A chunk that is being tried again says nothing.
    deployment.until(lambda: deployment.operations.watching.run(stuck).waits_for, "it says what it waits for")
    assert deployment.run(stuck).state is RunState.UPLOADING
    deployment.operations.cancel(stuck)


def test_a_small_run_overtakes_a_huge_one(people: People) -> None:
    deployment = people.deployment
    huge = People(deployment, f"{people.id[:60]}-huge")
    huge.declare(Full())
    huge.add(8000)
    deployment.turn_faults(delay_s=0.4)
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
    with deployment.frozen("extract-backfill", "upload-backfill"):
        tasks = (TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK)
        deployment.send(*(Message(task, uuid4(), Lane.BACKFILL) for task in tasks for _ in range(HISTORY // 2)))
        assert people.settle().ledger.accepted == 300
        assert deployment.lose_messages() > HISTORY * 0.9, "they were still waiting when the live run had settled"
