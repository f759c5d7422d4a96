"""A private folder for what an embedded engine spills to disk: rows, hence nobody else's to read and never left behind.

The folder is locked while its process lives. Whoever makes the next one removes those whose process died without
cleaning up.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "warehouse-sync-spill-"
_LOCK: Final = "lock"


class SpillFolder:
    """One engine's folder, under the system's folder for temporary files (``TMPDIR``)."""

    def __init__(self) -> None:
        """Make the folder, and remove those that dead processes left."""
        _remove_abandoned()
        unlocked = Path(tempfile.mkdtemp(prefix=f"making-{_PREFIX}"))
        self._lock = _lock(unlocked / _LOCK)
        # Named like a spill folder only when locked, so that nobody takes it for an abandoned one.
        self.path = unlocked.rename(unlocked.with_name(unlocked.name.removeprefix("making-")))

    def remove(self) -> None:
        """Remove the folder with all that is in it; repeating it is fine."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # Another user's, or somebody else is removing it.
            lock = _lock(folder / _LOCK)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
