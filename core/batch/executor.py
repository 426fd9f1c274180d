"""Who runs the jobs of a batch. What became of a job is never asked of them: the run folders say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

from core.batch.loader import Batch, BatchJob

Phase = Literal["queued", "running", "ended", "unknown"]
"""Of a submission: "ended" says nothing about success; "unknown" is one that the executor has forgotten."""


@runtime_checkable
class Executor(Protocol):
    """Starts `core.batch.work.run_job` for every job that it is given, somewhere, some time.

    It may start a job more than once, or when it is done already: claims see to it that nothing is made
    twice. It need not notice that a job failed. Retries are the caller's, who looks at the run folders.
    """

    def submit(self, batch: Batch, jobs: Sequence[BatchJob]) -> Mapping[str, str]:
        """Hand in jobs.

        Args:
            batch: The batch that they are of.
            jobs: Jobs of it, in the order in which they should start.

        Returns:
            The executor's own id of each, by the job's name.

        Raises:
            WorldKVError: They cannot be handed in.
        """
        ...

    def status(self, ids: Sequence[str]) -> Mapping[str, Phase]:
        """Where submissions are now, by id."""
        ...

    def cancel(self, ids: Sequence[str]) -> None:
        """Take submissions back: those that run stop after their chunk, if that can be, or at once."""
        ...
