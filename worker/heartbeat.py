"""Keep a claim alive while the work under it takes its time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import StoreUnavailable
from shared.store.claims import ClaimLost
from shared.telemetry import log, with_ids

_log = log(__name__)
_BEATS_A_LEASE = 3
"""Two renewals may fail before a lease lapses."""


_LOOK_EVERY_S = 1.0
"""How late a worker's shutdown may be noticed."""


def _never() -> bool:
    return False


@contextmanager
def heartbeat(
    renew: Callable[[], bool],
    *,
    lease_s: float,
    on_lost: Callable[[], object],
    is_ending: Callable[[], bool] = _never,
) -> Iterator[threading.Event]:
    """Renew a lease from a thread of its own until the block ends.

    Args:
        renew: says whether the work is still wanted, and raises ``ClaimLost`` where it is no longer ours. A store that
            does not answer is asked again at the next beat: the lease decides, not the outage.
        lease_s: how long a renewal holds.
        on_lost: called once when the work is not ours or not wanted any more, to interrupt it.
        is_ending: asked every second; once True the work is interrupted in the same way.

    Yields:
        An event that is set before ``on_lost`` is called.
    """
    ended = threading.Event()
    lost = threading.Event()

    def is_wanted() -> bool:
        try:
            return renew()
        except ClaimLost:
            return False
        except StoreUnavailable as error:
            _log.warning("lease_not_renewed", error=str(error))
            return True

    def beat() -> None:
        interval_s = lease_s / _BEATS_A_LEASE
        renew_at = time.monotonic() + interval_s
        while not ended.wait(min(_LOOK_EVERY_S, interval_s)):
            is_due = time.monotonic() >= renew_at
            if is_ending() or (is_due and not is_wanted()):
                lost.set()
                on_lost()
                return
            if is_due:
                renew_at = time.monotonic() + interval_s

    thread = threading.Thread(target=with_ids(beat), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        ended.set()
        thread.join()
