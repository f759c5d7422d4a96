"""Every command by its name: what it is for, and where it is.

The module of a command is imported when it is called, and no other: together they bring everything with them, from the
API to Arrow, and whoever asks for help, mistypes a name or completes one should not wait for that. So the lines that
help shows stand here once more; each is the first of its command's own.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

COMMANDS: Final[Mapping[str, Mapping[str, str]]] = {
    "demo": {
        "demo": "Sync sample data into a stand-in mParticle, on this machine, and check every count.",
        "sandbox": "Run the stand-in mParticle alone.",
    },
    "machine": {
        "up": "Run everything on this machine: embedded servers, all workers, beat, the API and Flower, until Ctrl-C.",
    },
    "migrate": {
        "migrate": "Bring the state database up to this version, as the owner of its tables; nothing else is needed.",
    },
    "tables": {
        "destinations": "Print every field that a field transformation may map to, as a Markdown table.",
        "limits": "Print every limit with its unit, default and reason, as Markdown.",
    },
    "spool": {
        "spool": "Where chunks wait between warehouse and mParticle.",
    },
    "declarations": {
        "apply": (
            "Show what the files change and do it, all or nothing; "
            "repeating it changes nothing. A new pipeline is a draft."
        ),
        "diff": "Say in what the files differ from what is declared, and change nothing.",
        "validate": "Check files without a server: every mistake is told by its file and field.",
        "export": "Write what is declared as a file that `apply` takes; of sealed secrets it says the word stored.",
        "schema": "Print the JSON Schema of declaration files, for editors.",
    },
    "pipelines": {
        "activate": "Let a draft run on its schedule, once a worker has found nothing that would keep it from running.",
        "pause": (
            "Start no new run of a pipeline, and claim nothing more of those that are open; what is claimed finishes."
        ),
        "resume": "Let a paused pipeline go on: open runs at once, new ones from its next occurrence on.",
        "delete": "Cancel what a pipeline does and delete it; its runs and rejects stay until their retention ends.",
        "status": "Show one pipeline: its state and frequency, how far it is, what holds it, its newest runs.",
        "notices": "List what happened to a pipeline: refused requests, watermarks that were reset.",
        "pipelines": "List the pipelines by provider: state, when each is next due, watermark, and what holds one up.",
    },
    "runs": {
        "trigger": "Start a run of a pipeline now, or reopen the one that failed.",
        "runs": "List the newest runs and their ledgers.",
        "run": "Show one run: what became of its rows, what happened to it and who did it, and its chunks.",
        "retry": "Continue a failed or cancelled run with the same window, chunks and ids.",
        "approve": "Let a held run go on with the same window, chunks and ids; it is not asked about its rows again.",
        "cancel": "Stop a run; it keeps its window until it is retried or abandoned.",
        "abandon": "Give up a failed or cancelled run and free its window.",
    },
    "probes": {
        "test": "Sign in to a connection, from a worker, and say as whom; or find out whether a feed signs in.",
        "columns": "List a pipeline's columns, their types and what becomes of each; runs no query.",
        "preview": "Show the batches that some rows of a pipeline become; nothing is sent unless --send says so.",
        "count": "Count the rows that a pipeline's next run would read; the warehouse runs a query for it.",
        "cost": "Say how many bytes the next run's query would read, where the warehouse tells; runs no query.",
    },
    "backfills": {
        "backfill": "Read a window of a pipeline once more, in the background, after saying how many rows it holds.",
        "backfills": "List initial syncs and backfills: parts, rows, and how long the rest takes at the present speed.",
        "pause-backfill": "Claim nothing more of a backfill and begin no further part; the live lane goes on.",
        "resume-backfill": "Go on with a backfill that was paused or cancelled, where it stood.",
        "cancel-backfill": "Stop a backfill: its open part keeps its window, and the parts that wait are not begun.",
    },
    "rejects": {
        "rejects": (
            "Count a run's rejected rows by code and show some, or save them to a file; "
            "what is shown hides secret columns."
        ),
        "replay": (
            "Send a run's rejected rows anew, once their cause is mended: today's mapping, checks and feed, new ids."
        ),
        "purge-rejects": (
            "Remove somebody's rows from all rejected rows of a pipeline, for good; they cannot be replayed any more."
        ),
    },
    "reviews": {
        "review": (
            "Show what a pipeline reads, sends, costs and when, before it is activated; nothing is sent, nothing moves."
        ),
    },
    "alerts": {
        "alerts": "What is the matter: open alerts first, then those of late.",
    },
    "doctor": {
        "doctor": "Check the services, the workers, every connection's sign-in and every pipeline's columns.",
    },
    "recover": {
        "recover": "Hold every run that was open in the backup that PostgreSQL was restored from; safe to repeat.",
    },
    "declared": {
        "connections": "List, show and delete connections; `apply` declares them.",
        "models": "List, show and delete data models; `apply` declares them.",
        "transformations": "List, show and delete field transformations; `apply` declares them.",
        "feeds": "List, show and delete feeds; `apply` declares them.",
    },
    "access": {
        "audit": "Show who did what, newest first.",
        "tokens": "Static tokens: who may use the API.",
        "clients": "Clients: who may get tokens from the API by signing in.",
    },
    "sealed_secrets": {
        "secrets": "Sealed secrets: keys, sealing, and moving to another key.",
    },
    "serving": {
        "serve": "Serve the HTTP API until Ctrl-C.",
        "openapi": "Print the API's OpenAPI document.",
    },
    "flower": {
        "flower": "Run Flower behind a sign-in, read-only unless control is allowed, until Ctrl-C.",
    },
}
"""The modules of this package, in the order of the help: the commands of each, and their first lines."""


class Named(TyperGroup):
    """The group of all commands. For help and completion it has their names and lines; what is called is imported."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for commands in COMMANDS.values():
            for name, line in commands.items():
                self.add_command(TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Give the command that the arguments name, itself; what no command is called is refused as always."""
        name, command, others = super().resolve_command(ctx, args)
        return name, command and self.called(name), others

    def called(self, name: Any) -> Any:
        """Give the command of a name, from its module."""
        module = next(module for module, commands in COMMANDS.items() if name in commands)
        return get_group(import_module(f"{__package__}.{module}").app).commands[name]
