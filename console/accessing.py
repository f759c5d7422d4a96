"""The verbs of access: give it, take it away, sign in, say who somebody is; and who did what."""

from datetime import timedelta
from typing import Final

from shared.access import Identity, Role
from shared.errors import DeclarationInvalid
from shared.store import access, auditing, sign_ins
from shared.store.access import ClientRow, NewClient, NewToken, TokenRow
from shared.store.auditing import AuditEntry
from shared.store.database import Database
from shared.store.sign_ins import SignedIn

MOST_DAYS: Final = 3650
"""What is to last longer has no end."""


class Access:
    """The verbs, bound to one state database; whether somebody may use them is asked by whoever lets them in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_token(self, name: str, role: Role, *, days: int | None = None) -> NewToken:
        """Make a static token that lasts so many days, or until it is revoked; its text is never shown again.

        Raises:
            DeclarationInvalid: no token may have that name, or last that long.
            AlreadyDeclared: a token or a client has that name, or had it before it was revoked.
        """
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise DeclarationInvalid(
                f"a token lasts from 1 to {MOST_DAYS} days, and {days} were asked for; without any, it lasts until it "
                "is revoked"
            )
        lasts = None if days is None else timedelta(days=days)
        with self._database.transaction() as connection:
            return access.create_token(connection, name, role, lasts=lasts)

    def create_client(self, name: str, role: Role) -> NewClient:
        """Make a client; its secret is never shown again. Errors as of ``create_token``."""
        with self._database.transaction() as connection:
            return access.create_client(connection, name, role)

    def tokens(self) -> list[TokenRow]:
        """Give all static tokens by name, without what signs in."""
        with self._database.transaction() as connection:
            return access.list_tokens(connection)

    def clients(self) -> list[ClientRow]:
        """Give all clients by name, without what signs in."""
        with self._database.transaction() as connection:
            return access.list_clients(connection)

    def revoke_token(self, name_or_id: str) -> TokenRow:
        """Make a static token worthless at once, or raise ``NotFound``."""
        with self._database.transaction() as connection:
            return access.revoke_token(connection, name_or_id)

    def revoke_client(self, name_or_id: str) -> ClientRow:
        """End a client and the tokens that it was given, at once, or raise ``NotFound``."""
        with self._database.transaction() as connection:
            return access.revoke_client(connection, name_or_id)

    def sign_in(self, client_id: str, secret: str, address: str) -> SignedIn:
        """Give a client a token; ``address`` is where the request came from.

        Raises:
            SignInRefused: no client has that id and that secret, or it was revoked.
            TooManySignIns: so many failed before that it has to wait, for ``wait_s``.
        """
        return sign_ins.sign_in(self._database, client_id, secret, address)

    def identify(self, token: str) -> Identity | None:
        """Give whom a token identifies now.

        The store is asked each time: an answer that was kept, even for seconds, would outlive a revocation.
        """
        with self._database.transaction() as connection:
            return access.identify(connection, token)

    def any_admin(self) -> bool:
        """Whether anybody can sign in as an admin."""
        with self._database.transaction() as connection:
            return access.any_admin(connection)

    def audit(
        self,
        *,
        kind: str | None = None,
        subject: str | None = None,
        actor: str | None = None,
        before_id: int | None = None,
        limit: int = 50,
    ) -> list[AuditEntry]:
        """Give the newest of what was done, of everything or of what is named; older than ``before_id`` to read on."""
        with self._database.transaction() as connection:
            return auditing.newest(
                connection, kind=kind, subject=subject, actor=actor, before_id=before_id, limit=limit
            )
