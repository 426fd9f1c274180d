"""The header of a trajectory file, its validation, and its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trajectories.steps import Amount, Easing, Model, Rate, Step, Vector, problem

DEFAULT_IMAGE_SIZE_PX = [832, 480]
DEFAULT_FOV_DEG = 90.0
SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"

PositivePx = Annotated[float, Field(gt=0, le=1e6)]


class Intrinsics(Model):
    """Pinhole intrinsics in pixels of `image_size_px`."""

    fx_px: PositivePx
    """Focal length along x."""
    fy_px: PositivePx
    """Focal length along y."""
    cx_px: PositivePx
    """Principal point, x."""
    cy_px: PositivePx
    """Principal point, y."""


class Camera(Model):
    """The lens: a field of view, or intrinsics."""

    fov_deg: Annotated[float, Field(ge=1, le=175)] | None = None
    """Horizontal field of view; 90 if neither is given."""
    intrinsics: Intrinsics | None = None
    """Instead of the field of view."""
    image_size_px: Annotated[
        list[Annotated[int, Field(ge=1, le=65536)]], Field(min_length=2, max_length=2)
    ] = Field(default=DEFAULT_IMAGE_SIZE_PX)
    """Width and height that the intrinsics refer to; other sizes are scaled from it."""

    @model_validator(mode="after")
    def _one_lens(self) -> Camera:
        if self.fov_deg is not None and self.intrinsics is not None:
            raise problem("fov_deg and intrinsics exclude each other", "keep the one that you know")
        if self.intrinsics is not None and "image_size_px" not in self.model_fields_set:
            raise problem("intrinsics need image_size_px", "say which width and height the pixels refer to")
        return self


class Start(Model):
    """Where the camera stands at frame 0."""

    position_units: Vector = Field(default=[0.0, 0.0, 0.0])
    """Position in the world: right, down, forward."""
    yaw_deg: Amount = 0.0
    """Degrees to the right of the world's forward."""
    pitch_deg: Annotated[float, Field(ge=-90, le=90)] = 0.0
    """Degrees above the horizon."""


class Rates(Model):
    """Default speeds. A step takes the fewest whole frames that keep its mean speed within them."""

    turn_deg_per_frame: Rate = 5.0
    """Degrees per video frame."""
    move_units_per_frame: Rate = 0.1
    """World units per video frame."""


class GainsSection(Model):
    """What actions do to the camera, for `press` and for action-driven models."""

    deg_per_mouse_unit: Rate = 15.0
    """Degrees per mouse unit."""
    units_per_key_frame: Rate | None = None
    """World units per video frame of a held key; the default moving rate if not given."""


class TrajectoryFile(Model):
    """A worldkv trajectory, version 1."""

    version: Literal[1]
    """Version of this language."""
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Short name; the file's name if not given."""
    description: Annotated[str, Field(max_length=2000)] = ""
    """What the camera does, and where it comes back."""
    fps: Annotated[float, Field(gt=0, le=1000)] = 16.0
    """Video frames per second."""
    camera: Camera = Camera()
    start: Start = Start()
    rates: Rates = Rates()
    easing: Easing = "linear"
    """Speed in a step: `linear` is constant, `smooth` starts and stops at rest (peak 1.5 times the mean)."""
    gains: GainsSection = GainsSection()
    steps: Annotated[list[Step], Field(min_length=1)]
    """What the camera does, in order."""


def json_schema() -> dict[str, object]:
    """JSON Schema of trajectory files, for editors."""
    schema = TrajectoryFile.model_json_schema()
    return {"$schema": SCHEMA_ID, **{key: _without_null(value) for key, value in schema.items()}}


def _without_null(part: object) -> object:
    """Drop the null alternatives: no key of the language takes null."""
    if isinstance(part, list):
        return [_without_null(item) for item in part]
    if not isinstance(part, dict):
        return part
    clean = {key: _without_null(value) for key, value in part.items()}
    options = clean.get("anyOf")
    if not isinstance(options, list) or _NULL not in options:
        return clean
    del clean["anyOf"]
    if clean.get("default", ...) is None:
        del clean["default"]
    rest = [option for option in options if option != _NULL]
    return {**(rest[0] if len(rest) == 1 else {"anyOf": rest}), **clean}


_NULL = {"type": "null"}
