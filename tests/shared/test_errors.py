"""Every failure belongs to one family, survives pickling, and is drawn in the tree."""

import inspect
import pickle

import pytest

from shared import errors

FAMILIES = (errors.Transient, errors.Refused, errors.Broken)
KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, errors.SyncError) and kind not in {errors.SyncError, *FAMILIES}
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_survives_pickling_with_its_sentence(kind: type[errors.SyncError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("a sentence")))  # noqa: S301 - our own bytes
    assert type(copy) is kind
    assert str(copy) == "a sentence"


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_belongs_to_exactly_one_family(kind: type[errors.SyncError]) -> None:
    assert sum(issubclass(kind, family) for family in FAMILIES) == 1


@pytest.mark.parametrize("kind", [*FAMILIES, *KINDS])
def test_a_failure_is_drawn_in_the_tree(kind: type[errors.SyncError]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__
