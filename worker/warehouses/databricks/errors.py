"""The client's errors, translated: the only place that reads Databricks's error conditions, states and words.

A failed statement is told as a condition in brackets, words, an SQLSTATE and a place: ``[UNRESOLVED_COLUMN] A column
... SQLSTATE: 42703; line 2 pos 7``. The client passes on the text alone, so condition and state are read from it. Words
may quote a row, whose values may look like a state: the last one counts, and words are kept only where every state is
about the query (classes 42 and 0A). A failed request is told by its HTTP status, or by what broke the connection.
"""

import re
import ssl
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import urllib3
from databricks.sql.exc import (
    DataError,
    MaxRetryDurationError,
    RequestError,
    ReydenThriftUnsupportedError,
)
from databricks.sql.exc import Error as ClientError

from shared.errors import (
    CredentialsRefused,
    ModelInvalid,
    QueryTimedOut,
    RightsMissing,
    SyncError,
    WarehouseBusy,
    WarehouseUnreachable,
)
from shared.sql import Query
from worker.warehouses.base import Label

CLIENT_ERRORS: Final = (
    ClientError,
    urllib3.exceptions.HTTPError,
    pa.ArrowException,
    OSError,
    EOFError,
    ImportError,
    ValueError,
)
"""What the client raises: its own errors, and those of what it is made of."""

_CONDITION: Final = re.compile(r"\[(?P<name>[A-Z][A-Z0-9_]+(\.[A-Z0-9_]+)*)\] *(?P<words>.*?)\s*SQLSTATE", re.DOTALL)
_STATE: Final = re.compile(r"SQLSTATE: ?([0-9A-Z]{5})\b")
_EXCERPT: Final = "\n== SQL"
"""Begins the query's own text, where that is quoted behind the words."""
_PLACE: Final = re.compile(r"\bline (?P<line>\d+),? (?P<unit>pos|position) (?P<column>\d+)")
_MAX_WORDS: Final = 500

_RIGHTS: Final = "42501"
_ABOUT_THE_QUERY: Final = ("42", "0A")
"""SQLSTATE classes of what is found before a row is read: names, types, syntax, what is not supported."""
_ABOUT_ROWS: Final = ("21", "22", "23", "38", "39", "54", "P0")
"""Values, cardinality, functions of the user's own, limits that a value or the query exceeds, ``raise_error``."""
_UNKNOWN_SETTINGS: Final = frozenset({"CONFIG_NOT_AVAILABLE", "INVALID_CONF_VALUE", "CANNOT_MODIFY_CONFIG"})
_NOT_FOUND: Final = frozenset({"SCHEMA_NOT_FOUND", "CATALOG_NOT_FOUND", "NO_SUCH_CATALOG_EXCEPTION"})
_BROKEN_OFF: Final = (
    "TEMPORARILY_UNAVAILABLE",
    "RESOURCE_EXHAUSTED",
    "CANCEL",
    "INVALID SESSIONHANDLE",
    "CLOSED SERVER SIDE",
    "LINK HAS EXPIRED",
)
"""What the server or the client says, without a state, when time is the cure."""
_REFUSED_ADDRESS: Final = ("IP ACL", "IP ACCESS LIST", "SOURCE IP")
_GONE: Final = frozenset({400, 404})
"""How a request about a session or a query that the server no longer has is answered."""
_REQUEST_BUSY: Final = 500


@dataclass(frozen=True, slots=True)
class _Told:
    """What a failed statement says of itself; ``words`` are empty unless they speak of the query alone."""

    condition: str
    state: str
    words: str
    text: str

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.condition, self.state and f"SQLSTATE {self.state}") if part)


def is_unknown_setting(error: Exception) -> bool:
    """Whether a session was refused for a setting that the warehouse does not have."""
    return _read(error).condition.partition(".")[0] in _UNKNOWN_SETTINGS


def could_not_open(error: Exception, connection_id: str, host: str) -> SyncError:
    """Translate an error of opening a session."""
    place = f"connection {connection_id!r}"
    if isinstance(error, ImportError | ReydenThriftUnsupportedError):
        return WarehouseUnreachable(
            f"{place}: the warehouse at http_path is a real-time one, which this client cannot read; name a "
            "serverless, pro or classic SQL warehouse"
        )
    if (found := _of_request(error, place, host)) is not None:
        return found
    told = _read(error)
    if told.state == _RIGHTS:
        return RightsMissing(f"{place}: Databricks signs us in and refuses a session: {_sentence(told)}; grant it")
    if told.condition in _NOT_FOUND:
        return WarehouseUnreachable(f"{place}: {_sentence(told)}; correct catalog or schema, or grant USE on them")
    if told.state.startswith(_ABOUT_THE_QUERY):
        return WarehouseUnreachable(f"{place}: Databricks refuses a session: {_sentence(told)}")
    return WarehouseBusy(f"{place}: Databricks opens no session now ({told.name or type(error).__name__})")


def query_failed(error: Exception, *, label: Label, query: Query, host: str) -> SyncError:
    """Translate an error of a query that was not interrupted by us."""
    if isinstance(error, RequestError) and error.context.get("http-code") in _GONE:
        # The same address gave us a session. If it is no SQL warehouse's any more, opening the next one says so.
        return WarehouseBusy(
            f"{label}: Databricks at {host} no longer has the session or the query "
            f"(HTTP {error.context['http-code']}); it is tried again"
        )
    if (found := _of_request(error, str(label), host)) is not None:
        return found
    if not isinstance(error, ClientError):
        return WarehouseBusy(f"{label}: Databricks at {host} broke off the result ({type(error).__name__})")
    told = _read(error)
    text = told.text.upper()
    if "TIMEOUT" in told.condition or (not told.state and "TIMED OUT" in text):
        return QueryTimedOut(
            f"{label}: Databricks ended the query at a time limit ({told.name or 'timed out'}); make it read less, or "
            "raise WAREHOUSE_SYNC_QUERY_TIMEOUT_S and the warehouse's own STATEMENT_TIMEOUT"
        )
    if told.state == _RIGHTS:
        return RightsMissing(f"{label}: Databricks refuses to show what the query reads: {_sentence(told)}; grant it")
    if told.state.startswith(_ABOUT_THE_QUERY):
        return ModelInvalid(
            f"{label}: Databricks refuses the data model's SQL{_place(told.text, query)}: {_sentence(told)}"
        )
    is_of_rows = told.state.startswith(_ABOUT_ROWS)
    if not is_of_rows and (told.state or isinstance(error, DataError) or any(sign in text for sign in _BROKEN_OFF)):
        return WarehouseBusy(f"{label}: Databricks broke off the query ({told.name or type(error).__name__})")
    return ModelInvalid(
        f"{label}: the data model's SQL fails{_place(told.text, query)}: {told.name or 'unknown error'}. Databricks's "
        "words are not shown, as they may quote a row; make the SQL bear such rows (e.g. TRY_CAST), or run it in "
        "Databricks to read them"
    )


def _of_request(error: Exception, place: str, host: str) -> SyncError | None:
    """Translate what befell a request rather than a statement; None for the latter."""
    cause = error
    if isinstance(error, RequestError) and len(error.args) > 1 and isinstance(error.args[1], Exception):
        cause = error.args[1]
    if isinstance(cause, SyncError):  # Signing in again failed in the middle.
        return cause
    if isinstance(cause, urllib3.exceptions.MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return WarehouseUnreachable(f"{place}: there is no host {host}; correct server_hostname or endpoint")
    if isinstance(cause, urllib3.exceptions.SSLError | ssl.SSLError):
        return WarehouseUnreachable(f"{place}: {host} shows no valid certificate; correct server_hostname or endpoint")
    if isinstance(cause, urllib3.exceptions.HTTPError | MaxRetryDurationError | OSError):
        return WarehouseBusy(
            f"{place}: Databricks at {host} is throttled, starting, or does not answer ({type(cause).__name__}); it is "
            "tried again"
        )
    if isinstance(error, RequestError):
        return _of_status(error, place, host)
    return None


def _of_status(error: RequestError, place: str, host: str) -> SyncError:
    status = error.context.get("http-code")
    words = str(error.context.get("error-message") or "").upper()
    if status in {401, 403}:
        if any(sign in words for sign in _REFUSED_ADDRESS):
            return RightsMissing(
                f"{place}: {host} refuses this machine's address (HTTP {status}); add it to the workspace's IP access "
                "list"
            )
        if "PERMISSION" in words or "NOT AUTHORIZED" in words:
            return RightsMissing(
                f"{place}: {host} signs us in and refuses the SQL warehouse (HTTP {status}); grant CAN USE on it"
            )
        return CredentialsRefused(
            f"{place}: {host} refused the sign-in (HTTP {status}); correct access_token, or client_id and client_secret"
        )
    if isinstance(status, int) and (status == 429 or status >= _REQUEST_BUSY):  # noqa: PLR2004 - "too many requests"
        return WarehouseBusy(f"{place}: Databricks at {host} is throttled, starting or down (HTTP {status})")
    if isinstance(status, int) and status >= 400:  # noqa: PLR2004 - "bad request" and its like
        return WarehouseUnreachable(
            f"{place}: {host} knows no SQL warehouse at the http_path (HTTP {status}); copy it from the warehouse's "
            "connection details"
        )
    return WarehouseBusy(f"{place}: the connection to {host} broke ({type(error).__name__})")


def _read(error: Exception) -> _Told:
    text = str((error.message if isinstance(error, ClientError) else str(error)) or "")
    states = _STATE.findall(text)
    *_, state = ("", *(_STATE.findall(text.partition(_EXCERPT)[0]) or states))
    # Without a state behind it, something in brackets could be a row's.
    condition = _CONDITION.search(text)
    if condition is None:
        return _Told("", state, "", text)
    is_of_query = bool(states) and all(one.startswith(_ABOUT_THE_QUERY) for one in states)
    words = " ".join(condition["words"].split())[:_MAX_WORDS] if is_of_query else ""
    return _Told(condition["name"], state, words, text)


def _sentence(told: _Told) -> str:
    return f"[{told.condition}] {told.words}".strip() if told.words else told.name


def _place(text: str, query: Query) -> str:
    found = _PLACE.search(text)
    if found is None:
        return ""
    line = int(found["line"]) - query.lines_before
    column = int(found["column"]) + (found["unit"] == "pos")  # "pos" counts from 0, "position" from 1.
    if line < 1:
        return ""
    if query.lines_before and line >= query.text.count("\n") + 1 - query.lines_before:
        return " at its end"  # What is told stands behind the model, in text of ours.
    return f" at line {line}, column {column}"
