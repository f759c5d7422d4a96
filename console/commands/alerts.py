"""``warehouse-sync alerts``: what is the matter, what was, and whether people can be told."""

from typing import Annotated

import typer
from rich.markup import escape

from console.commands.asking import path_of, waiting
from console.shapes.alerts import AlertDetail, AlertShape, AlertState, TrialShape
from console.terminal import AsJson, api, echo_json, plain_table, screen
from shared import moments

app = typer.Typer()
alerts = typer.Typer(invoke_without_command=True, help="What is the matter: open alerts first, then those of late.")
app.add_typer(alerts, name="alerts")


@alerts.callback()
def listed(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    pipeline: Annotated[str | None, typer.Option("--pipeline", help="Of one pipeline only.")] = None,
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only what is the matter now.")] = False,
    as_json: AsJson = False,
) -> None:
    """List alerts: open ones first, then the newest."""
    if context.invoked_subcommand is not None:
        return
    with api() as client:
        found = client.newest("/alerts", AlertShape, limit, pipelineId=pipeline, open="true" if only_open else None)
    if as_json:
        echo_json(found)
        return
    if not found:
        screen.print("nothing is the matter")
        return
    table = plain_table("state", "alert", "since", "what", "id")
    for one in found:
        shown = f"[red]{one.state}[/]" if one.state is AlertState.OPEN else str(one.state)
        table.add_row(shown, one.name, moments.told(one.since), escape(one.title), str(one.id))
    screen.print(table)
    for one in found:
        if one.state is AlertState.OPEN:
            screen.print(f"\n[red]{escape(one.title)}[/]", soft_wrap=True)
            _show_words(one)


@alerts.command()
def show(
    alert: Annotated[str, typer.Argument(metavar="ALERT", help="An alert's id.")], *, as_json: AsJson = False
) -> None:
    """Show one alert, its changes, and whether each channel was told."""
    with api() as client:
        found = client.get(path_of("alert", alert), AlertDetail)
    if as_json:
        echo_json(found)
        return
    screen.print(escape(found.title), soft_wrap=True)
    _show_words(found)
    table = plain_table("when", "change", "channel", "attempts", "delivered", "error")
    for change in found.changes:
        when = moments.told(change.changed_on)
        if not change.deliveries:
            table.add_row(when, change.change, "-", "", "", "no channel was configured")
        for one in change.deliveries:
            ended = "given up" if one.given_up_on is not None else "not yet"
            done = ended if one.delivered_on is None else moments.told(one.delivered_on)
            table.add_row(when, change.change, one.channel, str(one.attempts), done, escape(one.error or ""))
    screen.print(table)


@alerts.command("test")
def try_out(*, as_json: AsJson = False) -> None:
    """Send one message by each channel, from a worker, and say what each answered."""
    with api() as client, waiting("a worker tells each channel"):
        found = client.post("/alerts/test", TrialShape)
    if as_json:
        echo_json(found)
    elif not found.channels:
        screen.print("the control workers have no channel; docs/alerts.md says how they get one", soft_wrap=True)
    else:
        for one in found.channels:
            sign = "[green]told[/]" if one.is_well else "[red]not told[/]"
            screen.print(f"{one.channel}: {sign}, {escape(one.said)}", soft_wrap=True)
    if not found.channels or not all(one.is_well for one in found.channels):
        raise typer.Exit(1)


def _show_words(one: AlertShape) -> None:
    screen.print(f"  {escape(one.sentence)}", soft_wrap=True)
    if one.cure:
        screen.print(f"  cure: {escape(one.cure)}", soft_wrap=True)
    if one.command:
        screen.print(f"  {escape(one.command)}", soft_wrap=True)
