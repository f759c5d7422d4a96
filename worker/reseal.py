"""Seal the secrets of one resource anew, to another public key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.catalog import Connection
from shared.errors import SecretUnavailable
from shared.feed import Feed
from shared.sealing import PrivateKey, PublicKey, key_id_of, open_sealed, seal
from shared.secret_fields import purpose, secrets_of


@dataclass(frozen=True, slots=True)
class Resealed:
    """What became of one resource's sealed secrets.

    Attributes:
        references: by path, those that were sealed anew.
        already: how many are sealed to the key already.
        failed: why others stay as they are.
    """

    references: Mapping[str, str]
    already: int
    failed: tuple[str, ...]


def reseal(resource: Feed | Connection, keys: Sequence[PrivateKey], public_key: PublicKey) -> Resealed:
    """Seal anew what is sealed to another key; what does not open is named and left as it is.

    Safe to repeat: what is sealed to the key stays as it is. References of other kinds are not looked at.
    """
    references, already, failed = {}, 0, []
    for path, reference in secrets_of(resource).items():
        match key_id_of(reference):
            case None:
                continue
            case public_key.id:
                already += 1
            case _:
                try:
                    secret = open_sealed(reference, purpose(resource), keys)
                except SecretUnavailable as error:
                    failed.append(f"{path}: {error}")
                else:
                    references[path] = seal(secret, purpose(resource), public_key)
    return Resealed(references, already, tuple(failed))


def require_held(keys: Sequence[PrivateKey], public_key: PublicKey) -> None:
    """Raise unless what is sealed to the key can be opened here.

    Raises:
        SecretUnavailable: this worker does not hold its private half.
    """
    if all(key.public.id != public_key.id for key in keys):
        raise SecretUnavailable(
            f"this worker does not hold the private half of the public key {public_key.id}, so nothing was sealed to "
            "it; put the new private key into the file that WAREHOUSE_SYNC_PRIVATE_KEYS names, on every worker, first"
        )
