"""A token identifies its owner and nobody else, until it has expired or was revoked."""

from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.access import Identity, Role
from shared.errors import AlreadyDeclared, DeclarationInvalid, NotFound
from shared.store import access, auditing
from shared.store.access import ClientRow, NewClient, NewToken, TokenRow
from tests.shared.store.stage import Stage, at_once


def new_token(stage: Stage, name: str = "anna", role: Role = Role.VIEWER, days: int | None = None) -> NewToken:
    with stage.database.transaction() as connection:
        lasts = None if days is None else timedelta(days=days)
        return access.create_token(connection, name, role, lasts=lasts)


def new_client(stage: Stage, name: str = "nightly", role: Role = Role.OPERATOR) -> NewClient:
    with stage.database.transaction() as connection:
        return access.create_client(connection, name, role)


def identified(stage: Stage, text: str) -> Identity | None:
    with stage.database.transaction() as connection:
        return access.identify(connection, text)


def revoke_token(stage: Stage, named: str) -> TokenRow:
    with stage.database.transaction() as connection:
        return access.revoke_token(connection, named)


def revoke_client(stage: Stage, named: str) -> ClientRow:
    with stage.database.transaction() as connection:
        return access.revoke_client(connection, named)


def any_admin(stage: Stage) -> bool:
    with stage.database.transaction() as connection:
        return access.any_admin(connection)


def test_a_token_identifies_its_owner(stage: Stage) -> None:
    anna, bert = new_token(stage), new_token(stage, "bert", Role.ADMIN, days=1)
    assert identified(stage, anna.text) == Identity("anna", Role.VIEWER)
    assert identified(stage, bert.text) == Identity("bert", Role.ADMIN)
    assert anna.expires_at is None


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50, deadline=None
)
@given(st.data())
def test_no_text_but_the_right_one_identifies(stage: Stage, data: st.DataObject) -> None:
    stage.write("DELETE FROM tokens")
    stage.write("DELETE FROM clients")
    text = new_token(stage).text
    client = new_client(stage)
    with stage.database.transaction() as connection:
        (stored,) = connection.exec_driver_sql("SELECT hash FROM tokens").scalars()
    place = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(
        st.one_of(
            st.text(st.characters()),
            st.from_regex(r"ws_[A-Za-z0-9_-]{43}", fullmatch=True),
            st.characters().map(lambda other: text[:place] + other + text[place + 1 :]),
            st.sampled_from([text[:-1], f"{text}\n", f" {text}", text.upper(), stored, client.secret, client.id, ""]),
        ).filter(lambda wrong: wrong != text)
    )
    assert identified(stage, wrong) is None
    assert identified(stage, text) == Identity("anna", Role.VIEWER)


def test_an_expired_token_identifies_nobody_by_the_databases_clock(stage: Stage) -> None:
    token = new_token(stage, days=1, role=Role.ADMIN)
    assert any_admin(stage)
    stage.write("UPDATE tokens SET expires_at = now() + interval '1 s'")
    assert identified(stage, token.text) is not None
    stage.write("UPDATE tokens SET expires_at = now()")
    assert identified(stage, token.text) is None
    assert not any_admin(stage)
    with stage.database.transaction() as connection:
        (row,) = access.list_tokens(connection)
    assert not row.is_valid


def test_a_token_is_revoked_by_its_name_or_its_id_and_as_often_as_one_likes(stage: Stage) -> None:
    anna, bert = new_token(stage), new_token(stage, "bert")
    first = revoke_token(stage, "anna")
    assert revoke_token(stage, str(bert.id).upper()).name == "bert"
    assert identified(stage, anna.text) is identified(stage, bert.text) is None
    assert revoke_token(stage, str(anna.id)) == first
    assert not first.is_valid
    for named in (str(uuid4()), "carl", "", "\0", "\ud800"):
        with pytest.raises(NotFound, match="there is no token"):
            revoke_token(stage, named)
        with pytest.raises(NotFound, match="there is no client"):
            revoke_client(stage, named)


def test_a_token_that_is_taken_for_its_name_is_not_repeated(stage: Stage) -> None:
    token, client = new_token(stage), new_client(stage)
    for revoke, secret in ((revoke_token, token.text), (revoke_client, client.secret)):
        with pytest.raises(NotFound, match="is no name") as refused:
            revoke(stage, secret)
        assert secret not in str(refused.value)


def test_a_client_is_revoked_by_its_name_or_its_id(stage: Stage) -> None:
    nightly, weekly = new_client(stage), new_client(stage, "weekly")
    assert not revoke_client(stage, "nightly").is_valid
    assert revoke_client(stage, weekly.id).revoked_at is not None
    with stage.database.transaction() as connection:
        assert [(row.id, row.is_valid) for row in access.list_clients(connection)] == [
            (nightly.id, False),
            (weekly.id, False),
        ]


def test_tokens_and_clients_share_their_names_and_no_name_is_given_twice(stage: Stage) -> None:
    new_token(stage, "anna")
    new_client(stage, "nightly")
    revoke_client(stage, "nightly")
    for create in (new_token, new_client):
        with pytest.raises(AlreadyDeclared, match="'anna' is the name of a token; choose"):
            create(stage, "anna")
        with pytest.raises(AlreadyDeclared, match="'nightly' is the name of a client that was revoked"):
            create(stage, "nightly")
        with pytest.raises(DeclarationInvalid, match="choose another name"):
            create(stage, "broker")


def test_of_many_who_want_a_name_at_once_one_gets_it(stage: Stage) -> None:
    wanting = [new_token, new_client] * 3
    refused = [
        isinstance(outcome, AlreadyDeclared)
        for outcome in at_once(*(lambda create=create: create(stage, "anna") for create in wanting))
    ]
    assert refused.count(False) == 1


def test_an_admin_is_there_once_one_can_sign_in(stage: Stage) -> None:
    new_token(stage, "viewer", Role.VIEWER)
    new_client(stage, "operator", Role.OPERATOR)
    assert not any_admin(stage)
    new_client(stage, "boss", Role.ADMIN)
    assert any_admin(stage)
    revoke_client(stage, "boss")
    assert not any_admin(stage)
    new_token(stage, "chief", Role.ADMIN)
    assert any_admin(stage)
    revoke_token(stage, "chief")
    assert not any_admin(stage)


def test_nothing_that_signs_in_is_listed_kept_or_printed(stage: Stage) -> None:
    token, client = new_token(stage), new_client(stage)
    with stage.database.transaction() as connection:
        listed = repr([*access.list_tokens(connection), *access.list_clients(connection)])
        entries = repr(auditing.newest(connection))
    kept = repr(stage.rows("SELECT * FROM tokens")) + repr(stage.rows("SELECT * FROM clients"))
    hashes = [row.hash for row in stage.rows("SELECT hash FROM tokens UNION ALL SELECT secret_hash FROM clients")]
    for secret in (token.text, client.secret):
        assert secret not in listed + entries + kept + repr(token) + repr(client)
    assert not [one for one in hashes if one in listed + entries]


def test_giving_and_taking_access_is_noted_with_who_did_it(stage: Stage) -> None:
    with stage.database.acting_as("boss").transaction() as connection:
        access.create_token(connection, "anna", Role.VIEWER)
        access.create_client(connection, "nightly", Role.OPERATOR)
        access.revoke_token(connection, "anna")
        access.revoke_client(connection, "nightly")
        access.revoke_client(connection, "nightly")
        entries = auditing.newest(connection)
        assert [row.created_by for row in access.list_tokens(connection)] == ["boss"]
    assert [(entry.actor, entry.action, entry.kind, entry.subject) for entry in entries] == [
        ("boss", "revoked", "client", "nightly"),
        ("boss", "revoked", "token", "anna"),
        ("boss", "created", "client", "nightly"),
        ("boss", "created", "token", "anna"),
    ]
