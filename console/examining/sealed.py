"""Secrets that are sealed: is there a public key to seal more to, and is any still sealed to an old one?

Whether workers hold the private halves shows where each feed and each connection signs in.
"""

from collections.abc import Iterator
from typing import Final

from console.examining.finding import Finding, failed
from console.operations import Operations
from shared.errors import SyncError

_SUBJECT: Final = "secrets"


def of_secrets(operations: Operations) -> Iterator[Finding]:
    """Look at the keys that sealed secrets need."""
    try:
        status = operations.secrets.status()
    except SyncError as error:
        yield failed(_SUBJECT, error)
        return
    sealed = sum(map(len, status.by_key.values()))
    if sealed and status.current is None:
        yield Finding(
            _SUBJECT,
            f"{sealed} are sealed, and this process has no public key to seal others to",
            "set WAREHOUSE_SYNC_PUBLIC_KEY to the public half of the key that workers hold; `warehouse-sync secrets "
            f"status` names what is sealed to {', '.join(sorted(status.by_key))}",
        )
    elif status.old:
        outdated = sum(len(status.by_key[key_id]) for key_id in status.old)
        yield Finding(
            _SUBJECT,
            f"{outdated} are sealed to another key than the current one: {', '.join(sorted(status.old))}",
            "`warehouse-sync secrets rotate` seals them anew; until then workers need the old key, too",
        )
    else:
        yield Finding(_SUBJECT, f"{status.references} are references, {sealed} are sealed to the current key")
