"""A feed as a worker may use it: its host allowed, its secret resolved."""

from shared.credentials import require_allowed_host, resolve
from shared.feed import Feed
from shared.secret_fields import purpose
from worker.mparticle.client import FeedClient
from worker.process import Process


def open_feed(process: Process, feed: Feed) -> FeedClient:
    """Give a client that sends as a feed.

    Raises:
        DeclarationInvalid: the feed's host may not be shown a secret.
        SecretUnavailable: its reference leads nowhere.
    """
    require_allowed_host(feed, process.settings)
    return FeedClient(
        process.session,
        base_url=feed.base_url,
        api_key=feed.api_key,
        api_secret=resolve(feed.api_secret, process.settings, purpose=purpose(feed)),
        is_gzip=feed.gzip,
        name=feed.id,
    )
