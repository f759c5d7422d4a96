"""Named bytes at rest, in a local folder or a bucket: what the spool is made of.

A name is relative and has ``/`` between its parts. A blob appears whole or not at all and is never written twice.
Blobs hold personal data, so what is made here is its owner's alone.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from shared.errors import DeclarationInvalid, SpoolUnavailable, SpoolUnwritable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_PART: Final = ".part"
"""The end of the name of a blob that is still being written."""


@dataclass(frozen=True, slots=True)
class Group:
    """A folder of blobs, and when one was last added (UTC; a bucket's own clock)."""

    name: str
    modified_at: datetime


class Blobs(Protocol):
    """Where blobs rest; safe to use from several threads and, opened after a fork, processes."""

    def put(self, name: str, content: pa.Buffer) -> None:
        """Write a new blob; it survives a crash of the machine.

        Raises:
            SpoolUnavailable: the disk is full or does not answer.
            SpoolUnwritable: writing is not allowed.
        """

    def get(self, name: str) -> pa.Buffer | None:
        """Read a blob; None where there is none.

        Raises:
            SpoolUnavailable: the disk or bucket does not answer.
            SpoolUnwritable: reading is not allowed.
        """

    def has(self, name: str) -> bool:
        """Say whether there is such a blob.

        Raises:
            SpoolUnavailable: the disk or bucket does not answer.
            SpoolUnwritable: reading is not allowed.
        """

    def agree(self, name: str, own: str) -> str:
        """Give the small text under this name, writing ``own`` where there is none; all who ask get the same.

        Raises:
            SpoolUnavailable: the disk or bucket does not answer.
            SpoolUnwritable: it cannot be written.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Remove blobs; those that do not exist are as removed as the others."""

    def remove_group(self, name: str) -> None:
        """Remove a folder with everything in it, if it exists."""

    def groups(self, name: str) -> Iterator[Group]:
        """List the folders that hold blobs two levels below this one, in no order."""


def open_blobs(url: str) -> Blobs:
    """Open ``file:///folder``, a plain path, ``s3://bucket/prefix`` or ``gs://bucket/prefix``; nothing is created yet.

    Options follow a ``?``, as pyarrow has them: ``region``, ``endpoint_override``, ``scheme``.

    Raises:
        DeclarationInvalid: the URL is none of these.
    """
    scheme = urlsplit(url).scheme
    if scheme not in {"", "file", "s3", "gs"}:
        raise DeclarationInvalid(f"{scheme}:// is no place for a spool; use file:///folder, s3://bucket or gs://bucket")
    if scheme == "":
        return Folder(Path(url).expanduser().resolve())
    if scheme == "s3" and "allow_delayed_open" not in url:
        # A chunk then takes one PUT and not a multipart upload of three requests.
        url += f"{'&' if '?' in url else '?'}allow_delayed_open=true"
    try:
        filesystem, path = fs.FileSystem.from_uri(url)
    except (pa.ArrowInvalid, OSError):
        # Neither the URL nor pyarrow's sentence is shown: a URL may carry keys.
        raise DeclarationInvalid(
            f"the spool's {scheme}:// URL cannot be read; write special characters as %20 and options as ?name=value"
        ) from None
    return Folder(Path(path)) if scheme == "file" else Bucket(filesystem, path)


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
        return self._base.joinpath(*_parts(name))

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


class Bucket:
    """Blobs in an object store, where an object appears whole by itself."""

    def __init__(self, filesystem: Any, prefix: str) -> None:
        """Take a pyarrow file system and the bucket with the prefix that all names are under."""
        self._filesystem = filesystem
        self._prefix = prefix.rstrip("/")

    def put(self, name: str, content: pa.Buffer) -> None:
        """Write an object with a single PUT."""
        with self._telling(), self._filesystem.open_output_stream(self._path(name), compression=None) as stream:
            stream.write(content)

    def get(self, name: str) -> pa.Buffer | None:
        """Read an object."""
        with self._telling():
            try:
                with self._filesystem.open_input_file(self._path(name)) as stream:
                    return stream.read_buffer()
            except FileNotFoundError:
                return None

    def has(self, name: str) -> bool:
        """Look for an object."""
        with self._telling():
            return bool(self._filesystem.get_file_info(self._path(name)).is_file)

    def agree(self, name: str, own: str) -> str:
        """Keep the text that is there; whoever may ask at the same time must bring the same ``own``."""
        found = self.get(name)
        agreed = own if found is None else str(found.to_pybytes(), "utf-8")
        # Written in any case: who asks wants to know now, not at the first chunk, that writing is allowed.
        self.put(name, pa.py_buffer(agreed.encode()))
        return agreed

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects."""
        for name in names:
            with self._telling(), suppress(FileNotFoundError):
                self._filesystem.delete_file(self._path(name))

    def remove_group(self, name: str) -> None:
        """Remove all objects under a name."""
        with self._telling():
            self._filesystem.delete_dir_contents(self._path(name), missing_dir_ok=True)
            with suppress(FileNotFoundError):
                self._filesystem.delete_dir(self._path(name))

    def groups(self, name: str) -> Iterator[Group]:
        """List what objects' names have before their last part."""
        base = self._path(name)
        with self._telling():
            entries = self._filesystem.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        newest: dict[str, datetime] = {}
        for entry in entries:
            group = entry.path.rpartition("/")[0]
            if entry.is_file and group.removeprefix(f"{base}/").count("/") == 1:
                newest[group] = max(entry.mtime, newest.get(group, entry.mtime))
        for group, modified_at in newest.items():
            yield Group(group.removeprefix(f"{self._prefix}/"), modified_at)

    def _path(self, name: str) -> str:
        return "/".join((self._prefix, *_parts(name)))

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error) or "NO_SUCH_BUCKET" in str(error):
                raise SpoolUnwritable(
                    f"the spool in bucket {self._prefix} refuses: {error}; "
                    "it needs the rights to read, write, list and delete objects under its prefix"
                ) from error
            raise SpoolUnavailable(f"the spool in bucket {self._prefix} does not answer: {error}") from error


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{name!r} is not a blob's name")
    return parts


def _make_durable(folder: Path) -> None:
    """Have a folder's new entries survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
