"""Secrets of a home that outlive its processes, each in a file that only its owner can read."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def keep(path: Path, secret: str) -> None:
    """Put a secret into a file for its owner alone, in place of what was there; all or nothing."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # One that was left behind may be readable by others.
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{secret}\n")
    new.replace(path)


def kept(path: Path, make: Callable[[], str]) -> str:
    """Give the secret in a file, made where there is none, and anew where others could have read it."""
    with suppress(OSError, UnicodeDecodeError):
        held = path.read_text(encoding="utf-8").strip()
        if held and not path.stat().st_mode & 0o077:
            return held
    secret = make()
    keep(path, secret)
    return secret
