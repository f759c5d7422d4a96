"""``warehouse-sync migrate``: it works on the state database itself, before anything else runs."""

import typer

from console.terminal import screen
from shared.endpoints import database_url
from shared.settings import settings
from shared.store.database import Database

app = typer.Typer()


@app.command()
def migrate() -> None:
    """Bring the state database up to this version, as the owner of its tables; nothing else is needed."""
    database = Database(database_url(settings()), pool_size=1)
    try:
        database.migrate()
    finally:
        database.close()
    screen.print("the state database is up to date")
