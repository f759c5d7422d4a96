"""A home's own key pair, made at its first start: the private half for workers, the public one for everybody."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.errors import SecretUnavailable
from shared.key_file import add_key, read_keys
from shared.sealing import PublicKey
from shared.settings import PREFIX

PUBLIC_KEY: Final = f"{PREFIX}PUBLIC_KEY"
PRIVATE_KEYS: Final = f"{PREFIX}PRIVATE_KEYS"


def key_variables(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that say what secrets are sealed to and who opens them, making keys where there are none.

    What the environment names comes first. Whoever names no public key seals to the newest private key.

    Raises:
        SecretUnavailable: the file with private keys cannot be used, or does not hold the public key's private half.
        DeclarationInvalid: what the environment names is no public key.
    """
    named = environment.get(PRIVATE_KEYS)
    path = Path(named) if named else home / "private-keys"
    if not named and not path.exists():
        add_key(path)
    held = [key.public for key in read_keys(path)]
    if not held:
        raise SecretUnavailable(f"{path} holds no private key; `warehouse-sync secrets keygen {path}` puts one in")
    word = environment.get(PUBLIC_KEY)
    public_key = PublicKey.read(word) if word else held[0]
    if public_key not in held:
        raise SecretUnavailable(
            f"{PUBLIC_KEY}: {path} does not hold the private half of the key {public_key.id}, so nobody here could "
            f"open what is sealed to it; put it in, or name its file in {PRIVATE_KEYS}"
        )
    return {PRIVATE_KEYS: str(path), PUBLIC_KEY: public_key.text}
