"""Secrets sealed to a public key: who seals cannot open, and only workers hold the private half.

A sealed box of libsodium (X25519, XSalsa20-Poly1305) holds a small JSON with the secret and its *purpose*: the resource
that it belongs to and whom it may be shown to. So a sealed text that is copied into another declaration, or kept while
an address changes, does not open. What is in a box is rounded up in length, so that a sealed text does not tell how
long a secret is.
"""

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import nacl.exceptions
import nacl.public

from shared.errors import DeclarationInvalid, SecretUnavailable
from shared.fields import brief

SCHEME: Final = "sealed:"
MOST_SECRET_BYTES: Final = 16 * 1024
"""A private key in PEM has 4 KiB at most, a service account's key file less."""
_MOST_CONTENT_BYTES: Final = 20 * 1024
_BLOCK_BYTES: Final = 512
_VERSION: Final = 1
_PUBLIC: Final = "wsync-public-"
PRIVATE_PREFIX: Final = "wsync-private-"
_KEY_BYTES: Final = 32
_CHECK_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What secrets are sealed to; anybody may know it."""

    raw: bytes

    @property
    def id(self) -> str:
        """The key's name in sealed texts: 16 hexadecimal digits that follow from the key."""
        return blake2b(self.raw, digest_size=8, person=b"wsync-key-id").hexdigest()

    @property
    def text(self) -> str:
        """The key as one word, with a checksum: what is sealed to a mistyped key nobody can open."""
        return _word(_PUBLIC, self.raw)

    @classmethod
    def read(cls, text: str) -> "PublicKey":
        """Read what :attr:`text` gave.

        Raises:
            DeclarationInvalid: it is no public key, or not all of it; it is not repeated, as it may be a private one.
        """
        raw = _read(_PUBLIC, text)
        if raw is None:
            what = (
                "a private key; keep that to the workers"
                if text.startswith(PRIVATE_PREFIX)
                else "none, or not all of it"
            )
            raise DeclarationInvalid(
                f"the public key (WAREHOUSE_SYNC_PUBLIC_KEY): expected a word that begins with {_PUBLIC}, as "
                f"`warehouse-sync secrets keygen` prints it; this is {what}"
            )
        return cls(raw)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What opens secrets; workers only."""

    raw: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The half that secrets are sealed to."""
        return PublicKey(bytes(nacl.public.PrivateKey(self.raw).public_key))

    @property
    def text(self) -> str:
        """The key as a line of the file that workers read."""
        return _word(PRIVATE_PREFIX, self.raw)

    @classmethod
    def read(cls, line: str) -> "PrivateKey | None":
        """Read what :attr:`text` gave; ``None`` where the line is no private key, or not all of one."""
        raw = _read(PRIVATE_PREFIX, line)
        return None if raw is None else cls(raw)


def generate() -> PrivateKey:
    """Give a new private key, from the system's randomness."""
    return PrivateKey(bytes(nacl.public.PrivateKey.generate()))


def seal(secret: str, purpose: str, public_key: PublicKey) -> str:
    """Give a secret as ``sealed:KEYID:BASE64``; twice the same secret gives two different texts.

    Raises:
        DeclarationInvalid: it is empty, too long, or no Unicode text; it is not repeated.
    """
    try:
        length = len(secret.encode())
    except UnicodeEncodeError:  # It holds what it could not encode.
        raise DeclarationInvalid(f"the secret of {purpose} is not Unicode text; give it as UTF-8") from None
    if not secret:
        raise DeclarationInvalid(f"the secret of {purpose} is empty; give one, or leave it out to keep what is stored")
    content = json.dumps({"version": _VERSION, "purpose": purpose, "secret": secret}, ensure_ascii=False).encode()
    if length > MOST_SECRET_BYTES or len(content) > _MOST_CONTENT_BYTES:
        raise DeclarationInvalid(
            f"the secret of {purpose} has {length:,} bytes; {MOST_SECRET_BYTES:,} at most can be sealed. "
            "Is it a key file's content, and not an archive?"
        )
    blocks = math.ceil(len(content) / _BLOCK_BYTES)
    rounded = content.ljust(blocks * _BLOCK_BYTES)  # JSON may end in spaces.
    box = nacl.public.SealedBox(nacl.public.PublicKey(public_key.raw)).encrypt(rounded)
    return f"{SCHEME}{public_key.id}:{base64.b64encode(box).decode()}"


def key_id_of(reference: str) -> str | None:
    """Give the id of the key that a reference is sealed to; ``None`` where it is not a sealed one."""
    return reference.removeprefix(SCHEME).partition(":")[0] if reference.startswith(SCHEME) else None


def open_sealed(reference: str, purpose: str, private_keys: Sequence[PrivateKey]) -> str:
    """Give the secret in a sealed text, if it was sealed for this purpose.

    Raises:
        SecretUnavailable: no key opens it, it is damaged, or it was sealed for something else; nothing that is inside
            is repeated.
    """
    named = f"secret {brief(reference)} of {purpose}"
    key_id = key_id_of(reference)
    key = next((key for key in private_keys if key.public.id == key_id), None)
    if key is None:
        held = ", ".join(key.public.id for key in private_keys) or "none"
        raise SecretUnavailable(
            f"{named}: this worker does not hold the private key {key_id} (it holds: {held}); put its line back into "
            "the file that WAREHOUSE_SYNC_PRIVATE_KEYS names, or give the secret again"
        )
    content = _content(reference, key)
    if content is None:
        raise SecretUnavailable(f"{named}: the sealed text is damaged or not complete; give the secret again")
    if content.get("version") != _VERSION:
        raise SecretUnavailable(f"{named}: another version of this program sealed it; update the workers")
    sealed_for, secret = content.get("purpose"), content.get("secret")
    if sealed_for != purpose or not isinstance(secret, str):
        raise SecretUnavailable(
            f"{named}: it was sealed for another resource, or to be shown at another address; give the secret again"
        )
    return secret


def _content(reference: str, key: PrivateKey) -> dict[str, Any] | None:
    try:
        box = base64.b64decode(reference.rpartition(":")[2], validate=True)
        found = json.loads(nacl.public.SealedBox(nacl.public.PrivateKey(key.raw)).decrypt(box))
    except (binascii.Error, ValueError, TypeError, RecursionError, nacl.exceptions.CryptoError):
        return None
    return found if isinstance(found, dict) else None


def _word(prefix: str, raw: bytes) -> str:
    return prefix + base64.urlsafe_b64encode(raw + _checksum(prefix, raw)).decode()


def _read(prefix: str, word: str) -> bytes | None:
    if not word.startswith(prefix):
        return None
    try:
        found = base64.b64decode(word.removeprefix(prefix), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    raw, check = found[:_KEY_BYTES], found[_KEY_BYTES:]
    return raw if len(raw) == _KEY_BYTES and check == _checksum(prefix, raw) else None


def _checksum(prefix: str, raw: bytes) -> bytes:
    return blake2b(raw, digest_size=_CHECK_BYTES, person=prefix.encode()).digest()
