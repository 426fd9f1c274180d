"""Plays what is missing of a suite, in several processes of one thread each."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

from core.bench.cells import ENGINE_VERSION, CellFile, task_key
from core.bench.suite import Suite, Task
from core.errors import WorldKVError
from core.host_cpu import cpu_model
from core.models.mini.model import WEIGHTS, MiniModel
from core.runlog import hash_file, versions
from core.schemas.bench_cell import Cell, Machine

THREADS = 1
"""Of a worker: processor times compare, and two workers of one thread beat one of two."""

_POLL_S = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a bench is.

    Attributes:
        done: Finished cells, those of earlier runs included.
        total: All cells.
        work_done: Frames of finished cells of this run, those that are denoised counting in full.
        work_left: Of those still to be played.
        cell: What has just been finished; None at the start.
    """

    done: int
    total: int
    work_done: float
    work_left: float
    cell: Cell | None


Told = Callable[[Progress], None]


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def weights_hash() -> str:
    """Of the weights that are judged."""
    return hash_file(WEIGHTS).sha256


def finished(suite: Suite, cells: Mapping[str, Cell], weights: str) -> dict[Task, Cell]:
    """The cells of a suite that are there."""
    keys = {task: task_key(task, weights) for task in suite.tasks()}
    return {task: cells[key] for task, key in keys.items() if key in cells}


def run_suite(
    suite: Suite,
    cells: CellFile,
    *,
    jobs: int = 2,
    told: Told = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[Task, Cell]:
    """Play what is missing.

    Args:
        suite: What is played.
        cells: What is there already; finished cells are added.
        jobs: Processes.
        told: Told at the start and of every finished cell.
        stop: Asked twice a second whether to stop: what is being played is then lost, what is finished kept.

    Returns:
        The suite's finished cells, all of them unless it was stopped.

    Raises:
        WorldKVError: A worker was killed.
    """
    weights = weights_hash()
    done = finished(suite, cells.cells, weights)
    total = len(suite.tasks())
    missing = [task for task in suite.tasks() if task not in done]
    left, worked = sum(map(work, missing), 0.0), 0.0
    told(Progress(len(done), total, worked, left, None))
    try:
        for task, cell in _played(missing, jobs, weights, stop):
            cells.append(cell)
            done[task] = cell
            left, worked = left - work(task), worked + work(task)
            told(Progress(len(done), total, worked, left, cell))
    except BrokenProcessPool as error:
        if not stop():  # else the workers were told to end, too, as a process group is
            raise WorldKVError(
                "a worker process was killed, perhaps for want of memory",
                where=str(cells.path.parent),
                hint="what is finished is kept: go on with the same --out; --jobs 1 takes least memory",
            ) from error
    return done


def work(task: Task) -> float:
    """Frames that are denoised, and a third of those that are given, times worlds."""
    given = 3 * task.script.given_chunks if task.given else 0
    return (task.frames - 0.7 * given) * task.num_worlds


def _played(
    tasks: Sequence[Task], jobs: int, weights: str, stop: Callable[[], bool]
) -> Iterator[tuple[Task, Cell]]:
    """Cells as they are finished; processes are ended at once when it is asked to stop."""
    waiting = list(reversed(tasks))
    running: dict[Future[Cell], Task] = {}
    pool = ProcessPoolExecutor(
        max(1, min(jobs, len(tasks))), mp_context=get_context("spawn"), initializer=_begin
    )
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop()
                with _deaf():
                    running[pool.submit(_play, task, weights)] = task
            ready, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in ready:
                yield running.pop(future), future.result()
            if stop():
                break
    finally:
        if running:
            for process in list((pool._processes or {}).values()):  # none after a worker was killed
                process.terminate()  # what it plays is given up: there is no other way
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Hold Ctrl-C back while workers are spawned: they inherit it, and imports must not be torn either.

    Nothing is lost: what arrives meanwhile is delivered to this process at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_MODELS: list[MiniModel] = []


def _begin() -> None:
    """A worker's beginning: one thread, and Ctrl-C is its parent's business."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(THREADS)
    _MODELS.append(MiniModel.load())


def _end_with_parent() -> None:
    """However the parent ends: nobody would take the result."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _play(task: Task, weights: str) -> Cell:
    from core.bench.judge import Judge

    judge = Judge(_MODELS[0], task.num_worlds, task.batch, first_world=task.first_world)
    return Cell(
        key=task_key(task, weights),
        setting=dict(task.setting.key),
        script=task.script.name,
        given=task.given,
        first_world=task.first_world,
        num_worlds=task.num_worlds,
        weights_sha256=weights,
        engine=ENGINE_VERSION,
        threads=THREADS,
        machine=Machine(processor=cpu_model(), versions=versions()),
        score=judge.score(task.script, task.setting, given=task.given),
    )
