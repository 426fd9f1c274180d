"""batch.yaml to jobs: read, expanded, named and resolved, with everything that is wrong told at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.batch.expand import Draft, Expansion, expand
from core.batch.names import LOGS, STATE, checked_folder, checked_name, default_template, fill
from core.batch.problems import ManifestError, Problem, Problems
from core.batch.schema import BatchFile, Resources
from core.batch.settings import FILE_KEYS, Source, resolved
from core.batch.validation import position, validate_batch
from core.config import GenerateConfig, Resolved
from core.errors import InputError
from trajectories.document import Document, parse_document
from trajectories.errors import YamlError, nearest

MAX_MANIFEST_BYTES = 10_000_000


@dataclass(frozen=True)
class BatchJob:
    """One rollout of a batch.

    Attributes:
        name: Unique in the batch.
        folder: Its run folder, absolute.
        resolved: Its settings, and where in the manifest each was made.
        labels: What it is called on the axes of the matrix.
        resources: What it takes.
        where: Its place in the manifest.
    """

    name: str
    folder: Path
    resolved: Resolved
    labels: Mapping[str, str | int | float]
    resources: Resources
    where: str

    def in_folder(self, device: str | None = None) -> Resolved:
        """The settings with which it runs.

        Args:
            device: Where it runs if the manifest leaves that open.
        """
        update: dict[str, object] = {"out": self.folder, "overwrite": True, "quiet": True}
        if device is not None and self.resolved.config.device == "auto":
            update["device"] = device
        return Resolved(self.resolved.config.model_copy(update=update), self.resolved.sources)


@dataclass(frozen=True)
class Batch:
    """A manifest's jobs.

    Attributes:
        path: The manifest.
        out: Folder of all runs, absolute.
        jobs: Jobs in the order of the manifest.
        axes: Names of the matrix's axes.
        retries: How often a job that failed is tried again.
        restarts: How often a job that was cut off starts again.
    """

    path: Path
    out: Path
    jobs: tuple[BatchJob, ...]
    axes: tuple[str, ...]
    retries: int
    restarts: int

    @property
    def state(self) -> Path:
        """Folder of claims and histories, a folder a job."""
        return self.out / STATE

    def log_of(self, name: str) -> Path:
        """File that a job's messages go to."""
        return self.out / LOGS / f"{name}.log"

    def only(self, names: Sequence[str]) -> Batch:
        """The same batch with some of its jobs; all if none are named.

        Raises:
            InputError: There is no job of a name.
        """
        known = {job.name for job in self.jobs}
        for name in names:
            if name not in known:
                near = nearest(name, known)
                hint = f"did you mean {near}?" if near else "see: worldkv batch status"
                raise InputError(f"the batch has no job {name!r}", where=str(self.path), hint=hint)
        return replace(self, jobs=tuple(job for job in self.jobs if job.name in names)) if names else self


def load_batch(path: Path) -> Batch:
    """Read a manifest.

    Raises:
        ManifestError: Something is wrong with it; it holds everything that is.
    """
    text = _read_text(path)
    try:
        document = parse_document(text, label=str(path))
    except YamlError as error:
        raise ManifestError([Problem.of(error)]) from None
    file = validate_batch(document)
    source = Source(document, path.absolute().parent, Problems())
    expansion = expand(source, file)
    out = source.folder / (file.out or f"runs/{path.stem}")
    jobs = list(_jobs(source, file, expansion, out)) if not source.problems else []
    if not jobs and not source.problems:
        hint = "add `jobs: [{name: first, traj: loop}]`, or a `matrix:`"
        source.problems.say("the batch has no jobs", position(document, ()), hint)
    _check_unique(source, jobs)
    source.problems.refuse()
    axes = tuple(axis.name for axis in expansion.axes)
    return Batch(path, out, tuple(jobs), axes, file.retries, file.restarts)


def _jobs(source: Source, file: BatchFile, expansion: Expansion, out: Path) -> Iterator[BatchJob]:
    template = default_template(expansion.axes) if file.names is None else file.names
    names_at, layout_at = _where(source.document, "names"), _where(source.document, "layout")
    for draft in expansion.drafts:
        fields = _fields(draft)
        with source.problems.collecting():
            if draft.name is None:
                name = checked_name(fill(template, fields, names_at), names_at)
                folder = checked_folder(fill(file.layout, {**fields, "name": name}, layout_at), layout_at)
            else:
                name = checked_name(draft.name, draft.where)
                folder = checked_folder(name, draft.where)
            settings = resolved(draft.settings, draft.where)
            yield BatchJob(name, out / folder, settings, draft.labels, draft.resources, draft.where)


def _where(document: Document, key: str) -> str:
    return f"{position(document, (key,))} ({key})"


def _fields(draft: Draft) -> dict[str, object]:
    """What templates may say: labels of axes, and settings that are numbers or words."""
    defaults = {key: field.default for key, field in GenerateConfig.model_fields.items()}
    found = {**defaults, **{key: setting.value for key, setting in draft.settings.items()}}
    plain = {key: value for key, value in found.items() if isinstance(value, str | int | float)}
    stems = {key: Path(str(plain[key])).stem for key in FILE_KEYS if key in plain}
    return {**plain, **stems, **draft.labels}


def _check_unique(source: Source, jobs: Sequence[BatchJob]) -> None:
    names: dict[str, BatchJob] = {}
    folders: dict[str, BatchJob] = {}
    for job in jobs:  # a file system may not tell capitals apart
        other = names.setdefault(job.name.casefold(), job)
        if other is not job:
            axes = ", ".join(f"{axis} {label}" for axis, label in job.labels.items())
            hint = "let `names` use every axis that differs" if axes else "rename one of them"
            of = f" ({axes})" if axes else ""
            source.problems.say(f"two jobs are called {job.name}{of}", job.where, hint)
        else:
            folders.setdefault(str(job.folder).casefold(), job)
    for job in jobs:
        for place in (job.folder, *job.folder.parents):
            other = folders.get(str(place).casefold(), job)
            if other is not job and names[job.name.casefold()] is job:
                problem = f"the folders of {other.name} and {job.name} lie in each other"
                hint = "let `layout` end with {name}"
                source.problems.say(problem, _where(source.document, "layout"), hint)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
        if len(data) > MAX_MANIFEST_BYTES:
            raise InputError(f"a batch file has at most {MAX_MANIFEST_BYTES:,} bytes", where=str(path))
        return data.decode()
    except OSError as error:
        problem, hint = f"the batch file cannot be read: {error.strerror}", "check its path"
        raise InputError(problem, where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        raise InputError("the batch file is no UTF-8 text", where=str(path)) from error
