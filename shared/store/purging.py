"""Purging: rows that are somebody's are taken out of the files of rejected rows, for good.

A file never changes: it is written anew without them, the store is switched to the new one, and the old one is
removed. Whoever dies on the way has lost nothing, and what he left is known (``leftovers``).
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from shared.rejects import CODE
from shared.spool import Spool, SpooledFile
from shared.store import leftovers, rejects
from shared.store.database import Database
from shared.store.reject_tables import reject_files
from shared.store.rejects import RejectFile

_FORGOTTEN_AFTER_S: Final = 3600.0
"""One file takes seconds; a purge that takes longer over it writes it once more."""

Find = Callable[[pa.Table], Any]
"""Says of each row of a table whether it is to go, or ``None`` where the table cannot hold any."""


def purge(database: Database, spool: Spool, file: RejectFile, find: Find) -> int:
    """Take some rows out of a file, and give how many; repeating it takes none.

    Raises:
        ChunkCorrupt: the file is missing or changed, and retention did not remove it.
        SpoolUnavailable: the spool does not answer.
        SpoolUnwritable: it may not be written.
    """
    while True:
        with database.transaction() as connection:
            now = rejects.get(connection, file.id)
        if now is None:  # Its retention has ended.
            return 0
        table = rejects.read(database, spool, now)
        gone = find(table)
        if gone is None or not pc.any(gone).as_py():
            return 0
        kept = table.filter(pc.invert(gone))
        path = spool.name_rejects(now.run_id)
        with database.transaction() as connection:
            leftovers.announce(connection, path)
        written = spool.rewrite_rejects(kept, path)
        with database.transaction() as connection:
            is_switched = _switch(connection, now, written, kept)
        if is_switched:
            remove_leftovers(database, spool)
            return int(table.num_rows - kept.num_rows)


def remove_leftovers(database: Database, spool: Spool) -> int:
    """Remove the files that nobody names any more, and give how many there were."""
    with database.transaction() as connection:
        paths = leftovers.condemn(connection, older_than_s=_FORGOTTEN_AFTER_S)
    if paths:
        spool.remove(paths)
        with database.transaction() as connection:
            leftovers.forget(connection, paths)
    return len(paths)


def _switch(connection: sa.Connection, before: RejectFile, written: SpooledFile, kept: pa.Table) -> bool:
    """Have the store name the new file, unless somebody else has purged it meanwhile or its retention has ended."""
    is_same = sa.and_(reject_files.c.id == before.id, reject_files.c.path == before.path)
    locked = connection.scalar(sa.select(reject_files.c.id).where(is_same).with_for_update())
    if locked is None or not leftovers.replace(connection, new=written.path, old=before.path):
        leftovers.give_up(connection, written.path)
        return False
    connection.execute(
        sa.update(reject_files)
        .where(is_same)
        .values(
            path=written.path,
            checksum=written.checksum,
            rows=written.rows,
            bytes=written.bytes,
            counts=dict(Counter(kept[CODE].to_pylist())),
            purged=reject_files.c.purged + before.rows - written.rows,
        )
    )
    return True
