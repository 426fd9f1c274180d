"""Settings with their sources, and the command that makes the run again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

from core.schemas.run import RunLog

NOT_OF_THE_RUN: Final = frozenset({"out", "overwrite", "quiet", "as_json"})
"""Settings that change nothing of what is made."""

DEFAULT: Final = "default"
_PRESET: Final = "memory_preset"
_OFF: Final = {"pooled": "--per-frame"}
"""Flags that say no; what has none is off anyway."""


def command_of(log: RunLog) -> str:
    """The command that reproduces a run; paths in it are relative to where it was started."""
    words = ["worldkv", "generate"]
    for key, value in log.config.items():
        source = log.config_sources.get(key)
        if key in NOT_OF_THE_RUN or source is None or _of_preset(key, log.config_sources):
            continue
        flag = f"--{key.replace('_', '-')}"
        if isinstance(value, bool):
            words += [flag] if value else [_OFF[key]] if key in _OFF else []
        elif value is not None:
            words += [flag, shlex.quote(_word(value))]
    return " ".join(words)


def settings_rows(log: RunLog) -> list[tuple[str, str, str]]:
    """Key, value and source of every setting, those that somebody set first."""
    rows = [(k, value_word(v), log.config_sources.get(k, DEFAULT)) for k, v in log.config.items()]
    return sorted(rows, key=lambda row: row[2] == DEFAULT)


def differences(logs: list[RunLog]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs, with the value of each."""
    keys = list(dict.fromkeys(key for log in logs for key in log.config if key not in NOT_OF_THE_RUN))
    rows = [(key, [value_word(log.config.get(key)) for log in logs]) for key in keys]
    rows += [(key, [value_word(found(log)) for log in logs]) for key, found in _BESIDE.items()]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def value_word(value: Any) -> str:  # noqa: ANN401 - any setting
    """A value for people."""
    if value is None:
        return "automatic"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _word(value: Any) -> str:  # noqa: ANN401 - any setting
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _of_preset(key: str, sources: Mapping[str, str]) -> bool:
    """Whether the memory preset brings the value along: `--memory-preset NAME` as its source says so."""
    preset = sources.get(_PRESET)
    return preset is not None and key != _PRESET and sources[key].startswith(f"{preset} ")


_BESIDE: Final[Mapping[str, Callable[[RunLog], Any]]] = {
    "trajectory (sha256)": lambda log: log.trajectory_sha256[:12] or None,
    "strategy, as run": lambda log: log.plan.get("strategy") or "none",
    "window_tokens, as run": lambda log: log.plan.get("window_tokens"),
    "device, as run": lambda log: log.device.model or log.device.name if log.device else None,
    "dtype, as run": lambda log: log.dtype or None,
    "worldkv version": lambda log: log.versions.get("worldkv"),
    "torch version": lambda log: log.versions.get("torch"),
}
