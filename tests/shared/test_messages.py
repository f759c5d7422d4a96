"""A message is a version and an id; anything else is refused without being repeated."""

from uuid import UUID, uuid4

import pytest

from shared.errors import PayloadUnknown
from shared.messages import PAYLOAD_VERSION, Message, Queue, TaskName, read_payload
from shared.run import Lane


def test_a_payload_is_read_back() -> None:
    message = Message(TaskName.UPLOAD_CHUNK, uuid4())
    assert read_payload(message.payload()) == message.id


def test_a_payload_holds_a_version_and_an_id_and_nothing_else() -> None:
    id_ = UUID(int=7)
    assert Message(TaskName.PLAN_RUN, id_).payload() == {"version": PAYLOAD_VERSION, "id": str(id_)}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"version": 2, "id": str(UUID(int=1))}, "update this worker"),
        ({"version": 1, "id": "ada@example.com"}, "not a UUID"),
        ({"version": 1}, "without an id"),
        ({"version": 1, "id": 7, "name": "ada@example.com"}, "without an id"),
        ({"version": "ada@example.com", "id": str(UUID(int=1))}, "without a version"),
        ({"id": str(UUID(int=1))}, "without a version"),
        ("ada@example.com", "without a version"),
        (None, "without a version"),
    ],
)
def test_what_is_no_payload_is_refused_and_not_repeated(payload: object, said: str) -> None:
    with pytest.raises(PayloadUnknown, match=said) as refused:
        read_payload(payload)
    assert "ada@example.com" not in str(refused.value)


@pytest.mark.parametrize(
    ("task", "lane", "queue"),
    [
        (TaskName.PLAN_RUN, Lane.LIVE, Queue.EXTRACT),
        (TaskName.PLAN_RUN, Lane.BACKFILL, Queue.EXTRACT_BACKFILL),
        (TaskName.EXTRACT_SLICE, Lane.LIVE, Queue.EXTRACT),
        (TaskName.EXTRACT_SLICE, Lane.BACKFILL, Queue.EXTRACT_BACKFILL),
        (TaskName.UPLOAD_CHUNK, Lane.LIVE, Queue.UPLOAD),
        (TaskName.UPLOAD_CHUNK, Lane.BACKFILL, Queue.UPLOAD_BACKFILL),
        (TaskName.PROBE, Lane.LIVE, Queue.PROBE),
        (TaskName.SETTLE_RUN, Lane.BACKFILL, Queue.CONTROL),
        (TaskName.UPKEEP, Lane.LIVE, Queue.CONTROL),
        (TaskName.ALERT, Lane.LIVE, Queue.CONTROL),
        (TaskName.TRY_ALERTS, Lane.LIVE, Queue.CONTROL),
    ],
)
def test_lanes_and_kinds_of_work_never_share_a_queue(task: TaskName, lane: Lane, queue: Queue) -> None:
    assert Message(task, UUID(int=1), lane).queue is queue
