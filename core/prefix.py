"""Starting a rollout from a given clip: the script goes on from the last camera of its path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.errors import InputError
from trajectories import Trajectory


def after(clip: Trajectory, script: Trajectory) -> Trajectory:
    """The clip's path, then the script's motion from where the clip ends.

    The script's first frame is its start pose, which is the clip's last one, so it is not shown twice.
    """
    if script.num_frames < 2:
        raise InputError(
            "nothing is left to generate after the prefix",
            where="--traj",
            hint="one frame of it is the prefix's last; give two or more",
        )
    moved = clip.c2w[-1] @ np.linalg.inv(script.c2w[0]) @ script.c2w[1:]
    scale = np.array(clip.image_size, dtype=float) / script.image_size
    intrinsics = script.intrinsics[1:] * np.tile(scale, 2)
    offset = clip.num_frames - 1
    return replace(
        script,
        c2w=np.concatenate((clip.c2w, moved)),
        intrinsics=np.concatenate((clip.intrinsics, intrinsics)),
        image_size=clip.image_size,
        keyboard=np.concatenate((clip.keyboard[:-1], script.keyboard)),
        mouse=np.concatenate((clip.mouse[:-1], script.mouse)),
        marks={name: frame + offset for name, frame in script.marks.items()},
    )
