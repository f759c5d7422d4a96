"""``warehouse-sync recover``: it works on the store itself, because nothing else runs when it is needed."""

import getpass
from typing import Annotated, Final

import typer
from rich.markup import escape

from console.recovering import Recovery
from console.shapes.recovery import RecoveryShape
from console.terminal import AsJson, echo_json, opened, plain_table, screen

app = typer.Typer()

_NOT_KNOWN: Final = """\
Not known here, because it happened after the backup:
  - declarations that were changed, pipelines that were paused or deleted: `warehouse-sync apply` your files again
  - tokens and clients: those issued since are gone, those revoked since are valid again; revoke them anew
  - rejected rows that were purged since: purge them again
  - rows that were sent by runs begun since: they are read again from the watermarks, and go out under new ids
"""


@app.command()
def recover(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be held, and change nothing.")] = False,
    pause_all: Annotated[
        bool, typer.Option("--pause-all", help="Pause every active pipeline, too, so that none starts by itself.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Do not look whether workers or beats run: nothing of them may.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hold every run that was open in the backup that PostgreSQL was restored from; safe to repeat.

    Stop all workers and beats first. Afterwards approve or abandon each run; docs/backup.md says what each sends again.
    """
    with opened() as operations:
        acting = operations.acting_as(f"local {getpass.getuser()}")
        found = acting.recovering.recover(force=force, dry_run=dry_run, pause_all=pause_all)
    if as_json:
        echo_json(RecoveryShape.of(found))
    else:
        _show(found)


def _show(found: Recovery) -> None:
    as_of = "unknown" if found.backup_at is None else f"{found.backup_at:%Y-%m-%d %H:%M:%S} UTC"
    screen.print(f"the store was restored as of: {as_of}")
    screen.print(f"the spool {escape(found.spool)}", soft_wrap=True)
    table = plain_table("run", "pipeline", "lane", "was", "accepted", "extracted", "chunks left", "missing", "decide")
    for one, _ in found.runs:
        run = one.run
        missing = "?" if one.missing is None else f"{one.missing:,}"
        counts = (f"{run.ledger.accepted:,}", f"{run.ledger.extracted:,}", f"{one.unfinished:,}", missing)
        was = "held" if run.is_held else run.state.value
        table.add_row(str(run.number), run.pipeline_id, run.lane.value, was, *counts, one.ways.value)
    screen.print(table if found.runs else "no run was open")
    for one, why in found.runs:
        screen.print(f"run {one.run.number}: {escape(why)}", soft_wrap=True)
    _show_pipelines(found)
    if found.unknown_runs:
        named = ", ".join(map(str, found.unknown_runs))
        screen.print(
            f"the spool has chunks of runs that were begun since, which nothing reads: {named}", soft_wrap=True
        )
    screen.print(_NOT_KNOWN, soft_wrap=True)
    if found.is_dry_run:
        screen.print("nothing was changed")
        return
    paused = f", {len(found.paused)} pipelines are paused" if found.paused else ""
    screen.print(f"{len(found.runs)} runs are held{paused}; numbers of runs go on at {(found.last_skipped or 0) + 1:,}")


def _show_pipelines(found: Recovery) -> None:
    held = {one.run.pipeline_id for one, _ in found.runs}
    table = plain_table("pipeline", "state", "its next run reads from")
    for row in found.pipelines:
        pipeline_id, watermark = row.pipeline.id, row.standing.watermark
        state = "paused" if pipeline_id in found.paused else row.state.value
        begins = "the beginning" if watermark is None else f"{watermark:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row(pipeline_id, f"{state}, held" if pipeline_id in held else state, begins)
    screen.print(table)
