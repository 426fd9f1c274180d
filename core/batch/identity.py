"""Whether a finished run is what a job asks for: a hash of its settings and of the files that went in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.batch.schema import OWN_KEYS
from core.config import GenerateConfig
from core.runlog import hash_file
from core.schemas.run import RunSummary
from trajectories import load

PLACE_KEYS = ("device", *(key for key in GenerateConfig.model_fields if key.endswith("_budget")))
"""Settings that say where a run computes and what it may take there, not what is made."""

_HASHED_KEYS = ("image", "prefix", "prefix_traj")
_DEFAULTS: Mapping[str, Any] = GenerateConfig().model_dump(mode="json")


def identity_of_config(config: GenerateConfig) -> str:
    """Identity of what a job asks for.

    Raises:
        InputError: An input file cannot be read.
        TrajectoryError: The trajectory cannot.
    """
    hashes = {}
    for key in _HASHED_KEYS:
        value = getattr(config, key)
        if value is not None and not isinstance(value, int) and Path(value).is_file():
            stat = Path(value).stat()
            hashes[key] = _file_hash(str(value), stat.st_mtime_ns, stat.st_size)
    return _identity(config.model_dump(mode="json"), hashes, _trajectory_hash(config.traj))


def identity_of_run(run: RunSummary) -> str:
    """Identity of what a run has made, from its log alone."""
    hashes = {key: file.sha256 for key, file in run.inputs.items()}
    return _identity(run.config, hashes, run.trajectory_sha256)


def _identity(config: Mapping[str, Any], hashes: Mapping[str, str], trajectory: str) -> str:
    """Settings that are no default, with contents in place of paths: folders may move, files change."""
    kept = {
        key: value
        for key, value in config.items()
        if key not in (*OWN_KEYS, *PLACE_KEYS) and value != _DEFAULTS.get(key)
    }
    kept |= {key: hashes[key] for key in _HASHED_KEYS if key in hashes and key in kept}
    if "traj" in kept:
        kept["traj"] = f"{Path(str(kept['traj'])).stem} {trajectory}"
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _trajectory_hash(traj: str | None) -> str:
    if traj is None:
        return ""
    path = Path(traj)
    stat = path.stat() if path.is_file() else None
    return _compiled_hash(traj, *((stat.st_mtime_ns, stat.st_size) if stat else (0, 0)))


@lru_cache(maxsize=4096)
def _compiled_hash(traj: str, mtime_ns: int, size: int) -> str:  # noqa: ARG001 - a changed file is read anew
    return load(traj).source_sha256


@lru_cache(maxsize=4096)
def _file_hash(path: str, mtime_ns: int, size: int) -> str:  # noqa: ARG001 - a changed file is read anew
    return hash_file(Path(path)).sha256
