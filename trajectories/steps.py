"""The steps of the trajectory language, as pydantic models. Units are in the key names.

Positions and lengths are in world units, angles in degrees: yaw right, pitch up. Every step that moves takes
as many video frames as its amount needs at the default rates, unless it says `frames`, `seconds` or a rate
itself.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

LARGEST = 1e6  # of any angle or length; keeps frame counts finite before they are checked
Easing = Literal["linear", "smooth"]
Amount = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Vector = Annotated[list[Amount], Field(min_length=3, max_length=3)]
Row = Annotated[list[Amount], Field(min_length=4, max_length=4)]
Frames = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=LARGEST)]
Rate = Annotated[float, Field(ge=1e-6, le=1e4)]
MarkName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]


def problem(text: str, hint: str) -> PydanticCustomError:
    """An error of our own that a validator raises: pydantic adds the place."""
    return PydanticCustomError("trajectory", "{problem}", {"problem": text, "hint": hint})


class Model(BaseModel):
    """Strict: unknown keys, wrong types, NaN and infinity are errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Worded(Model):
    """A step that may also be written as a bare word: `mark: home` for `mark: {name: home}`."""

    word_key: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {cls.word_key: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        return {"anyOf": [{"type": "string"}, schema], "description": schema.get("description", "")}


class Timed(Model):
    """How long a step takes: at most one of `frames`, `seconds` and a rate."""

    frames: Frames | None = None
    """Video frames."""
    seconds: Seconds | None = None
    """Seconds at the trajectory's fps, rounded up to whole frames."""

    @model_validator(mode="after")
    def _one_duration(self) -> Timed:
        names = ("frames", "seconds", "deg_per_frame", "units_per_frame")
        given = [name for name in names if getattr(self, name, None) is not None]
        if len(given) > 1:
            raise problem(f"{given[0]} and {given[1]} exclude each other", "keep the one that you mean")
        return self


class Turn(Timed):
    """Turn in place."""

    yaw_deg: Amount = 0.0
    """Degrees to the right; negative turns left."""
    pitch_deg: Amount = 0.0
    """Degrees upwards; negative looks down."""
    deg_per_frame: Rate | None = None
    """Degrees per video frame, instead of the default rate."""
    easing: Easing | None = None
    """Speed within the step, instead of the default."""

    @model_validator(mode="after")
    def _turns(self) -> Turn:
        if self.yaw_deg == 0 and self.pitch_deg == 0:
            raise problem("turn needs yaw_deg or pitch_deg", "`hold` stands still")
        return self


class Move(Timed):
    """Walk, along where the camera faces horizontally; with yaw_deg, along an arc."""

    forward_units: Amount = 0.0
    """World units ahead; negative walks backwards. Horizontal, whatever the pitch."""
    right_units: Amount = 0.0
    """World units to the right; negative to the left."""
    up_units: Amount = 0.0
    """World units upwards (-Y)."""
    yaw_deg: Amount = 0.0
    """Degrees turned to the right on the way: the path is an arc of the stated length."""
    pitch_deg: Amount = 0.0
    """Degrees looked up on the way."""
    units_per_frame: Rate | None = None
    """World units per video frame, instead of the default rate. Turning obeys its own default rate."""
    easing: Easing | None = None
    """Speed within the step, instead of the default."""

    @model_validator(mode="after")
    def _moves(self) -> Move:
        if self.forward_units == 0 and self.right_units == 0 and self.up_units == 0:
            raise problem(
                "move needs forward_units, right_units or up_units",
                "`turn` turns in place, `hold` stands still",
            )
        return self


class Hold(Timed):
    """Stand still."""

    @model_validator(mode="after")
    def _lasts(self) -> Hold:
        if self.frames is None and self.seconds is None:
            raise problem("hold needs frames or seconds", "for example `hold: {frames: 12}`")
        return self


class Press(Timed):
    """Keys and mouse for some frames; the camera follows by dead reckoning with the file's gains."""

    keys: list[Literal["W", "S", "A", "D"]] = Field(
        default_factory=list, json_schema_extra={"uniqueItems": True}
    )
    """Keys held down: W forward, S back, A left, D right. `WD` and `[W, D]` mean the same."""
    mouse_yaw_per_frame: Annotated[float, Field(ge=-100, le=100)] = 0.0
    """Mouse units to the right per video frame."""
    mouse_pitch_per_frame: Annotated[float, Field(ge=-100, le=100)] = 0.0
    """Mouse units upwards per video frame."""

    @model_validator(mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("keys"), str):
            return {**value, "keys": list(value["keys"])}
        return value

    @model_validator(mode="after")
    def _sensible(self) -> Press:
        if self.frames is None and self.seconds is None:
            raise problem("press needs frames or seconds", "for example `press: {keys: W, frames: 12}`")
        for one, other in ("WS", "AD"):
            if one in self.keys and other in self.keys:
                raise problem(f"keys {one} and {other} cancel each other", "keep one of them")
        if len(set(self.keys)) < len(self.keys):
            raise problem("a key is listed twice", "name each key once")
        return self


class KeyPose(Model):
    """A camera at a time after the start of its step. What is left out stays as in the pose before."""

    at_frames: Frames | None = None
    """Video frames after the step's start."""
    at_seconds: Seconds | None = None
    """Seconds after the step's start, rounded to the nearest frame."""
    position_units: Vector | None = None
    """Position in the world: right, down, forward."""
    yaw_deg: Amount | None = None
    """Degrees to the right of the world's forward."""
    pitch_deg: Annotated[float, Field(ge=-90, le=90)] | None = None
    """Degrees above the horizon."""
    quaternion_wxyz: Row | None = None
    """Camera-to-world rotation as a unit quaternion, instead of yaw and pitch."""
    c2w: Annotated[list[Row], Field(min_length=3, max_length=4)] | None = None
    """Camera-to-world matrix, 3 or 4 rows of 4, OpenCV axes, instead of everything else."""

    @model_validator(mode="after")
    def _complete(self) -> KeyPose:
        if (self.at_frames is None) == (self.at_seconds is None):
            raise problem("a pose needs either at_frames or at_seconds", "say when the camera gets there")
        angles = self.yaw_deg is not None or self.pitch_deg is not None
        if angles + (self.quaternion_wxyz is not None) + (self.c2w is not None) > 1:
            raise problem("more than one rotation", "keep yaw_deg and pitch_deg, quaternion_wxyz, or c2w")
        if self.c2w is not None and self.position_units is not None:
            raise problem("c2w and position_units exclude each other", "the position is c2w's last column")
        if not angles and self.quaternion_wxyz is None and self.c2w is None and self.position_units is None:
            raise problem("a pose needs a position or a rotation", "`hold` stands still")
        return self


class Keyframes(Model):
    """Fly through given poses; the first leg starts from where the camera is."""

    poses: Annotated[list[KeyPose], Field(min_length=1)]
    """Poses in order of time."""
    interpolation: Easing = "smooth"
    """`linear`: straight legs, slerp. `smooth`: cubic through the poses, at rest at both ends."""


class Orbit(Timed):
    """Circle around a point while looking at it. State the centre, or its distance straight ahead."""

    angle_deg: Amount
    """Degrees around the centre, clockwise seen from above: the camera moves to its left and turns right."""
    centre_units: Vector | None = None
    """Centre in the world: right, down, forward. The camera must already look at it."""
    distance_units: Annotated[float, Field(gt=0, le=LARGEST)] | None = None
    """Distance of the centre ahead of the camera, at its height."""
    units_per_frame: Rate | None = None
    """World units along the circle per video frame. Turning never exceeds its own default rate."""
    easing: Easing | None = None
    """Speed within the step, instead of the default."""

    @model_validator(mode="after")
    def _circles(self) -> Orbit:
        if (self.centre_units is None) == (self.distance_units is None):
            raise problem("orbit needs either centre_units or distance_units", "say what to circle around")
        if self.angle_deg == 0:
            raise problem("angle_deg must not be 0", "360 is once around; `hold` stands still")
        return self


class ReturnTo(Worded, Timed):
    """Go back to a mark."""

    word_key: ClassVar[str] = "mark"

    mark: MarkName
    """Name of an earlier mark; inside `repeat`, its newest pass."""
    path: Literal["straight", "retrace"] = "straight"
    """`straight`: the direct way, turning the shorter way round. `retrace`: the same frames backwards."""
    easing: Easing | None = None
    """Speed within a straight return, instead of the default."""

    @model_validator(mode="after")
    def _retrace_is_exact(self) -> ReturnTo:
        given = [name for name in ("frames", "seconds", "easing") if getattr(self, name) is not None]
        if self.path == "retrace" and given:
            raise problem(f"retrace takes no {given[0]}", "it replays the recorded frames one for one")
        return self


class Mark(Worded):
    """Name the current frame."""

    word_key: ClassVar[str] = "name"

    name: MarkName
    """A letter, then letters, digits, `_` or `-`."""


class Macro(Worded):
    """A motion string of the field: letters (`R_L_R_L90`) or pairs (`w-10, right-5`)."""

    word_key: ClassVar[str] = "text"

    text: Annotated[str, Field(min_length=1, max_length=10_000)]
    """Letters R L W S A D _ and a trailing angle, or comma-separated direction-steps pairs."""
    hold_frames: list[Frames] | None = Field(
        default=None, json_schema_extra={"anyOf": [{"type": "integer"}, {"type": "array"}]}
    )
    """Letters only: video frames of each `_`; one number for all, or a list with one for each."""
    frames_per_step: Frames | None = None
    """Pairs only: video frames of one step; 4, the frames of a Wan latent, if not given."""

    @model_validator(mode="before")
    @classmethod
    def _list_of_holds(cls, value: object) -> object:
        if isinstance(value, dict) and isinstance(value.get("hold_frames"), int):
            return {**value, "hold_frames": [value["hold_frames"]]}
        return value


class Repeat(Model):
    """Run nested steps several times."""

    times: Annotated[int, Field(ge=1, le=10**9)]
    """How often."""
    steps: Annotated[list[Step], Field(min_length=1)]
    """What to repeat."""


class Step(Model):
    """One step: a mapping with exactly one of these keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    turn: Turn | None = None
    """Turn in place."""
    move: Move | None = None
    """Walk straight or along an arc."""
    hold: Hold | None = None
    """Stand still."""
    press: Press | None = None
    """Press keys and move the mouse."""
    keyframes: Keyframes | None = None
    """Fly through given poses."""
    orbit: Orbit | None = None
    """Circle around a point while looking at it."""
    return_to: ReturnTo | None = None
    """Go back to a mark."""
    mark: Mark | None = None
    """Name the current frame."""
    repeat: Repeat | None = None
    """Run nested steps several times."""
    macro: Macro | None = None
    """Run a motion string of the field."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Step:
        given = list(self.model_fields_set)
        if len(given) != 1:
            named = " and ".join(name for name in type(self).model_fields if name in given) or "nothing"
            raise problem(
                f"a step holds exactly one motion, got {named}", "start each step with its own dash"
            )
        return self

    @property
    def kind(self) -> str:
        """Which key is set."""
        return next(iter(self.model_fields_set))

    @property
    def motion(self) -> Model:
        """The value of that key."""
        value: Model = getattr(self, self.kind)
        return value


Repeat.model_rebuild()
