"""Commands of the spool."""

import typer

from console.terminal import opened, screen

app = typer.Typer()
spool = typer.Typer(no_args_is_help=True, help="Where chunks wait between warehouse and mParticle.")
app.add_typer(spool, name="spool")


@spool.command()
def adopt() -> None:
    """Record the configured spool as the one all workers must see, after it was moved on purpose."""
    with opened() as operations:
        operations.adopt_spool()
    screen.print("the spool is adopted; restart the workers")
