"""Workers open what is sealed; a run that misses a key waits until it is back, and a new key replaces an old one."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest
import sqlalchemy as sa

from shared import catalog
from shared.errors import SecretUnavailable, StoreUnavailable
from shared.feed import Feed
from shared.key_file import add_key, read_keys
from shared.messages import TaskName
from shared.probe import ProbeKind, Question, ResealAnswer
from shared.run import RunState
from shared.sealing import PublicKey, generate, key_id_of, open_sealed, seal
from shared.secret_fields import purpose, secrets_of, with_secrets
from shared.store import declared, probes, records
from shared.store.access_tables import audit
from shared.store.tables import runs
from tests.shared.test_secret_fields import CLUSTER, KEY_PAIR
from tests.worker.tasks.conftest import LIMITS, SECRET
from tests.worker.tasks.desk import Desk, Killed, Strike, When, assert_settled_whole, fails_with

OTHERS = (
    CLUSTER.model_copy(update={"id": "cluster", "name": "cluster"}),
    KEY_PAIR.model_copy(update={"id": "account", "name": "account"}),
)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with one private key."""
    add_key(tmp_path / "private-keys")
    return tmp_path / "private-keys"


@pytest.fixture
def limits(keys: Path) -> dict[str, str]:
    return LIMITS | {"PRIVATE_KEYS": str(keys)}


def feed_of(desk: Desk) -> Feed:
    with desk.database.transaction() as store:
        return declared.get(store, Feed, "sandbox")


def seal_feed(desk: Desk, keys: Path, secret: str = SECRET) -> None:
    """Put a sealed secret in the place of the feed's reference."""
    feed = feed_of(desk)
    with desk.database.transaction() as store:
        declared.put(store, with_secrets(feed, {"api_secret": sealed_for(feed, keys, secret)}))


def sealed_for(resource: Feed | catalog.Connection, keys: Path, secret: str) -> str:
    return seal(secret, purpose(resource), read_keys(keys)[0].public)


def seal_others(desk: Desk, keys: Path) -> None:
    """Declare connections with three sealed secrets between them."""
    with desk.database.transaction() as store:
        for one in OTHERS:
            sealed = {path: sealed_for(one, keys, f"{one.id} {path}") for path in secrets_of(one)}
            declared.put(store, with_secrets(one, sealed))


def ask_to_reseal(desk: Desk, public_key: PublicKey) -> ResealAnswer:
    with desk.database.transaction() as store:
        probe_id, message = probes.ask(store, Question(kind=ProbeKind.RESEAL, public_key=public_key.text))
    desk.send(message)
    desk.do(TaskName.PROBE, desk.take_until(TaskName.PROBE))
    with desk.database.transaction() as store:
        standing = probes.look(store, probe_id)
    if standing.error is not None:
        raise standing.error
    assert standing.answer is not None
    assert standing.answer.resealing is not None
    return standing.answer.resealing


def key_ids(desk: Desk) -> set[str | None]:
    with desk.database.transaction() as store:
        holders: list[Feed | catalog.Connection] = [
            *declared.list_all(store, Feed),
            *declared.list_all(store, catalog.Connection),
        ]
    return {key_id_of(text) for one in holders for text in secrets_of(one).values()}


def assert_all_open(desk: Desk, keys: Path) -> None:
    with desk.database.transaction() as store:
        for one in OTHERS:
            found = declared.get(store, catalog.Connection, one.id)
            for path, text in secrets_of(found).items():
                assert open_sealed(text, purpose(found), read_keys(keys)) == f"{one.id} {path}"
    feed = feed_of(desk)
    assert open_sealed(feed.api_secret, purpose(feed), read_keys(keys)) == SECRET


def test_rows_are_sent_with_a_sealed_secret(desk: Desk, keys: Path) -> None:
    name = desk.pipeline()
    seal_feed(desk, keys)
    run_id = desk.trigger(name)
    desk.finish(run_id)
    assert_settled_whole(desk, run_id)
    with desk.database.transaction() as store:
        snapshot = store.scalar(sa.select(runs.c.snapshot).where(runs.c.id == run_id))
    assert "sealed:" not in str(snapshot)


def test_a_key_that_was_removed_too_early_stops_a_run_that_goes_on_once_it_is_back(desk: Desk, keys: Path) -> None:
    name = desk.pipeline()
    seal_feed(desk, keys)
    kept = keys.read_text()
    run_id = desk.trigger(name)
    arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
    keys.write_text(f"{generate().text}\n")
    desk.do(TaskName.UPLOAD_CHUNK, arguments)
    run = desk.finish(run_id)
    assert (run.state, run.error_kind) == (RunState.FAILED, SecretUnavailable.__name__)
    assert "does not hold the private key" in (run.error or "")
    assert feed_of(desk).api_secret not in (run.error or "")
    assert desk.taken_ids() == {}
    chunks = [chunk["id"] for chunk in desk.chunks(run_id)]
    keys.write_text(kept)
    desk.retry(run_id)
    again = desk.finish(run_id)
    assert_settled_whole(desk, run_id)
    assert again.window == run.window
    assert [chunk["id"] for chunk in desk.chunks(run_id)] == chunks


def test_a_sealed_secret_that_was_moved_to_another_feed_is_not_sent(desk: Desk, keys: Path) -> None:
    name = desk.pipeline()
    feed = feed_of(desk)
    copied = sealed_for(feed.model_copy(update={"id": "another"}), keys, SECRET)
    with desk.database.transaction() as store:
        declared.put(store, with_secrets(feed, {"api_secret": copied}))
    run = desk.finish(desk.trigger(name))
    assert run.error_kind == SecretUnavailable.__name__
    assert desk.taken_ids() == {}


def test_a_file_of_keys_that_others_can_read_stops_the_run(desk: Desk, keys: Path) -> None:
    name = desk.pipeline()
    seal_feed(desk, keys)
    keys.chmod(0o644)
    run = desk.finish(desk.trigger(name))
    assert run.error_kind == SecretUnavailable.__name__
    assert "chmod 600" in (run.error or "")


def test_all_secrets_move_to_a_new_key_and_mean_what_they_meant(desk: Desk, keys: Path) -> None:
    name = desk.pipeline()
    seal_feed(desk, keys)
    seal_others(desk, keys)
    with desk.database.transaction() as store:
        before = {kind: records.of_all(store, kind) for kind in (Feed, catalog.Connection)}
        store.execute(sa.delete(audit))
    new = add_key(keys).public
    assert ask_to_reseal(desk, new) == ResealAnswer(resealed=4)
    assert ask_to_reseal(desk, new) == ResealAnswer(already=4)
    assert key_ids(desk) == {new.id}
    assert_all_open(desk, keys)
    with desk.database.transaction() as store:
        assert {kind: records.of_all(store, kind) for kind in before} == before, "no version changed"
        noted = store.execute(sa.select(audit.c.actor, audit.c.subject, audit.c.fields).order_by(audit.c.id)).all()
    assert [tuple(row) for row in noted] == [
        ("secrets rotate", "sandbox", ["api_secret"]),
        ("secrets rotate", "account", ["config.private_key", "config.private_key_passphrase"]),
        ("secrets rotate", "cluster", ["config.password"]),
    ]
    keys.write_text(keys.read_text().splitlines()[0])
    run_id = desk.trigger(name)
    desk.finish(run_id)
    assert_settled_whole(desk, run_id)


def test_references_stay_and_what_does_not_open_is_named_and_stays_too(desk: Desk, keys: Path) -> None:
    desk.pipeline()
    seal_others(desk, keys)
    (old,) = read_keys(keys)
    broken = CLUSTER.model_copy(update={"id": "broken", "name": "broken"})
    lost = with_secrets(broken, {"config.password": seal("hunter2", purpose(broken), generate().public)})
    with desk.database.transaction() as store:
        declared.put(store, lost)
    new = add_key(keys).public
    answer = ask_to_reseal(desk, new)
    assert (answer.resealed, answer.already) == (3, 0)
    (reason,) = answer.failed
    assert "config.password: secret sealed:" in reason
    assert "connection broken at" in reason
    assert secrets_of(lost)["config.password"] not in reason
    assert key_ids(desk) == {None, new.id, key_id_of(secrets_of(lost)["config.password"])}
    assert old.public.id not in key_ids(desk)


def test_nothing_is_sealed_to_a_key_whose_private_half_is_not_here(desk: Desk, keys: Path) -> None:
    desk.pipeline()
    seal_feed(desk, keys)
    before = key_ids(desk)
    with pytest.raises(SecretUnavailable, match=r"private half .* on every worker, first"):
        ask_to_reseal(desk, generate().public)
    assert key_ids(desk) == before


def test_dying_at_any_commit_loses_no_secret_and_rotation_may_be_repeated(desk: Desk, keys: Path) -> None:
    desk.pipeline()
    seal_feed(desk, keys)
    seal_others(desk, keys)
    # Taking the question, finding what there is, and one for each feed and connection.
    for nth, when, failure in product(range(1, 7), When, (StoreUnavailable("broke"), Killed())):
        new = add_key(keys).public
        with desk.database.transaction() as store:
            _, message = probes.ask(store, Question(kind=ProbeKind.RESEAL, public_key=new.text))
        desk.send(message)
        arguments = desk.take_until(TaskName.PROBE)
        strike = Strike(nth, when, fails_with(failure))
        with desk.database.struck(strike):
            desk.do(TaskName.PROBE, arguments)
        assert strike.fell, (nth, when, failure)
        assert_all_open(desk, keys)
        again = ask_to_reseal(desk, new)
        assert again.resealed + again.already == 4
        assert again.failed == ()
        assert key_ids(desk) == {new.id}
    assert_all_open(desk, keys)


def test_two_workers_that_seal_anew_at_once_leave_every_secret_whole(desk: Desk, keys: Path) -> None:
    desk.pipeline()
    seal_feed(desk, keys)
    seal_others(desk, keys)
    new = add_key(keys).public
    asked = []
    for _ in range(3):
        with desk.database.transaction() as store:
            probe_id, message = probes.ask(store, Question(kind=ProbeKind.RESEAL, public_key=new.text))
        desk.send(message)
        asked.append((probe_id, desk.take_until(TaskName.PROBE)))
    resealed = 0
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(desk.do, TaskName.PROBE, arguments) for _, arguments in asked]:
            done.result()
    with desk.database.transaction() as store:
        for probe_id, _ in asked:
            answer = probes.look(store, probe_id).answer
            assert answer is not None
            assert answer.resealing is not None
            assert answer.resealing.resealed + answer.resealing.already == 4
            resealed += answer.resealing.resealed
    assert resealed == 4
    assert_all_open(desk, keys)
