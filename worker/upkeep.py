"""What upkeep decides: who died too often, and how much may be sent again (pure)."""

from collections.abc import Iterable, Mapping

from shared.errors import ChunkAbandoned
from shared.messages import Death, Queue, TaskName
from shared.run import RunId


def too_many_deaths(
    deaths: Iterable[Death], numbers: Mapping[RunId, int], *, max_deaths: int
) -> list[tuple[Death, ChunkAbandoned]]:
    """Pick the work whose claimants died too often, with what its run's error says.

    ``numbers`` are what people call the runs.
    """
    nouns = {TaskName.PLAN_RUN: "plan", TaskName.EXTRACT_SLICE: "slice", TaskName.UPLOAD_CHUNK: "chunk"}
    return [
        (
            death,
            ChunkAbandoned(
                f"{death.deaths} workers died on {nouns[death.task]} {death.id} of run {numbers[death.run_id]} since "
                "it last got any further; look into the workers' logs for memory or crashes, then "
                f"`warehouse-sync retry {numbers[death.run_id]}`"
            ),
        )
        # Runs are locked in the order of their ids.
        for death in sorted(deaths, key=lambda death: death.run_id)
        if death.deaths >= max_deaths
    ]


def to_send_again(outstanding: Mapping[Queue, int], depths: Mapping[Queue, int]) -> dict[Queue, int]:
    """Say how many messages may be sent again to each queue: only as many as the queue does not hold any more.

    Args:
        outstanding: by queue, how many messages were sent and not claimed.
        depths: by queue, how many messages it holds.
    """
    missing = {queue: count - depths.get(queue, 0) for queue, count in outstanding.items()}
    return {queue: count for queue, count in missing.items() if count > 0}
