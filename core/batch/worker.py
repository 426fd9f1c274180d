"""A worker process: does one job after another, with what it has loaded. Imports torch only once it runs."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.batch.events import Event
    from core.batch.history import End
    from core.batch.loader import Batch, BatchJob


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is told when it starts.

    Attributes:
        batch: The batch.
        name: What it is called.
        device: Where jobs run that leave it open.
        threads: Threads of the CPU that torch may use.
    """

    batch: Batch
    name: str
    device: str | None
    threads: int


class Line:
    """The worker's end of the pipe to the process that started it.

    Jobs come in; None means: that was all. While a job runs, anything that comes in means: stop after this
    chunk, and so does the other end's death.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._stopped = False

    def next_job(self) -> BatchJob | None:
        """The next job; None at the end."""
        if self._stopped:
            return None
        try:
            job: BatchJob | None = self._pipe.recv()
        except EOFError:
            return None
        return job

    def tell(self, event: Event) -> None:
        """Say what happens."""
        try:
            self._pipe.send(event)
        except OSError:
            self._stopped = True

    def stop(self) -> bool:
        """Whether to stop."""
        try:
            if not self._stopped and self._pipe.poll():
                self._pipe.recv()
                self._stopped = True
        except (EOFError, OSError):
            self._stopped = True
        return self._stopped


def work(pipe: Connection, setup: WorkerSetup) -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between jobs; who started it says when to end
    import torch

    from core.batch.events import Ended
    from core.batch.history import End
    from core.batch.work import Bench, run_job
    from core.errors import OutputError

    torch.set_num_threads(setup.threads)
    line, bench = Line(pipe), Bench(setup.device, name=setup.name)
    while (job := line.next_job()) is not None:
        loaded_before = bench.weights.num_loads
        with job_log(setup.batch.log_of(job.name), setup.name):
            try:
                end = run_job(setup.batch, job, bench, tell=line.tell, stop=line.stop)
            except OutputError as error:
                line.tell(Ended(job.name, End.now("unwritable", error)))
                return  # with its claim, which the others will see to be dead
        line.tell(Ended(job.name, end, bench.weights.num_loads - loaded_before))
        if end is not None and _is_spoilt(end):
            return


def _is_spoilt(end: End) -> bool:
    """Whether the process may have been harmed: after a bug or an exhausted device a fresh one goes on."""
    return end.outcome == "failed" and end.exit_code in (1, 3)


@contextmanager
def job_log(path: Path, worker: str) -> Iterator[None]:
    """Everything that is written to stdout, stderr and the logs goes to a job's file meanwhile."""
    kept = os.dup(1), os.dup(2)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    try:
        with suppress(OSError):  # no log is no reason not to run
            path.parent.mkdir(parents=True, exist_ok=True)
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.write(log, f"--- {worker}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
        root.addHandler(handler)
        yield
    finally:
        root.removeHandler(handler)
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        for saved, number in zip(kept, (1, 2), strict=True):
            os.dup2(saved, number)
            os.close(saved)
