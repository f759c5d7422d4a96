"""Who finds that the state database does not answer is told at once whether the broker does not, either.

Both are often missing together, and who mends one should not learn of the other by starting anew.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from shared import broker
from shared.endpoints import broker_url
from shared.errors import StoreUnavailable, SyncError
from shared.settings import Settings


@contextmanager
def naming_both(settings: Settings) -> Iterator[None]:
    """Add to an error of the state database what is the matter with the broker, where anything is.

    Raises:
        StoreUnavailable: the state database does not answer.
    """
    try:
        yield
    except StoreUnavailable as error:
        if (other := _of_broker(settings)) is None:
            raise
        raise StoreUnavailable(f"{error}. Besides, {other}") from error


def _of_broker(settings: Settings) -> SyncError | None:
    """Give why the broker cannot be used."""
    try:
        app = broker.build_app(settings, broker_url=broker_url(settings))
        try:
            broker.depths(app)
        finally:
            app.close()
    except SyncError as error:
        return error
    return None
