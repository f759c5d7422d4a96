"""A lease is kept alive while work goes on, and the work is interrupted once it is lost."""

import threading

import pytest

from shared.errors import StoreUnavailable
from shared.store.claims import ClaimLost
from worker.heartbeat import heartbeat

LIMIT_S = 60.0


class _Lease:
    """Renews ``good`` times, then does as told."""

    def __init__(self, good: int, then: Exception | bool) -> None:
        self.renewed = 0
        self.is_over = threading.Event()
        self._good = good
        self._then = then

    def renew(self) -> bool:
        self.renewed += 1
        if self.renewed <= self._good:
            return True
        self.is_over.set()
        if isinstance(self._then, Exception):
            raise self._then
        return self._then


@pytest.mark.parametrize("ending", [ClaimLost(), False])
def test_work_is_interrupted_once_when_the_claim_is_lost_or_unwanted(ending: Exception | bool) -> None:
    lease, interrupted = _Lease(3, ending), threading.Event()
    with heartbeat(lease.renew, lease_s=0.03, on_lost=interrupted.set) as lost:
        assert interrupted.wait(LIMIT_S)
        assert lost.is_set()
    assert lease.renewed == 4


def test_a_store_that_does_not_answer_is_asked_again() -> None:
    lease = _Lease(1, StoreUnavailable("away"))
    asked_again = threading.Event()

    def renew() -> bool:
        if lease.is_over.is_set():
            asked_again.set()
        return lease.renew()

    with heartbeat(renew, lease_s=0.03, on_lost=lambda: pytest.fail("an outage is no loss")) as lost:
        assert asked_again.wait(LIMIT_S)
        assert not lost.is_set()


def test_nothing_renews_after_the_work_ended() -> None:
    lease = _Lease(10**9, then=True)
    with heartbeat(lease.renew, lease_s=0.03, on_lost=lambda: None):
        pass
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


def test_work_that_raises_ends_the_heartbeat_too() -> None:
    class Stop(Exception):
        pass

    def work() -> None:
        with heartbeat(lambda: True, lease_s=0.03, on_lost=lambda: None):
            raise Stop

    with pytest.raises(Stop):
        work()
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


def test_work_shorter_than_a_beat_is_never_renewed() -> None:
    lease = _Lease(0, ClaimLost())
    with heartbeat(lease.renew, lease_s=3600, on_lost=lambda: pytest.fail("nobody asked")) as lost:
        assert not lost.is_set()
    assert lease.renewed == 0
