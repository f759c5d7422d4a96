"""What Flower reads as its configuration file, before it serves: never imported.

Flower 2.2 asks nobody who signs in for ``/metrics``, which names workers and tasks; and it shows only the queues that a
worker serves just now, of which the others are the ones to look at.
"""

from typing import Any

from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.web import authenticated


def every_queue(handler: Any) -> list[str]:
    """Give every queue there is."""
    return sorted(queue.name for queue in handler.capp.conf.task_queues)


Metrics.get = authenticated(Metrics.get)
BaseHandler.get_active_queue_names = every_queue
