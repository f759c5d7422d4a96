from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sandbox.received import COUNTED_TO, ReceivedId, ReceivedIds, Sighting

ids = st.text(alphabet="ab:01", max_size=5) | st.integers(0, 10**19).map("chunk:{}".format) | st.text(max_size=4)


@given(
    noted=st.lists(st.tuples(ids, st.sampled_from([b"one", b"other"]))), prefix=st.text(alphabet="ab:01c", max_size=2)
)
def test_every_id_is_known_apart_from_all_others(noted: list[tuple[str, bytes]], prefix: str) -> None:
    received = ReceivedIds()
    first: dict[str, bytes] = {}
    for name, content in noted:
        expected = Sighting.REPEATED if first.get(name) == content else Sighting.CONFLICTING
        expected = expected if name in first else Sighting.FIRST
        assert received.note(name, content, historical=False) is expected
        first.setdefault(name, content)
    seen = list(received.starting_with(prefix))
    times = Counter(name for name, _ in noted if name.startswith(prefix))
    assert {one.source_request_id: one.times for one in seen} == times
    assert len(seen) == len(times)


def test_where_an_id_came_first_is_remembered() -> None:
    received = ReceivedIds()
    for name in ("chunk:1", "plain"):
        received.note(name, b"", historical=True)
        received.note(name, b"", historical=False)
    assert set(received.starting_with("")) == {
        ReceivedId("chunk:1", 2, historical=True),
        ReceivedId("plain", 2, historical=True),
    }


def test_a_count_stops_where_it_would_overflow() -> None:
    received = ReceivedIds()
    for _ in range(COUNTED_TO + 5):
        received.note("chunk:1", b"", historical=False)
    assert list(received.starting_with("chunk")) == [ReceivedId("chunk:1", COUNTED_TO, historical=False)]


def test_ids_noted_while_others_are_read_disturb_nobody() -> None:
    received = ReceivedIds()
    for row in range(200):
        received.note(f"chunk:{row}", b"", historical=False)
    seen = set()
    for row, one in enumerate(received.starting_with("")):
        received.note(f"other-{row}:{row}", b"", historical=False)
        received.note(f"plain-{row}", b"", historical=False)
        seen.add(one.source_request_id)
    assert {f"chunk:{row}" for row in range(200)} <= seen
