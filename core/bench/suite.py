"""A suite: settings, scripts, protocols and worlds, expanded into cells, the most important first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from core.bench.scripts import SCRIPTS, Script
from core.bench.setting import Setting, make_setting
from core.bench.suite_file import FamilyFile, Protocol, ScriptFile, SettingFile
from core.bench.validation import read_suite
from core.errors import InputError
from trajectories.errors import TrajectoryError, nearest

SUITES = Path(__file__).parent / "suites"


@dataclass(frozen=True)
class Task:
    """One setting on one script in all worlds: what is played in one go."""

    setting: Setting
    script: Script
    given: bool
    first_world: int
    num_worlds: int
    batch: int

    @property
    def frames(self) -> int:
        """Latent frames of the script, for estimates of time."""
        return self.script.trajectory().num_frames


@dataclass(frozen=True)
class Pair:
    """A comparison, `a` minus `b`."""

    words: str
    a: Setting
    b: Setting


@dataclass(frozen=True)
class Family:
    """Settings that answer one question.

    Attributes:
        name: For files and `--only`.
        title: For people.
        settings: In the order of the file.
        scripts: Names of the scripts that all of them play.
        protocols: Whether the first leg is given, or nothing but the first picture, or both.
        pairs: What is compared.
        curve: Whether its figure shows curves.
        by: What the curves differ in; None for what is natural.
    """

    name: str
    title: str
    settings: tuple[Setting, ...]
    scripts: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    pairs: tuple[Pair, ...]
    curve: bool
    by: str | None


@dataclass(frozen=True)
class Suite:
    """What is played.

    Attributes:
        name: Of the suite.
        families: The most important first.
        scripts: By name.
        first_world: Number of the first world.
        num_worlds: Worlds of every cell.
        batch: Worlds side by side.
    """

    name: str
    families: tuple[Family, ...]
    scripts: Mapping[str, Script]
    first_world: int
    num_worlds: int
    batch: int

    def only(self, patterns: Sequence[str]) -> Suite:
        """The families whose name matches a pattern.

        Raises:
            InputError: None does.
        """
        if not patterns:
            return self
        kept = tuple(f for f in self.families if any(fnmatchcase(f.name, p) for p in patterns))
        if not kept:
            names = [family.name for family in self.families]
            near = nearest(patterns[0], names)
            hint = f"did you mean {near}?" if near else f"known: {', '.join(names)}"
            raise InputError(f"no family matches {', '.join(patterns)}", where="--only", hint=hint)
        return replace(self, families=kept)

    def task(self, setting: Setting, script: str, *, given: bool) -> Task:
        """A setting on one of the scripts."""
        return Task(setting, self.scripts[script], given, self.first_world, self.num_worlds, self.batch)

    def tasks(self) -> list[Task]:
        """All that is played, each once: families, protocols and settings in the order of the file."""
        found: dict[Task, None] = {}
        for family in self.families:
            for protocol, setting, script in product(family.protocols, family.settings, family.scripts):
                found[self.task(setting, script, given=protocol == "given")] = None
        return list(found)


def load_suite(source: str | Path, *, worlds: int | None = None) -> Suite:
    """A bundled suite by name, or one of a file.

    Args:
        source: Name or file.
        worlds: In place of the suite's own number.

    Raises:
        InputError: The file is missing or wrong.
    """
    bundled = SUITES / f"{source}.yaml"
    file, where = read_suite(bundled if bundled.is_file() else Path(source)), str(source)
    scripts = {script.name: script for script in map(_script, file.scripts)}
    every = scripts | {script.name: script for script in map(_script, file.more_scripts)}
    for script in every.values():
        _check_script(script, where)
    families = tuple(_family(family, tuple(scripts), every, where) for family in file.families)
    names = [family.name for family in families]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two families are called {name!r}", where=where)
    return Suite(file.name, families, every, file.first_world, worlds or file.worlds, file.batch)


def _script(given: str | ScriptFile) -> Script:
    if isinstance(given, ScriptFile):
        steps = tuple(json.dumps(step) for step in given.steps)
        return Script(given.name, steps, given.given_chunks, given.deg_per_frame, given.min_gap_frames)
    if given in SCRIPTS:
        return SCRIPTS[given]
    near = nearest(given, list(SCRIPTS))
    hint = f"did you mean {near!r}?" if near else f"known: {', '.join(SCRIPTS)}"
    raise InputError(f"unknown script {given!r}", where="scripts", hint=hint)


def _check_script(script: Script, where: str) -> None:
    try:
        num_chunks = script.trajectory().num_frames // 3
    except TrajectoryError as error:
        place = f"{where}: script {script.name}"
        raise InputError(error.problem, where=place, hint=error.hint) from error
    if script.given_chunks >= num_chunks:
        raise InputError(
            f"script {script.name} has {num_chunks} chunks, of which {script.given_chunks} cannot be given",
            where=where,
            hint=f"give at most {num_chunks - 1}",
        )


def _family(file: FamilyFile, default: Sequence[str], known: Mapping[str, Script], where: str) -> Family:
    place = f"{where}: family {file.name}"
    for name in file.scripts:
        if name not in known:
            near = nearest(name, list(known))
            hint = f"did you mean {near!r}?" if near else "name it under scripts or more_scripts"
            raise InputError(f"unknown script {name!r}", where=place, hint=hint)
    try:
        settings = tuple(dict.fromkeys(s for each in file.settings for s in settings_of(each)))
        pairs = tuple(_pairs(file, settings))
    except InputError as error:
        raise InputError(error.problem, where=place, hint=error.hint) from None
    return Family(
        name=file.name,
        title=file.title,
        settings=tuple(dict.fromkeys((*settings, *(s for p in pairs for s in (p.a, p.b))))),
        scripts=tuple(file.scripts or default),
        protocols=tuple(dict.fromkeys(file.protocols)),
        pairs=pairs,
        curve=file.curve,
        by=file.by,
    )


def settings_of(file: SettingFile) -> Iterator[Setting]:
    """The settings that an entry stands for: lists are multiplied out."""
    made = _made(file)
    choices = [value if isinstance(value, list) else [value] for value in made.values()]
    for values in product(*choices):
        yield make_setting(dict(zip(made, values, strict=True)))


def _made(file: SettingFile) -> dict[str, Any]:
    return {key: getattr(file, key) for key in SettingFile.model_fields if key in file.model_fields_set}


def _pairs(file: FamilyFile, settings: Sequence[Setting]) -> Iterator[Pair]:
    """What is compared: every setting with its counterpart, if the family has that, and what is listed."""
    change = {} if file.against is None else _made(file.against)
    for setting in settings if change else ():
        with suppress(InputError):  # some have no counterpart
            other = replace(setting, **change)
            if other != setting and other in settings:
                yield Pair(f"{setting.label} over {_changed(setting, change)}", setting, other)
    for pair in file.pairs:
        a, b = (next(settings_of(each)) for each in (pair.a, pair.b))
        yield Pair(pair.words, a, b)


def _changed(setting: Setting, change: Mapping[str, Any]) -> str:
    """What the counterpart of a setting has in place of its own, in a word or two."""
    said = {"pooled": "per frame", "prune_seed": f"seed {change.get('prune_seed')}"}
    differ = {key: value for key, value in change.items() if getattr(setting, key) != value}
    return ", ".join(said.get(key, str(value)) for key, value in differ.items())
