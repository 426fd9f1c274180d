"""Matrix-Game jobs on small checkpoints, prepared as the command line prepares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from core.config import resolve
from core.generate import Job, prepare
from core.video.writer import Mp4Writer
from tests.tiny_matrix_game import write_checkpoint

VARIANTS = ("universal", "gta_drive", "templerun")
SIZE = (96, 64)

AWAY_AND_BACK = """\
version: 1
name: away
steps:
  - turn: {yaw_deg: 30, frames: 22}
  - turn: {yaw_deg: -30, frames: 22}
"""
"""45 video frames: 4 chunks; the last one looks back."""

KEYS = """\
version: 1
name: keys
gains: {deg_per_mouse_unit: 15}
steps:
  - press: {keys: W, frames: 8}
  - press: {keys: D, mouse_yaw_per_frame: 0.1, frames: 8}
  - press: {keys: A, mouse_yaw_per_frame: -0.1, frames: 8}
  - press: {keys: S, frames: 8}
"""
"""33 video frames: 3 chunks."""


def write_inputs(folder: Path, size: tuple[int, int] = SIZE) -> None:
    """first.png of the given width and height, away.yaml, keys.yaml and clip.mp4, of 21 frames."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (22, size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    Image.fromarray(frames[0]).save(folder / "first.png")
    (folder / "away.yaml").write_text(AWAY_AND_BACK)
    (folder / "keys.yaml").write_text(KEYS)
    with Mp4Writer(folder / "clip.mp4", *size, 16.0, overwrite=True) as video:
        video.push(frames[1:])


def write_models(folder: Path, variants: tuple[str, ...] = VARIANTS) -> Path:
    """One folder with several variants, and what they share."""
    for variant in variants:
        first = variant == variants[0]
        write_checkpoint(folder, variant, parts=("transformer", *(("vae", "clip") if first else ())))
    return folder


def prepared(checkpoint: Path, inputs: Path, **settings: object) -> Job:
    """A job on `inputs`, with what differs from a rollout away and back at 96x64."""
    ours = {
        "model": "matrix-game",
        "checkpoint": checkpoint,
        "traj": str(inputs / "away.yaml"),
        "image": None if settings.get("prefix") else inputs / "first.png",
        "size": f"{SIZE[0]}x{SIZE[1]}",
        "device": "cpu",
    }
    return prepare(resolve({**ours, **settings}, {}))
