"""DuckDB, embedded: where its files are."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.fields import Declared


class DuckDbConfig(Declared):
    """A DuckDB database file, or a folder of Parquet and CSV files that the SQL names."""

    service_provider: Literal["duckdb"] = Field("duckdb", exclude=True, repr=False)
    database: Path | None = Field(None, description="a .duckdb file, opened read-only; unset: only files")
    folder: Path | None = Field(None, description="files the SQL may read, by paths relative to this folder")
    memory_limit_mib: Annotated[int, Field(ge=64)] = Field(192, description="what DuckDB may hold; it spills beyond")

    @model_validator(mode="after")
    def _reads_something(self) -> Self:
        if self.database is None and self.folder is None:
            raise ValueError("database, folder: name one of them, or both")
        return self
