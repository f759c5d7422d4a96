"""What was done, counted for ever: the totals that metrics are computed from, and how long chunks wait and take.

The database counts by itself, as it writes what happens to a run: so workers of the release before are counted, too,
while both run side by side, and no way of ending a row, a claim or a run can forget to. What it counts is added as the
transaction commits, when that takes no other lock any more.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0006"
down_revision: Final = "0005"
branch_labels: Final = None
depends_on: Final = None

_INSTANT = sa.DateTime(timezone=True)
_LEDGER = ("extracted", "accepted", "rejected", "unchanged", "superseded", "batches")
_ENDS = ("settled", "failed", "cancelled", "abandoned")
_CLAIMED = "NEW.token IS NOT NULL AND OLD.token IS DISTINCT FROM NEW.token"
_LAPSED = "NEW.deaths > OLD.deaths"


def upgrade() -> None:
    op.create_table(
        "totals",
        sa.Column("pipeline_id", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="what is counted; shared/store/totals.py lists the names"),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("value >= 0", name=op.f("totals_value_not_negative")),
        sa.PrimaryKeyConstraint("pipeline_id", "lane", "name", name=op.f("totals_pkey")),
    )
    _time_chunks()
    _add_up()
    _count_runs()
    _count_ends()
    _count_slices()
    _count_chunks()
    _take_over()


def _time_chunks() -> None:
    """Keep how long each chunk waited for a claim, and how long it was claimed, over all attempts."""
    op.add_column(
        "chunks",
        sa.Column("ready_at", _INSTANT, nullable=True, comment="since when it could be claimed; null: claimed"),
    )
    op.add_column("chunks", sa.Column("claimed_at", _INSTANT, nullable=True, comment="null: nobody works on it"))
    op.add_column("chunks", sa.Column("queue_ms", sa.BigInteger(), nullable=True, comment="waited, over all attempts"))
    op.add_column("chunks", sa.Column("run_ms", sa.BigInteger(), nullable=True, comment="claimed, over all attempts"))
    # Chunks that are there already wait from now on.
    op.execute("UPDATE chunks SET ready_at = now() WHERE state = 'ready'")
    op.execute("ALTER TABLE chunks ALTER COLUMN ready_at SET DEFAULT now()")
    op.execute(
        """
        CREATE FUNCTION ms_between(since timestamptz, until timestamptz) RETURNS bigint
        LANGUAGE plpgsql IMMUTABLE STRICT AS $$
        BEGIN
            RETURN greatest(0, round(extract(epoch FROM until - since) * 1000));
        END $$
        """
    )
    # A wait that was asked for, of the chunk or of its run, is neither: what follows it is.
    op.execute(
        """
        CREATE FUNCTION time_chunk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.state = 'uploading' THEN
                NEW.run_ms := coalesce(OLD.run_ms, 0) + ms_between(OLD.claimed_at, now());
            END IF;
            NEW.claimed_at := NULL;
            NEW.ready_at := NULL;
            IF NEW.state = 'uploading' THEN
                NEW.queue_ms := coalesce(OLD.queue_ms, 0) + ms_between(
                    greatest(OLD.ready_at, (SELECT not_before FROM runs WHERE id = NEW.run_id)), now()
                );
                NEW.claimed_at := now();
            ELSIF NEW.state = 'ready' THEN
                NEW.ready_at := greatest(now(), NEW.not_before);
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER timed BEFORE UPDATE ON chunks FOR EACH ROW"
        " WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION time_chunk()"
    )


def _add_up() -> None:
    """Add to some totals of a pipeline's lane in one statement, always in the same order: nobody waits in a circle.

    In PL/pgSQL, which keeps what it has parsed: a function in SQL costs an eighth of the transaction, this a fortieth.
    """
    op.execute(
        """
        CREATE FUNCTION add_to_totals(of_pipeline text, of_lane text, names text[], increments bigint[])
        RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO totals (pipeline_id, lane, name, value)
            SELECT of_pipeline, of_lane, counted.name, counted.increment
            FROM unnest(names, increments) AS counted (name, increment)
            WHERE counted.increment > 0
            ORDER BY counted.name
            ON CONFLICT ON CONSTRAINT totals_pkey DO UPDATE SET value = totals.value + excluded.value;
        END $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION bucket_of(what text, ms bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
            SELECT what || '_le_' || coalesce(
                (SELECT min(bound)::text FROM unnest('{0.1,0.5,1,2.5,5,10,30,60,120,300,600,1800,3600}'::numeric[]) AS bound
                 WHERE ms <= bound * 1000),
                'inf'
            )
        $$
        """
    )


def _count_runs() -> None:
    """Count the rows of a run as its ledger does, and the claims of its plan."""
    names = [f"'{name}'" for name in _LEDGER]
    names += ["'attempts_plan_run'", "'expired_plan_run'"]
    counts = [f"NEW.{name} - OLD.{name}" for name in _LEDGER]
    counts += [f"({condition})::int" for condition in (_CLAIMED, _LAPSED)]
    op.execute(
        f"""
        CREATE FUNCTION count_run() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM add_to_totals(
                NEW.pipeline_id, NEW.lane, ARRAY[{", ".join(names)}], ARRAY[{", ".join(counts)}]::bigint[]
            );
            RETURN NULL;
        END $$
        """
    )
    old, new = (", ".join(f"{row}.{name}" for name in _LEDGER) for row in ("OLD", "NEW"))
    _count("runs", "count_run", f"({old}) IS DISTINCT FROM ({new}) OR {_CLAIMED} OR {_LAPSED}")


def _count_ends() -> None:
    """Count how runs end by the events that tell of it: one that is only held has not ended."""
    op.execute(
        """
        CREATE FUNCTION count_end() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM add_to_totals(runs.pipeline_id, runs.lane, ARRAY['ended_' || NEW.name], ARRAY[1]::bigint[])
            FROM runs WHERE runs.id = NEW.run_id;
            RETURN NULL;
        END $$
        """
    )
    _count("run_events", "count_end", f"NEW.name IN {_ENDS}", on="INSERT")


def _count_slices() -> None:
    """Count the claims of slices; one that follows in a result that its claimant reads already is no new claim."""
    _count_claims("count_slice", "extract_slice", "")
    _count("slices", "count_slice", f"{_CLAIMED} OR {_LAPSED}")


def _count_chunks() -> None:
    """Count the claims of chunks, and how long each that is done waited and took."""
    done = "NEW.state = 'done' AND OLD.state <> NEW.state"
    _count_claims(
        "count_chunk",
        "upload_chunk",
        f"""
            IF {done} AND NEW.queue_ms IS NOT NULL AND NEW.run_ms IS NOT NULL THEN
                names := names || ARRAY[
                    bucket_of('queue', NEW.queue_ms), 'queue_ms', bucket_of('run', NEW.run_ms), 'run_ms'
                ];
                increments := increments || ARRAY[1, NEW.queue_ms, 1, NEW.run_ms];
            END IF;
        """,
    )
    _count("chunks", "count_chunk", f"{_CLAIMED} OR {_LAPSED} OR {done}")


def _count_claims(function: str, task: str, more: str) -> None:
    op.execute(
        f"""
        CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            names text[] := ARRAY['attempts_{task}', 'expired_{task}'];
            increments bigint[] := ARRAY[({_CLAIMED})::int, ({_LAPSED})::int];
        BEGIN
            {more}
            PERFORM add_to_totals(runs.pipeline_id, runs.lane, names, increments) FROM runs WHERE runs.id = NEW.run_id;
            RETURN NULL;
        END $$
        """
    )


def _count(table: str, function: str, when: str, *, on: str = "UPDATE") -> None:
    """Call the function at the end of the transaction, for the rows that hold something to count only."""
    op.execute(
        f"CREATE CONSTRAINT TRIGGER counted AFTER {on} ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        f" WHEN ({when}) EXECUTE FUNCTION {function}()"
    )


def _take_over() -> None:
    """Begin with what the ledgers and the events of runs say was done so far."""
    for name in _LEDGER:
        op.execute(
            f"INSERT INTO totals (pipeline_id, lane, name, value) SELECT pipeline_id, lane, '{name}', sum({name})"
            f" FROM runs GROUP BY pipeline_id, lane HAVING sum({name}) > 0"
        )
    op.execute(
        "INSERT INTO totals (pipeline_id, lane, name, value) SELECT pipeline_id, lane, 'ended_' || name, count(*)"
        f" FROM run_events JOIN runs ON runs.id = run_id WHERE name IN {_ENDS} GROUP BY pipeline_id, lane, name"
    )
