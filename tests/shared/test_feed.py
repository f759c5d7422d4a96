"""A feed that is declared wrongly is refused with the field's name; an address says one host to every reader."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.feed import Feed

FEED: dict[str, Any] = {
    "id": "main",
    "name": "Main",
    "base_url": "https://s2s.us1.mparticle.com/v2",
    "api_key": "us1-1",
    "api_secret": "env:WAREHOUSE_SYNC_SECRET_MAIN",
}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("id", "two words", "id"),
        ("base_url", "s2s.us1.mparticle.com", "base_url"),
        ("base_url", "https://user@s2s.us1.mparticle.com/v2", "without user"),
        ("base_url", "https://:password@s2s.us1.mparticle.com/v2", "without user"),
        ("base_url", "https://s2s.us1.mparticle.com/v2?key=1", "query"),
        ("base_url", "https://s2s.us1.mparticle.com/v2#here", "fragment"),
        ("base_url", "https://s2s.us1.mparticle.com:port/v2", "base_url"),
        ("base_url", "https://[::1/v2", "base_url"),
        ("base_url", "ftp://s2s.us1.mparticle.com/v2", "base_url"),
        ("base_url", "http://s2s.us1.mparticle.com/v2", "https only"),
        ("api_secret", "hunter2", "api_secret"),
        ("batches_per_s", 0, "batches_per_s"),
        ("input_protection_level", "all", "create_and_update"),
        ("colour", "red", "colour"),
    ],
)
def test_a_feed_is_refused_by_the_field_that_is_wrong(field: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Feed.model_validate({**FEED, field: value})


@pytest.mark.parametrize(
    ("url", "is_at_mparticle"),
    [
        ("https://s2s.us1.mparticle.com/v2", True),
        ("https://inbound.mparticle.com/s2s/v2", True),
        ("https://mparticle.com.stranger.example/v2", False),
        ("https://notmparticle.com/v2", False),
    ],
)
def test_only_mparticles_own_hosts_pass_for_mparticle(url: str, *, is_at_mparticle: bool) -> None:
    assert Feed.model_validate({**FEED, "base_url": url}).is_at_mparticle is is_at_mparticle


@pytest.mark.parametrize(
    "url",
    [
        "https://stranger.example\\.mparticle.com/v2",
        "https://stranger.example\\@s2s.us1.mparticle.com/v2",
        "https://stranger.example%2f.mparticle.com/v2",
        "https://s2s.us1.mparticle.com\n.stranger.example/v2",
        "https://stranger.example/\t@s2s.us1.mparticle.com/v2",
        "https://stranger.example;.mparticle.com/v2",
    ],
)
def test_an_address_that_two_readers_could_take_for_different_hosts_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        Feed.model_validate({**FEED, "base_url": url})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/v2", "http://[::1]:8080/v2", "http://localhost", "https://a-b.example/s2s/v2"]
)
def test_an_ordinary_address_is_taken(url: str) -> None:
    assert Feed.model_validate({**FEED, "base_url": url}).base_url == url


@pytest.mark.parametrize("reference", ["env:", "env:1A", "file:relative", "file:", "vault:x", "env:A;B", "env:A\n"])
def test_a_secret_is_given_by_reference_only(reference: str) -> None:
    with pytest.raises(ValidationError, match="api_secret"):
        Feed.model_validate({**FEED, "api_secret": reference})


def test_what_is_declared_survives_the_store() -> None:
    feed = Feed.model_validate(FEED)
    assert Feed.model_validate(feed.model_dump(mode="json")) == feed
