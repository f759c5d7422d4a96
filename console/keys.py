"""The keys of sealed secrets: the public one that they are sealed to, and how a pair is made."""

from pathlib import Path

from shared.endpoints import public_key
from shared.errors import DeclarationInvalid
from shared.key_file import add_key
from shared.sealing import PublicKey
from shared.settings import Settings


def sealing_key(settings: Settings) -> PublicKey:
    """Give the public key that secrets are sealed to, or raise ``DeclarationInvalid`` where there is none."""
    word = public_key(settings)
    if word is None:
        raise DeclarationInvalid(
            "a secret was given as it is, and there is no public key to seal it to; make one with `warehouse-sync "
            "secrets keygen FILE` and set WAREHOUSE_SYNC_PUBLIC_KEY, or give a reference: env:NAME or file:/path"
        )
    return PublicKey.read(word)


def keygen(path: Path) -> PublicKey:
    """Put a new private key first into a file that only its owner can read; give its public half, to be configured.

    Raises:
        SecretUnavailable: the file that is there is another, or it cannot be written.
    """
    return add_key(path).public
