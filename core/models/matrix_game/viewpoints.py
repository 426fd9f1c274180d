"""Where the camera is taken to be when only keyboard and mouse are known: dead reckoning.

Viewpoints follow the actions, although every trajectory has cameras too: the model sees only the actions.
Where both agree nothing is lost, and where they do not (climbing, walks faster than a key, strafing with a
car) the cameras would be wrong. `action_notes` says how far apart they come.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Float64

from core.errors import InputError
from core.memory.viewpoints import Viewpoints
from core.models.matrix_game.actions import KEYS, TYPICAL_MOUSE_UNITS, VIDEO_STRIDE, ActionTracks
from trajectories.actions import dead_reckoned_c2w
from trajectories.schema import DEFAULT_FOV_DEG


def reckoned_c2w(tracks: ActionTracks) -> Float64[np.ndarray, "frames 4 4"]:
    """Camera-to-world matrices of all video frames, from `tracks.start` on, in trajectory units.

    - universal: a row turns by the mouse and walks along the mean of its old and new yaw; two keys at a right
      angle are as fast as one. The model's true speed is unknown, so lengths have a free scale.
    - gta_drive: the same without strafes. Only a prior: a car turns only while it rolls, keys or not.
    - templerun: nothing says where the runner is. Actions are accumulated into a pseudo-motion: a turn counts
      as a row of `TYPICAL_MOUSE_UNITS`, a step aside as a key of universal; the run ahead, jumps and slides
      count nothing. Viewpoints then tell which way a frame was turned, not how far down the track it lies.

    Source: golden/matrix_game README, section 10; accumulated actions as in Yi et al. 2026, arXiv:2605.22718.
    """
    return dead_reckoned_c2w(tracks.start, *_walk(tracks), tracks.gains)


def dead_reckoned_viewpoints(
    tracks: ActionTracks,
    *,
    grid: tuple[int, int] = (22, 40),
    size: tuple[int, int] = (640, 352),
    chunk_frames: int = 3,
    fov_deg: float = DEFAULT_FOV_DEG,
) -> Viewpoints:
    """Cameras of all latent frames: those of their last video frames, 4 t.

    Args:
        tracks: Actions, the gains included, of whole chunks: 1 + 4 (F - 1) video frames for F latent frames.
        grid: Rows and columns of tokens of a latent frame.
        size: Width and height of the video in pixels.
        chunk_frames: Latent frames denoised together.
        fov_deg: Horizontal field of view of a pinhole, (0, 180). The model's is unknown, it follows the first
            picture; the default is the trajectories'. It matters only where rays or overlap are compared.

    Raises:
        InputError: The tracks do not fill whole chunks, or no pinhole has such a field of view.
    """
    if (tracks.num_frames - 1) % VIDEO_STRIDE:
        raise InputError(
            f"{tracks.num_frames} rows of actions are not 1 + {VIDEO_STRIDE} n: they end in a latent frame",
            where="viewpoints",
            hint="cut or pad the trajectory to whole chunks",
        )
    if not 0 < fov_deg < 180:
        raise InputError(f"a field of view lies between 0 and 180 degrees, got {fov_deg}", where="fov_deg")
    c2w = reckoned_c2w(tracks)[::VIDEO_STRIDE]
    width, height = size
    focal_px = width / 2.0 / math.tan(math.radians(fov_deg) / 2.0)
    lens = np.array([focal_px, focal_px, width / 2.0, height / 2.0])
    return Viewpoints(
        c2w=c2w,
        intrinsics=np.tile(lens, (len(c2w), 1)),
        image_size=size,
        grid=grid,
        chunk_frames=chunk_frames,
    )


def _walk(tracks: ActionTracks) -> tuple[Float32[np.ndarray, "frames 4"], Float32[np.ndarray, "frames 2"]]:
    """W, S, A, D and the mouse that the actions of a variant stand for."""
    keys = np.zeros((tracks.num_frames, 4), np.float32)
    if tracks.mouse is not None:
        keys[:, : tracks.keyboard.shape[1]] = tracks.keyboard
        return keys, tracks.mouse
    pressed = dict(zip(KEYS["templerun"], tracks.keyboard.T, strict=True))
    keys[:, 2], keys[:, 3] = pressed["leftside"], pressed["rightside"]
    mouse = np.zeros((tracks.num_frames, 2), np.float32)
    mouse[:, 1] = TYPICAL_MOUSE_UNITS * (pressed["turnright"] - pressed["turnleft"])
    return keys, mouse
