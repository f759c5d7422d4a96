"""A client signs in with what it was given; who guesses is counted, and waits."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.access import Identity, Role
from shared.errors import SignInRefused, StoreUnavailable, TooManySignIns
from shared.store import access, sign_ins
from shared.store.access import NewClient
from shared.store.database import Database
from shared.store.sign_ins import ADDRESS_FAILURES, BEARER_S, CLIENT_FAILURES, WINDOW_S, SignedIn
from tests.shared.store.stage import Stage, at_once

HERE, THERE = "203.0.113.7", "203.0.113.8"
UNKNOWN = "client_0000000000000000"
WRONG = "ws_secret_of_somebody_else"


def new_client(stage: Stage, name: str = "nightly", role: Role = Role.OPERATOR) -> NewClient:
    with stage.database.transaction() as connection:
        return access.create_client(connection, name, role)


def signed_in(stage: Stage, client: NewClient, address: str = HERE) -> SignedIn:
    return sign_ins.sign_in(stage.database, client.id, client.secret, address)


def fail(stage: Stage, client_id: str, address: str = HERE, *, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(SignInRefused):
            sign_ins.sign_in(stage.database, client_id, WRONG, address)


def failures(stage: Stage) -> dict[str, int]:
    return {row.who: row.failures for row in stage.rows("SELECT * FROM failed_sign_ins")}


def time_passes(stage: Stage, seconds: float) -> None:
    stage.write("UPDATE failed_sign_ins SET since = since - make_interval(secs => :seconds)", seconds=seconds)


def identified(stage: Stage, text: str) -> Identity | None:
    with stage.database.transaction() as connection:
        return access.identify(connection, text)


def forget_expired(stage: Stage) -> int:
    with stage.database.transaction() as connection:
        return sign_ins.forget_expired(connection)


def test_who_signs_in_is_the_client_for_eight_hours(stage: Stage) -> None:
    given = signed_in(stage, new_client(stage))
    assert (given.name, given.role, given.expires_in_s) == ("nightly", Role.OPERATOR, 28_800)
    assert identified(stage, given.token) == Identity("nightly", Role.OPERATOR)
    (row,) = stage.rows("SELECT extract(epoch FROM expires_at - created_at) AS lasts_s, hash FROM tokens")
    assert row.lasts_s == BEARER_S
    assert given.token not in row.hash + repr(given)
    assert failures(stage) == {}
    stage.write("UPDATE tokens SET expires_at = now()")
    assert identified(stage, given.token) is None


def test_a_clients_tokens_are_no_static_tokens(stage: Stage) -> None:
    signed_in(stage, new_client(stage, role=Role.ADMIN))
    with stage.database.transaction() as connection:
        assert access.list_tokens(connection) == []
        access.revoke_client(connection, "nightly")
        assert not access.any_admin(connection)


def test_revoking_a_client_ends_what_it_was_given_at_once(stage: Stage) -> None:
    client, other = new_client(stage), new_client(stage, "weekly")
    given, others = [signed_in(stage, client).token for _ in range(2)], signed_in(stage, other).token
    with stage.database.transaction() as connection:
        access.revoke_client(connection, client.id)
    assert [identified(stage, token) for token in given] == [None, None]
    assert identified(stage, others) is not None
    with pytest.raises(SignInRefused):
        signed_in(stage, client)


def test_nobody_is_told_whether_id_or_secret_is_wrong_or_the_client_revoked(stage: Stage) -> None:
    known, revoked = new_client(stage), new_client(stage, "revoked")
    with stage.database.transaction() as connection:
        access.revoke_client(connection, "revoked")
    asked = [(known.id, WRONG), (UNKNOWN, known.secret), (revoked.id, revoked.secret), ("\0\ud800", "\0\ud800")]
    told = set()
    for client_id, secret in asked:
        with pytest.raises(SignInRefused) as refused:
            sign_ins.sign_in(stage.database, client_id, secret, HERE)
        told.add(str(refused.value))
    assert len(told) == 1
    assert known.secret not in told.pop()


def test_after_so_many_failures_even_the_right_secret_waits_for_the_end_of_the_window(stage: Stage) -> None:
    client, other = new_client(stage), new_client(stage, "weekly")
    fail(stage, client.id, times=CLIENT_FAILURES)
    time_passes(stage, WINDOW_S - 60)
    with pytest.raises(TooManySignIns) as refused:
        signed_in(stage, client, THERE)
    assert 0 < refused.value.wait_s <= 60, "what is left of a minute, after as many failures as that took"
    assert f"wait {refused.value.wait_s} s" in str(refused.value)
    assert signed_in(stage, other).token
    time_passes(stage, 60)
    assert signed_in(stage, client, THERE).token


def test_a_success_clears_the_clients_count_and_leaves_the_addresss(stage: Stage) -> None:
    client = new_client(stage)
    fail(stage, client.id, times=CLIENT_FAILURES - 1)
    signed_in(stage, client)
    assert failures(stage) == {HERE: CLIENT_FAILURES - 1}
    fail(stage, client.id, times=CLIENT_FAILURES)


def test_ids_that_nobody_has_fill_no_table_and_count_for_their_address(stage: Stage) -> None:
    client = new_client(stage)
    for number in range(ADDRESS_FAILURES):
        fail(stage, f"client_{number:016x}" if number % 2 else f"nonsense {number}")
    assert failures(stage) == {HERE: ADDRESS_FAILURES}
    for _ in range(2):
        with pytest.raises(TooManySignIns, match="from this address"):
            signed_in(stage, client)
    assert failures(stage) == {HERE: ADDRESS_FAILURES}, "what was not looked at counts for nobody"
    assert signed_in(stage, client, THERE).token


def test_of_many_guesses_at_once_no_more_than_the_limit_are_looked_at(stage: Stage) -> None:
    client = new_client(stage)
    second = Database(stage.database.url.render_as_string(hide_password=False), pool_size=8)
    databases = [stage.database, second] * 8
    outcomes = at_once(
        *(lambda database=database: sign_ins.sign_in(database, client.id, WRONG, HERE) for database in databases)
    )
    second.close()
    assert Counter(map(type, outcomes)) == {SignInRefused: CLIENT_FAILURES, TooManySignIns: 16 - CLIENT_FAILURES}
    assert failures(stage) == {client.id: CLIENT_FAILURES, HERE: CLIENT_FAILURES}


def test_failures_of_two_clients_from_one_address_at_once_are_all_counted(stage: Stage) -> None:
    clients = [new_client(stage), new_client(stage, "weekly")]
    asked = [*(clients[number % 2].id for number in range(10)), *[UNKNOWN] * 4]
    outcomes = at_once(*(lambda id_=id_: sign_ins.sign_in(stage.database, id_, WRONG, HERE) for id_ in asked))
    assert {type(outcome) for outcome in outcomes} == {SignInRefused}
    assert failures(stage) == {clients[0].id: 5, clients[1].id: 5, HERE: 14}


def test_of_a_failure_that_was_not_counted_nobody_hears(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    client = new_client(stage)
    counted = sign_ins._attempt

    def break_off(*arguments: object) -> SignedIn | None:
        counted(*arguments)  # type: ignore[arg-type]
        raise StoreUnavailable("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(sign_ins, "_attempt", break_off)
        for secret in (WRONG, client.secret):
            with pytest.raises(StoreUnavailable):
                sign_ins.sign_in(stage.database, client.id, secret, HERE)
    assert failures(stage) == {}
    assert stage.rows("SELECT FROM tokens") == []


def test_what_has_expired_is_forgotten_once_and_static_tokens_are_kept(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        access.create_token(connection, "anna", Role.VIEWER)
        access.create_token(connection, "bert", Role.VIEWER)
        access.revoke_token(connection, "bert")
    first, revoked = new_client(stage), new_client(stage, "revoked")
    signed_in(stage, first)
    signed_in(stage, revoked)
    stage.write("UPDATE tokens SET expires_at = now()")
    kept = signed_in(stage, first)
    signed_in(stage, revoked)
    with stage.database.transaction() as connection:
        access.revoke_client(connection, "revoked")
    fail(stage, first.id)
    time_passes(stage, WINDOW_S)
    fail(stage, UNKNOWN, THERE)
    assert forget_expired(stage) == 2 + 1 + 2
    assert forget_expired(stage) == 0
    assert failures(stage) == {THERE: 1}
    assert identified(stage, kept.token) is not None
    with stage.database.transaction() as connection:
        assert [row.name for row in access.list_tokens(connection)] == ["anna", "bert"]


def test_forgetting_waits_for_nobody_who_signs_in(stage: Stage) -> None:
    fail(stage, UNKNOWN)
    fail(stage, UNKNOWN, THERE)
    time_passes(stage, WINDOW_S)
    with stage.database.transaction() as connection:
        sign_ins._count(connection, HERE, ADDRESS_FAILURES, "from this address")
        assert forget_expired(stage) == 1
    assert failures(stage) == {HERE: 1}


@dataclass
class Model:
    """What should be counted: failures and the age of the first, in half windows."""

    counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    def half_a_window_passes(self) -> None:
        self.counts = {who: (count, age + 1) for who, (count, age) in self.counts.items() if age == 0}

    def attempt(self, client_id: str | None, address: str, *, is_right: bool) -> type[object]:
        limits = ({} if client_id is None else {client_id: 2}) | {address: 4}
        counted = {who: self.counts.get(who, (0, 0)) for who in limits}
        if any(counted[who][0] >= limit for who, limit in limits.items()):
            return TooManySignIns
        if is_right and client_id is not None:
            self.counts.pop(client_id, None)
            return SignedIn
        self.counts |= {who: (count + 1, age) for who, (count, age) in counted.items()}
        return SignInRefused


ATTEMPTS = st.tuples(st.sampled_from([0, 1, None]), st.booleans(), st.sampled_from([HERE, THERE]))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30, deadline=None
)
@given(st.lists(st.one_of(ATTEMPTS, ATTEMPTS, ATTEMPTS, st.none()), max_size=25))
def test_any_sequence_of_attempts_is_counted_as_it_is_described(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[int | None, bool, str] | None]
) -> None:
    monkeypatch.setattr(sign_ins, "CLIENT_FAILURES", 2)
    monkeypatch.setattr(sign_ins, "ADDRESS_FAILURES", 4)
    for table in ("failed_sign_ins", "tokens", "clients"):
        stage.write(f"DELETE FROM {table}")
    clients = [new_client(stage), new_client(stage, "weekly")]
    model = Model()
    for step in steps:
        if step is None:
            time_passes(stage, WINDOW_S / 2)
            model.half_a_window_passes()
            continue
        number, is_right, address = step
        client = None if number is None else clients[number]
        expected = model.attempt(None if client is None else client.id, address, is_right=is_right)
        secret = client.secret if client is not None and is_right else WRONG
        try:
            outcome: object = sign_ins.sign_in(
                stage.database, UNKNOWN if client is None else client.id, secret, address
            )
        except (SignInRefused, TooManySignIns) as refused:
            outcome = refused
        assert type(outcome) is expected
    forget_expired(stage)
    assert failures(stage) == {who: count for who, (count, _) in model.counts.items()}
