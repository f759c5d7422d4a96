"""A command imports what it uses: whoever types one, or asks for help, waits for nothing else."""

import json
import os
import platform
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.main import get_group
from typer.testing import CliRunner

from console import commands
from console.cli import app
from console.commands.named import COMMANDS
from shared.settings import PREFIX

NOBODY = "http://127.0.0.1:1"
NEEDLESS = {
    *("aiohttp", "alembic", "celery", "duckdb", "fastapi", "jsonschema", "kombu", "psycopg", "pyarrow", "redis"),
    *("console.api", "console.operations", "sandbox", "shared.store", "sqlalchemy", "worker"),
}
"""What nobody needs who asks for help, or talks to a server."""
AT_WORK = {"demo", "flower", "machine", "migrate", "recover", "serving"}
"""Modules of commands that talk to no server: they run a part of the deployment, or work on the store itself."""
COMMAND = """
import json, sys
from console.cli import main
sys.argv = ["warehouse-sync", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps(list(sys.modules)))
"""


def started(script: str, *arguments: str, **environment: str) -> tuple[int, str, set[str]]:
    """Run Python alone; give its exit code, all that was printed, and which of what is needless it imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**inherited, **environment},
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    *_, imported = ended.stdout.splitlines()
    return ended.returncode, f"{ended.stdout}{ended.stderr}", NEEDLESS & set(json.loads(imported))


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["--help"], 0, "Self-hosted reverse ETL"),
        (["runz"], 2, "Did you mean"),
        (["runs", "--no-such"], 2, "No such option"),
        (["--url", NOBODY, "--token", "t", "runs"], 3, "ServerUnavailable"),
    ],
)
def test_neither_help_nor_a_servers_client_imports_the_api(arguments: list[str], exit_code: int, said: str) -> None:
    ended_with, printed, needless = started(COMMAND, *arguments)
    assert ended_with == exit_code, printed
    assert said in printed
    assert not needless


def test_completion_imports_no_command() -> None:
    _, printed, needless = started(
        COMMAND,
        _WAREHOUSE_SYNC_COMPLETE="complete_bash",
        COMP_WORDS="warehouse-sync ru",
        COMP_CWORD="1",
    )
    assert set(printed.split()[:2]) == {"run", "runs"}
    assert not needless


def test_no_command_that_may_talk_to_a_server_imports_the_api() -> None:
    places = [f"console.commands.{module}" for module in COMMANDS if module not in AT_WORK]
    _, _, needless = started(f"import json, sys, {', '.join(places)}\nprint(json.dumps(list(sys.modules)))")
    assert not needless


def test_help_says_of_every_command_what_it_says_of_itself() -> None:
    said = {}
    for file in Path(next(iter(commands.__path__))).glob("*.py"):
        if hasattr(module := import_module(f"console.commands.{file.stem}"), "app"):
            said[file.stem] = {
                name: (command.help or "").splitlines()[0] for name, command in get_group(module.app).commands.items()
            }
    assert said == COMMANDS


def test_the_version_is_the_installed_one_and_pythons() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert told.exit_code == 0
    assert told.output == f"warehouse-sync {version('warehouse-sync')} (Python {platform.python_version()})\n"
