"""Ends a query in time: at its limit, or when another thread cancels it.

A thread waits for either and then interrupts the query until it is closed: some drivers forget an interruption that
arrives just before the query starts.
"""

import threading
from collections.abc import Callable
from contextlib import suppress

from shared.errors import QueryTimedOut, WarehouseBusy
from worker.warehouses.base import Label


class Watch:
    """The time limit and the cancellation of one query."""

    def __init__(
        self, interrupt: Callable[[], object], *, label: Label, timeout_s: float, interrupt_every_s: float
    ) -> None:
        """Begin to count.

        Args:
            interrupt: ends the query from another thread; called again and again, so whatever it raises is dropped.
            label: for whom the query runs.
            timeout_s: how long it may take, from here to ``close``.
            interrupt_every_s: how often to interrupt until the query is closed.
        """
        self._interrupt = interrupt
        self._label = label
        self._timeout_s = timeout_s
        self._interrupt_every_s = interrupt_every_s
        self._timed_out = False
        self._cancelled = False
        self._stop = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._wait, name=f"{label}: time limit", daemon=True)
        self._thread.start()

    @property
    def is_stopped(self) -> bool:
        """Whether the query was cancelled or ran out of time."""
        return self._timed_out or self._cancelled

    def cancel(self) -> None:
        """Interrupt the query, now or when it starts."""
        self._cancelled = True
        self._stop.set()

    def close(self) -> None:
        """Stop watching; the query is over."""
        self._closed.set()
        self._stop.set()
        self._thread.join()

    def raise_if_stopped(self) -> None:
        """Raise what the query's end means, where this ended it.

        Raises:
            QueryTimedOut: it ran longer than its limit.
            WarehouseBusy: it was cancelled.
        """
        if self._timed_out:
            raise QueryTimedOut(
                f"{self._label}: the query ran longer than {self._timeout_s:g} s; make it read less, or raise "
                "WAREHOUSE_SYNC_QUERY_TIMEOUT_S"
            )
        if self._cancelled:
            raise WarehouseBusy(f"{self._label}: the query was cancelled")

    def _wait(self) -> None:
        if not self._stop.wait(self._timeout_s):
            self._timed_out = True
        while not self._closed.is_set():
            with suppress(Exception):
                self._interrupt()
            self._closed.wait(self._interrupt_every_s)
