"""Workers and beat that send every message twice: ``celery -A tests.system.twice ...``."""

from typing import Any

from celery.signals import after_task_publish

from worker.app import app

__all__ = ["app"]

_SECOND = "is_second"


@after_task_publish.connect  # type: ignore[untyped-decorator] # Celery's signals have no types
def _send_again(sender: str, headers: dict[str, Any], body: tuple[Any, ...], routing_key: str, **_: object) -> None:
    if not headers.get(_SECOND):
        app.send_task(sender, args=body[0], kwargs=body[1], queue=routing_key, headers={_SECOND: True})
