"""The verb of reviews: what a pipeline would do, before it does anything."""

from console.reviewed import Review
from shared.catalog import DataModel, Pipeline
from shared.transformation import FieldTransformation


class Reviewing:
    """Reviews, bound to one state database and one broker."""

    def saved(self, pipeline_id: str, *, rows: int = 5) -> Review:
        """Review a pipeline that is declared, from a sample of so many rows.

        Raises:
            NotFound: there is no such pipeline.
            NoWorker: no worker took any question in time.
        """
        raise NotImplementedError

    def draft(
        self,
        pipeline: Pipeline,
        *,
        data_model: DataModel | None = None,
        field_transformation: FieldTransformation | None = None,
        rows: int = 5,
    ) -> Review:
        """Review a pipeline that nobody saved; what it names and is not given is what is declared.

        Raises:
            NotFound: what it names was never declared.
            NoWorker: no worker took any question in time.
        """
        raise NotImplementedError
