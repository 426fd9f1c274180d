"""Jobs on a cluster: SLURM queues, starts and requeues them; submitit writes its scripts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.batch.executor import Phase
from core.batch.loader import Batch, BatchJob
from core.batch.slurm_queue import cancel_ids, look_up, max_array_size, require_slurm
from core.batch.slurm_resources import Request, alike
from core.batch.slurm_submissions import Submission, tasks_folder
from core.batch.slurm_task import SlurmTask
from core.errors import ModelFilesError, WorldKVError

if TYPE_CHECKING:
    from submitit import SlurmExecutor as Submitit

logger = logging.getLogger(__name__)

EXTRA_HINT = 'pip install "worldkv[slurm]"'


class SlurmExecutor:
    """Hands jobs in to SLURM, as arrays; see `core.batch.executor.Executor`.

    Jobs that ask for the same resources are one array, of at most as many tasks as the cluster allows. With a
    cap, several arrays follow one another, so that it holds for all of them together.

    Args:
        parallel: How many jobs run at the same time; None: as many as SLURM lets.
        time_s: Time limit in place of the manifest's.
        seen: Number of the newest submission when the jobs were chosen; where there is a newer one by now,
            nothing is submitted, as it might be twice. None: whatever was submitted since.
    """

    def __init__(
        self, *, parallel: int | None = None, time_s: int | None = None, seen: int | None = None
    ) -> None:
        self._parallel, self._time_s, self._seen = parallel, time_s, seen

    def submit(self, batch: Batch, jobs: Sequence[BatchJob]) -> Mapping[str, str]:
        """Hand in jobs, and note their ids in the batch's folder.

        Raises:
            InputError: SLURM is not here, a job has no time limit, or somebody else is submitting.
            ModelFilesError: submitit is not installed.
            OutputError: The state of the batch cannot be written.
            WorldKVError: SLURM refuses them.
        """
        require_slurm()
        groups = alike(jobs, time_s=self._time_s)
        most = max_array_size()
        submission = Submission.begin(batch, [job.name for job in jobs], seen=self._seen)
        ids: dict[str, str] = {}
        try:
            for request, members in groups:
                for first in range(0, len(members), most):
                    after = next(reversed(ids.values()), None) if self._parallel is not None else None
                    ids |= self._array(batch, request, members[first : first + most], after)
        finally:
            submission.end(ids)  # what SLURM took before it refused is there all the same
        return ids

    def status(self, ids: Sequence[str]) -> Mapping[str, Phase]:
        """Where submissions are now."""
        return {each: entry.phase for each, entry in look_up(ids).items()}

    def cancel(self, ids: Sequence[str]) -> None:
        """Take submissions back; those that run stop after their chunk, within SLURM's KillWait."""
        cancel_ids(ids)

    def _array(
        self, batch: Batch, request: Request, jobs: Sequence[BatchJob], after: str | None
    ) -> dict[str, str]:
        """One array, or a job of its own if it is only one."""
        executor = _submitit(batch)
        parameters: dict[str, Any] = {"job_name": f"worldkv-{batch.path.stem}", **request.parameters}
        parameters["array_parallelism"] = self._parallel or len(jobs)
        if after is not None:
            parameters["dependency"] = f"afterany:{after.partition('_')[0]}"
        tasks = [SlurmTask(batch.path.absolute(), job.name, request.warn_s) for job in jobs]
        try:
            executor.update_parameters(**parameters)
            with executor.batch():
                handed_in = [executor.submit(task) for task in tasks]
            return {job.name: each.job_id for job, each in zip(jobs, handed_in, strict=True)}
        except (RuntimeError, ValueError) as error:  # submitit's, with the words of sbatch
            lines = [line for line in str(error).splitlines() if "error:" in line] or [str(error)]
            problem = lines[0].partition("sbatch: error: ")[2] or lines[0]
            hint = "see `resources` in the manifest, and: sinfo"
            raise WorldKVError(
                f"SLURM refuses the jobs: {problem}", where=jobs[0].where, hint=hint
            ) from error


def _submitit(batch: Batch) -> Submitit:
    try:
        from submitit import SlurmExecutor as Submitit
    except ImportError as error:
        problem = f"batches on SLURM need submitit: {error}"
        raise ModelFilesError(problem, where="submitit", hint=EXTRA_HINT) from None
    # How often a job comes back is for its history to say, not for a counter of submitit's.
    return Submitit(tasks_folder(batch), max_num_timeout=batch.retries + batch.restarts)
