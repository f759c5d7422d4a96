"""How answers are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from worker.mparticle.answers import (
    MESSAGE_CHARS,
    Accepted,
    Answer,
    BatchesRefused,
    NotTheApi,
    SignInRefused,
    Throttled,
    TooLarge,
    Unavailable,
    read_answer,
)


def answer(status: int, text: bytes = b"", **headers: str) -> Answer:
    return read_answer(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), text)


@pytest.mark.parametrize(
    ("header", "percentage"), [("92", 92), ("92.5", 92.5), ("0", 0), ("", None), ("nan", None), ("much", None)]
)
def test_acceptance_carries_the_usage_if_there_is_a_figure(header: str, percentage: float | None) -> None:
    assert answer(202, x_mp_rate_limit_percentage_used=header) == Accepted(percentage)


def test_acceptance_needs_no_headers() -> None:
    assert answer(202) == Accepted(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"errors":[{"code":"BAD_REQUEST","message":"event_type is missing"}]}', "event_type is missing"),
        (b'{"errors":[{"message":"one"},{"message":"two"}]}', "one; two"),
        (b'{"errors":[]}', '{"errors":[]}'),
        (b'{"errors":"broken"}', '{"errors":"broken"}'),
        (b'{"error":"other shape"}', '{"error":"other shape"}'),
        (b"[1]", "[1]"),
        (b"7", "7"),
        (b"<h1>Bad\r\n\tRequest\x00</h1>", "<h1>Bad Request </h1>"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "no reason given"),
    ],
)
def test_a_refusal_carries_the_words_of_mparticle(text: bytes, message: str) -> None:
    assert answer(400, text) == BatchesRefused(message)


@given(st.binary(max_size=2000))
def test_a_message_is_one_short_printable_line_whatever_came(text: bytes) -> None:
    refused = answer(400, text)
    assert isinstance(refused, BatchesRefused)
    assert 0 < len(refused.message) <= MESSAGE_CHARS
    assert refused.message.isprintable()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("2", 2),
        (" 30 ", 30),
        ("1.5", 1.5),
        ("0", None),
        ("-1", None),
        ("soon", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("٣", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_a_throttle_carries_the_seconds_asked_for(header: str, seconds: float | None) -> None:
    assert answer(429, retry_after=header) == Throttled(seconds, None)


def test_the_other_spelling_of_retry_after_counts_too() -> None:
    assert answer(429, RetryAfter="7") == Throttled(7, None)


def test_a_throttle_names_the_limit() -> None:
    assert answer(429, X_mp_rate_limit_exceeded='"acceleration"') == Throttled(None, "acceleration")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 425])
def test_what_says_later_is_unavailable(status: int) -> None:
    assert answer(status, b"details") == Unavailable(f"mParticle answered HTTP {status}")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_sign_in_says_how(status: int) -> None:
    assert answer(status, b"details") == SignInRefused(status)


def test_413_is_too_large() -> None:
    assert answer(413) == TooLarge()


@pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 307, 404, 405, 407, 411, 415, 418, 451])
def test_anything_else_is_not_the_events_api(status: int) -> None:
    assert answer(status, b"hello") == NotTheApi(status, "hello")
