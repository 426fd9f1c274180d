"""From settings to a forecast: the plan that `worldkv generate` executes, perhaps for another machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.calibration import load_calibration
from core.config import GenerateConfig, Resolved
from core.fitting import remember, settle
from core.forecast.bank import bank_forecast
from core.forecast.memory import memory_forecast
from core.forecast.refusal import Case, refusal
from core.forecast.schedule import retrieval
from core.forecast.target import Machine, target_machine
from core.memory.plan import MemoryPlan
from core.models.outline import Outline
from core.models.registry import model_entry
from core.outputs import write_atomic
from core.placement import NoRoomError, Placement
from core.predicted_times import predict_times
from core.schemas.forecast import Forecast, Target, Times, Video
from core.script import Script, load_script

SCHEMA_PATH = Path(__file__).parent.parent / "schemas" / "forecast.schema.json"


@dataclass(frozen=True)
class Foretold:
    """A forecast and what it was made from, for pictures of it.

    Attributes:
        forecast: What is told.
        plan: What the memory does at every chunk; of a rollout that does not fit, without any limits.
        chunk_s: Seconds of video of a chunk.
    """

    forecast: Forecast
    plan: MemoryPlan
    chunk_s: float


def foretell(resolved: Resolved) -> Foretold:
    """Plan a rollout without starting it; no weights, picture or prompt are needed.

    Raises:
        InputError: Settings or input files are wrong.
        TrajectoryError: The trajectory is wrong.
        ModelFilesError: The checkpoint that the settings name is not what it should be.
    """
    config = resolved.config
    entry = model_entry(config.model)
    script = load_script(config, entry)
    outline = entry.outliner()(config, script)
    machine = target_machine(config, entry)
    remembered = remember(resolved, outline, machine.dtype)
    try:
        placement, refused = settle(config, outline, remembered, machine.limits, machine.dtype), None
    except NoRoomError as error:
        placement = error.least
        refused = refusal(error, Case(resolved, script, outline, machine, remembered))
    chunk_s = entry.later_chunk_frames(script.chunk_frames) / script.trajectory.fps
    plan = placement.plan
    forecast = Forecast(
        fits=refused is None,
        model=config.model,
        trajectory=script.trajectory.name,
        memory_mode=config.memory,
        target=Target(
            device=machine.device, hardware=machine.hardware, there=machine.there, dtype=machine.dtype.name
        ),
        video=_video(script, outline, plan),
        retrieval=retrieval(plan, chunk_s),
        bank=bank_forecast(plan),
        memory=memory_forecast(placement, outline.footprint(machine.dtype)),
        turned=placement.words,
        times=_times(config, machine, outline, placement),
        refusal=refused,
        notes=(*script.notes, *outline.notes, *remembered.memory.notes, *machine.notes),
    )
    return Foretold(forecast=forecast, plan=plan, chunk_s=chunk_s)


def _video(script: Script, outline: Outline, plan: MemoryPlan) -> Video:
    trajectory, (width, height) = script.trajectory, outline.frame_size
    return Video(
        frames=trajectory.num_frames,
        changed_frames=trajectory.num_frames - script.uncut.num_frames,
        fps=trajectory.fps,
        seconds=trajectory.duration_s,
        width=width,
        height=height,
        chunks=plan.layout.num_chunks,
        chunk_frames=plan.layout.chunk_frames,
        tokens_per_frame=plan.layout.tokens_per_frame,
    )


def _times(config: GenerateConfig, machine: Machine, outline: Outline, placement: Placement) -> Times | None:
    """Seconds of every stage, where a profile of this machine tells."""
    if machine.hardware is None:
        return None
    calibration = load_calibration(config.model, machine.hardware, machine.dtype.name)
    if calibration is None:
        return None
    told = predict_times(
        calibration,
        placement.plan,
        frame_size=outline.frame_size,
        passes=outline.passes,
        clean_pass=config.commit == "clean",
        turns=placement.turns.words,
    )
    return Times(
        **{name: getattr(told, name) for name in Times.model_fields if name not in ("how", "notes")},
        how=told.how,
        notes=(
            *told.notes,
            *(f"not counted: {words}" for words in placement.turns.words),
        ),
    )


def forecast_json_schema() -> dict[str, Any]:
    """The JSON Schema of a forecast, as committed in `core/schemas/forecast.schema.json`."""
    schema = Forecast.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_forecast_json_schema() -> None:
    """Bring the committed schema up to date after a change to `core/schemas/forecast.py`."""
    write_atomic(SCHEMA_PATH, json.dumps(forecast_json_schema(), indent=2) + "\n")
