"""What a run was of, apart from how it remembered: runs of the same can be compared pair by pair."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from core.batch.identity import PLACE_KEYS
from core.batch.schema import OWN_KEYS
from core.config import GenerateConfig
from core.evaluation.recording import Recording

SUBJECT_KEYS: Final = (
    "traj",
    "fit",
    "image",
    "prompt",
    "prefix",
    "prefix_traj",
    "seed",
    "world_seed",
    "size",
)
"""Settings that say what is shown."""

_FILES: Final = ("image", "prefix", "prefix_traj")
_DECIDED: Final = ("bank_precision", "prune", "keep_ratio")
"""Settings that budgets may decide, where `allow` lets them: the log's plan says what was taken."""

_NOT_TOLD: Final = frozenset((*OWN_KEYS, *PLACE_KEYS, *SUBJECT_KEYS, "allow", "scale"))
_DEFAULTS: Final = GenerateConfig().model_dump(mode="json")


def rollout_key(recording: Recording) -> str:
    """A word that is the same for runs of one trajectory, beginning and seeds."""
    config = recording.config.model_dump(mode="json")
    shown = {key: config[key] for key in SUBJECT_KEYS}
    shown |= {key: each.sha256 for key, each in recording.log.inputs.items() if key in _FILES}
    shown["traj"] = recording.log.trajectory_sha256
    shown["frames"] = recording.script.trajectory.num_frames
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:12]


def settings_of(config: GenerateConfig, plan: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Settings that say how, as far as they are no default.

    Args:
        config: What was asked for.
        plan: The log's plan: what budgets made of that, and which checkpoint was found. May be empty.
    """
    values = config.model_dump(mode="json") | _taken(plan)
    checkpoint = plan.get("checkpoint", config.checkpoint)
    if checkpoint is not None:
        values["checkpoint"] = str(Path(checkpoint).expanduser().resolve())
    settings = {
        key: value
        for key, value in values.items()
        if key in ("model", "memory") or (key not in _NOT_TOLD and value != _DEFAULTS[key])
    }
    if config.keep_ratio == 1.0 and plan.get("prune", "none") != "none":  # of as many chunks as had no room
        budgets = (key for key in PLACE_KEYS if key.endswith("_budget"))
        settings |= {"pruned": "some chunks"} | {key: values[key] for key in budgets if values[key]}
    return settings


def _taken(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What was taken of the settings that budgets may decide; the defaults where that is what they mean."""
    taken = {key: plan[key] for key in _DECIDED if key in plan}
    if taken.get("bank_precision") == "native":
        taken["bank_precision"] = _DEFAULTS["bank_precision"]
    if taken.get("prune") == "none":
        taken |= {key: _DEFAULTS[key] for key in ("prune", "keep_ratio")}
    return taken


def group_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for the settings of every run: the memory mode, and where that is not enough what differs."""
    keys = dict.fromkeys(key for each in settings for key in each if key not in ("memory", "model"))
    models = {each["model"] for each in settings}
    names = []
    for each in settings:
        rivals = [
            other
            for other in settings
            if (other["memory"], other["model"]) == (each["memory"], each["model"])
        ]
        telling = [key for key in keys if len({json.dumps(other.get(key)) for other in rivals}) > 1]
        parts = [f"{key} {_word(each[key])}" for key in telling if key in each]
        if telling and not parts:
            parts = ["defaults"]
        model = (each["model"],) if len(models) > 1 else ()
        names.append(", ".join((*model, each["memory"], *parts)))
    return names


def _word(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
