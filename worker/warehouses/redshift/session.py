"""One signed-in session of the vendor's client: the only place that uses what its interface leaves out.

The client (redshift-connector 2.2) is told to speak its plainest protocol, in which Redshift answers like the
PostgreSQL it descends from, and to hand dates, times, timestamps and numbers over as they came: its own conversions
clamp years it cannot say, shift dates before 1582 and lose microseconds. ``columns`` makes Arrow of them.
"""

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import redshift_connector
from redshift_connector.config import ClientProtocolVersion, DbApiParamstyle
from redshift_connector.utils.oids import RedshiftOID

from shared.providers.redshift import RedshiftConfig
from worker.warehouses.base import Label
from worker.warehouses.redshift.columns import RECEIVED, Described
from worker.warehouses.redshift.errors import CLIENT_ERRORS

_KEEPALIVE_IDLE_S: Final = 30
_KEEPALIVE_INTERVAL_S: Final = 10
_KEEPALIVES: Final = 3
"""A peer that vanished without a word is noticed after a minute, however long its query may take."""
_APPLICATION_NAME_BYTES: Final = 63
_QUERY_GROUP_BYTES: Final = 320
_UNFIT_FOR_A_LABEL: Final = re.compile(r"[^A-Za-z0-9 =_.:/@-]")
_INTEGERS: Final = {
    "smallint": (RedshiftOID.SMALLINT, 2**15),
    "integer": (RedshiftOID.INTEGER, 2**31),
}


@dataclass(frozen=True, slots=True)
class SignIn:
    """How to sign in, and what the warehouse's history of sessions and queries shows.

    ``timeout_s`` bounds each step of signing in.
    """

    config: RedshiftConfig
    password: str
    label: Label
    timeout_s: int


class Verbatim(str):
    """A statement that reaches the server as it is: parameters are written as the server writes them, ``$1``.

    The client scans a statement for its own placeholders character by character, and what it takes for one differs
    from what the server would: none of its styles is safe from ``?``, ``%`` or ``:`` in somebody else's SQL, e.g. in
    dollar quotes. To that scan this is one single character, which is no placeholder.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        """Give the whole text at once."""
        yield str(self)


class Session:
    """A physical connection, for one statement at a time; only ``break_off`` may come from another thread."""

    def __init__(self, sign_in: SignIn, *, statement_timeout_s: float) -> None:
        """Sign in and prepare the session: times in UTC, labelled, with a limit for each statement.

        Raises:
            CLIENT_ERRORS: whatever the client says.
        """
        self._client = _Client(sign_in)
        try:
            self._cursor = self._client.cursor()
            self._cursor.paramstyle = DbApiParamstyle.QMARK.value
            for name, value in _settings(sign_in.label, statement_timeout_s).items():
                self.execute(f"SET {name} TO '{value}'")
            ((self.backend_pid,),) = self.rows("SELECT pg_backend_pid()")
        except BaseException:
            self.close()
            raise

    def execute(self, statement: str, values: Sequence[object] = (), *, integers: str = "") -> None:
        """Run one statement, with values for its ``$1``, ``$2`` ...

        Integers are sent as a column of the type ``integers`` has them where they fit, else as BIGINT, and not, as the
        client would, in the smallest type that holds them.
        """
        self._run(statement, values, integers=integers)

    def rows(self, statement: str) -> tuple[list[Any], ...]:
        """Run one statement that gives rows, and give them all."""
        # Fewer, larger reads. Not for others: after a ROLLBACK the client closes what it prepared in the middle of
        # reading the answer, and waits for ever for what it has read already.
        self._run(statement, are_reads_merged=True)
        rows: tuple[list[Any], ...] = self._cursor.fetchall()
        return rows

    def described(self) -> list[Described]:
        """Give the columns of the statement that was run last."""
        return [
            Described(column["label"].decode(), column["type_oid"], column["type_modifier"])
            for column in self._cursor.ps["row_desc"]
        ]

    def answer_within(self, seconds: float | None) -> None:
        """Say how long to wait for each answer from now on; None: whoever watches will break the session off."""
        self._client._usock.settimeout(seconds)  # noqa: SLF001 - see the module's docstring

    def break_off(self) -> None:
        """Cut the connection: whoever waits for an answer stops waiting. Repeating it is fine."""
        with suppress(OSError):
            # The plain socket's, below TLS: nothing may be changed under the thread that reads.
            socket.socket.shutdown(self._client._usock, socket.SHUT_RDWR)  # noqa: SLF001 - see the module's docstring

    def close(self) -> None:
        """Sign out, which also ends a transaction and its cursor; repeating it is fine."""
        with suppress(*CLIENT_ERRORS):
            self._client.close()

    def _run(
        self, statement: str, values: Sequence[object] = (), *, integers: str = "", are_reads_merged: bool = False
    ) -> None:
        oid, end = _INTEGERS.get(integers, (RedshiftOID.BIGINT, 2**63))
        fits = all(-end <= value < end for value in values if isinstance(value, int))
        self._client.py_types[int] = self._client.py_types[oid if fits else RedshiftOID.BIGINT]
        self._cursor.execute(Verbatim(statement), list(values) or None, merge_socket_read=are_reads_merged)


class _Client(redshift_connector.Connection):  # type: ignore[misc]
    """The vendor's connection, which also closes its socket when signing in fails."""

    def __init__(self, sign_in: SignIn) -> None:
        config = sign_in.config
        try:
            super().__init__(
                user=config.user,
                password=sign_in.password,
                database=config.database,
                host=config.host,
                port=config.port,
                ssl=config.tls != "off",
                sslmode=config.tls,
                timeout=sign_in.timeout_s,
                tcp_keepalive_idle=_KEEPALIVE_IDLE_S,
                tcp_keepalive_interval=_KEEPALIVE_INTERVAL_S,
                tcp_keepalive_count=_KEEPALIVES,
                application_name=_shown(sign_in.label, _APPLICATION_NAME_BYTES),
                client_protocol_version=ClientProtocolVersion.BASE_SERVER.value,
            )
        except BaseException:
            usock = getattr(self, "_usock", None)
            if usock is not None:
                usock.close()
            raise
        # Transactions are begun by us: the client would begin one before every statement, and not a read-only one.
        self.autocommit = True
        self.redshift_types.update(RECEIVED)


def _settings(label: Label, statement_timeout_s: float) -> Mapping[str, str]:
    """Give what Redshift and PostgreSQL both know, but for ``query_group``, which is Redshift's own."""
    return {
        "timezone": "UTC",
        "datestyle": "ISO",
        "statement_timeout": str(int(statement_timeout_s * 1000)),
        "query_group": _shown(label, _QUERY_GROUP_BYTES),
    }


def _shown(label: Label, length: int) -> str:
    """Give the label's tags in one line that needs no quoting, e.g. ``warehouse-sync run=4f0 pipeline=users``."""
    product, *others = label.tags.items()
    text = " ".join([product[1], *(f"{name}={value}" for name, value in others)])
    return _UNFIT_FOR_A_LABEL.sub("_", text)[:length]
