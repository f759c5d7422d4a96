"""A process's pulse: a file that it touches while it works, and the question whether it still does.

Whoever runs containers asks every few seconds, so the question costs an interpreter and nothing else: this module
knows the standard library only. Workers touch the file whenever Celery's loop sends a heartbeat, beats whenever the
store has noted their tick; both stop to where their service does not answer. What serves HTTP is asked over HTTP::

    python -m shared.pulse                                  the file of WAREHOUSE_SYNC_PULSE_FILE is not a minute old
    python -m shared.pulse http://127.0.0.1:8000/healthz    answers 200
"""

import http.client
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

VARIABLE: Final = "WAREHOUSE_SYNC_PULSE_FILE"
SILENT_AFTER_S: Final = 60.0
"""A worker touches its file every two seconds, a beat every ten; a minute is what a broken connection may take."""
_TIMEOUT_S: Final = 5.0


def beat(path: Path | None) -> None:
    """Show that this process works; of no file, nothing is shown."""
    if path is not None:
        path.touch(mode=0o600)


def ails(path: Path, *, now: float) -> str | None:
    """Say what is wrong with the process that touches a file, or ``None``; ``now`` is in seconds since 1970."""
    try:
        silent_s = now - path.stat().st_mtime
    except FileNotFoundError:
        return f"{path} is not there: nothing of this process has worked yet, or it is told of another file"
    if silent_s > SILENT_AFTER_S:
        return f"{path} was last touched {silent_s:.0f} s ago: the process hangs, or its service does not answer"
    return None


def answers_badly(url: str) -> str | None:
    """Say what is wrong with an answer over HTTP, or ``None`` where it is 200."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", where.path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {type(error).__name__}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"{url} answers {status}"


def main(arguments: Sequence[str]) -> str | None:
    """Look at what is named, or at this environment's file; give what is wrong, or ``None``."""
    if arguments:
        return answers_badly(arguments[0])
    path = os.environ.get(VARIABLE)
    if not path:
        return f"{VARIABLE} is not set, here or in the process itself"
    return ails(Path(path), now=time.time())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
