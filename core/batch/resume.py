"""Where a job goes on that was cut off."""

from __future__ import annotations

import contextlib
from pathlib import Path

from core.batch.loader import Batch, BatchJob
from core.batch.results import read_result
from core.errors import InputError
from core.outputs import RUN_FILES

_LITTER = (".write-check-*", ".run.json.*", ".video.final.mp4")
"""What a process leaves that was killed while it wrote."""


def where_it_goes_on(job: BatchJob) -> int:  # noqa: ARG001 - its folder will say, once there are snapshots
    """First chunk that is still to be made.

    Always 0 today: a rollout cannot yet be resumed inside, so a job that was cut off starts again in its own
    folder. This is the one place that knows.
    """
    return 0


def make_room(batch: Batch, job: BatchJob) -> Path | None:
    """Ready a job's folder for a start from the beginning.

    Litter of a killed process goes. A folder whose run log is damaged is set aside, not overwritten: nobody
    knows what it holds.

    Returns:
        Where a damaged folder was put; None if there was none.

    Raises:
        OSError: The folder cannot be changed.
    """
    for pattern in _LITTER:
        for path in job.folder.glob(pattern):
            path.unlink(missing_ok=True)
    has_run = any((job.folder / name).exists() for name in RUN_FILES)
    try:
        known = read_result(job.folder) is not None
    except InputError:
        known = False
    log = job.folder / "chunks.jsonl"  # the first file of a run; run.json follows
    if not has_run or known or (log.exists() and not (job.folder / "run.json").exists()):
        return None
    return _set_aside(batch, job)


def _set_aside(batch: Batch, job: BatchJob) -> Path:
    folder = batch.state / job.name
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        aside = folder / f"damaged-{number}"
        with contextlib.suppress(FileExistsError):
            aside.mkdir()
            job.folder.rename(aside)  # replaces the empty folder
            return aside
    raise FileExistsError(f"a thousand damaged folders in {folder}")
