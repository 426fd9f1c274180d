"""A suite: settings, scripts, protocols and worlds, expanded into cells, the most important first."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from core.bench.scripts import SCRIPTS, Script
from core.bench.setting import Setting, make_setting
from core.bench.suite_file import By, FamilyFile, Protocol, ScriptFile, SettingFile
from core.bench.validation import read_suite
from core.errors import InputError
from trajectories.document import Document, KeyPath
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
    """A comparison: `a` minus `b`, or minus the mean over several in every world."""

    words: str
    a: Setting
    b: tuple[Setting, ...]


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
    by: By | None


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

    def also(self, chosen: Suite, names: Collection[str]) -> Suite:
        """The families of `chosen` and those of these names, in the order of this suite."""
        kept = {family.name for family in chosen.families}.union(names)
        return replace(self, families=tuple(f for f in self.families if f.name in kept))

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
    file, document = read_suite(bundled if bundled.is_file() else Path(source))
    scripts = _scripts(file.scripts, document, "scripts")
    every = scripts | _scripts(file.more_scripts, document, "more_scripts")
    families: dict[str, Family] = {}
    for number, each in enumerate(file.families):
        if each.name in families:
            where = document.where(("families", number, "name"))
            raise InputError(f"two families are called {each.name!r}", where=where)
        families[each.name] = _Reader(each, document, ("families", number)).family(tuple(scripts), every)
    return Suite(
        name=file.name,
        families=tuple(families.values()),
        scripts=every,
        first_world=file.first_world,
        num_worlds=worlds or file.worlds,
        batch=file.batch,
    )


def _scripts(given: Sequence[str | ScriptFile], document: Document, key: str) -> dict[str, Script]:
    found = {}
    for number, each in enumerate(given):
        where = document.where((key, number))
        script = _script(each, where)
        _check_script(script, where)
        found[script.name] = script
    return found


def _script(given: str | ScriptFile, where: str) -> Script:
    if isinstance(given, ScriptFile):
        steps = tuple(json.dumps(step) for step in given.steps)
        return Script(given.name, steps, given.given_chunks, given.deg_per_frame, given.min_gap_frames)
    if given in SCRIPTS:
        return SCRIPTS[given]
    near = nearest(given, list(SCRIPTS))
    hint = f"did you mean {near!r}?" if near else f"known: {', '.join(SCRIPTS)}"
    raise InputError(f"unknown script {given!r}", where=where, hint=hint)


def _check_script(script: Script, where: str) -> None:
    try:
        num_chunks = script.trajectory().num_frames // 3
    except TrajectoryError as error:
        raise InputError(error.problem, where=where, hint=error.hint) from error
    if script.given_chunks >= num_chunks:
        raise InputError(
            f"script {script.name} has {num_chunks} chunks, of which {script.given_chunks} cannot be given",
            where=where,
            hint=f"give at most {num_chunks - 1}",
        )


@dataclass(frozen=True)
class _Reader:
    """A family of the file, and where it stands there."""

    file: FamilyFile
    document: Document
    path: KeyPath

    def family(self, default: Sequence[str], known: Mapping[str, Script]) -> Family:
        """The family, expanded."""
        file = self.file
        for number, name in enumerate(file.scripts):
            if name not in known:
                near = nearest(name, list(known))
                hint = f"did you mean {near!r}?" if near else "name it under scripts or more_scripts"
                where = self.document.where((*self.path, "scripts", number))
                raise InputError(f"unknown script {name!r}", where=where, hint=hint)
        listed = [self._settings(each, "settings", n) for n, each in enumerate(file.settings)]
        settings = tuple(dict.fromkeys(setting for each in listed for setting in each))
        pairs = (*self._counterparts(settings), *self._pairs())
        return Family(
            name=file.name,
            title=file.title,
            settings=tuple(dict.fromkeys((*settings, *(s for p in pairs for s in (p.a, *p.b))))),
            scripts=tuple(file.scripts or default),
            protocols=tuple(dict.fromkeys(file.protocols)),
            pairs=pairs,
            curve=file.curve,
            by=file.by,
        )

    def _settings(self, file: SettingFile, *place: str | int) -> tuple[Setting, ...]:
        """What an entry stands for; what is wrong is told with its place in the file."""
        try:
            return tuple(settings_of(file))
        except InputError as error:
            path = (*self.path, *place, error.where)
            raise InputError(error.problem, where=self.document.where(path), hint=error.hint) from None

    def _counterparts(self, settings: Sequence[Setting]) -> Iterator[Pair]:
        """Every setting with the one that `against` makes of it, if the family has that."""
        change = {} if self.file.against is None else _made(self.file.against)
        for key, value in change.items():
            if isinstance(value, list) or key == "chunks":
                said = "one value, not a list" if isinstance(value, list) else "tokens, not chunks"
                where = self.document.where((*self.path, "against", key))
                raise InputError(f"against takes {said}", where=where)
        for setting in settings if change else ():
            with suppress(InputError):  # some have no counterpart
                other = replace(setting, **change)
                if other != setting and other in settings:
                    yield Pair(f"{setting.label} over {_changed(setting, change)}", setting, (other,))

    def _pairs(self) -> Iterator[Pair]:
        """What is listed."""
        for number, pair in enumerate(self.file.pairs):
            a = self._settings(pair.a, "pairs", number, "a")
            if len(a) > 1:
                where = self.document.where((*self.path, "pairs", number, "a"))
                raise InputError("a pair compares one setting", where=where, hint="only b may be several")
            yield Pair(pair.words, a[0], self._settings(pair.b, "pairs", number, "b"))


def settings_of(file: SettingFile) -> Iterator[Setting]:
    """The settings that an entry stands for: lists are multiplied out."""
    made = _made(file)
    choices = [value if isinstance(value, list) else [value] for value in made.values()]
    for values in product(*choices):
        yield make_setting(dict(zip(made, values, strict=True)))


def _made(file: SettingFile) -> dict[str, Any]:
    return {key: getattr(file, key) for key in SettingFile.model_fields if key in file.model_fields_set}


def _changed(setting: Setting, change: Mapping[str, Any]) -> str:
    """What the counterpart of a setting has in place of its own, in a word or two."""
    said = {"pooled": "per frame", "prune_seed": f"seed {change.get('prune_seed')}"}
    differ = {key: value for key, value in change.items() if getattr(setting, key) != value}
    return ", ".join(said.get(key, str(value)) for key, value in differ.items())
