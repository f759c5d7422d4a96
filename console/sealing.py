"""The verbs of secrets: seal them, seal them anew to another key, and say which keys are needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from console.keys import sealing_key
from shared.catalog import Connection
from shared.endpoints import public_key
from shared.feed import Feed
from shared.probe import Answer, ProbeKind, Question, ResealAnswer
from shared.sealing import PublicKey, key_id_of, seal
from shared.secret_fields import purpose, with_secrets
from shared.settings import Settings
from shared.store import auditing, secret_references
from shared.store.database import Database

Resource = TypeVar("Resource", Feed, Connection)


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """Which secrets each key is needed for.

    Attributes:
        current: the id of the key that secrets are sealed to now; ``None``: none is configured.
        by_key: the places of sealed secrets, such as ``feed main: api_secret``, by the id of their key.
        references: how many secrets are ``env:`` or ``file:`` references, which need no key.
    """

    current: str | None
    by_key: Mapping[str, tuple[str, ...]]
    references: int

    @property
    def old(self) -> frozenset[str]:
        """The keys that are still needed though no longer sealed to; any other but the current one may be removed."""
        return frozenset(self.by_key) - {self.current}


class Sealing:
    """Secrets, bound to one state database; ``ask`` has a worker answer a question."""

    def __init__(self, database: Database, settings: Settings, ask: Callable[[Question], Answer]) -> None:
        self._database = database
        self._settings = settings
        self._ask = ask

    def seal(self, resource: Feed | Connection, secret: str) -> str:
        """Give a secret as a text that only opens for this resource, where its secrets are shown to now.

        Raises:
            DeclarationInvalid: there is no public key, or the secret cannot be sealed; it is not repeated.
        """
        return seal(secret, purpose(resource), sealing_key(self._settings))

    def seal_all(self, resource: Resource, plain: Mapping[str, str]) -> Resource:
        """Give a resource with secrets, by their paths, sealed into it.

        Raises:
            DeclarationInvalid: as of :meth:`seal`.
        """
        return with_secrets(resource, {path: self.seal(resource, secret) for path, secret in plain.items()})

    def rotate(self) -> ResealAnswer:
        """Have a worker seal every sealed secret anew, to the configured public key; safe to repeat.

        Who asked stands in the audit log first; what the worker moves stands there under the name of this verb.

        Raises:
            DeclarationInvalid: there is no public key.
            SecretUnavailable: the worker does not hold its private half; nothing was changed.
            NoWorker: none took the question.
        """
        key = sealing_key(self._settings)
        with self._database.transaction() as connection:
            auditing.note(connection, "rotated", "key", key.id)
        answer = self._ask(Question(kind=ProbeKind.RESEAL, public_key=key.text))
        return answer.resealing or ResealAnswer()

    def status(self) -> SealedSecrets:
        """Say which keys are needed, and for what."""
        with self._database.transaction() as connection:
            found = secret_references.of_all(connection)
        by_key: dict[str, tuple[str, ...]] = {}
        for place, reference in found:
            if (key_id := key_id_of(reference)) is not None:
                by_key[key_id] = (*by_key.get(key_id, ()), place)
        word = public_key(self._settings)
        return SealedSecrets(
            current=None if word is None else PublicKey.read(word).id,
            by_key=by_key,
            references=len(found) - sum(map(len, by_key.values())),
        )
