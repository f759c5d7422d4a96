"""Keep a claim alive while the work under it takes its time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import StoreUnavailable
from shared.store.claims import ClaimLost
from shared.telemetry import log

_log = log(__name__)
_BEATS_A_LEASE = 3
"""Two renewals may fail before a lease lapses."""


@contextmanager
def heartbeat(renew: Callable[[], bool], *, lease_s: float, on_lost: Callable[[], object]) -> Iterator[threading.Event]:
    """Renew a lease from a thread of its own until the block ends.

    ``renew`` says whether the work is still wanted and raises ``ClaimLost`` where it is no longer ours; in both cases
    ``on_lost`` is called once, to interrupt the work, and the event that the block receives is set. A store that does
    not answer is asked again at the next beat: the lease decides, not the outage.
    """
    ended = threading.Event()
    lost = threading.Event()

    def beat() -> None:
        while not ended.wait(lease_s / _BEATS_A_LEASE):
            try:
                is_wanted = renew()
            except ClaimLost:
                is_wanted = False
            except StoreUnavailable as error:
                _log.warning("lease_not_renewed", error=str(error))
                continue
            if not is_wanted:
                lost.set()
                on_lost()
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        ended.set()
        thread.join()
