"""Each answer of mParticle at each stage of a chunk, once, on the second try and for as long as an attempt lasts.

The stand-in is the real one, over a socket, and keeps its own counts. Whatever happens, each row is accepted, rejected
or left for a later attempt; once the trouble is over and an operator has corrected what had to be, the next attempt
finishes the chunk, under the ids that the batches always had.
"""

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

import orjson
import pyarrow as pa
import pytest

from sandbox.faults import Faults, Marked
from sandbox.mparticle import StandIn, sandbox_running
from sandbox.settings import DEMO_FEED, SandboxSettings, Storing
from sandbox.valkey import Valkey
from shared.catalog import Environment, NullPolicy
from shared.errors import CredentialsRefused, FeedRefused
from shared.ledger import Reject, RejectCode
from shared.mapping.compile import compile_user_mapping
from shared.run import Lane
from worker.frontier import Step
from worker.mparticle.answers import Answer
from worker.mparticle.check import Checks
from worker.mparticle.client import FeedClient, open_session
from worker.mparticle.encode import Encoder
from worker.mparticle.governor import Governor
from worker.mparticle.quota import Quota
from worker.upload import Ending, Finished, Stopped, UploadLimits, Yielded, upload

BODY, ROWS = 10, 43
CHECKED, BAD = 13, 25
"""A row that a check keeps back, and one that the stand-in refuses where a test has bodies taken apart."""
CHUNK_ID: Final = "chunk"
TIMEOUT_S: Final = 0.5
"""Of what is never answered; what is answered has to come sooner, on a busy machine too."""
LIMITS = UploadLimits(
    body_max_batches=BODY,
    body_max_events=BODY,
    body_max_bytes=256_000,
    # One after another, so that the fault strikes the request that it is meant for.
    requests_in_flight=1,
    attempt_target_s=20,
    backoff_first_s=0.01,
    backoff_max_s=0.05,
    progress_every_s=0.02,
)

STAGES = {"first body": 0, "middle": 20, "last": ROWS - 1, "bisection": BAD}
"""The row whose request is struck; in a bisection only a part of its body is."""

HANG = Faults(hang=True)
ANSWERS = {
    "202": Faults(),
    "400": Faults(status=HTTPStatus.BAD_REQUEST),
    "401": Faults(status=HTTPStatus.UNAUTHORIZED),
    "403": Faults(status=HTTPStatus.FORBIDDEN),
    "404": Faults(status=HTTPStatus.NOT_FOUND),
    "413": Faults(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    "429 with Retry-After": Faults(status=HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=1),
    "429 without": Faults(status=HTTPStatus.TOO_MANY_REQUESTS),
    "429 of acceleration": Faults(status=HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=1, limit_exceeded="acceleration"),
    "500": Faults(status=HTTPStatus.INTERNAL_SERVER_ERROR),
    "503": Faults(status=HTTPStatus.SERVICE_UNAVAILABLE),
    "timeout": HANG,
    "reset": Faults(drop_before=1),
    "lost": Faults(drop_after=1),
}
STOPS: dict[str, type[Exception]] = {"401": CredentialsRefused, "403": CredentialsRefused, "404": FeedRefused}
CONTENT = {"400": RejectCode.REFUSED_BY_MPARTICLE, "413": RejectCode.BATCH_TOO_LARGE}


def chunk(position: int) -> Any:
    """What the product's encoder makes of the chunk from a position on: the one place that knows how it is asked."""
    schema = pa.schema([("customer_id", pa.string()), ("bad", pa.bool_())])
    plan = compile_user_mapping(
        schema, environment=Environment.DEVELOPMENT, on_null=NullPolicy.OMIT, iterator=None, rename={}
    )
    users = [None if row == CHECKED else f"user {row}" for row in range(ROWS)]
    table = pa.table([users, [row == BAD for row in range(ROWS)]], schema)
    return Encoder(plan, checks=Checks()).prepare(table, chunk_id=CHUNK_ID).write(position=position)


def batches_of(body: bytes) -> dict[int, bytes]:
    """Give the batches of a body by their rows."""
    batches = {int(batch["source_request_id"].removeprefix(f"{CHUNK_ID}:")): batch for batch in orjson.loads(body)}
    return {row: orjson.dumps(batch) for row, batch in batches.items()}


@dataclass
class Store:
    """Keeps progress as the store does."""

    position: int = 0
    accepted: int = 0
    rejects: list[Reject] = field(default_factory=list)

    async def record(self, step: Step) -> None:
        progress = step.progress
        assert self.position < progress.position <= ROWS
        self.position = progress.position
        self.accepted += progress.accepted
        self.rejects += progress.rejects
        # Of the rows below the position each is in exactly one of the two; the others are left.
        assert self.accepted + len(self.rejects) == self.position

    @property
    def rejected(self) -> dict[int, RejectCode]:
        return {reject.row: reject.code for reject in self.rejects}


class Line(FeedClient):
    """The line to the stand-in, which has faults ready for requests that hold a row.

    Attributes:
        struck: how many requests met a fault.
        contents: every text under which a batch was ever sent, by row.
    """

    def __init__(self, *args: Any, stand_in: StandIn, stage: str, faults: list[Faults], **options: Any) -> None:
        super().__init__(*args, **options)
        self._switch = stand_in.intake.faults
        self._is_of_part = stage == "bisection"
        self._row = STAGES[stage]
        self.faults = faults
        self.struck = 0
        self.contents: dict[int, set[bytes]] = {}

    async def send(self, body: bytes, path: str = "/bulkevents") -> Answer:
        batches = batches_of(body)
        for row, text in batches.items():
            self.contents.setdefault(row, set()).add(text)
        is_meant = self._row in batches and (len(batches) < BODY or not self._is_of_part)
        fault = Faults()
        if is_meant and self.faults:
            self.struck += 1
            fault = self.faults.pop(0)
        if self._is_of_part:
            fault = fault.model_copy(update={"reject_marked": Marked(attribute="bad", value=True)})
        self._switch.turn(fault)
        return await super().send(body, path)


@dataclass
class Matrix:
    """One cell: a chunk, its store, the stand-in and the line between."""

    stand_in: StandIn
    line: Line
    governor: Governor
    store: Store = field(default_factory=Store)
    group: str = field(default_factory=lambda: str(uuid.uuid4()))

    async def attempt(self, *, target_s: float = LIMITS.attempt_target_s) -> Ending:
        return await upload(
            chunk(self.store.position),
            rows=ROWS,
            position=self.store.position,
            feed=self.line,
            governor=Quota(self.governor, self.group, 1e6, lane=Lane.LIVE),
            limits=replace(LIMITS, attempt_target_s=target_s, max_wait_s=min(LIMITS.max_wait_s, target_s)),
            record=self.store.record,
            stopping=lambda: False,
        )

    def insist_on_the_counts(self) -> None:
        """Both sides agree, each row was taken at most once as new, and always under its one id with one content."""
        received = self.stand_in.intake.received[DEMO_FEED.key].starting_with("")
        taken = {int(one.source_request_id.removeprefix(f"{CHUNK_ID}:")): one.times for one in received}
        counters = self.stand_in.intake.counters
        final = set(range(self.store.position)) - self.store.rejected.keys()
        assert final <= taken.keys()
        assert not taken.keys() & self.store.rejected.keys()
        assert counters.batches == len(taken)
        assert counters.duplicates == sum(taken.values()) - len(taken)
        assert (counters.conflicts, counters.without_id, counters.dropped_by_reason) == (0, 0, Counter())
        assert all(len(texts) == 1 for texts in self.line.contents.values())


@asynccontextmanager
async def matrix(
    valkey: Valkey, stage: str, faults: list[Faults], *, is_gzip: bool = False, takes_gzip: bool = False
) -> AsyncIterator[Matrix]:
    governor = Governor.connect(valkey.url)
    settings = SandboxSettings(storing=Storing.IDS, accepts_gzip=takes_gzip)
    try:
        async with (
            sandbox_running(settings) as (url, stand_in),
            open_session(requests_in_flight=1, timeout_s=TIMEOUT_S if HANG in faults else 5) as session,
        ):
            line = Line(
                session,
                base_url=f"{url}/v2",
                api_key=DEMO_FEED.key,
                api_secret=DEMO_FEED.secret,
                is_gzip=is_gzip,
                stand_in=stand_in,
                stage=stage,
                faults=faults,
            )
            yield Matrix(stand_in, line, governor)
    finally:
        await governor.close()


def expected_rejects(stage: str) -> dict[int, RejectCode]:
    rejects = {CHECKED: RejectCode.NO_IDENTITY}
    return rejects | {BAD: RejectCode.REFUSED_BY_MPARTICLE} if stage == "bisection" else rejects


@pytest.mark.parametrize("first", [None, "503"], ids=["first try", "second try"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_is_given_once(run: Any, valkey: Valkey, answer: str, stage: str, first: str | None) -> None:
    faults = [*([ANSWERS[first]] if first else []), ANSWERS[answer]]

    async def scenario() -> None:
        async with matrix(valkey, stage, list(faults)) as made:
            ending = await made.attempt()
            made.insist_on_the_counts()
            assert made.line.struck == len(faults)
            if answer in STOPS:
                assert isinstance(ending, Stopped)
                assert isinstance(ending.error, STOPS[answer])
                assert made.store.position <= STAGES[stage]
                ending = await made.attempt()
            assert ending == Finished()
            made.insist_on_the_counts()
            assert made.store.position == ROWS
            assert made.store.rejected == expected_rejects(stage)
            if answer not in STOPS:
                # A part that holds the bad row is refused, whether the answer arrives or not.
                is_taken_again = answer == "lost" and stage != "bisection"
                assert (made.stand_in.intake.counters.duplicates > 0) == is_taken_again

    run(scenario())


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("answer", [name for name in ANSWERS if name != "202"])
def test_an_answer_that_is_given_for_as_long_as_an_attempt_lasts(
    run: Any, valkey: Valkey, answer: str, stage: str
) -> None:
    async def scenario() -> None:
        async with matrix(valkey, stage, [ANSWERS[answer]] * 1_000) as made:
            ending = await made.attempt(target_s=0.5)
            made.insist_on_the_counts()
            if answer in CONTENT:
                # What is refused whatever stands beside it is the row's own fault.
                assert ending == Finished()
                assert made.store.rejected == expected_rejects(stage) | {STAGES[stage]: CONTENT[answer]}
                return
            assert isinstance(ending, Stopped if answer in STOPS else Yielded)
            assert made.store.position <= STAGES[stage]
            assert made.line.struck < 60
            made.line.faults.clear()
            while (ending := await made.attempt()) != Finished():
                assert isinstance(ending, Yielded)
            made.insist_on_the_counts()
            assert made.store.rejected == expected_rejects(stage)

    run(scenario())


@pytest.mark.parametrize("takes_gzip", [True, False])
def test_compressed_bodies_are_taken_or_the_run_says_what_to_do(run: Any, valkey: Valkey, takes_gzip: bool) -> None:
    async def scenario() -> None:
        async with matrix(valkey, "first body", [], is_gzip=True, takes_gzip=takes_gzip) as made:
            ending = await made.attempt()
            made.insist_on_the_counts()
            if takes_gzip:
                assert ending == Finished()
                assert made.stand_in.intake.counters.wire_bytes < made.stand_in.intake.counters.bytes
            else:
                assert isinstance(ending, Stopped)
                assert "gzip: false" in str(ending.error)
                assert made.store.position == 0

    run(scenario())
