"""Commands about rejected rows: look at them, save them, send them anew, purge somebody's."""

import json
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final
from unicodedata import category

import orjson
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.client import Client
from console.commands.asking import path_of, waiting
from console.json_text import as_text
from console.saved import format_of, new_file
from console.shapes.confirmed import RunReference
from console.shapes.rejects import ROWS_HEADER, PurgeShape, RejectsShape, ReplayShape
from console.terminal import AsJson, RunText, api, follow_all, screen
from shared.ledger import RejectCode

app = typer.Typer()

Code = Annotated[RejectCode | None, typer.Option("--code", help="Only rows that were refused for this.")]

_MOST_SHOWN: Final = 1000
_MOST_CHARACTERS: Final = 60
"""Of a value on the screen: a row of some columns stays a few lines."""
_CONTROLS: Final = frozenset({"Cc", "Zl", "Zp"})
"""Unicode's categories of characters that begin a line or tell a terminal what to do."""


@app.command()
def rejects(
    run: RunText,
    code: Code = None,
    limit: Annotated[int, typer.Option(min=0, max=_MOST_SHOWN, help="How many rows to show.")] = 20,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Save all of them, with their real values: .csv, .parquet, .jsonl."),
    ] = None,
    *,
    is_masked: Annotated[bool, typer.Option("--masked", help="Hide secret columns in the saved file, too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file, if there is one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Count a run's rejected rows by code and show some, or save them to a file; what is shown hides secret columns."""
    with api() as client:
        if to is not None:
            _save(client, run, code, to, is_masked=is_masked, may_replace=overwrite)
            return
        counts = client.text("GET", path_of("run", run, "rejects"))
        found = RejectsShape.model_validate_json(counts)
        if not as_json:  # They need no spool.
            _show_counts(found)
        rows = "[]"
        if found.counts and limit:
            rows = client.text("GET", path_of("run", run, "rejects", "rows"), code=code, limit=limit)
    if as_json:
        typer.echo(orjson.dumps({**json.loads(counts), "rows": orjson.Fragment(rows)}))
    else:
        _show_rows(json.loads(rows, parse_float=Decimal))


@app.command()
def replay(
    run: RunText,
    code: Code = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the replay until it ends.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a run's rejected rows anew, once their cause is mended: today's mapping, checks and feed, new ids."""
    with api() as client:
        found = client.get(path_of("run", run, "rejects"), RejectsShape)
        rows = found.left_to_replay if code is None else found.left_by_code.get(code, 0)
        if rows and not yes:
            typer.confirm(
                f"{rows:,} rejected rows of run {found.number} will be sent under new ids as they were read then, but "
                "for those whose users are known to have been sent newer ones. Send them?",
                abort=True,
            )
        begun = client.post(path_of("run", run, "replay"), ReplayShape, {"code": code})
        follow_all(client, begun, [RunReference(id=begun.run_id, number=begun.number)], wait=wait, as_json=as_json)


@app.command()
def purge_rejects(
    pipeline: Annotated[str | None, typer.Argument()] = None,
    *,
    column: Annotated[
        str, typer.Option("--column", help="The column that says whose a row is, as the query names it.")
    ],
    value: Annotated[str, typer.Option("--value", help="Its value, as text; - reads it from standard input.")],
    all_pipelines: Annotated[bool, typer.Option("--all-pipelines", help="The rejects of every pipeline.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove somebody's rows from all rejected rows of a pipeline, for good; they cannot be replayed any more."""
    if (pipeline is None) != all_pipelines:
        raise typer.BadParameter("name one pipeline, or say --all-pipelines")
    wanted = sys.stdin.read().removesuffix("\n") if value == "-" else value
    of_whom = {"all": True} if pipeline is None else {"pipeline_ids": [pipeline]}
    with api() as client, waiting("rejected rows are read"):
        told = client.text("POST", "/rejects/purge", body={**of_whom, "column": column, "value": wanted})
    if as_json:
        typer.echo(told)
        return
    purged = PurgeShape.model_validate_json(told)
    screen.print(f"{purged.rows:,} rejected rows of {purged.runs} runs were removed")
    if purged.in_spool:
        screen.print(
            "Chunks in the spool may still hold such rows, until shortly after their runs are closed; repeat this when "
            f"it no longer names a run here: {', '.join(f'run {one.number}' for one in purged.in_spool_runs)}",
            soft_wrap=True,
        )


def _save(client: Client, run: str, code: RejectCode | None, to: Path, *, is_masked: bool, may_replace: bool) -> None:
    kind = format_of(to)
    path = path_of("run", run, "rejects", "download")
    with new_file(to, may_replace=may_replace) as file, waiting("rejected rows are read"):
        headers = client.download(path, file, format=kind, code=code, masked=is_masked)
    kept = "secret columns are masked" if is_masked else "it holds real values, and its owner alone may read it"
    screen.print(f"{int(headers[ROWS_HEADER]):,} rejected rows are in {escape(str(to))}; {kept}", soft_wrap=True)


def _show_counts(found: RejectsShape) -> None:
    if not found.rejected:
        screen.print(f"run {found.number} has rejected no rows", soft_wrap=True)
        return
    screen.print(f"Rejected rows of run {found.number}", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("code")
    table.add_column("rows", justify="right")
    for code, rows in found.counts.items():
        table.add_row(code, f"{rows:,}")
    screen.print(table)
    if found.purged:
        screen.print(f"{found.purged:,} were purged")
    if found.removed:
        screen.print(f"{found.removed:,} were removed: their retention has ended")
    for run in found.replays:
        screen.print(
            f"replay {run.number} is {run.state}: {run.accepted_rows:,} accepted, {run.rejected_rows:,} rejected",
            soft_wrap=True,
        )
    if found.left_to_replay:
        screen.print(
            f"{found.left_to_replay:,} can be sent anew: `warehouse-sync replay {found.number}`", soft_wrap=True
        )


def _show_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    is_cut = False
    for row in rows:
        screen.print(f"[bold]{row['code']}[/]: {escape(row['reason'])}", soft_wrap=True)
        texts = {name: as_text(value) for name, value in row["values"].items() if value is not None}
        values = ", ".join(f"{name}={_cut(text)}" for name, text in texts.items())
        screen.print(f"  {escape(values)}", soft_wrap=True, highlight=False)
        is_cut = is_cut or any(len(text) > _MOST_CHARACTERS for text in texts.values())
    if is_cut:
        screen.print(f"Values end after {_MOST_CHARACTERS} characters here; --json and --to give them whole")


def _cut(text: str) -> str:
    """Give a value on one line: a long one is cut, and what moves a terminal's cursor is spelled out."""
    shown = text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
    return "".join(one.encode("unicode_escape").decode() if category(one) in _CONTROLS else one for one in shown)
