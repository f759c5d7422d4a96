"""Blobs as objects of S3 or Google Cloud Storage, through pyarrow."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyarrow import fs

from shared.blobs.base import Group, parts_of
from shared.errors import SpoolUnavailable, SpoolUnwritable


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
        return "/".join((self._prefix, *parts_of(name)))

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
