"""What a question is about: what is declared, and in its place what the question carries."""

from dataclasses import dataclass
from typing import Final, TypeVar

import sqlalchemy as sa

from shared.catalog import Connection, DataModel, declared_environment
from shared.errors import DeclarationInvalid, Unexpected
from shared.feed import Feed
from shared.probe import Question
from shared.run import Standing
from shared.settings import Settings
from shared.store import declared
from shared.transformation import FieldTransformation
from worker.mparticle.check import Checks
from worker.sample import Subject

Carried = TypeVar("Carried", DataModel, FieldTransformation)
_NEW: Final = Standing(generation=1)
"""Where a pipeline stands that nobody saved: as a new one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A pipeline with its connection and its feed."""

    connection: Connection
    feed: Feed
    subject: Subject


def connection_of(store: sa.Connection, question: Question) -> Connection:
    """Give the connection that a question names.

    Raises:
        NotFound: it was never declared.
    """
    return declared.get(store, Connection, _named(question.connection_id, "connection"))


def feed_of(store: sa.Connection, question: Question) -> Feed:
    """Give the feed that a question names.

    Raises:
        NotFound: it was never declared.
    """
    return declared.get(store, Feed, _named(question.feed_id, "feed"))


def model_of(store: sa.Connection, question: Question) -> DataModel:
    """Give the data model that a question names or carries.

    Raises:
        NotFound: it was never declared.
    """
    if question.data_model is not None:
        return question.data_model
    return declared.get(store, DataModel, _named(question.data_model_id, "data model"))


def pipeline_of(store: sa.Connection, question: Question, settings: Settings) -> Asked:
    """Give the pipeline that a question names or carries, and all that belongs to it.

    Raises:
        NotFound: it, or something that it names and the question does not carry, was never declared.
        DeclarationInvalid: the question carries something that the pipeline does not name.
    """
    pipeline, standing = question.pipeline, _NEW
    if pipeline is None:
        row = declared.get_pipeline(store, _named(question.pipeline_id, "pipeline"))
        pipeline, standing = row.pipeline, row.standing
    connection = declared.get(store, Connection, pipeline.connection_id)
    feed = declared.get(store, Feed, pipeline.feed_id)
    model = _carried(question.data_model, pipeline.data_model_id)
    transformation = _carried(question.field_transformation, pipeline.field_transformation_id)
    subject = Subject(
        pipeline=pipeline,
        model=model or declared.get(store, DataModel, pipeline.data_model_id),
        transformation=transformation or declared.transformation_of(store, pipeline),
        protection=feed.input_protection_level,
        standing=standing,
        environment=declared_environment(pipeline, connection),
        checks=Checks(batch_max_bytes=settings.batch_max_bytes, limits=pipeline.limits),
        batch_max_events=settings.batch_max_events,
    )
    return Asked(connection, feed, subject)


def _carried(carried: Carried | None, named: str | None) -> Carried | None:
    if carried is not None and carried.id != named:
        raise DeclarationInvalid(
            f"the question carries {carried.id!r}, and the pipeline names {named!r} in its place; they must be the same"
        )
    return carried


def _named(identity: str | None, noun: str) -> str:
    if identity is None:
        raise Unexpected(f"a question names no {noun}; please report this")
    return identity
