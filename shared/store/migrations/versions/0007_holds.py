"""Runs that wait for an operator's word.

A held run is a cancelled one with a question: a release that knows no question leaves it alone, too. Whatever moves it
takes the question away; the database sees to that, because such a release cannot.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0007"
down_revision: Final = "0006"
branch_labels: Final = None
depends_on: Final = None

_INSTANT = sa.DateTime(timezone=True)
_ACTOR = "NULLIF(current_setting('warehouse_sync.actor'::text, true), ''::text)"


def upgrade() -> None:
    _keep_questions()
    _end_holds()
    _note_holds()


def _keep_questions() -> None:
    for column in (
        sa.Column("held_at", _INSTANT, nullable=True, comment="since when an operator is asked; null: it is not held"),
        sa.Column("held_for", sa.Text(), nullable=True, comment="what is asked, as a fixed name"),
        sa.Column("held_reason", sa.Text(), nullable=True, comment="what is asked, for operators"),
        sa.Column(
            "accepts_volume",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="an operator takes its rows, however many",
        ),
    ):
        op.add_column("runs", column)
    op.create_check_constraint(op.f("runs_hold_known"), "runs", "held_for IN ('volume_unusual','restored')")
    op.create_check_constraint(
        op.f("runs_hold_is_whole"), "runs", "num_nulls(held_at, held_for, held_reason) IN (0, 3)"
    )
    op.create_check_constraint(op.f("runs_held_is_cancelled"), "runs", "held_at IS NULL OR state = 'cancelled'")


def _end_holds() -> None:
    op.execute(
        """
        CREATE FUNCTION end_hold() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.held_at := NULL;
            NEW.held_for := NULL;
            NEW.held_reason := NULL;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER held_no_longer BEFORE UPDATE ON runs FOR EACH ROW"
        " WHEN (OLD.held_at IS NOT NULL AND OLD.state IS DISTINCT FROM NEW.state)"
        " EXECUTE FUNCTION end_hold()"
    )


def _note_holds() -> None:
    """Note that a run is held, and why, in place of the state that it is held in."""
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION note_run_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' OR OLD.state IS DISTINCT FROM NEW.state
                OR OLD.held_for IS DISTINCT FROM NEW.held_for
            THEN
                INSERT INTO run_events (run_id, happened_at, name, actor, error_kind, error)
                VALUES (
                    NEW.id, clock_timestamp(),
                    CASE WHEN NEW.held_at IS NULL THEN NEW.state ELSE 'held' END,
                    {_ACTOR},
                    CASE
                        WHEN NEW.held_at IS NOT NULL THEN NEW.held_for
                        WHEN NEW.state IN ('failed','cancelled') THEN NEW.error_kind
                    END,
                    CASE
                        WHEN NEW.held_at IS NOT NULL THEN NEW.held_reason
                        WHEN NEW.state IN ('failed','cancelled') THEN NEW.error
                    END
                );
            END IF;
            IF TG_OP = 'UPDATE' AND (OLD.paused_at IS NULL) <> (NEW.paused_at IS NULL) THEN
                INSERT INTO run_events (run_id, happened_at, name, actor)
                VALUES (
                    NEW.id, clock_timestamp(), CASE WHEN NEW.paused_at IS NULL THEN 'resumed' ELSE 'paused' END, {_ACTOR}
                );
            END IF;
            RETURN NULL;
        END $$
        """
    )
    op.execute("COMMENT ON COLUMN run_events.name IS 'the state that it came to, or: held, paused, resumed'")
    op.execute("DROP TRIGGER noted_when_moved ON runs")
    op.execute(
        "CREATE TRIGGER noted_when_moved AFTER UPDATE ON runs FOR EACH ROW"
        " WHEN (OLD.state IS DISTINCT FROM NEW.state OR (OLD.paused_at IS NULL) <> (NEW.paused_at IS NULL)"
        " OR OLD.held_for IS DISTINCT FROM NEW.held_for)"
        " EXECUTE FUNCTION note_run_event()"
    )
