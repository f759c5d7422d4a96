"""Rows in a file that people name: its name says the format, and its owner alone may read it.

It appears whole or not at all: it is written under another name beside it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from shared.errors import DeclarationInvalid


class Format(StrEnum):
    """How rows are written; a file's name ends so."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"


def format_of(path: Path) -> Format:
    """Give the format that a file's name says.

    Raises:
        DeclarationInvalid: it says none of the three.
    """
    try:
        return Format(path.suffix.lower().removeprefix("."))
    except ValueError:
        endings = ", ".join(f".{known}" for known in Format)
        raise DeclarationInvalid(f"--to {path.name}: the name decides the format; end it with {endings}") from None


@contextmanager
def new_file(path: Path, *, may_replace: bool = False) -> Iterator[BinaryIO]:
    """Give a file that its owner alone may read; when the block ends well it appears, in place of an old one if it may.

    Raises:
        DeclarationInvalid: it cannot be written, or there is one that may not be replaced.
    """
    part = path.with_name(f".{path.name}-{uuid4().hex}.part")
    try:
        _require_place(path, may_replace=may_replace)
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123 - Path.open cannot set the mode
            yield file
            file.flush()
            os.fsync(file.fileno())
        _require_place(path, may_replace=may_replace)  # Reading many rows takes a while.
        part.replace(path)
    except OSError as error:
        raise DeclarationInvalid(f"--to {path}: the file cannot be written ({error.strerror})") from error
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _require_place(path: Path, *, may_replace: bool) -> None:
    if not may_replace and os.path.lexists(path):
        raise DeclarationInvalid(f"--to {path}: there is a file already; name another one, or say --overwrite")
