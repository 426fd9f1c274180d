"""Keyboard and mouse of a trajectory as Matrix-Game takes them: one row a video frame.

Row n moves video frame n to n + 1, in the trajectory and in the model, so rows stay where they are.
Source: golden/matrix_game README, sections 8 and 9.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from core.errors import InputError
from trajectories import Gains, Trajectory

WINDOW_ROWS = 12
"""Rows of a track that a latent frame sees."""

VIDEO_STRIDE = 4
"""Video frames of a latent frame; the first one of a video is one video frame."""

TYPICAL_MOUSE_UNITS = 0.1
"""Mouse units a row of the reference's interactive demo."""

RUNNER_THRESHOLD_DEG = 0.75
"""Degrees a frame from which turning is an action in templerun: half the demo's 0.1 at 15 degrees a unit."""

KEYS = {
    "universal": ("forward", "back", "left", "right"),
    "gta_drive": ("forward", "back"),
    "templerun": ("nomove", "jump", "slide", "turnleft", "turnright", "leftside", "rightside"),
}
"""Meaning of the keyboard columns of each variant."""

RUNNER_PRECEDENCE = ("turnleft", "turnright", "jump", "slide", "leftside", "rightside")
"""Which of templerun's actions a row gets when several apply; nomove when none does."""


@dataclass(frozen=True, eq=False)
class ActionTracks:
    """Rows for every video frame; the last row leads out of the video and is seen by nothing. Read-only.

    Attributes:
        variant: One of `KEYS`.
        keyboard: Multi-hot, columns as in `KEYS`; in templerun one-hot.
        mouse: (pitch, yaw) in the model's mouse units, up and right positive; None in templerun.
        gains: How far a row is taken to move the model. Degrees are inferred, lengths a free scale.
        start: Camera-to-world matrix of video frame 0.
    """

    variant: str
    keyboard: Float32[np.ndarray, "frames keys"]
    mouse: Float32[np.ndarray, "frames 2"] | None
    gains: Gains
    start: Float64[np.ndarray, "4 4"]

    def __post_init__(self) -> None:
        for array in (self.keyboard, self.mouse, self.start):
            if array is not None:
                array.flags.writeable = False

    @property
    def num_frames(self) -> int:
        """Video frames."""
        return len(self.keyboard)

    def calibration(self) -> dict[str, str | float]:
        """What is taken for granted about the model's speed, for the run log."""
        taken: dict[str, str | float] = {"variant": self.variant, **asdict(self.gains)}
        if self.mouse is None:
            taken |= {"threshold_deg": RUNNER_THRESHOLD_DEG, "turn_mouse_units": TYPICAL_MOUSE_UNITS}
        return taken


def action_tracks(trajectory: Trajectory, variant: str, *, gains: Gains | None = None) -> ActionTracks:
    """The rows that make a variant follow a trajectory; `action_notes` says what cannot be expressed.

    - universal: keys W, S, A, D and the mouse as they are.
    - gta_drive: W and S; the mouse's yaw steers. There are no strafes and no pitch.
    - templerun: yaw of at least `RUNNER_THRESHOLD_DEG` turns left or right, such a pitch jumps (up) or slides
      (down), A and D step aside; W, S or nothing is nomove. One action a row, by `RUNNER_PRECEDENCE`.

    Args:
        trajectory: One action row a video frame, the mouse in units of its own gains.
        variant: One of `KEYS`.
        gains: Of the model. None for 15 degrees a mouse unit, and keys as fast as the trajectory's.

    Raises:
        InputError: There is no such variant, or a gain is not positive.
    """
    if variant not in KEYS:
        raise InputError(
            f"matrix-game has no variant {variant!r}", where="--variant", hint=f"one of: {', '.join(KEYS)}"
        )
    gains = gains or Gains(units_per_key_frame=trajectory.gains.units_per_key_frame)
    if not all(0 < gain < np.inf for gain in (gains.deg_per_mouse_unit, gains.units_per_key_frame)):
        raise InputError(f"gains must be positive, got {gains}", where="gains of matrix-game")
    keyboard, turns = trajectory.keyboard, turns_deg(trajectory)
    mouse: Float32[np.ndarray, "frames 2"] | None = (turns / gains.deg_per_mouse_unit).astype(np.float32)
    if variant == "gta_drive":
        keyboard = keyboard[:, :2]
        mouse = (turns / gains.deg_per_mouse_unit * [0.0, 1.0]).astype(np.float32)
    elif variant == "templerun":
        keyboard, mouse = _one_hot(runner_actions(keyboard, turns)), None
    return ActionTracks(variant, keyboard, mouse, gains, trajectory.c2w[0])


def turns_deg(trajectory: Trajectory) -> Float64[np.ndarray, "frames 2"]:
    """(pitch, yaw) in degrees by which each row of a trajectory turns the camera."""
    degrees: Float64[np.ndarray, "frames 2"] = trajectory.mouse * np.float64(
        trajectory.gains.deg_per_mouse_unit
    )
    return degrees


def runner_actions(
    keyboard: Float32[np.ndarray, "frames 4"], turns: Float64[np.ndarray, "frames 2"]
) -> Bool[np.ndarray, "frames 6"]:
    """Which of templerun's actions apply to each row, in the order of `RUNNER_PRECEDENCE`.

    Args:
        keyboard: Multi-hot W, S, A, D.
        turns: (pitch, yaw) in degrees a row.
    """
    pitch, yaw, least = turns[:, 0], turns[:, 1], RUNNER_THRESHOLD_DEG * (1 - 1e-6)  # float32 has 7 digits
    masks = (
        yaw <= -least,
        yaw >= least,
        pitch >= least,
        pitch <= -least,
        keyboard[:, 2] > 0,
        keyboard[:, 3] > 0,
    )
    return np.stack(masks, axis=-1)


def action_windows(
    track: Float32[np.ndarray, "video channels"], frames: range
) -> Float32[np.ndarray, "frames 12 channels"]:
    """The rows that latent frames see: frame t those from 4 t - 12 to 4 t - 1, row 0 for those before it.

    Row 4 t moves the latent frame's last video frame onwards, so t does not see it. Latent frame 0 sees
    row 0 twelve times.

    Args:
        track: Rows of keyboard or mouse.
        frames: Latent frames.

    Raises:
        InputError: A latent frame needs rows beyond the track.
    """
    starts = VIDEO_STRIDE * np.asarray(frames, dtype=np.int64)
    if len(starts) and not 0 <= starts.min() <= starts.max() <= len(track):
        raise InputError(
            f"latent frames {min(frames)} to {max(frames)} reach outside {len(track)} rows of actions",
            where="action windows",
        )
    rows = starts[:, None] + np.arange(-WINDOW_ROWS, 0)
    windows: Float32[np.ndarray, "frames 12 channels"] = track[np.maximum(rows, 0)]
    return windows


def _one_hot(actions: Bool[np.ndarray, "frames 6"]) -> Float32[np.ndarray, "frames 7"]:
    """The first action that applies to each row, in templerun's columns."""
    labels = KEYS["templerun"]
    columns = np.array([labels.index(label) for label in (*RUNNER_PRECEDENCE, "nomove")])
    first = np.where(actions.any(axis=1), actions.argmax(axis=1), len(RUNNER_PRECEDENCE))
    rows: Float32[np.ndarray, "frames 7"] = np.eye(len(labels), dtype=np.float32)[columns[first]]
    return rows
