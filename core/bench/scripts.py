"""The camera scripts on which the embedded model is judged: each leaves a place and comes back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import trajectories
from core.models.mini.config import CHUNK_FRAMES
from trajectories import Trajectory

_HEADER = """\
version: 1
name: {name}
fps: 10
camera: {{fov_deg: 90, image_size_px: [80, 48]}}
rates: {{turn_deg_per_frame: {deg_per_frame:g}, move_units_per_frame: {units_per_frame:g}}}
steps:
"""


@dataclass(frozen=True)
class Script:
    """A script and how much of it can be given as truth.

    Attributes:
        name: For tables.
        steps: Steps of the trajectory language, one a line.
        given_chunks: Chunks of the first leg, before the camera turns back.
        deg_per_frame: How fast the camera turns; it walks 0.012 units a frame for each degree.
        min_gap_frames: Smallest gap of a revisit. A sliding window holds 9 frames.
    """

    name: str
    steps: tuple[str, ...]
    given_chunks: int
    deg_per_frame: float = 10.0
    min_gap_frames: int = 12

    def trajectory(self) -> Trajectory:
        """The script, cut to whole chunks."""
        return _compiled(self)


@lru_cache(maxsize=32)
def _compiled(script: Script) -> Trajectory:
    text = _HEADER.format(
        name=script.name.replace(" ", "-").lower(),
        deg_per_frame=script.deg_per_frame,
        units_per_frame=0.012 * script.deg_per_frame,
    )
    text += "".join(f"  - {step}\n" for step in script.steps)
    whole, _ = trajectories.parse(text, source=script.name).fit_chunks(
        first_frames=CHUNK_FRAMES, later_frames=CHUNK_FRAMES, how="cut"
    )
    return whole


def _turn(degrees: float) -> str:
    return f"turn: {{yaw_deg: {degrees:g}}}"


def _walk(units: float) -> str:
    return f"move: {{forward_units: {units:g}}}"


STUDY_SCRIPTS = (
    Script("R90 L90 twice", (_turn(90.0), _turn(-90.0)) * 2 + ("hold: {frames: 2}",), 4),
    Script("R180 L180", (_turn(180.0), _turn(-180.0), "hold: {frames: 2}"), 6),
    Script("360 twice", (_turn(720.0),), 12),
    Script(
        "R90 walk and back L90",
        (_turn(90.0), _walk(0.96), _walk(-0.96), _turn(-90.0), "hold: {frames: 2}"),
        6,
    ),
    Script(
        "walk R120 L120 back",
        (_walk(1.2), _turn(120.0), _turn(-120.0), _walk(-1.2), "hold: {frames: 3}"),
        8,
    ),
)
"""Short scripts with quick turns, on which many settings can be compared."""

QUALITY_SCRIPTS = (
    Script("slow R90 L90 twice", (_turn(90.0), _turn(-90.0)) * 2 + ("hold: {frames: 2}",), 6, 5.0, 30),
    Script("slow 360 twice", (_turn(720.0),), 24, 5.0, 30),
    Script(
        "slow walk R120 L120 back",
        (_walk(1.2), _turn(120.0), _turn(-120.0), _walk(-1.2), "hold: {frames: 3}"),
        14,
        5.0,
        30,
    ),
)
"""Three to six times the length of a training clip (24 frames); revisits at least 30 frames apart."""

SIX_RETURNS = Script("six returns", (_turn(90.0), _turn(-90.0)) * 6 + ("hold: {frames: 2}",), 4, 10.0, 30)
MANY_RETURNS = Script("24 returns", (_turn(90.0), _turn(-90.0)) * 24 + ("hold: {frames: 2}",), 4, 10.0, 30)

OFF_GRID = (
    Script("lap off by 3", (_turn(360.0), "hold: {frames: 1}", _turn(3.0), _turn(360.0)), 12),
    Script(
        "walk R123 L120 back",
        (_walk(1.2), _turn(120.0), _turn(3.0), _turn(-120.0), _walk(-1.2), "hold: {frames: 3}"),
        8,
    ),
)
"""The second visit sees what the first saw, but between its frames, and its chunks begin elsewhere: no stored
chunk shows just what is asked for, unlike in the other scripts, whose turns are whole chunks."""

SCRIPTS = {
    script.name: script for script in (*STUDY_SCRIPTS, *QUALITY_SCRIPTS, *OFF_GRID, SIX_RETURNS, MANY_RETURNS)
}
"""All of them by name."""
