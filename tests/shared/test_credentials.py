"""A secret reference leads only where it may, and no error shows what it found."""

from pathlib import Path

import pytest

from shared.credentials import resolve
from shared.errors import SecretUnavailable
from shared.key_file import add_key
from shared.sealing import seal
from shared.settings import Settings

PURPOSE = "feed a at https://s2s.us1.mparticle.com:443"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose secret folder is the test's own."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    return Settings(secret_folder=folder)


def _refusal(reference: str, settings: Settings) -> str:
    with pytest.raises(SecretUnavailable) as refused:
        resolve(reference, settings, purpose=PURPOSE)
    return str(refused.value)


def test_a_variable_with_the_prefix_is_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_FEED", "hunter2")
    assert resolve("env:WAREHOUSE_SYNC_SECRET_FEED", settings, purpose=PURPOSE) == "hunter2"


def test_a_variable_without_the_prefix_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    said = _refusal("env:AWS_SECRET_ACCESS_KEY", settings)
    assert "WAREHOUSE_SYNC_SECRET_" in said
    assert "hunter2" not in said


def test_a_variable_that_is_not_set_is_named(settings: Settings) -> None:
    assert "env:WAREHOUSE_SYNC_SECRET_ABSENT" in _refusal("env:WAREHOUSE_SYNC_SECRET_ABSENT", settings)


def test_a_file_in_the_folder_is_read_without_its_line_end(settings: Settings) -> None:
    path = settings.secret_folder / "feed"
    path.write_text("hunter2\n")
    assert resolve(f"file:{path}", settings, purpose=PURPOSE) == "hunter2"


def test_neither_dots_nor_a_link_lead_out_of_the_folder(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("hunter2")
    (settings.secret_folder / "link").symlink_to(tmp_path / "other")
    for reference in (f"file:{settings.secret_folder}/../other", f"file:{settings.secret_folder}/link"):
        said = _refusal(reference, settings)
        assert "WAREHOUSE_SYNC_SECRET_FOLDER" in said
        assert "hunter2" not in said


def test_a_file_that_is_absent_or_empty_is_named(settings: Settings) -> None:
    (settings.secret_folder / "empty").write_text("\n")
    assert "No such file" in _refusal(f"file:{settings.secret_folder}/absent", settings)
    assert "empty" in _refusal(f"file:{settings.secret_folder}/empty", settings)


def test_a_link_within_the_folder_is_followed(settings: Settings) -> None:
    version = settings.secret_folder / "..2026_11"  # As Kubernetes mounts secrets.
    version.mkdir()
    (version / "feed").write_text("hunter2")
    (settings.secret_folder / "..data").symlink_to(version)
    (settings.secret_folder / "feed").symlink_to(Path("..data") / "feed")
    assert resolve(f"file:{settings.secret_folder}/feed", settings, purpose=PURPOSE) == "hunter2"


def test_a_folder_of_links_may_itself_be_a_link(settings: Settings, tmp_path: Path) -> None:
    (settings.secret_folder / "feed").write_text("hunter2")
    (tmp_path / "link").symlink_to(settings.secret_folder)
    linked = Settings(secret_folder=tmp_path / "link")
    assert resolve(f"file:{tmp_path}/link/feed", linked, purpose=PURPOSE) == "hunter2"


def test_a_file_whose_folder_only_begins_alike_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "secrets-of-others").mkdir()
    (tmp_path / "secrets-of-others" / "feed").write_text("hunter2")
    assert "may be named" in _refusal(f"file:{tmp_path}/secrets-of-others/feed", settings)


def test_a_path_that_leads_nowhere_at_all_is_refused_like_any_other(settings: Settings) -> None:
    loop = settings.secret_folder / "loop"
    loop.symlink_to(loop)
    for path in (loop, "/\0", "x" * 5000):
        assert "file:" in _refusal(f"file:{path}", settings)


def test_a_file_that_is_no_text_is_refused_without_a_byte_of_it(settings: Settings) -> None:
    (settings.secret_folder / "binary").write_bytes(b"hunter2\xff")
    with pytest.raises(SecretUnavailable, match="not UTF-8") as refused:
        resolve(f"file:{settings.secret_folder}/binary", settings, purpose=PURPOSE)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_folder_is_no_secret(settings: Settings) -> None:
    assert "directory" in _refusal(f"file:{settings.secret_folder}", settings)


def test_a_variable_that_is_empty_is_as_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_FEED", "")
    assert "is not set" in _refusal("env:WAREHOUSE_SYNC_SECRET_FEED", settings)


def test_another_scheme_is_refused_without_what_follows_it(settings: Settings) -> None:
    assert "hunter2" not in _refusal("vault:hunter2", settings)
    assert "hunter2" not in _refusal("hunter2", settings).replace("'hunter2'", "")


def test_a_sealed_secret_is_opened_with_keys_that_are_read_each_time(settings: Settings, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    with_keys = settings.model_copy(update={"private_keys": keys})
    sealed = seal("hunter2", PURPOSE, add_key(keys).public)
    assert resolve(sealed, with_keys, purpose=PURPOSE) == "hunter2"
    add_key(keys)
    assert resolve(sealed, with_keys, purpose=PURPOSE) == "hunter2"
    keys.write_text(keys.read_text().splitlines()[0])
    said = _refusal(sealed, with_keys)
    assert "does not hold" in said
    assert sealed not in said


def test_a_process_without_keys_opens_nothing(settings: Settings, tmp_path: Path) -> None:
    assert "does not hold" in _refusal(seal("hunter2", PURPOSE, add_key(tmp_path / "keys").public), settings)


def test_a_secret_that_was_sealed_for_something_else_is_refused(settings: Settings, tmp_path: Path) -> None:
    with_keys = settings.model_copy(update={"private_keys": tmp_path / "keys"})
    sealed = seal("hunter2", f"{PURPOSE}0", add_key(tmp_path / "keys").public)
    assert "sealed for another" in _refusal(sealed, with_keys)
