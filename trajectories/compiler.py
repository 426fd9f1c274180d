"""From a validated file to a `Trajectory`: walks the steps and records every video frame."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Float64

from trajectories.actions import Gains, actions_from_path, integrate_actions
from trajectories.document import Document, KeyPath
from trajectories.errors import MotionError, nearest
from trajectories.geometry import c2w_from_angles
from trajectories.keyframes import fly
from trajectories.limits import MAX_FRAMES, check_limits, too_many_frames
from trajectories.macros import macro
from trajectories.motion import Defaults, Pose, Poses, hold, move, orbit, return_straight, stated_frames, turn
from trajectories.schema import DEFAULT_FOV_DEG, Camera, TrajectoryFile
from trajectories.steps import Hold, Keyframes, Macro, Mark, Move, Orbit, Press, Repeat, ReturnTo, Step, Turn
from trajectories.trajectory import Trajectory


def compile_file(
    file: TrajectoryFile, document: Document, *, text: str, source: str, name: str
) -> Trajectory:
    """Compile a validated file.

    Args:
        file: The validated content.
        document: The same content with line and column numbers, for errors.
        text: The text it came from.
        source: The library name or path it came from.
        name: Its name if the header has none.

    Raises:
        MotionError: The motion cannot be made.
    """
    defaults = _defaults(file)
    check_limits(file.steps, document, defaults)
    recorder = _Recorder(file, document, defaults)
    recorder.run(file.steps, ("steps",))
    track = recorder.track
    if track.num_frames == 1:
        raise MotionError(
            "the trajectory has no motion: it makes no frame after the start",
            where=document.where(("steps",)),
            hint="add a step that takes time, such as `hold: {frames: 12}`",
        )
    position, angles = track.position[: track.num_frames], track.angles_deg[: track.num_frames]
    keyboard, mouse = actions_from_path(position, angles, defaults.gains)
    for pressed in recorder.pressed:
        rows = slice(pressed.start, pressed.start + len(pressed.keyboard))
        keyboard[rows], mouse[rows] = pressed.keyboard, pressed.mouse
    width, height = file.camera.image_size_px
    intrinsics = _intrinsics(file.camera)
    return Trajectory(
        name=file.name or name,
        description=file.description.strip(),
        fps=float(file.fps),
        c2w=c2w_from_angles(position, angles),
        intrinsics=np.repeat(intrinsics[None], track.num_frames, axis=0),
        image_size=(width, height),
        keyboard=keyboard,
        mouse=mouse,
        marks=MappingProxyType(dict(recorder.marks)),
        gains=defaults.gains,
        source=source,
        source_text=text,
        source_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _defaults(file: TrajectoryFile) -> Defaults:
    rates = file.rates
    gains = Gains(
        deg_per_mouse_unit=file.gains.deg_per_mouse_unit,
        units_per_key_frame=file.gains.units_per_key_frame or rates.move_units_per_frame,
    )
    return Defaults(
        fps=file.fps,
        turn_deg_per_frame=rates.turn_deg_per_frame,
        move_units_per_frame=rates.move_units_per_frame,
        easing=file.easing,
        gains=gains,
    )


def _intrinsics(camera: Camera) -> Float64[np.ndarray, " 4"]:
    if camera.intrinsics is not None:
        lens = camera.intrinsics
        return np.array([lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px], dtype=np.float64)
    width, height = camera.image_size_px
    focal_px = width / 2.0 / math.tan(math.radians(camera.fov_deg or DEFAULT_FOV_DEG) / 2.0)
    return np.array([focal_px, focal_px, width / 2.0, height / 2.0])


class _Track:
    """Recorded poses in growing arrays."""

    def __init__(self, start: Pose) -> None:
        self.position = start.position[None].copy()
        self.angles_deg = start.angles_deg[None].copy()
        self.num_frames = 1

    @property
    def pose(self) -> Pose:
        last = self.num_frames - 1
        return Pose(self.position[last], self.angles_deg[last])

    def append(self, poses: Poses) -> None:
        stop = self.num_frames + poses.num_frames
        if stop > len(self.position):
            room = ((0, 2 * stop - len(self.position)), (0, 0))
            self.position, self.angles_deg = np.pad(self.position, room), np.pad(self.angles_deg, room)
        self.position[self.num_frames : stop] = poses.position
        self.angles_deg[self.num_frames : stop] = poses.angles_deg
        self.num_frames = stop


@dataclass(frozen=True)
class _Pressed:
    """Actions that the file states itself, from frame `start` on."""

    start: int
    keyboard: Float32[np.ndarray, "steps 4"]
    mouse: Float32[np.ndarray, "steps 2"]


class _Recorder:
    """Runs steps one after the other."""

    def __init__(self, file: TrajectoryFile, document: Document, defaults: Defaults) -> None:
        start = file.start
        self._document = document
        self._defaults = defaults
        self.track = _Track(
            Pose(np.array(start.position_units, np.float64), np.array([start.yaw_deg, start.pitch_deg, 0.0]))
        )
        self.marks: dict[str, int] = {}
        self.pressed: list[_Pressed] = []
        self._newest_mark: dict[str, int] = {}
        self._mark_paths: dict[str, KeyPath] = {}
        self._mark_passes: Counter[str] = Counter()

    def run(self, steps: list[Step], path: KeyPath) -> None:
        for index, step in enumerate(steps):
            here = (*path, index, step.kind)
            if isinstance(step.motion, Repeat):
                for _ in range(step.motion.times):
                    self.run(step.motion.steps, (*here, "steps"))
            elif isinstance(step.motion, Mark):
                self._mark(step.motion, here)
            else:
                self._record(self._poses(step, here), here)

    def _poses(self, step: Step, path: KeyPath) -> Poses:
        pose, defaults = self.track.pose, self._defaults

        def at(*keys: str | int) -> str:
            return self._document.where((*path, *keys))

        match step.motion:
            case Turn() as motion:
                return turn(motion, pose, defaults)
            case Move() as motion:
                return move(motion, pose, defaults)
            case Hold() as motion:
                return hold(stated_frames(motion, defaults.fps) or 0, pose)
            case Press() as motion:
                return self._press(motion)
            case Orbit() as motion:
                return orbit(motion, pose, defaults, at)
            case Keyframes() as motion:
                return fly(motion, pose, defaults.fps, at)
            case ReturnTo() as motion:
                return self._return_to(motion, path)
            case Macro() as motion:
                return macro(motion, pose, defaults, at)
        raise TypeError(f"no motion for step {step.kind}")

    def _record(self, poses: Poses, path: KeyPath) -> None:
        num_frames = self.track.num_frames + poses.num_frames
        if num_frames > MAX_FRAMES:
            raise too_many_frames(num_frames, self._document.where(path))
        if poses.num_frames and (steepest := float(np.abs(poses.angles_deg[:, 1]).max())) > 90.0 + 1e-6:
            pitch = float(self.track.pose.angles_deg[1])
            raise MotionError(
                f"the camera would tip over: pitch reaches {steepest:.4g} degrees",
                where=self._document.where(path),
                hint=f"keep pitch within -90..90; it is {pitch:.4g} before this step",
            )
        self.track.append(poses)

    def _press(self, step: Press) -> Poses:
        num_frames = stated_frames(step, self._defaults.fps) or 0
        keys = np.array([key in step.keys for key in "WSAD"], np.float32)
        mouse = np.array([step.mouse_pitch_per_frame, step.mouse_yaw_per_frame], np.float32)
        pressed = _Pressed(
            self.track.num_frames - 1,
            np.repeat(keys[None], num_frames, 0),
            np.repeat(mouse[None], num_frames, 0),
        )
        self.pressed.append(pressed)
        pose = self.track.pose
        position, angles = integrate_actions(
            pressed.keyboard,
            pressed.mouse,
            position=pose.position,
            angles_deg=pose.angles_deg,
            gains=self._defaults.gains,
        )
        return Poses(position, angles)

    def _mark(self, step: Mark, path: KeyPath) -> None:
        name = step.name
        if self._mark_paths.setdefault(name, path) != path:
            line = self._document.values[self._mark_paths[name]].line
            raise MotionError(
                f"duplicate mark '{name}'",
                where=self._document.where((*path, "name")),
                hint=f"it is already set on line {line}; choose another name",
            )
        self._mark_passes[name] += 1
        passes = self._mark_passes[name]
        self._newest_mark[name] = self.track.num_frames - 1
        self.marks[name if passes == 1 else f"{name}@{passes}"] = self.track.num_frames - 1

    def _return_to(self, step: ReturnTo, path: KeyPath) -> Poses:
        frame = self._newest_mark.get(step.mark)
        if frame is None:
            known = list(self._newest_mark)
            meant = nearest(step.mark, known)
            suggestion = f"did you mean {meant}? " if meant else ""
            marks = f"marks so far: {', '.join(known[:8])}" if known else "no mark is set before this step"
            raise MotionError(
                f"unknown mark '{step.mark}'",
                where=self._document.where((*path, "mark")),
                hint=suggestion + marks,
            )
        track = self.track
        if step.path == "straight":
            target = Pose(track.position[frame], track.angles_deg[frame])
            return return_straight(step, track.pose, target, self._defaults)
        back = range(track.num_frames - 2, frame - 1, -1)
        if track.num_frames + len(back) > MAX_FRAMES:
            raise too_many_frames(track.num_frames + len(back), self._document.where(path))
        return Poses(track.position[list(back)], track.angles_deg[list(back)])
