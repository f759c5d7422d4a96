"""Secrets are sealed to the configured key, and whoever looks after keys is told which are needed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.keys import keygen
from console.operations import Operations
from console.sealing import Sealing
from sandbox.services import Services
from shared.errors import DeclarationInvalid
from shared.key_file import read_keys
from shared.probe import Answer, ProbeKind, Question, ResealAnswer
from shared.sealing import PublicKey, generate, open_sealed
from shared.secret_fields import purpose, secrets_of
from shared.settings import Settings
from shared.store import declared
from shared.store.database import Database
from tests.shared.store.stage import FEED
from tests.shared.test_secret_fields import CLUSTER, KEY_PAIR, PROJECT

KEY = generate()
OLD = generate()


class Worker:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(resealing=ResealAnswer(resealed=2))


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def sealing(database: Database, worker: Worker, tmp_path: Path) -> Callable[..., Sealing]:
    """Give the verbs, with whatever public key is configured."""

    def verbs(public_key: str | None = KEY.public.text) -> Sealing:
        return Sealing(database, Settings(home=tmp_path, public_key=public_key), worker.answer)

    return verbs


def test_plain_secrets_are_sealed_for_the_resource_that_holds_them(sealing: Callable[..., Sealing]) -> None:
    sealed = sealing().seal_all(KEY_PAIR, {"config.private_key": "hunter2", "config.private_key_passphrase": "hunter3"})
    opened = {path: open_sealed(text, purpose(KEY_PAIR), [KEY]) for path, text in secrets_of(sealed).items()}
    assert opened == {"config.private_key": "hunter2", "config.private_key_passphrase": "hunter3"}
    assert sealed.config.model_copy(update={"private_key": None, "private_key_passphrase": None}) == (
        KEY_PAIR.config.model_copy(update={"private_key": None, "private_key_passphrase": None})
    )


def test_without_a_public_key_a_plain_secret_is_refused_with_the_cure(sealing: Callable[..., Sealing]) -> None:
    with pytest.raises(DeclarationInvalid, match="secrets keygen") as refused:
        sealing(None).seal_all(FEED, {"api_secret": "hunter2"})
    assert "hunter2" not in str(refused.value)
    assert sealing(None).seal_all(FEED, {}) == FEED, "where nothing is sealed no key is needed"


def test_rotation_asks_a_worker_for_the_configured_key(sealing: Callable[..., Sealing], worker: Worker) -> None:
    assert sealing().rotate() == ResealAnswer(resealed=2)
    assert worker.asked == [Question(kind=ProbeKind.RESEAL, public_key=KEY.public.text)]
    with pytest.raises(DeclarationInvalid, match="WAREHOUSE_SYNC_PUBLIC_KEY"):
        sealing(None).rotate()
    with pytest.raises(DeclarationInvalid, match="a private key"):
        sealing(KEY.text).rotate()


def test_the_status_says_which_keys_are_needed_and_for_what(
    sealing: Callable[..., Sealing], database: Database
) -> None:
    assert sealing(None).status().current is None
    with database.transaction() as store:
        declared.put(store, sealing().seal_all(FEED, {"api_secret": "a"}))
        declared.put(store, sealing(OLD.public.text).seal_all(CLUSTER, {"config.password": "b"}))
        declared.put(store, KEY_PAIR.model_copy(update={"id": "account", "name": "account"}))
    status = sealing().status()
    assert status.current == KEY.public.id
    assert status.by_key == {
        KEY.public.id: (f"feed {FEED.id}: api_secret",),
        OLD.public.id: ("connection w: config.password",),
    }
    assert status.old == {OLD.public.id}
    assert status.references == 2


def test_keygen_writes_a_file_of_its_owner_and_tells_the_public_half_only(tmp_path: Path) -> None:
    public = keygen(tmp_path / "keys")
    (held,) = read_keys(tmp_path / "keys")
    assert public == held.public
    assert PublicKey.read(public.text) == public


@pytest.fixture
def operations(services: Services, database: Database, tmp_path: Path) -> Iterator[Operations]:
    url = database.url.render_as_string(hide_password=False)
    told = {"database_url": url, "broker_url": services.broker_url, "home": tmp_path}
    opened = Operations(Settings.model_validate(told | {"public_key": KEY.public.text}))
    yield opened
    opened.close()


def test_a_sealed_key_of_a_service_account_is_declared_though_the_console_cannot_open_it(
    operations: Operations,
) -> None:
    assert operations.declare(operations.secrets.seal_all(PROJECT, {"config.service_account_key": "{}"}))
    assert operations.secrets.status().by_key == {KEY.public.id: ("connection w: config.service_account_key",)}


def test_a_corrected_secret_is_a_change(operations: Operations) -> None:
    operations.declare(FEED)
    assert operations.declare(operations.secrets.seal_all(FEED, {"api_secret": "a"}))
