"""Who may sign in, and who did what."""

import pytest

from tests.console.api.conftest import Api


@pytest.mark.parametrize("path", ["/tokens", "/clients"])
def test_access_is_given_listed_and_taken_away(admin: Api, path: str) -> None:
    made = admin.post(path, {"name": "anna", "role": "operator"}).json()
    secret = made.get("token") or made["client_secret"]
    (listed,) = admin.get(path).json()
    assert (listed["name"], listed["role"], listed["is_valid"]) == ("anna", "operator", True)
    assert listed["created_by"] == "some admin"
    assert secret not in admin.get(path).text
    for _ in range(2):
        assert admin.delete(f"{path}/anna").status_code == 204
    (revoked,) = admin.get(path).json()
    assert revoked["revoked_on"].endswith("Z")
    assert not revoked["is_valid"]


def test_a_name_is_given_once(admin: Api) -> None:
    admin.post("/tokens", {"name": "anna", "role": "viewer"})
    again = admin.post("/clients", {"name": "anna", "role": "viewer"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (409, "AlreadyDeclared")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"name": "local", "role": "admin"}, "choose another name"),
        ({"name": "anna", "role": "king"}, "role"),
        ({"name": "anna", "role": "viewer", "days": 0}, "1 to 3650 days"),
        ({"role": "viewer"}, "name"),
    ],
)
def test_what_cannot_be_is_refused(admin: Api, asked: dict[str, object], said: str) -> None:
    refused = admin.post("/tokens", asked)
    assert refused.status_code == 400
    assert said in refused.text


@pytest.mark.parametrize("path", ["/tokens", "/clients"])
def test_nobody_can_be_revoked_who_is_not_there(admin: Api, path: str) -> None:
    assert admin.delete(f"{path}/nobody").status_code == 404


def test_the_audit_log_says_who_did_what_and_pages(admin: Api) -> None:
    for name in ("anna", "bert", "carl"):
        admin.post("/tokens", {"name": name, "role": "viewer"})
    admin.delete("/tokens/anna")
    first = admin.get("/audit", limit=3)
    second = admin.send("GET", f"/audit{first.links['next']['url']}")
    found = [*first.json(), *second.json()]
    assert [(one["actor"], one["kind"], one["subject"]) for one in found] == [
        ("some admin", "token", name) for name in ("anna", "carl", "bert", "anna")
    ]
    assert "next" not in second.links
    assert len(admin.get("/audit", subject="anna").json()) == 2
    assert admin.get("/audit", actor="somebody else").json() == []
    assert admin.get("/audit", after="nonsense").status_code == 400
