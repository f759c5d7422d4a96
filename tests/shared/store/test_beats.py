"""Beats tell that they tick, and are forgotten when they are silent for long."""

from datetime import timedelta

import sqlalchemy as sa

from shared.store import beats
from shared.store.database import Database
from shared.store.life_tables import beats as rows


def test_a_beat_keeps_its_beginning_until_it_starts_anew(database: Database) -> None:
    with database.transaction() as connection:
        beats.tick(connection, "host:1", is_first=True)
        connection.execute(
            sa.update(rows).values(
                started_at=sa.func.now() - timedelta(hours=1), ticked_at=sa.func.now() - timedelta(minutes=2)
            )
        )
        (before,) = beats.ticking(connection)
        beats.tick(connection, "host:1", is_first=False)
        (ticked,) = beats.ticking(connection)
        beats.tick(connection, "host:1", is_first=True)
        (anew,) = beats.ticking(connection)
    assert before.silent == timedelta(minutes=2)
    assert (ticked.silent, ticked.started_at) == (timedelta(0), before.started_at)
    assert anew.started_at > ticked.started_at


def test_the_latest_comes_first_and_the_silent_are_forgotten(database: Database) -> None:
    with database.transaction() as connection:
        for number, name in enumerate(("a:1", "b:2", "c:3")):
            beats.tick(connection, name, is_first=True)
            past = sa.func.now() - timedelta(hours=12 * number)
            connection.execute(sa.update(rows).where(rows.c.name == name).values(ticked_at=past))
    with database.transaction() as connection:
        assert beats.forget_silent(connection, after=timedelta(hours=23)) == 1
        assert [one.name for one in beats.ticking(connection)] == ["a:1", "b:2"]
