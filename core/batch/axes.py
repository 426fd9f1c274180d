"""The axes of a matrix: values of one setting, or named groups of settings."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.batch.schema import SETTING_KEYS
from core.batch.settings import FILE_KEYS, Setting, Source
from trajectories.document import KeyPath
from trajectories.errors import nearest

MAX_JOBS = 100_000
"""Jobs of a batch; a range that is longer is refused while it is read."""

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_GLOB = re.compile(r"[*?\[]")
_WHOLE = ("seed", "world_seed", "sink", "recent", "retrieve_tokens", "chunk_frames", "scale", "prefix")


@dataclass(frozen=True)
class Point:
    """One value of an axis.

    Attributes:
        label: What names, exclusions and tables call it.
        settings: What it sets.
    """

    label: str | int | float
    settings: dict[str, Setting]

    def is_called(self, word: object) -> bool:
        """Whether a word of the manifest means this point."""
        return str(self.label) == _text(word)


@dataclass(frozen=True)
class Axis:
    """A direction of the matrix."""

    name: str
    points: tuple[Point, ...]

    def point(self, word: object) -> Point | None:
        """The point that a word of the manifest means."""
        return next((point for point in self.points if point.is_called(word)), None)

    def meant(self, word: object) -> str:
        """A hint for a word that means no point."""
        labels = [str(point.label) for point in self.points]
        near = nearest(str(word), labels)
        return f"did you mean {near}?" if near else f"known: {', '.join(labels[:8])}"


def read_axis(source: Source, name: str, value: Any, path: KeyPath) -> Axis | None:  # noqa: ANN401 - as written
    """An axis as the manifest has it; None if nothing of it is right. What is wrong is noted."""
    if isinstance(value, dict):
        points = list(_groups(source, name, value, path))
    elif name in SETTING_KEYS:
        points = list(read_points(source, name, value, path))
    else:
        near = nearest(name.replace("-", "_"), (*SETTING_KEYS, "exclude", "include", "overrides"))
        hint = f"did you mean {near}? " if near else ""
        hint += "an axis of another name has named groups: {name: {setting: value}}"
        source.problems.say(f"no setting is called {name!r}", source.where(path, at_key=True), hint)
        return None
    seen: dict[str, Point] = {}
    for point in points:
        if str(point.label) in seen:
            hint = "name them: " + "{" + f"first: {{{name}: ...}}, second: {{{name}: ...}}" + "}"
            problem = f"two values of the axis {name} are called {str(point.label)!r}"
            where = next(iter(point.settings.values())).where
            source.problems.say(problem, where, hint)
        seen[str(point.label)] = point
    if not points:
        source.problems.say(f"the axis {name} has no values", source.where(path), "give a list")
    return Axis(name, tuple(points)) if points else None


def read_points(source: Source, key: str, value: Any, path: KeyPath) -> Iterator[Point]:  # noqa: ANN401 - as written
    """Values of a setting: one, or a list; ranges and globs are expanded."""
    entries = enumerate(value) if isinstance(value, list) else [(None, value)]
    for index, entry in entries:
        place = path if index is None else (*path, index)
        for each in _expanded(source, key, entry, place):
            setting = source.setting(key, each, place)
            if setting is not None:
                yield Point(_label(key, each), {key: setting})


def _groups(source: Source, name: str, value: dict[str, Any], path: KeyPath) -> Iterator[Point]:
    for label, settings in value.items():
        if isinstance(settings, dict):
            yield Point(label, source.settings(settings, (*path, label)))
        else:
            hint = f"write `{label}: {{setting: value}}`"
            problem = f"a named group of the axis {name} is a mapping of settings"
            source.problems.say(problem, source.where((*path, label)), hint)


def _expanded(source: Source, key: str, entry: Any, path: KeyPath) -> list[Any]:  # noqa: ANN401 - as written
    if not isinstance(entry, str):
        return [entry]
    counted = _RANGE.fullmatch(entry)
    if counted is not None and key in _WHOLE:
        first, last = int(counted[1]), int(counted[2])
        if first <= last < first + MAX_JOBS:
            return list(range(first, last + 1))
        hint = f"count upwards, at most {MAX_JOBS:,} values"
        source.problems.say(f"the range {entry} of {key} is not one", source.where(path), hint)
        return []
    if key in FILE_KEYS and _GLOB.search(entry):
        # One more than may be, so that the count is refused later rather than cut.
        pattern = str(source.folder / entry)
        files = sorted(itertools.islice(glob.iglob(pattern, recursive=True), MAX_JOBS + 1))  # noqa: PTH207 - absolute patterns, too
        if not files:
            hint = f"paths are relative to {source.folder}"
            source.problems.say(f"no file matches {entry}", source.where(path), hint)
        return files
    return [entry]


def _label(key: str, value: Any) -> str | int | float:  # noqa: ANN401 - any setting
    """What a value is called: files by their stem."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return _text(value)
    if isinstance(value, str) and key in FILE_KEYS:
        return Path(value).stem or value
    return value


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
