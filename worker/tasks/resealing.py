"""Seal all sealed secrets of a deployment anew: every one in a transaction of its own, so that dying loses nothing."""

from typing import Final

from shared.key_file import read_keys
from shared.probe import ResealAnswer
from shared.sealing import PublicKey
from shared.store import secret_references
from shared.telemetry import log
from worker.process import Process
from worker.reseal import Resealed, require_held, reseal

_ACTOR: Final = "secrets rotate"
"""Whom the audit names: what was changed means what it meant before, whoever asked for it."""
_log = log(__name__)


def reseal_all(process: Process, public_key: str) -> ResealAnswer:
    """Seal every sealed secret of all feeds and connections to a public key; safe to repeat and to run twice at once.

    Raises:
        SecretUnavailable: this worker does not hold the key's private half, or its file of keys cannot be used.
    """
    keys, new = read_keys(process.settings.private_keys), PublicKey.read(public_key)
    require_held(keys, new)
    database = process.database.acting_as(_ACTOR)
    found: list[Resealed] = []
    with database.transaction() as connection:
        holders = secret_references.holders(connection)
    for kind, resource_id in holders:
        with database.transaction() as connection:
            resource = secret_references.lock(connection, kind, resource_id)
            if resource is not None:  # Removed meanwhile.
                one = reseal(resource, keys, new)
                secret_references.replace(connection, resource, one.references)
                found.append(one)
    answer = ResealAnswer(
        resealed=sum(len(one.references) for one in found),
        already=sum(one.already for one in found),
        failed=tuple(reason for one in found for reason in one.failed),
    )
    _log.info("secrets_resealed", key_id=new.id, resealed=answer.resealed, failed=len(answer.failed))
    return answer
