"""Redshift's errors, translated: the only place that reads their codes and words.

The client raises what the server said as one exception with a mapping of fields (``C`` the SQLSTATE, ``M`` words, ``P``
the position in the statement, ``D`` details), and nearly anything else for a connection that breaks. Words about the
query, said before a row is read, are kept. Words said while rows are read are dropped, since they may quote them.
"""

import re
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import redshift_connector
from scramp import ScramException  # type: ignore[import-untyped]

from shared.errors import (
    CredentialsRefused,
    ModelInvalid,
    QueryTimedOut,
    RightsMissing,
    SyncError,
    WarehouseBusy,
    WarehouseUnreachable,
)
from shared.providers.redshift import RedshiftConfig
from shared.sql import Query
from worker.warehouses.base import Label

CLIENT_ERRORS: Final = (
    redshift_connector.Error,
    ScramException,
    OSError,
    struct.error,
    ValueError,
    LookupError,
    AttributeError,
)
"""What the client raises; the last four where a message breaks off in its middle, or the socket is closed under it."""

_REFUSED_SIGN_IN: Final = ("28",)
_NO_SUCH_DATABASE: Final = "3D000"
_RIGHTS: Final = "42501"
_READ_ONLY: Final = "25006"
_CANCELLED: Final = "57014"
_ABOUT_THE_QUERY: Final = ("42", "0A", "3D", "3F", "54")
"""Classes that arise while a query is analysed: their words name columns, tables and functions."""
_PARAMETERS: Final = "08P01"
_BUSY: Final = ("08", "40", "53", "55", "57", "58")
"""Connections, conflicts, resources, locks, operators and the system: over some time later."""
_INTERNAL: Final = "XX"
_BUSY_WORDS: Final = re.compile(
    r"abort|wlm|out of memory|disk full|serializable|conflict with concurrent|"
    r"connection|terminat|shut\s?down|restart|resize|maintenance|try again|too many",
    re.IGNORECASE,
)
"""What Redshift's internal errors, which have but one SQLSTATE, say when time is the cure."""
_FETCH_TOO_LARGE: Final = re.compile(r"fetch size .*limit", re.IGNORECASE)
_CURSOR_TOO_LARGE: Final = re.compile(
    r"cursor.*(size|limit|maximum|exceed)|(size|limit|maximum|exceed).*cursor", re.IGNORECASE
)
_TIMEOUT_WORDS: Final = re.compile(r"statement timeout|timed out", re.IGNORECASE)
_LOOK_UP: Final = re.compile(r"^\s*(code|query):\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the server said; ``position`` counts the statement's characters from 0."""

    state: str
    words: str
    position: int | None
    numbers: str

    @property
    def unquoted(self) -> str:
        """The words before the first that are quoted: what a row holds must not decide what an error means."""
        return re.split("['\"]", self.words, maxsplit=1)[0]

    @property
    def is_busy(self) -> bool:
        """Whether time is the cure."""
        is_internal = self.state.startswith(_INTERNAL)
        return self.is_of(_BUSY) or (is_internal and _BUSY_WORDS.search(self.unquoted) is not None)

    def is_of(self, states: tuple[str, ...]) -> bool:
        return self.state.startswith(states)


def sign_in_failed(error: Exception, *, label: Label, connection_id: str, config: RedshiftConfig) -> SyncError:
    """Translate an error of signing in, or of a session's own questions."""
    who = f"{label}: connection {connection_id!r}"
    told = _read(error)
    if told is None:
        return _not_reached(_cause(error), who, config)
    if told.is_of(_REFUSED_SIGN_IN):
        return CredentialsRefused(
            f"{who}: Redshift refuses the sign-in of {config.user!r}: {told.words}; correct user, password or tls"
        )
    if told.state == _NO_SUCH_DATABASE:
        return WarehouseUnreachable(f"{who}: {told.words}; correct `database`")
    if told.state == _RIGHTS:
        return RightsMissing(f"{who}: {told.words}")
    return WarehouseBusy(f"{who}: Redshift lets nobody in now (SQLSTATE {told.state}): {told.words}")


def query_failed(error: Exception, *, label: Label, query: Query, prefix: str, is_reading: bool) -> SyncError:
    """Translate an error of a query that was not interrupted by us.

    Args:
        error: what the client raised.
        label: for whom the query runs.
        query: what was asked.
        prefix: what the statement holds before the query's text.
        is_reading: whether rows were being read, so that words may quote them.
    """
    if isinstance(error, UnicodeDecodeError):
        return ModelInvalid(f"{label}: a row holds text that is not UTF-8; repair it, or leave it out of the model")
    told = _read(error)
    if told is None:
        return WarehouseBusy(f"{label}: the connection to Redshift broke off ({_kind(_cause(error))})")
    if told.state == _CANCELLED:
        return _cancelled(told, label)
    if told.state == _PARAMETERS:
        return ModelInvalid(f"{label}: the data model's SQL holds a parameter such as $1, and may not: {told.words}")
    if told.is_busy:
        return WarehouseBusy(f"{label}: Redshift broke off the query (SQLSTATE {told.state}{told.numbers})")
    return _refused(told, _place(told.position, query, prefix), label, is_reading=is_reading)


def is_answer(error: Exception) -> bool:
    """Whether the server itself refused a statement; the connection still stands."""
    return _read(error) is not None


def is_fetch_too_large(error: Exception) -> bool:
    """Whether a FETCH asked for more rows than a cluster of one node gives at once."""
    told = _read(error)
    return told is not None and _FETCH_TOO_LARGE.search(told.unquoted) is not None


def _not_reached(cause: BaseException, who: str, config: RedshiftConfig) -> SyncError:
    place = f"{config.host}:{config.port}"
    match cause:
        case ssl.SSLCertVerificationError():
            return WarehouseUnreachable(
                f"{who}: the certificate of {place} is not trusted: {cause.verify_message or cause.reason}; correct "
                "`host` (tls: verify-ca does not ask for the host's name), or add the issuer to the certificates that "
                "this worker trusts (SSL_CERT_FILE)"
            )
        case ssl.SSLError():
            return WarehouseUnreachable(f"{who}: {place} does not speak TLS as expected ({cause.reason}); check `port`")
        case socket.gaierror() if cause.errno != socket.EAI_AGAIN:
            return WarehouseUnreachable(f"{who}: there is no host {config.host}; correct `host`")
        case redshift_connector.InterfaceError() if "refuses SSL" in str(cause):
            return WarehouseUnreachable(f"{who}: {place} offers no TLS; correct host and port, or declare tls: off")
        case _:
            return WarehouseBusy(
                f"{who}: {place} does not answer ({_kind(cause)}); it is tried again. If it stays so, resume the "
                "cluster, correct host and port, or let this worker in (security group, public access)"
            )


def _cancelled(told: _Told, label: Label) -> SyncError:
    if _TIMEOUT_WORDS.search(told.words):
        return QueryTimedOut(
            f"{label}: Redshift ended the query at a time limit of its own; raise the statement_timeout of the user or "
            "the queue, or make the query read less"
        )
    return WarehouseBusy(f"{label}: somebody cancelled the query in Redshift, a person or a rule of its queue")


def _refused(told: _Told, place: str, label: Label, *, is_reading: bool) -> SyncError:
    if told.state == _RIGHTS:
        return RightsMissing(
            f"{label}: Redshift refuses to show{place}: {told.words}; grant it, e.g. GRANT SELECT ON ... TO ..."
        )
    if told.state == _READ_ONLY:
        return ModelInvalid(f"{label}: the data model's SQL may only read: {told.words}")
    if told.is_of(_ABOUT_THE_QUERY) and not is_reading:
        return ModelInvalid(f"{label}: Redshift refuses the data model's SQL{place}: {told.words}")
    if _CURSOR_TOO_LARGE.search(told.unquoted):
        return ModelInvalid(
            f"{label}: the result is larger than a cursor of this cluster may hold{told.numbers}; make the query read "
            "less (an incremental pipeline reads windows), or use larger nodes"
        )
    return ModelInvalid(
        f"{label}: the data model's SQL fails{place} (SQLSTATE {told.state}{told.numbers}). Redshift's words are not "
        "shown, as they may quote a row; make the SQL bear such rows, or run it in Redshift to read them"
    )


def _read(error: Exception) -> _Told | None:
    fields = error.args[0] if error.args else None
    if not isinstance(error, redshift_connector.Error) or not isinstance(fields, Mapping):
        return None
    position = str(fields.get("P", ""))
    numbers = "".join(f", {name} {number}" for name, number in _LOOK_UP.findall(str(fields.get("D", ""))))
    words = " ".join(str(fields.get("M", "")).split())
    return _Told(str(fields.get("C", "")), words, int(position) - 1 if position.isdigit() else None, numbers)


def _cause(error: BaseException) -> BaseException:
    """Give what the client wrapped: its connection errors hold the system's as their second argument."""
    wrapped = error.args[1] if len(error.args) > 1 else None
    return wrapped if isinstance(error, redshift_connector.Error) and isinstance(wrapped, OSError) else error


def _kind(cause: BaseException) -> str:
    """Give the kind of an error, and the system's words where there are any: the client's own may quote data."""
    words = cause.strerror if isinstance(cause, OSError) else None
    return type(cause).__name__ if words is None else f"{type(cause).__name__}: {words}"


def _place(position: int | None, query: Query, prefix: str) -> str:
    if position is None or position < len(prefix):
        return ""
    before = query.text[: position - len(prefix)]
    lines = before.count("\n")
    if query.lines_before and lines == query.text.count("\n"):
        return " at its end"  # What is told stands behind the model, in text of ours.
    column = len(before) - before.rfind("\n")
    return f" at line {lines + 1 - query.lines_before}, column {column}"
