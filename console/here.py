"""The API in this very process: no port is opened, and whoever runs the command is its admin.

It brings the whole API, the store and the broker with it, so :mod:`console.terminal` imports it for those commands only
that talk to no server.
"""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from console.api.app import build_api
from console.client import Client
from console.in_process import InProcess
from console.operations import Operations
from shared.access import Identity, Role
from shared.outage import naming_both
from shared.settings import Settings

_URL: Final = "http://this-process"
_WORKSPACE: Final = "local"


@contextmanager
def api_here(settings: Settings) -> Iterator[Client]:
    """Give the API in this process for as long as the block runs."""
    with client_here(settings) as client, naming_both(settings):
        yield client


@contextmanager
def operations_here(settings: Settings) -> Iterator[Operations]:
    """Give the verbs over the configured store and broker for as long as the block runs."""
    operations = Operations(settings)
    try:
        with naming_both(settings):
            yield operations
    finally:
        operations.close()


def client_here(settings: Settings) -> Client:
    """Give a client of the API over the configured store and broker, as an admin: whoever may read them is one."""
    operations = Operations(settings)
    app = build_api(operations, local=Identity(f"local {getpass.getuser()}", Role.ADMIN))
    http = httpx.AsyncClient(transport=InProcess(app), base_url=_URL)  # Such a transport knows no timeout.
    return Client(http, settings.workspace_id or _WORKSPACE, operations.close)
