"""Blobs as files: a disk is made durable, a part is never seen, and nobody but the owner reads them."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from shared.blobs.base import Group, parts_of
from shared.errors import SpoolUnavailable, SpoolUnwritable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_PART: Final = ".part"
"""The end of the name of a blob that is still being written."""


class Folder:
    """Blobs in a local or mounted folder."""

    def __init__(self, base: Path) -> None:
        """Name the folder, which is made when it is first written to."""
        self._base = base

    def put(self, name: str, content: pa.Buffer) -> None:
        """Write, make durable, then move into place: a reader never sees a part, a crash never loses a whole."""
        path = self._path(name)
        with self._telling(needed=content.size):
            self._make_folders(path.parent)
            self._write(path, content)

    def get(self, name: str) -> pa.Buffer | None:
        """Read a blob into memory."""
        with self._telling():
            try:
                return pa.py_buffer(self._path(name).read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                return None

    def has(self, name: str) -> bool:
        """Look for a file."""
        with self._telling():
            try:
                self._path(name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True

    def agree(self, name: str, own: str) -> str:
        """Let the first who links its text under this name win."""
        path = self._path(name)
        candidate = path.with_name(f"{name}-{own}{_PART}")
        with self._telling(needed=len(own)):
            self._make_folders(path.parent)
            self._write(candidate, pa.py_buffer(own.encode()))
            try:
                # Unlike opening exclusively and then writing, a link appears with its content or not at all.
                with suppress(FileExistsError):
                    path.hardlink_to(candidate)
                return path.read_text()
            finally:
                candidate.unlink()

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        with self._telling():
            for name in names:
                self._path(name).unlink(missing_ok=True)

    def remove_group(self, name: str) -> None:
        """Remove a folder."""
        path = self._path(name)
        with self._telling():
            while path.exists():
                with suppress(FileNotFoundError):  # Somebody else is removing it too and was faster at one file.
                    shutil.rmtree(path)

    def groups(self, name: str) -> Iterator[Group]:
        """List folders; adding a file to a folder changes the folder's time."""
        with self._telling():
            for folder in self._path(name).glob("*/*/"):
                with suppress(FileNotFoundError):
                    modified_at = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
                    yield Group(folder.relative_to(self._base).as_posix(), modified_at)

    def _path(self, name: str) -> Path:
        return self._base.joinpath(*parts_of(name))

    def _make_folders(self, folder: Path) -> None:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        for each in reversed(missing):
            # The operator's own folders keep their mode; those made here are nobody else's to read.
            each.mkdir(mode=0o700, exist_ok=True)
            _make_durable(each.parent)

    @staticmethod
    def _write(path: Path, content: pa.Buffer) -> None:
        part = path.with_name(path.name + _PART)
        try:
            with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb", buffering=0) as file:  # noqa: PTH123 - Path.open cannot set the mode
                remaining = memoryview(content)
                while remaining:
                    remaining = remaining[file.write(remaining) :]
                os.fsync(file.fileno())
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        _make_durable(path.parent)

    @contextmanager
    def _telling(self, needed: int = 0) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                existing = next(folder for folder in (self._base, *self._base.parents) if folder.exists())
                free = shutil.disk_usage(existing).free
                raise SpoolUnavailable(
                    f"the disk of the spool at {self._base} is full: {free} bytes are free and {needed} are needed; "
                    "free some, or point WAREHOUSE_SYNC_SPOOL_URL at a larger disk or a bucket"
                ) from error
            if error.errno in _FORBIDDEN:
                raise SpoolUnwritable(
                    f"the spool at {self._base} cannot be read and written by user {os.geteuid()} "
                    f"({error.strerror}: {error.filename}); give it the folder, or choose another with "
                    "WAREHOUSE_SYNC_SPOOL_URL"
                ) from error
            raise SpoolUnavailable(f"the spool at {self._base} does not answer: {error}") from error


def _make_durable(folder: Path) -> None:
    """Have a folder's new entries survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
