"""Settings of jobs as a manifest writes them: each key checked where it stands, paths made absolute."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.batch.problems import Problem, Problems
from core.batch.schema import OWN_KEYS, SETTING_KEYS
from core.batch.validation import position
from core.config import GenerateConfig, Resolved, resolve
from core.errors import InputError
from trajectories.document import Document, KeyPath
from trajectories.errors import nearest

FILE_KEYS = ("image", "traj", "prefix", "prefix_traj", "checkpoint")
"""Settings that may name a file or a folder."""

_LIBRARY_KEYS = ("traj", "prefix_traj")
_FLAG = re.compile(r"--([a-z][a-z-]*)")


@dataclass(frozen=True)
class Setting:
    """A value and the place in the manifest where it was set."""

    value: Any
    where: str


@dataclass(frozen=True)
class Source:
    """The manifest that settings are read from.

    Attributes:
        document: Its text.
        folder: Absolute folder that its paths are relative to.
        problems: Where mistakes are noted.
    """

    document: Document
    folder: Path
    problems: Problems

    def where(self, path: KeyPath, *, at_key: bool = False) -> str:
        """`file:line:column` of what stands at `path`."""
        return position(self.document, path, at_key=at_key)

    def settings(self, values: Mapping[str, Any], path: KeyPath) -> dict[str, Setting]:
        """The settings of a mapping that stands at `path`; wrong ones are noted and left out."""
        found = {}
        for key, value in values.items():
            if self.is_setting(key, (*path, key)):
                setting = self.setting(key, value, (*path, key))
                if setting is not None:
                    found[key] = setting
        return found

    def is_setting(self, key: str, path: KeyPath) -> bool:
        """Whether `key` is a setting that a job may have; if not, that is noted."""
        if key in SETTING_KEYS:
            return True
        where = self.where(path, at_key=True)
        if key in OWN_KEYS:
            hint = "folders follow from `out` and `layout`" if key == "out" else "leave it out"
            self.problems.say(f"{key} is the batch's own matter", where, hint)
        else:
            near = nearest(key.replace("-", "_"), SETTING_KEYS)
            hint = f"did you mean {near}?" if near else "see: worldkv generate --help"
            self.problems.say(f"unknown key {key!r}", where, hint)
        return False

    def setting(self, key: str, value: Any, path: KeyPath) -> Setting | None:  # noqa: ANN401 - any setting
        """One setting; None if it is wrong, which is noted."""
        where = self.where(path)
        try:
            GenerateConfig.model_validate({key: value})
        except ValidationError:
            try:
                resolve({key: value}, {})  # says it in words
            except InputError as error:
                self.problems.add(Problem(error.problem, where, error.hint))
            return None
        return Setting(self.absolute(key, value), where)

    def absolute(self, key: str, value: Any) -> Any:  # noqa: ANN401 - any setting
        """A value that names a file, from the manifest's folder; others as they are."""
        if key not in FILE_KEYS or not isinstance(value, str) or value.isdecimal():
            return value
        if key in _LIBRARY_KEYS and not is_file_name(value):
            return value
        return str(self.folder / value)


def is_file_name(name: str) -> bool:
    """Whether a trajectory is named by its file, as `trajectories.load` sees it."""
    return "/" in name or "\\" in name or name.endswith((".yaml", ".yml"))


def resolved(settings: Mapping[str, Setting], where: str) -> Resolved:
    """The settings of a job with every default, each with its place in the manifest.

    Raises:
        InputError: They exclude each other.
    """
    places = {key: setting.where for key, setting in settings.items()}
    try:
        found = resolve({key: setting.value for key, setting in settings.items()}, {})
    except InputError as error:
        place = in_manifest(error.where, places, where)
        raise InputError(error.problem, where=place, hint=error.hint) from None
    sources = {key: in_manifest(place, places, where) for key, place in found.sources.items()}
    return Resolved(found.config, sources)


def in_manifest(where: str, places: Mapping[str, str], job: str) -> str:
    """A place that is named by a flag, as the place in the manifest; `job` where there is none."""

    def place(match: re.Match[str]) -> str:
        key = match[1].replace("-", "_")
        if key in places:
            return places[key]
        return f"{job}: {key}" if key in SETTING_KEYS else match[0]

    return _FLAG.sub(place, where)
