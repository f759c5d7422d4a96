"""The file that holds a deployment's private keys, one a line, newest first; only workers have it.

It is read anew for each secret, so that a key that was added or removed counts at once.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from shared.errors import SecretUnavailable
from shared.sealing import PRIVATE_PREFIX, PrivateKey, generate

_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OF_OTHERS_WHERE_MOUNTED = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
"""Kubernetes gives a mounted secret to root, and to the process only through its group."""


def read_keys(path: Path | None) -> tuple[PrivateKey, ...]:
    """Give the private keys of a file, in its order; of no file, none. Empty lines and comments (#) do not count.

    Raises:
        SecretUnavailable: it cannot be read, others can read it, or a line is no key; no line is repeated.
    """
    if path is None:
        return ()
    if PRIVATE_PREFIX in str(path):
        raise SecretUnavailable(
            "WAREHOUSE_SYNC_PRIVATE_KEYS holds a private key itself; expected the path of a file that its owner alone "
            "can read, with the key in it"
        )
    try:
        with path.expanduser().open(encoding="utf-8") as file:
            _require_private(path, os.fstat(file.fileno()))
            lines = file.read().splitlines()
    except OSError as error:
        raise SecretUnavailable(f"{_named(path)} cannot be read: {error.strerror}; mount it in this worker") from error
    except UnicodeDecodeError:  # It holds what it could not read.
        raise SecretUnavailable(f"{_named(path)} is not UTF-8 text") from None
    return tuple(
        _key(path, number, line.strip())
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def add_key(path: Path) -> PrivateKey:
    """Make a key, put it first into a file that only its owner can read, and give it; the file is made where needed.

    Raises:
        SecretUnavailable: the file that is there cannot be read or is no such file, or none can be written.
    """
    path = path.expanduser()
    held = read_keys(path) if path.exists() else ()
    new = generate()
    _write(path, (new, *held))
    return new


def _write(path: Path, keys: Sequence[PrivateKey]) -> None:
    """Replace the file as a whole; nobody ever sees half of it."""
    unfinished = path.with_name(f"{path.name}.new")
    try:
        unfinished.unlink(missing_ok=True)  # One that was left behind may be readable by others.
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"{key.text}\n" for key in keys)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise SecretUnavailable(f"{_named(path)} cannot be written: {error.strerror}") from error


def _require_private(path: Path, status: os.stat_result) -> None:
    is_mounted = status.st_uid != os.geteuid()
    if status.st_mode & (_OF_OTHERS_WHERE_MOUNTED if is_mounted else _OF_OTHERS):
        raise SecretUnavailable(
            f"{_named(path)} can be read or changed by others than its owner (mode "
            f"{stat.S_IMODE(status.st_mode):04o}); `chmod 600 {path}`, and consider whether somebody has read it"
        )


def _key(path: Path, number: int, line: str) -> PrivateKey:
    key = PrivateKey.read(line)
    if key is None:
        raise SecretUnavailable(
            f"{_named(path)}: line {number} is no private key, or not all of one; expected what `warehouse-sync "
            "secrets keygen` wrote"
        )
    return key


def _named(path: Path) -> str:
    return f"the file with private keys {path} (WAREHOUSE_SYNC_PRIVATE_KEYS)"
