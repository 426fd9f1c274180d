"""From a manifest's matrix and list to single jobs that have settings, but no names yet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.batch.axes import MAX_JOBS, Axis, Point, read_axis, read_points
from core.batch.schema import BatchFile, Matrix, Override, Resources
from core.batch.settings import Setting, Source
from trajectories.document import KeyPath
from trajectories.errors import nearest

Words = Mapping[str, tuple[object, ...]]
"""Axes and what they may be called."""


@dataclass(frozen=True)
class Draft:
    """A job that is not named yet.

    Attributes:
        points: Its place on every axis; none for a job of its own.
        settings: Its settings.
        resources: What it takes.
        where: Its place in the manifest.
        name: Its name, if the manifest gives one.
    """

    points: Mapping[str, Point]
    settings: Mapping[str, Setting]
    resources: Resources
    where: str
    name: str | None = None

    @property
    def labels(self) -> dict[str, str | int | float]:
        """What it is called on every axis."""
        return {axis: point.label for axis, point in self.points.items()}

    def is_meant(self, words: Words) -> bool:
        """Whether it lies where the words say."""
        return all(
            axis in self.points and any(self.points[axis].is_called(word) for word in called)
            for axis, called in words.items()
        )


@dataclass(frozen=True)
class Expansion:
    """All jobs of a manifest, and the axes that they lie on."""

    axes: tuple[Axis, ...]
    drafts: tuple[Draft, ...]


def expand(source: Source, file: BatchFile) -> Expansion:
    """Every job of the manifest. What is wrong is noted; the jobs are complete only if nothing was."""
    defaults = source.settings(file.defaults, ("defaults",))
    axes: tuple[Axis, ...] = ()
    drafts: list[Draft] = []
    if file.matrix is not None:
        axes, drafts = _matrix(source, file, file.matrix, defaults)
    for index, entry in enumerate(file.jobs):
        path = ("jobs", index)
        own = source.settings(entry.model_extra or {}, path)
        resources = file.resources.changed_by(entry.resources)
        drafts.append(Draft({}, {**defaults, **own}, resources, source.where(path), entry.name))
    return Expansion(axes, tuple(drafts))


def _matrix(
    source: Source, file: BatchFile, matrix: Matrix, defaults: Mapping[str, Setting]
) -> tuple[tuple[Axis, ...], list[Draft]]:
    written = matrix.model_extra or {}
    read = [read_axis(source, name, value, ("matrix", name)) for name, value in written.items()]
    axes = tuple(axis for axis in read if axis is not None)
    if not written:
        source.problems.say(
            "the matrix has no axes", source.where(("matrix",)), "add one, such as seed: 0..3"
        )
    if len(axes) < len(written) or not axes:
        return axes, []  # what else is wrong cannot be told from what follows from that
    _check_apart(source, axes)
    count = math.prod(len(axis.points) for axis in axes)
    if count > MAX_JOBS:
        problem = f"the matrix has {count:,} jobs, a batch at most {MAX_JOBS:,}"
        source.problems.say(problem, source.where(("matrix",)), "make several batches of it")
        return axes, []
    base = Draft({}, defaults, file.resources, source.where(("matrix",)))
    combinations = (
        _on(base, dict(zip((axis.name for axis in axes), points, strict=True)))
        for points in itertools.product(*(axis.points for axis in axes))
    )
    drafts = _without_excluded(source, axes, matrix, list(combinations))
    for index, entry in enumerate(matrix.include):
        drafts += _included(source, axes, base, entry, ("matrix", "include", index))
    for index, override in enumerate(matrix.overrides):
        drafts = _overridden(source, axes, drafts, override, ("matrix", "overrides", index))
    return axes, drafts


def _check_apart(source: Source, axes: Sequence[Axis]) -> None:
    """Two axes that set the same thing would hide each other."""
    owner: dict[str, str] = {}
    for axis in axes:
        for key in dict.fromkeys(key for point in axis.points for key in point.settings):
            other = owner.setdefault(key, axis.name)
            if other != axis.name:
                where = source.where(("matrix", axis.name), at_key=True)
                source.problems.say(
                    f"the axes {other} and {axis.name} both set {key}", where, "let one of them do it"
                )


def _on(draft: Draft, points: Mapping[str, Point]) -> Draft:
    """A job at a place on every axis."""
    settings = dict(draft.settings)
    for point in points.values():
        settings.update(point.settings)
    return replace(draft, points=points, settings=settings)


def _without_excluded(
    source: Source, axes: Sequence[Axis], matrix: Matrix, drafts: list[Draft]
) -> list[Draft]:
    for index, choice in enumerate(matrix.exclude):
        path = ("matrix", "exclude", index)
        words = _words(source, axes, choice, path)
        kept = drafts if words is None else [draft for draft in drafts if not draft.is_meant(words)]
        if words is not None and len(kept) == len(drafts):
            source.problems.say("this excludes no job", source.where(path), "is it excluded already?")
        drafts = kept
    return drafts


def _included(
    source: Source, axes: Sequence[Axis], base: Draft, entry: dict[str, Any], path: KeyPath
) -> Iterator[Draft]:
    """Further jobs: a place on every axis, which need not be one of the matrix, and settings of their own."""
    names = [axis.name for axis in axes]
    missing = [name for name in names if name not in entry]
    if missing:
        hint = f"add {', '.join(f'{name}: ...' for name in missing)}"
        source.problems.say("what is included needs a value for every axis", source.where(path), hint)
        return
    places = [list(_included_points(source, axis, entry[axis.name], (*path, axis.name))) for axis in axes]
    own = source.settings({key: value for key, value in entry.items() if key not in names}, path)
    for points in itertools.product(*places):
        draft = _on(base, dict(zip(names, points, strict=True)))
        yield replace(draft, settings={**draft.settings, **own}, where=source.where(path))


def _included_points(source: Source, axis: Axis, value: Any, path: KeyPath) -> Iterator[Point]:  # noqa: ANN401 - as written
    entries = enumerate(value) if isinstance(value, list) else [(None, value)]
    for index, entry in entries:
        place = path if index is None else (*path, index)
        known = axis.point(entry)
        if known is not None:
            yield known
        elif all(list(point.settings) == [axis.name] for point in axis.points):
            yield from read_points(source, axis.name, entry, place)
        else:
            source.problems.say(
                f"the axis {axis.name} has no {entry!r}", source.where(place), axis.meant(entry)
            )


def _overridden(
    source: Source, axes: Sequence[Axis], drafts: list[Draft], override: Override, path: KeyPath
) -> list[Draft]:
    changes = source.settings(override.set, (*path, "set"))
    words = _words(source, axes, override.when, (*path, "when"))
    if words is None:
        return drafts
    if not any(draft.is_meant(words) for draft in drafts):
        source.problems.say("this overrides no job", source.where((*path, "when")), "is it excluded?")
    return [
        replace(
            draft,
            settings={**draft.settings, **changes},
            resources=draft.resources.changed_by(override.resources),
        )
        if draft.is_meant(words)
        else draft
        for draft in drafts
    ]


def _words(source: Source, axes: Sequence[Axis], choice: dict[str, Any], path: KeyPath) -> Words | None:
    """What a choice of jobs says; None if it is wrong, which is noted."""
    known = {axis.name: axis for axis in axes}
    found: dict[str, tuple[object, ...]] = {}
    if not choice:
        source.problems.say("this means every job", source.where(path), "name an axis and a value")
        return None
    for name, value in choice.items():
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"axes: {', '.join(known)}"
            source.problems.say(f"there is no axis {name!r}", source.where((*path, name), at_key=True), hint)
            return None
        found[name] = tuple(value) if isinstance(value, list) else (value,)
        for word in found[name]:
            # A further value may have been included, under a name that only a job knows.
            if known[name].point(word) is None and path[1] == "exclude":
                problem = f"the axis {name} has no {word!r}"
                source.problems.say(problem, source.where((*path, name)), known[name].meant(word))
                return None
    return found
