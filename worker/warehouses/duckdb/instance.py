"""DuckDB databases that this process has open, shared by those who read the same file at the same time.

A file must not be open twice in one process: its lock belongs to the process, and closing one of the two would let a
writer in while the other still reads. So the second reader joins the first's instance, with its limits.

What SQL may do there is locked before anybody's SQL runs: no file outside of the connection's folder, no network, no
extension, no setting, no variable of ours.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from shared.errors import DeclarationInvalid, WarehouseBusy, WarehouseUnreachable
from shared.providers.duckdb import DuckDbConfig
from worker.warehouses.duckdb.errors import could_not_open
from worker.warehouses.duckdb.spill import SpillFolder

_THREADS: Final = 2
"""A worker shares its machine; twice the threads need twice the memory for the same query."""


@dataclass(eq=False, slots=True)
class Instance:
    """One open DuckDB and what it was opened with; ``readers`` is guarded by this module's lock."""

    root: duckdb.DuckDBPyConnection
    config: DuckDbConfig
    spill: SpillFolder
    readers: int = 1


_lock: Final = threading.Lock()
_open: Final[dict[tuple[int, Path], Instance]] = {}
"""By process and file: a forked child must neither use nor close what its parent has open."""


def resolve(connection_id: str, config: DuckDbConfig, folders: tuple[Path, ...]) -> DuckDbConfig:
    """Give the configuration with absolute paths, if this process may read them.

    Raises:
        DeclarationInvalid: a path is not in one of ``folders``.
        WarehouseUnreachable: a path does not exist.
    """
    allowed = [folder.expanduser().resolve() for folder in folders]
    resolved = {}
    for name, path in (("database", config.database), ("folder", config.folder)):
        if path is None:
            continue
        # Resolved, so that neither .. nor a link leads out of the allowed folders.
        real = path.expanduser().resolve()
        if not any(real.is_relative_to(folder) for folder in allowed):
            raise DeclarationInvalid(
                f"connection {connection_id!r}: its {name} {path} is not in a folder that workers may read "
                f"({', '.join(map(str, allowed)) or 'none'}); add its folder to WAREHOUSE_SYNC_DUCKDB_FOLDERS"
            )
        if not (real.is_file() if name == "database" else real.is_dir()):
            raise WarehouseUnreachable(f"connection {connection_id!r}: there is no such {name}: {path}")
        resolved[name] = real
    return config.model_copy(update=resolved)


def acquire(connection_id: str, config: DuckDbConfig) -> Instance:
    """Open a DuckDB, or join the one that has the same file open; ``config`` is resolved.

    Raises:
        WarehouseUnreachable: the file is no DuckDB database or cannot be read.
        WarehouseBusy: another process writes to it, or this one has it open with other limits.
    """
    if config.database is None:
        return _opened(connection_id, config)
    key = (os.getpid(), config.database)
    with _lock:
        instance = _open.get(key)
        if instance is None:
            instance = _open[key] = _opened(connection_id, config)
        elif instance.config != config:
            raise WarehouseBusy(
                f"connection {connection_id!r}: another connection of this worker has {config.database} open with "
                "another folder or memory limit; it is tried again when that one is done. Declare both alike"
            )
        else:
            instance.readers += 1
        return instance


def release(instance: Instance) -> None:
    """Give an instance back; the last reader closes it."""
    with _lock:
        instance.readers -= 1
        if instance.readers:
            return
        if instance.config.database is not None:
            del _open[os.getpid(), instance.config.database]
        instance.root.close()
        instance.spill.remove()


def _opened(connection_id: str, config: DuckDbConfig) -> Instance:
    spill = SpillFolder()
    try:
        root = duckdb.connect(
            config.database or ":memory:",
            read_only=config.database is not None,
            config={
                "threads": _THREADS,
                "memory_limit": f"{config.memory_limit_mib}MiB",
                "temp_directory": str(spill.path / "duckdb"),
                "preserve_insertion_order": False,
                # A file is read once, from its beginning to its end: nothing of it is worth keeping.
                "enable_external_file_cache": False,
                "home_directory": str(config.folder or spill.path),
                "errors_as_json": True,
                "autoload_known_extensions": False,
                "autoinstall_known_extensions": False,
                "allow_community_extensions": False,
                "allow_persistent_secrets": False,
                "python_enable_replacements": False,
            },
        )
        folders = [] if config.folder is None else [str(config.folder)]
        root.execute("SET GLOBAL TimeZone = 'UTC'")
        root.execute(f"SET allowed_directories = [{', '.join(map(_literal, folders))}]")
        root.execute("SET enable_external_access = false")
        root.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        spill.remove()
        raise could_not_open(error, connection_id) from error
    return Instance(root, config, spill)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
