"""Stand-ins by name, each started at its first use and kept until the session ends."""

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.standins.standin import Standin


class Standins:
    """The stand-ins of one test session."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self._home = home
        self._stack = stack
        self._running: dict[str, Standin] = {}

    def __getitem__(self, name: str) -> Standin:
        """Give a running stand-in; its module is ``tests.standins.<name>``, its start ``serving``."""
        if name not in self._running:
            folder = self._home / name
            folder.mkdir()
            module = importlib.import_module(f"tests.standins.{name}")
            self._running[name] = self._stack.enter_context(module.serving(folder))
        return self._running[name]


@contextmanager
def standins_in(home: Path) -> Iterator[Standins]:
    with ExitStack() as stack:
        yield Standins(home, stack)
