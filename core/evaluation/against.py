"""The baselines of a run: the same seed, trajectory and settings in another memory mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from core.batch.identity import identity_of_config, identity_of_run
from core.batch.results import read_result
from core.config import GenerateConfig, Resolved
from core.errors import InputError
from core.evaluation.recording import Recording
from core.generate import Job, prepare
from core.schemas.run import RunSummary

MODES: Final = get_args(GenerateConfig.model_fields["memory"].annotation)

RETRIEVAL_KEYS: Final = (
    "memory_preset",
    "retrieve",
    "retrieve_tokens",
    "strategy",
    "gate",
    "order",
    "near_depth",
    "copies",
    "chunk_copies",
    "positions",
    "prune",
    "keep_ratio",
    "pooled",
    "bank",
    "bank_precision",
    "keep_all",
    "allow",
    "disk_budget",
)
"""Settings of what is retrieved and stored, which other memory modes do not have."""

_MOST_TRIED: Final = 100
_FLAG: Final = "--against"


Watch = Callable[[Job, Path], RunSummary]
"""Runs the job of a baseline, whose folder is told, and shows its progress."""


def run_quietly(job: Job, folder: Path) -> RunSummary:  # noqa: ARG001 - see Watch
    """Run a job and show nothing."""
    return job.run()[0]


@dataclass(frozen=True)
class Found:
    """A baseline's run folder.

    Attributes:
        of: The run that it is compared with.
        memory: Its memory mode.
        folder: Where it lies.
        made: Whether it was made now.
    """

    of: Path
    memory: str
    folder: Path
    made: bool


def parse_modes(text: str | None) -> tuple[str, ...]:
    """`full,sliding` as memory modes.

    Raises:
        InputError: One is unknown.
    """
    modes = tuple(dict.fromkeys(word.strip() for word in (text or "").split(",") if word.strip()))
    for mode in modes:
        if mode not in MODES:
            raise InputError(
                f"unknown memory mode {mode!r}", where=_FLAG, hint=f"modes: {', '.join(map(str, MODES))}"
            )
    return modes


def baseline_config(config: GenerateConfig, mode: str, out: Path | None = None) -> GenerateConfig:
    """The same settings in another memory mode: what is retrieved goes, and the sink where there is none."""
    fields = GenerateConfig.model_fields
    update: dict[str, Any] = {key: fields[key].get_default() for key in RETRIEVAL_KEYS}
    if mode not in ("sink", "worldkv"):
        update["sink"] = None
    if mode == "full":
        update["recent"] = None
    update |= {"memory": mode, "out": out, "overwrite": False}
    return config.model_copy(update=update)


def find_baseline(
    recording: Recording,
    mode: str,
    known: Iterable[Recording] = (),
    run: Watch = run_quietly,
) -> Found:
    """The run of a mode to compare a run with: a finished one of equal settings, or a new one beside it.

    Nothing is overwritten: where the folder's name is taken by something else, the next number is.

    Args:
        recording: The run.
        mode: Memory mode of the baseline.
        known: Runs that are evaluated anyway.
        run: Makes it.

    Raises:
        WorldKVError: It cannot be made, or what it would start from has changed.
        KeyboardInterrupt: Somebody stopped it; what is finished is in its folder.
    """
    wanted = identity_of_config(baseline_config(recording.config, mode))
    for other in known:
        if other.log.status == "done" and identity_of_run(other.log) == wanted:
            return Found(recording.folder, mode, other.folder, made=False)
    folder = _free_or_equal(recording.folder, mode, wanted)
    if folder.exists():
        return Found(recording.folder, mode, folder, made=False)
    _check_inputs(recording)
    config = baseline_config(recording.config, mode, folder)
    kept = [key for key in recording.log.config_sources if key not in (*RETRIEVAL_KEYS, "recent", "sink")]
    sources = dict.fromkeys(kept, f"{recording.folder / 'run.json'}")
    job = prepare(Resolved(config, {**sources, "memory": _FLAG, "out": _FLAG}))
    summary = run(job, folder)
    if summary.status != "done":
        done = summary.totals.chunks
        raise KeyboardInterrupt(f"{done} of {job.num_chunks} chunks of the baseline are in {folder}")
    return Found(recording.folder, mode, folder, made=True)


def _free_or_equal(run: Path, mode: str, wanted: str) -> Path:
    """The first of `run-mode`, `run-mode-2`, ... that is free, or holds what is wanted."""
    run = run.resolve() if run.name in ("", "..") else run
    for number in range(1, _MOST_TRIED):
        folder = run.with_name(f"{run.name}-{mode}" + (f"-{number}" if number > 1 else ""))
        if not folder.exists() or _holds(folder, wanted):
            return folder
    raise InputError(f"a hundred folders beside it are taken: {folder}", where=str(run), hint="clear some")


def _holds(folder: Path, wanted: str) -> bool:
    """Whether a folder holds a finished run of the wanted settings."""
    try:
        found = read_result(folder)
    except InputError:
        return False
    return found is not None and found.summary.status == "done" and identity_of_run(found.summary) == wanted


def _check_inputs(recording: Recording) -> None:
    """A baseline that starts from other files is none."""
    if identity_of_config(recording.config) != identity_of_run(recording.log):
        raise InputError(
            f"what {recording.folder} started from has changed: a baseline would be of something else",
            where=", ".join(str(each.path) for each in recording.log.inputs.values())
            or str(recording.folder),
            hint="bring it back, or evaluate without --against",
        )
