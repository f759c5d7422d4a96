"""Files in the spool that no other row names: one that is being written to replace another, or one that was replaced.

Whoever replaces a file says so first. So whenever he dies, what he left is known, and is removed by the next who does
the same, or by upkeep. ::

    announce ─▶ write the new file ─▶ replace (the old one is dead now) ─▶ remove ─▶ forget
        └── after ``forgotten_after_s``, by others: condemn (it is dead now) ─▶ remove ─▶ forget
"""

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from shared.store.reject_tables import leftovers


def announce(connection: sa.Connection, path: str) -> None:
    """Say that a file will be written under this path."""
    connection.execute(sa.insert(leftovers).values(path=path))


def replace(connection: sa.Connection, *, new: str, old: str) -> bool:
    """Say that from now on others name the new file, and nobody the old one.

    The caller has them name it in the same transaction. False where the new one was condemned: it may be gone.
    """
    claimed = connection.execute(sa.delete(leftovers).where(leftovers.c.path == new, ~leftovers.c.is_dead))
    if claimed.rowcount:
        connection.execute(sa.insert(leftovers).values(path=old, is_dead=True))
    return bool(claimed.rowcount)


def give_up(connection: sa.Connection, path: str) -> None:
    """Say that a file that was announced will not be named."""
    connection.execute(sa.update(leftovers).where(leftovers.c.path == path).values(is_dead=True))


def condemn(connection: sa.Connection, *, older_than_s: float, at_most: int = 1000) -> Sequence[str]:
    """Give the files that nobody will name, those included whose writer was heard of too long ago."""
    is_over = leftovers.c.recorded_at < sa.func.now() - timedelta(seconds=older_than_s)
    some = (
        sa.select(leftovers.c.path)
        .where(sa.or_(leftovers.c.is_dead, is_over))
        .limit(at_most)
        .with_for_update(skip_locked=True)
        .cte("some")
    )
    return connection.scalars(
        sa.update(leftovers).where(leftovers.c.path == some.c.path).values(is_dead=True).returning(leftovers.c.path)
    ).all()


def forget(connection: sa.Connection, paths: Sequence[str]) -> None:
    """Record that files were removed."""
    connection.execute(sa.delete(leftovers).where(leftovers.c.path.in_(paths), leftovers.c.is_dead))
