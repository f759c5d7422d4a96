"""``warehouse-sync doctor``: here it looks by itself, so that it also works where nothing else does."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from console.answers import show_findings
from console.commands.asking import waiting
from console.examining.finding import Finding
from console.place import is_here
from console.shapes.findings import FindingShape
from console.terminal import AsJson, api, echo_json, opened, screen

app = typer.Typer()


@app.command()
def doctor(
    connection: Annotated[str | None, typer.Argument(help="One connection only; all without.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check the services, the workers, every connection's sign-in and every pipeline's columns."""
    if is_here():
        from console.doctor import examine  # noqa: PLC0415 - it looks into everything: a server does so by itself

        with opened() as operations:
            all_is_well = _show(examine(operations, connection), as_json=as_json)
    else:
        all_is_well = _show(_elsewhere(connection), as_json=as_json)
    if not all_is_well:
        raise typer.Exit(1)


def _show(findings: Iterable[Finding], *, as_json: bool) -> bool:
    if not as_json:
        return show_findings(screen, findings)
    found = list(findings)
    echo_json([FindingShape.of(one) for one in found])
    return all(one.is_well for one in found)


def _elsewhere(connection: str | None) -> Iterator[Finding]:
    with api() as client, waiting("the server looks at everything"):
        found = client.get("/doctor", list[FindingShape], connectionId=connection)
    for one in found:
        yield Finding(one.subject, one.found, one.cure)
