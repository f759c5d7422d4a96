"""``warehouse-sync recover``: it works on the store itself, because nothing else runs when it is needed."""

import getpass
from typing import Annotated, Final

import typer
from rich.markup import escape

from console.recovering import Recovery, recovering_as
from console.shapes.recovery import RecoveryShape
from console.terminal import AsJson, echo_json, plain_table, screen
from shared import moments
from shared.settings import settings

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
    with recovering_as(f"local {getpass.getuser()}", settings()) as recovering:
        found = recovering.recover(force=force, dry_run=dry_run, pause_all=pause_all)
    if as_json:
        echo_json(RecoveryShape.of(found))
    else:
        _show(found)


def _show(found: Recovery) -> None:
    if found.at_work is not None:
        screen.print(f"[yellow]warning:[/] {escape(found.at_work)}", soft_wrap=True)
    as_of = "unknown" if found.backup_at is None else moments.told(found.backup_at)
    restored = "the store was restored as of" if found.at_work is None else "if it was restored, then as of"
    screen.print(f"{restored}: {as_of}")
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
        screen.print(f"{_counted(len(found.runs), 'run')} would be held; nothing was changed")
        return
    held = f"{_counted(len(found.runs), 'run')} {_be(len(found.runs))} held"
    paused = f", {_counted(len(found.paused), 'pipeline')} {_be(len(found.paused))} paused" if found.paused else ""
    screen.print(f"{held}{paused}; numbers of runs go on at {(found.last_skipped or 0) + 1:,}")
    decide = ", then `approve` or `abandon` each" if found.runs else ""
    screen.print(f"next: start the API, the workers and a beat{decide}")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _show_pipelines(found: Recovery) -> None:
    held = {one.run.pipeline_id for one, _ in found.runs}
    word = "would be held" if found.is_dry_run else "held"
    table = plain_table("pipeline", "state", "its next run reads from")
    for row in found.pipelines:
        pipeline_id, watermark = row.pipeline.id, row.standing.watermark
        state = "paused" if pipeline_id in found.paused else row.state.value
        begins = "the beginning" if watermark is None else moments.told(watermark)
        table.add_row(pipeline_id, f"{state}, {word}" if pipeline_id in held else state, begins)
    screen.print(table)
