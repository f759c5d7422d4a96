"""What no role may do but the owner of the tables, whatever it was granted: set anew at the end of every migration.

A deployment with one role only notices nothing. Where processes sign in as another role than the owner's
(``deploy/postgres/roles.sql``), that one writes the audit log and can neither change nor remove what stands there; and
who only reads the database, for dashboards, reads nothing that would help to sign in or shows rows of a warehouse.
"""

from typing import Final

import sqlalchemy as sa

_CHANGES: Final = ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "REFERENCES", "MAINTAIN")
FORBIDDEN: Final = {
    "audit": _CHANGES,
    "alembic_version": ("INSERT", *_CHANGES),
}
"""By table: the rights that its owner alone has."""
CONFIDENTIAL: Final = frozenset(
    {
        *("clients", "tokens", "failed_sign_ins", "connections", "feeds", "probes"),
        *("newer_rows", "rejected_users", "accepted_keys"),
    }
)
"""Hashes of tokens, references to secrets and sealed secrets, sample rows, hashes by which a user whose e-mail is known
could be found: only who may write these may read them."""

_GRANTED: Final = sa.text(
    """
    SELECT tables.relname AS table_name, quote_ident(tables.relname) AS quoted,
           coalesce(quote_ident(roles.rolname), 'PUBLIC') AS grantee, array_agg(granted.privilege_type) AS rights
      FROM pg_class AS tables
     CROSS JOIN LATERAL aclexplode(tables.relacl) AS granted
      LEFT JOIN pg_roles AS roles ON roles.oid = granted.grantee
     WHERE tables.relnamespace = current_schema()::regnamespace AND tables.relkind IN ('r', 'p')
       AND granted.grantee <> tables.relowner
     GROUP BY 1, 2, 3
    """
)


def withhold(connection: sa.Connection) -> None:
    """Take from every role but the owner what it was granted too much; repeating it changes nothing."""
    for table, quoted, grantee, rights in connection.execute(_GRANTED).all():
        excess = [right for right in FORBIDDEN.get(table, ()) if right in rights]
        if table in CONFIDENTIAL and "INSERT" not in rights and "SELECT" in rights:
            excess.append("SELECT")
        if excess:
            # Names from PostgreSQL's own catalogue, quoted by it; rights from this module.
            connection.exec_driver_sql(f"REVOKE {', '.join(excess)} ON {quoted} FROM {grantee} CASCADE")
