import time

import pytest

from console.api.reading import MOST_TOLD, read
from shared.catalog import DataModel
from shared.errors import DeclarationInvalid
from tests.console.api.conftest import Api

MODEL = {"id": "people", "name": "People", "sql_query": "SELECT 1"}


def test_some_unknown_fields_are_told_and_left_out() -> None:
    unknown = {f"field_{number}": None for number in range(MOST_TOLD)}
    model, told = read(DataModel, {**MODEL, **unknown})
    assert model == DataModel.model_validate(MODEL)
    assert [one.message.split(":")[0] for one in told] == list(unknown)


@pytest.mark.parametrize("others", [{}, {"sql_query": 5}])
def test_a_body_of_nothing_but_mistakes_is_refused_at_once_and_in_a_few_words(others: dict[str, object]) -> None:
    began = time.monotonic()
    with pytest.raises(DeclarationInvalid) as refused:
        read(DataModel, {**MODEL, **{f"field_{number}": None for number in range(20_000)}, **others})
    assert time.monotonic() - began < 5
    assert len(str(refused.value)) < 1000


def test_of_many_mistakes_the_first_are_told() -> None:
    with pytest.raises(DeclarationInvalid) as refused:
        read(DataModel, {**MODEL, "secret_columns": [0] * 20_000})
    assert len(str(refused.value).splitlines()) == MOST_TOLD


@pytest.mark.parametrize(
    ("path", "known"), [("/runs", "limit"), ("/pipelines", "serviceProvider"), ("/audit", "limit")]
)
def test_a_mistyped_filter_is_refused_and_the_right_ones_are_named(admin: Api, path: str, known: str) -> None:
    answer = admin.get(path, pipelin="users")
    assert answer.status_code == 400
    (told,) = answer.json()["errors"]
    assert "unknown query parameter 'pipelin'" in told["message"]
    assert known in told["message"]
