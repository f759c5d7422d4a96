"""What was sent to a feed and what came back, counted until somebody records it."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, assert_never

from worker.mparticle.answers import (
    Accepted,
    Answer,
    BatchesRefused,
    NotTheApi,
    SignInRefused,
    Throttled,
    TooLarge,
    Unavailable,
)

SENT_BYTES: Final = "sent_bytes"


class Tally:
    """Requests by what answered them, and the bytes of their bodies; any thread may count, one at a time hands over."""

    def __init__(self) -> None:
        self._counted: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, answer: Answer, sent_bytes: int) -> None:
        """Count one request; a redirect, a timeout and a broken connection are answers, too."""
        with self._lock:
            self._counted[f"requests_{kind_of(answer)}"] += 1
            self._counted[SENT_BYTES] += sent_bytes

    @contextmanager
    def handed_over(self) -> Iterator[Mapping[str, int]]:
        """Give what was counted so far to a block that records it; where the block raises, it is kept for the next."""
        with self._lock:
            taken, self._counted = self._counted, Counter()
        try:
            yield taken
        except BaseException:
            with self._lock:
                self._counted += taken
            raise

    def __bool__(self) -> bool:
        """Whether anything was counted and not handed over."""
        return bool(self._counted)


def kind_of(answer: Answer) -> str:
    """Name an answer, as metrics do."""
    match answer:
        case Accepted():
            return "accepted"
        case BatchesRefused():
            return "refused"
        case TooLarge():
            return "too_large"
        case Throttled():
            return "throttled"
        case Unavailable():
            return "unavailable"
        case SignInRefused():
            return "sign_in_refused"
        case NotTheApi():
            return "not_the_api"
        case _:
            assert_never(answer)
