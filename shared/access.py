"""Who may do what: roles, identities, and the texts that people and programs sign in with (pure).

A token, and the secret of a client, is 256 random bits. The store keeps their SHA-256 only. A slow hash, as passwords
need, would not make them safer: what it makes expensive is trying the likely ones, and here all are equally likely.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Final

from shared.errors import DeclarationInvalid, RoleTooLow

SECRET_BYTES: Final = 32
"""Random bytes in a token and in a client's secret."""
CLIENT_ID_BYTES: Final = 8
"""Random bytes in a client's id, which is no secret, but not to be guessed either."""
BROKER: Final = "broker"
"""Whoever sends an operator's task through the broker acts under this name; nobody else may have it."""
ELSEWHERE: Final = "elsewhere"
"""Where sign-ins come from that have no IP address: a socket file, a program's own process."""

_TOKEN: Final = re.compile(r"ws_[A-Za-z0-9_-]{43}")
_CLIENT_ID: Final = re.compile(r"client_[0-9a-f]{16}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_OTHERS: Final = frozenset({BROKER, "local", "system"})
_LIKE_AN_ID: Final = re.compile(r"(client_|ws_).*|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NETWORK_BITS: Final = 64
"""Of an IPv6 address: the rest of it anybody chooses who has one."""


class Role(StrEnum):
    """What somebody may do; each role may also do what those before it may.

    A viewer sees states and no row's values; an operator also runs things and sees rows; an admin also declares,
    deletes, gives access and reads the audit log. Ask ``may``: as texts, roles are ordered by the alphabet.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def may(self, required: "Role") -> bool:
        """Whether this role may do what ``required`` may."""
        ranks = tuple(Role)
        return ranks.index(self) >= ranks.index(required)


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who signed in; what they change is noted under ``name``."""

    name: str
    role: Role


def require(identity: Identity, role: Role) -> None:
    """Raise ``RoleTooLow`` unless somebody may do what takes ``role``."""
    if not identity.role.may(role):
        raise RoleTooLow(
            f"this takes the role {role}, and {identity.name!r} has the role {identity.role}; ask an admin for a token "
            f"of the role {role}"
        )


def require_name(name: str) -> None:
    """Raise ``DeclarationInvalid`` unless a token or a client may have this name.

    A name ends up in the audit log, so it must not look like another's: neither an id, nor the broker's, nor, for want
    of a space, that of a local user (``local anna``).
    """
    if not _NAME.fullmatch(name) or _LIKE_AN_ID.fullmatch(name) or name.casefold() in _OTHERS:
        raise DeclarationInvalid(
            "the name of a token or a client has 1 to 63 of the characters A-Z a-z 0-9 . _ @ -, begins with a letter "
            f"or a digit, does not look like an id, and is not {BROKER}, local or system; choose another name"
        )


def to_token(random: bytes) -> str:
    """Give a token as text: ``ws_`` and 43 characters that fit into a URL and a header."""
    return f"ws_{_as_text(random)}"


def to_client_secret(random: bytes) -> str:
    """Give a client's secret as text; it says what it is, and is no token."""
    return f"ws_secret_{_as_text(random)}"


def to_client_id(random: bytes) -> str:
    """Give a client's id as text."""
    return f"client_{random.hex()}"


def is_token(text: str) -> bool:
    """Whether a text has the form of a token; one that has not identifies nobody."""
    return _TOKEN.fullmatch(text) is not None


def is_client_id(text: str) -> bool:
    """Whether a text has the form of a client's id."""
    return _CLIENT_ID.fullmatch(text) is not None


def hashed(text: str) -> str:
    """Give what the store keeps of a token or a secret: its SHA-256 in hexadecimal digits."""
    # Any text has a hash of its own, even one that is no UTF-8: JSON can carry half a surrogate pair.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_hash_of(stored: str, text: str) -> bool:
    """Whether ``stored`` is the hash of ``text``; takes the same time wherever they differ."""
    return hmac.compare_digest(stored, hashed(text))


def counted_as(address: str) -> str:
    """Give what failed sign-ins from an address are counted under; never longer than an address.

    An IPv6 address counts with its /64, because whoever has one address of it has all of them.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return ELSEWHERE
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Address(int(found) >> _NETWORK_BITS << _NETWORK_BITS))
    return str(found)


def _as_text(random: bytes) -> str:
    return urlsafe_b64encode(random).rstrip(b"=").decode()
