"""From run folders to one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from core.errors import InputError
from core.outputs import RUN_FILES, write_atomic
from core.report.compare_page import compare_page
from core.report.kept import shown_masks
from core.report.page import MARK, render
from core.report.revisits import Revisits, score, wanted_pairs
from core.report.run_page import run_page
from core.report.source import RunSource, load_source
from core.report.video_part import video_parts
from core.video.frames import pick_frames

MOST_RUNS: Final = 4
REPORT: Final = "report.html"
COMPARISON: Final = "report-compare.html"
RUN_LOGS: Final = ("run.json", "chunks.jsonl")
"""Either of them makes a folder a run."""

MARKED_BYTES: Final = 1024
"""A page of ours says so in its first bytes."""


@dataclass(frozen=True)
class Written:
    """What was made.

    Attributes:
        path: The file.
        size_bytes: Its size.
        runs: The run folders it shows.
        video: embedded, linked, or none.
        missing: What it cannot show; with several runs, after the run's folder.
    """

    path: Path
    size_bytes: int
    runs: tuple[Path, ...]
    video: str
    missing: tuple[str, ...]


def write_report(
    folders: list[Path], out: Path | None = None, *, overwrite: bool = False, link_video: bool = False
) -> Written:
    """Make a report of one run, or compare up to four.

    Args:
        folders: Run folders.
        out: The file; None for report.html in the run's folder, or report-compare.html beside the first one.
        overwrite: Whether an earlier report is replaced; nothing else ever is.
        link_video: Whether videos stay beside the file however small they are.

    Raises:
        InputError: A folder holds no run, there are too many, the file exists, or it is a run's own.
        OutputError: The file cannot be written.
    """
    out = out or _default(folders)
    _check(folders, out, overwrite=overwrite)
    runs = [load_source(folder) for folder in folders]
    videos = video_parts(runs, out, link=link_video)
    if len(runs) == 1:
        revisits, why, frames = _revisits(runs[0], masks=True)
        body, data = run_page(runs[0], videos[0], revisits, why, frames)
        title, missing = f"{runs[0].log.name}: worldkv report", runs[0].missing
    else:
        found = [_revisits(run, masks=False)[0] for run in runs]
        body, data = compare_page(runs, videos, found)
        title = f"{len(runs)} runs: worldkv report"
        missing = tuple(f"{run.folder}: {said}" for run in runs for said in run.missing)
    linked = any(video.linked for video in videos)
    write_atomic(out, render(title, body, data, modes=[run.mode for run in runs], linked_video=linked))
    kind = "linked" if linked else "embedded" if any(video.src for video in videos) else "none"
    return Written(out, out.stat().st_size, tuple(folders), kind, missing)


def _revisits(
    run: RunSource, *, masks: bool
) -> tuple[Revisits | None, str, dict[int, UInt8[np.ndarray, "height width 3"]]]:
    """Pairs, why there are none, and the frames of which pictures are made."""
    wanted, why = wanted_pairs(run)
    numbers = set(wanted.frames)
    if masks:
        numbers |= {each.frame for each in shown_masks(run)}
    frames = pick_frames(run.video, numbers) if run.video is not None else {}
    found = score(wanted, frames)
    return (found if found.pairs else None), why, frames


def _default(folders: list[Path]) -> Path:
    first = _folder(folders[0])
    return first / REPORT if len(folders) == 1 else first.parent / COMPARISON


def _check(folders: list[Path], out: Path, *, overwrite: bool) -> None:
    if len(folders) > MOST_RUNS:
        raise InputError(
            f"at most {MOST_RUNS} runs are compared, got {len(folders)}", where="RUN", hint="leave some out"
        )
    for folder in folders:
        if not folder.exists():
            hint = "name a folder that `worldkv generate` made"
            raise InputError("there is no run folder here", where=str(folder), hint=hint)
    if out.is_dir():
        raise InputError("a file was expected, this is a folder", where=str(out), hint="name the .html file")
    _check_place(folders, out, overwrite=overwrite)
    if not out.resolve().parent.is_dir():
        raise InputError("the folder of the report does not exist", where=str(out), hint="make it first")


def _check_place(folders: list[Path], out: Path, *, overwrite: bool) -> None:
    """Nothing but an earlier report is replaced, and no file of a run is taken for one."""
    place = out.resolve()
    is_run = place.parent in {_folder(each).resolve() for each in folders} or any(
        (place.parent / name).exists() for name in RUN_LOGS
    )
    if is_run and place.name in RUN_FILES and place.name != REPORT:
        problem = f"{place.name} belongs to the run, a report must not replace it"
        raise InputError(problem, where=str(out), hint="choose another --out")
    if not out.exists():
        return
    if not _is_report(out):
        problem = "the file exists and is no report of worldkv: it is not replaced"
        raise InputError(problem, where=str(out), hint="choose another --out")
    if not overwrite:
        raise InputError(
            "the report exists", where=str(out), hint="--overwrite replaces it, or choose another --out"
        )


def _is_report(path: Path) -> bool:
    """Whether the first words of a page of ours are there."""
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(MARKED_BYTES)
    except OSError as error:
        problem = f"the file of the report cannot be read: {error.strerror}"
        raise InputError(problem, where=str(path), hint="choose another --out") from error


def _folder(run: Path) -> Path:
    return run.parent if run.name == "run.json" else run
